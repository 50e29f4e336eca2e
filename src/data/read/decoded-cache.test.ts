/** The cache of decoded images: what it keeps, and that batches are the same to the bit with and without it. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parquetWriteBuffer } from 'hyparquet-writer';
import sharp from 'sharp';
import { DecodedCache } from './decoded-cache.js';
import type { DecodedImage } from './decode.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import type { ImageList } from '../list/image-list.js';
import { listImages } from '../list/list-images.js';
import { readImageFile } from './read-image-file.js';
import { MultiCropLoader, type CropBatch } from '../load/loaders.js';
import { writeShards } from '../write/write-shards.js';

const modes = fileURLToPath(new URL('../../../test/fixtures/augment/modes/', import.meta.url));
const scratch = mkdtempSync(path.join(tmpdir(), 'dino-decoded-cache-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (name: string) => path.join(scratch, name);

/** Small crops, so that images of some hundred pixels are decoded smaller, at sizes that depend on the epoch. */
const augmentation = { globalCropsSize: 24, localCropsSize: 8, localCropsNumber: 3 };
const EPOCHS = 4;
let list: ImageList;

before(async () => {
  // every kind of image, one that can't be read, and photographs that are decoded smaller
  mkdirSync(at('images'));
  cpSync(modes, at('images/modes'), { recursive: true });
  writeFileSync(at('images/modes/bad.jpg'), 'no image');
  for (let i = 0; i < 8; i++) {
    const [width, height] = [480 + 40 * i, 640 - 33 * i];
    const image = sharp(fixtureImage(width, height, i), { raw: { width, height, channels: 3 } });
    const oriented = i === 3 ? image.withMetadata({ orientation: 6 }) : image;
    const isWebp = i % 4 === 1;
    const bytes = await (isWebp ? oriented.webp() : oriented.jpeg()).toBuffer();
    writeFileSync(at(`images/large-${i}.${isWebp ? 'webp' : 'jpg'}`), bytes);
  }
  list = await listImages(at('images'));
});

type Options = Partial<ConstructorParameters<typeof MultiCropLoader>[0]>;
const loaderOf = (options: Options) =>
  new MultiCropLoader({ items: list.items, batchSize: 7, seed: 5, augmentation, epochs: EPOCHS, ...options });

const hashOf = ({ epoch, batch, indices, globals, locals, skipped }: CropBatch) => ({
  ...{ epoch, batch, indices, reasons: skipped.map(({ reason }) => reason) },
  hash: createHash('sha256').update(globals).update(locals!).digest('hex'),
});

async function drain(loader: MultiCropLoader, atEpoch: (epoch: number) => void = () => undefined) {
  const kept: ReturnType<typeof hashOf>[] = [];
  for await (const batch of loader) {
    if (batch.batch === 0) atEpoch(batch.epoch);
    kept.push(hashOf(batch));
    batch.release();
  }
  return kept;
}

test('batches are the same to the bit with any number of workers, and with room for all, some or no images', async () => {
  const expected = await drain(loaderOf({ numWorkers: 0 }));
  assert.equal(expected.length, EPOCHS * Math.floor(list.items.length / 7));
  for (const numWorkers of [0, 1, 3]) {
    let most = Infinity;
    for (const decodedCache of [2 ** 28, 100_000, 5000]) {
      const loader = loaderOf({ numWorkers, decodedCache });
      assert.deepEqual(await drain(loader), expected, `${numWorkers} workers, ${decodedCache} bytes`);
      const { images, bytes } = loader.cached!;
      assert.ok(bytes + 4 * list.items.length <= decodedCache);
      assert.ok(images < most, 'less room, fewer images');
      most = images;
      if (decodedCache === 2 ** 28) assert.equal(images, list.items.length - 1, 'all but the bad one');
    }
  }
});

test('from any start, batches with a cache are those without one', async () => {
  const all = await drain(loaderOf({ numWorkers: 0 }));
  const perEpoch = all.length / EPOCHS;
  for (const numWorkers of [0, 2]) {
    const rest = loaderOf({ numWorkers, decodedCache: 2 ** 26, startEpoch: 1, startBatch: 2 });
    assert.deepEqual(await drain(rest), all.slice(perEpoch + 2));
  }
});

