/** The decoding of loaders has the same bytes as decode.ts, and the same reasons for failures. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { toRgb } from '../crops/crops.js';
import { decodeFile } from './decode.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import { decodeHere, useImage } from './use-image.js';

const modes = fileURLToPath(new URL('../../../test/fixtures/augment/modes/', import.meta.url));
const scratch = mkdtempSync(path.join(tmpdir(), 'dino-use-image-'));
after(() => rmSync(scratch, { recursive: true }));

/** A copy of the RGB bytes, because the image's memory is reused. */
const rgbOf = async (file: string, reduce?: (width: number, height: number) => number) =>
  useImage(readFileSync(file), reduce === undefined ? {} : { reduce }, (image) => {
    const { width, height, originalWidth, originalHeight, channels } = image;
    const data = image.data.subarray(0, width * height * channels);
    return { rgb: [...toRgb({ ...image, data })], sizes: [width, height, originalWidth, originalHeight] };
  });

test('every kind of image has the same bytes as from decodeFile, one after the other and two at a time', async () => {
  const files = readdirSync(modes).map((name) => path.join(modes, name));
  const expected = await Promise.all(files.map((file) => decodeFile(file)));
  for (const results of [
    await Promise.all(files.map((file) => rgbOf(file))),
    await files.reduce<Promise<Awaited<ReturnType<typeof rgbOf>>[]>>(
      async (before, file) => [...(await before), await rgbOf(file)],
      Promise.resolve([]),
    ),
  ]) {
    for (const [i, image] of expected.entries()) {
      const { width, height, originalWidth, originalHeight } = image;
      assert.deepEqual(results[i]!.sizes, [width, height, originalWidth, originalHeight], files[i]);
      assert.deepEqual(results[i]!.rgb, [...toRgb(image)], files[i]);
    }
  }
});

test('plain images are decoded in this thread, others are left to sharp', () => {
  const isHere = (name: string) => decodeHere(readFileSync(path.join(modes, name)), {}) !== null;
  const plain = [
    'rgb.jpg',
    'gray.jpg',
    'progressive.jpg',
    'rgb.png',
    'rgba.png',
    'palette.png',
    'lossy.webp',
  ];
  const others = ['cmyk.jpg', 'orientation-6.jpg', 'gray16.png', 'rgb.tif', 'rgb.gif', 'rgb.avif'];
  assert.deepEqual(
    plain.filter((name) => !isHere(name)),
    [],
  );
  assert.deepEqual(others.filter(isHere), []);
});

test('an image that may be decoded much smaller is, with the same bytes as from decodeFile', async () => {
  const raw = { raw: { width: 640, height: 480, channels: 3 } } as const;
  for (const format of ['jpeg', 'webp'] as const) {
    const file = path.join(scratch, `large.${format}`);
    await sharp(fixtureImage(640, 480, 2), raw)
      .toFormat(format)
      .toFile(file);
    for (const reduce of [() => 4, () => 2]) {
      const { rgb, sizes } = await rgbOf(file, reduce);
      const expected = await decodeFile(file, { reduce });
      assert.deepEqual(sizes, [expected.width, expected.height, 640, 480], format);
      assert.deepEqual(rgb, [...toRgb(expected)], format);
    }
  }
});

test('a damaged or cut off file has the same reason as from decodeFile', async () => {
  const whole = readFileSync(path.join(modes, 'rgb.jpg'));
  const files = {
    'cut.jpg': whole.subarray(0, whole.length * 0.6),
    'empty.jpg': Buffer.of(),
    'text.jpg': 'hello',
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(path.join(scratch, name), bytes);
  for (const name of Object.keys(files)) {
    const file = path.join(scratch, name);
    const reasonOf = async (reading: Promise<unknown>) => {
      try {
        await reading;
      } catch (error) {
        return (error as Error).message;
      }
      return assert.fail(`${name} was read`);
    };
    assert.equal(await reasonOf(rgbOf(file)), await reasonOf(decodeFile(file)));
  }
});
