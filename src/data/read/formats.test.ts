/** The table of formats in docs/data.md, row by row, on files whose right values are Pillow's (test/fixtures/formats). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import sharp from 'sharp';
import { toRgb } from '../crops/crops.js';
import { EvalLoader } from '../load/loaders.js';
import { decodeImage, imageHeader, imageThumbnail } from './decode.js';
import { useImage } from './use-image.js';

interface File {
  row: string;
  file: string;
  width?: number;
  height?: number;
  offset?: number;
}

const folder = new URL('../../../test/fixtures/formats/', import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, folder));
const { files } = JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8')) as { files: File[] };
const pixels = gunzipSync(readFileSync(new URL('expected.bin.gz', folder)));

/** The rows of the table: what is in the first column, and what happens. */
const rows = new Map(
  /\n## Formats\n([\s\S]*?)\n## /
    .exec(readFileSync(new URL('../../../docs/data.md', import.meta.url), 'utf8'))![1]!
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) => {
      const [, name, outcome] = line.split('|').map((cell) => cell.trim());
      return [name!, outcome!] as const;
    }),
);

/** How many levels a value may differ from Pillow's: what the table says, and none where it says nothing. */
const tolerance = ({ row, file }: File): number =>
  /avif|ycbcr/.test(file) ? 1 : Number(/levels of Pillow, up to (\d+)/.exec(rows.get(row)!)?.[1] ?? 0);

const expectedOf = ({ width, height, offset }: File): Buffer =>
  pixels.subarray(offset, offset! + width! * height! * 3);

/** In one line: what differs from the expected image, or nothing. */
function difference(file: File, data: Uint8Array, size: { width: number; height: number }): string {
  if (size.width !== file.width || size.height !== file.height)
    return `${size.width} x ${size.height} pixels`;
  const most = tolerance(file);
  const expected = expectedOf(file);
  let [worst, sum] = [0, 0];
  for (const [i, value] of expected.entries()) {
    worst = Math.max(worst, Math.abs(value - data[i]!));
    sum += Math.abs(value - data[i]!);
  }
  if (sum / expected.length > 2) return `differs by ${sum / expected.length} levels in the mean`;
  return worst <= most ? '' : `differs by ${worst} levels, expected at most ${most}`;
}

const reasonOf = async (reading: Promise<unknown>): Promise<string> => {
  try {
    await reading;
  } catch (error) {
    assert.equal((error as Error).name, 'DataError', (error as Error).stack);
    return (error as Error).message;
  }
  return 'it was read';
};

test('the table has files of each of its rows, and no file is without a row', () => {
  assert.ok(rows.size > 30);
  assert.deepEqual([...new Set(files.map(({ row }) => row))].sort(), [...rows.keys()].sort());
});

test('a loader with workers uses or skips each of the files, and none ends it', async () => {
  const items = files.map(({ file }) => ({ path: pathOf(file), label: null }));
  const loader = new EvalLoader({ items, batchSize: 50, resize: 16, crop: 16, numWorkers: 2 });
  const skipped: string[] = [];
  let used = 0;
  for await (const batch of loader) {
    used += batch.indices.length;
    skipped.push(...batch.skipped.map((entry) => path.basename(entry.path)));
    batch.release();
  }
  const bad = files.filter(({ offset }) => offset === undefined).map(({ file }) => file);
  assert.deepEqual(skipped.sort(), bad.sort());
  assert.equal(used, files.length - bad.length);
});

for (const [row, outcome] of rows) {
  const own = files.filter((file) => file.row === row);
  if (outcome.startsWith('read')) {
    test(`${row}: read as Pillow reads it, by all that reads images`, async () => {
      for (const file of own) {
        const bytes = readFileSync(pathOf(file.file));
        const image = await decodeImage(pathOf(file.file));
        assert.equal(difference(file, image.data, image), '', file.file);
        await useImage(bytes, {}, (decoded) => {
          const { width, height, channels, data } = decoded;
          const rgb = toRgb({ ...decoded, data: data.subarray(0, width * height * channels) });
          assert.deepEqual([...rgb], [...image.data], file.file);
          assert.deepEqual([decoded.originalWidth, decoded.originalHeight], [width, height], file.file);
        });
        const { width, height } = await imageHeader(bytes);
        assert.deepEqual([width, height], [image.width, image.height], file.file);
        const small = await imageThumbnail(pathOf(file.file), 64, 100);
        assert.deepEqual([small.width, small.height], [image.width, image.height], file.file);
        assert.equal((await sharp(small.data).metadata()).format, 'webp');
      }
    });
  } else {
    test(`${row}: skipped with the reason that the table gives`, async () => {
      const [, said] = /^skipped: `(.+?)`/.exec(outcome)!;
      const escaped = said!.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '.+');
      for (const { file, offset } of own) {
        assert.equal(offset, undefined, `${file} should be read`);
        const bytes = readFileSync(pathOf(file));
        const reasons = [
          await reasonOf(useImage(bytes, {}, () => undefined)),
          await reasonOf(imageThumbnail(bytes, 64, 80)),
        ];
        for (const reason of reasons) assert.match(reason, new RegExp(`^${escaped}`), file);
        assert.equal(reasons[0], reasons[1], file);
        assert.match(await reasonOf(decodeImage(pathOf(file))), new RegExp(escaped), file);
      }
    });
  }
}