test('images of folders, tar and Parquet shards are not read again', async () => {
  const folder = at('plain');
  mkdirSync(folder);
  const png = readdirSync(modes).filter((name) => /^(rgb|gray|palette|rgba)\.png$/.test(name));
  for (const name of png) for (const i of [0, 1, 2]) cpSync(path.join(modes, name), `${folder}/${i}-${name}`);
  await writeShards(folder, { output: at('tar') });
  const bytes = await Promise.all(readdirSync(folder).map((name) => readImageFile(path.join(folder, name))));
  mkdirSync(at('parquet'));
  const rows = parquetWriteBuffer({
    columnData: [{ name: 'image', data: bytes.map((b) => new Uint8Array(b)) }],
  });
  writeFileSync(at('parquet/train.parquet'), new Uint8Array(rows));
  for (const source of ['plain', 'tar', 'parquet']) {
    const { items } = await listImages(at(source));
    assert.equal(items.length, bytes.length);
    const options = { items, batchSize: 4, epochs: 3 };
    const expected = await drain(loaderOf({ ...options, numWorkers: 0 }));
    // the file is removed in the second epoch; what workers have made ahead does not affect the third
    const remove = (epoch: number) => {
      if (epoch === 1) rmSync(at(source), { recursive: true });
    };
    const cached = await drain(loaderOf({ ...options, numWorkers: 2, decodedCache: 2 ** 24 }), remove);
    assert.deepEqual(cached, expected, source);
  }
});

const imageOf = (width: number, height: number, original: [number, number], value: number): DecodedImage => ({
  data: new Uint8Array(3 * width * height + 5).fill(value), // decoders' memory may be longer than the image
  ...{ width, height, channels: 3, originalWidth: original[0], originalHeight: original[1] },
  isReducible: true,
});

test('an entry is used only for the size that the decoder would make', () => {
  const cache = DecodedCache.create(2 ** 20, 3);
  const full = imageOf(120, 90, [120, 90], 1);
  const third = imageOf(40, 30, [120, 90], 2);
  assert.equal(cache.find(1, undefined), null);
  cache.keep(1, full);
  cache.keep(1, third);
  cache.keep(2, { ...imageOf(30, 30, [30, 30], 3), isReducible: false });
  const kept = (image: DecodedImage, size: number) => ({
    ...image,
    data: new Uint8Array(size).fill(image.data[0]!),
  });
  const other = new DecodedCache(cache.shared); // as another thread has it
  for (const one of [cache, other]) {
    assert.deepEqual(one.find(1, undefined), kept(full, 120 * 90 * 3));
    assert.deepEqual(
      one.find(1, () => 2.9),
      kept(full, 120 * 90 * 3),
    );
    assert.deepEqual(
      one.find(1, () => 3.7),
      kept(third, 40 * 30 * 3),
    );
    assert.equal(
      one.find(1, () => 4),
      null,
    );
    assert.equal(one.find(2, () => 8)?.width, 30, 'what its decoder makes only in one size');
    assert.equal(one.find(0, undefined), null);
    assert.equal(one.held.images, 2);
  }
});

test('the first images that fit are kept, and none is evicted', () => {
  const limit = 100_000;
  const cache = DecodedCache.create(limit, 10);
  for (let i = 0; i < 4; i++) cache.keep(i, imageOf(100, 100, [100, 100], i)); // 30,032 bytes each
  assert.deepEqual(
    [0, 1, 2, 3].map((i) => cache.find(i, undefined)?.data[0]),
    [0, 1, 2, undefined],
  );
  cache.keep(4, imageOf(10, 10, [10, 10], 4));
  assert.equal(cache.find(4, undefined)?.data[0], 4, 'a small one still fits');
  assert.equal(cache.find(0, undefined)?.data.at(-1), 0);
  assert.equal(cache.held.images, 4);
  assert.ok(cache.held.bytes <= limit);
  assert.equal(DecodedCache.create(10, 100).find(99, undefined), null, 'no room at all');
  assert.throws(() => loaderOf({ decodedCache: -1 }), /decodedCache must be a number of bytes/);
});

test('entries go on in the next segment, and those of all segments are found', () => {
  // segments of 1 GiB, of which only pages that are written to take memory
  const cache = DecodedCache.create(2 ** 31, 6);
  new Uint32Array(cache.shared.counters)[0] = 2 ** 22 - 100; // all but 100 units of the first segment are taken
  for (let i = 0; i < 3; i++) cache.keep(i, imageOf(60, 60, [60, 60], i + 1)); // 43 units each
  for (let i = 0; i < 3; i++) {
    const data = cache.find(i, undefined)!.data;
    assert.equal(data.length, 10_800);
    assert.ok(data.every((byte) => byte === i + 1));
    assert.equal(data.buffer, cache.shared.segments[i < 2 ? 0 : 1]);
  }
});
