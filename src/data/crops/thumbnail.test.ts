/** Preprocessing of the evaluations against Pillow and torchvision: every byte must be equal. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { renderCrops } from './crops.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import { EvalLoader, ResizedCropLoader } from '../load/loaders.js';
import type { ImageItem } from '../list/image-items.js';
import { thumbnail, thumbnailShape } from './thumbnail.js';

interface Case {
  operation: 'thumbnail' | 'resizedCrop';
  source: { width: number; height: number; seed: number };
  outWidth: number;
  outHeight: number;
  data: string;
  side: number;
  crop: [number, number, number, number];
  flip: boolean;
}

const file = new URL('../../../test/fixtures/eval/preprocess.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: Case[] };
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-thumbnail-'));
after(() => rmSync(folder, { recursive: true }));

/** (3, h, w) to (h, w, 3). */
const interleave = (planes: Uint8Array): Uint8Array =>
  planes.map((_, i) => planes[(i % 3) * (planes.length / 3) + Math.floor(i / 3)]!);

for (const item of cases) {
  const { width, height, seed } = item.source;
  const size = `${width} x ${height}`;
  const image = { data: fixtureImage(width, height, seed), width, height, channels: 3 as const };
  const expected = Buffer.from(item.data, 'base64');
  const out = new Uint8Array(expected.length);
  if (item.operation === 'thumbnail') {
    test(`thumbnail of ${size} within ${item.side} is Pillow's`, () => {
      const shape = { width: item.outWidth, height: item.outHeight };
      assert.deepEqual(thumbnailShape(width, height, item.side), shape);
      assert.deepEqual(thumbnail(image, item.side, { out }), shape);
      assert.equal(Buffer.compare(out, expected), 0);
    });
  } else {
    test(`crop ${item.crop.join(', ')} of ${size}, resized by the bilinear filter, is torchvision's`, () => {
      const [x, y, w, h] = item.crop;
      const plain = { jitter: null, grayscale: false, blurRadius: 0, solarizeThreshold: null };
      const crop = { x, y, width: w, height: h, flip: item.flip, ...plain };
      const target = { width: item.outWidth, height: item.outHeight, offset: 0 };
      renderCrops(image, [crop], [target], out, 1, 1, 'bilinear');
      assert.equal(Buffer.compare(interleave(out), expected), 0);
    });
  }
}

async function writePng(name: string, width: number, height: number): Promise<string> {
  const data = fixtureImage(width, height, width);
  const target = path.join(folder, name);
  await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(target);
  return target;
}

test('EvalLoader makes thumbnails of boxes, each with its own size, and leaves out boxes outside the image', async () => {
  const items = [await writePng('a.png', 64, 48), await writePng('b.png', 30, 90)].map((name) => ({
    path: name,
    label: null,
  }));
  const boxes = [[4.4, 3.5, 40.5, 30.5] as const, null];
  for (const numWorkers of [0, 1]) {
    const loader = new EvalLoader({ items, fit: 'inside', crop: 20, batchSize: 2, numWorkers, boxes });
    const { value: batch } = await loader.next();
    assert.ok(batch);
    // the box is rounded as in Python: 4, 4, 40, 30
    assert.deepEqual(batch.sizes, [thumbnailShape(36, 26, 20), thumbnailShape(30, 90, 20)]);
    const whole = new Uint8Array(3 * 7 * 20);
    thumbnail({ data: fixtureImage(30, 90, 30), width: 30, height: 90, channels: 3 }, 20, {
      out: whole,
      planar: true,
    });
    assert.deepEqual(batch.images.slice(1200, 1200 + whole.length), whole);
    batch.release();
    await loader.return();
  }
  const loader = new EvalLoader({
    items,
    fit: 'inside',
    crop: 20,
    batchSize: 2,
    boxes: [[70, 0, 80, 9], null],
  });
  const { value: batch } = await loader.next();
  assert.deepEqual(batch?.indices, [1]);
  assert.match(batch.skipped[0]!.reason, /outside its 64 x 48 pixels/);
  await loader.return();
});

test('ResizedCropLoader visits every image once an epoch, and depends only on epoch and seed', async () => {
  const items: ImageItem[] = [];
  for (let i = 0; i < 5; i++) items.push({ path: await writePng(`${i}.png`, 30 + i, 30), label: i });
  const read = async (epoch: number, seed: number, numWorkers: number) => {
    const order: number[] = [];
    const pixels: number[] = [];
    const options = { items, crop: 8, batchSize: 2, seed, epoch, numWorkers };
    for await (const batch of new ResizedCropLoader(options)) {
      order.push(...batch.indices);
      assert.deepEqual(batch.labels, batch.indices);
      pixels.push(...batch.images);
      batch.release();
    }
    return { order, pixels };
  };
  const first = await read(0, 7, 0);
  assert.deepEqual([...first.order].sort(), [0, 1, 2, 3, 4]);
  assert.equal(first.pixels.length, 5 * 3 * 8 * 8);
  assert.deepEqual(await read(0, 7, 2), first);
  assert.notDeepEqual((await read(1, 7, 0)).pixels, first.pixels);
  assert.notDeepEqual((await read(0, 8, 0)).pixels, first.pixels);
});

test('a missing file is reported, not thrown, by both loaders', async () => {
  const items = [{ path: path.join(folder, 'none.png'), label: 0 }];
  for (const loader of [
    new EvalLoader({ items, batchSize: 1, numWorkers: 0 }),
    new ResizedCropLoader({ items, crop: 8, batchSize: 1, seed: 0, epoch: 0, numWorkers: 0 }),
  ]) {
    const { value: batch } = await loader.next();
    assert.deepEqual(batch?.skipped, [{ path: items[0]!.path, reason: 'no such file' }]);
    await loader.return();
  }
  assert.throws(() => new EvalLoader({ items, batchSize: 0 }), /batchSize/);
});
