/** Loaders of images whose channels are taken as they are, with real files and real threads. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { bands, makeChannelFolder } from '../../testing/channel-folder.js';
import { sampleCropParams } from '../crops/augmentation.js';
import { renderDeepCrops } from '../crops/crops.js';
import type { ImageItem } from '../list/image-items.js';
import { listImages } from '../list/list-images.js';
import { decodeDeep } from '../read/decode-deep.js';
import { readImageFile } from '../read/read-image-file.js';
import { EvalLoader, MultiCropLoader, type CropBatch } from './loaders.js';
import { measureChannels } from './measure-channels.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-channels-'));
after(() => rmSync(folder, { recursive: true }));
const images = path.join(folder, 'images');
let items: ImageItem[] = [];
before(async () => {
  makeChannelFolder(images, { perClass: 6, size: 36 });
  items = [...(await listImages(images)).items];
});

const augmentation = { globalCropsSize: 24, localCropsSize: 16, localCropsNumber: 2 };

async function drain(options: { numWorkers: number; decodedCache?: number }): Promise<string[]> {
  const loader = new MultiCropLoader({
    ...{ items, batchSize: 4, seed: 5, augmentation, channels: 4, epochs: 2, ...options },
  });
  const batches: string[] = [];
  for await (const { indices, globals, locals, skipped, release } of loader) {
    assert.equal(globals.length, 2 * 4 * 4 * 24 * 24 * 2);
    assert.deepEqual(skipped, []);
    batches.push(
      `${indices.join()} ${Buffer.from(globals).toString('hex')} ${Buffer.from(locals!).toString('hex')}`,
    );
    release();
  }
  return batches;
}

test('batches are the same to the bit with workers, without, and from the cache', async () => {
  const expected = await drain({ numWorkers: 0 });
  assert.equal(expected.length, 6);
  assert.deepEqual(await drain({ numWorkers: 2 }), expected);
  assert.deepEqual(await drain({ numWorkers: 0, decodedCache: 4 * 2 ** 20 }), expected);
  assert.deepEqual(await drain({ numWorkers: 2, decodedCache: 4 * 2 ** 20 }), expected);
});

test('a batch holds the crops of its images, without what has a meaning for RGB only', async () => {
  const loader = new MultiCropLoader({
    ...{ items, batchSize: 2, seed: 5, augmentation, channels: 4, epochs: 1, numWorkers: 0 },
  });
  const { saturation, hue, grayscaleProbability, solarizeProbability } = loader.augmentation;
  assert.deepEqual([saturation, hue, grayscaleProbability, solarizeProbability], [0, 0, 0, 0]);
  const batch: CropBatch = (await loader.next()).value!;
  const crop = 24 * 24 * 4;
  for (const [position, index] of batch.indices.entries()) {
    const image = await decodeDeep(await readImageFile(items[index]!.path), 4);
    const size = { width: image.width, height: image.height };
    const [first] = sampleCropParams(loader.augmentation, { seed: 5, epoch: 0, imageIndex: index, ...size });
    const out = new Uint8Array(2 * crop);
    renderDeepCrops(image, [first!], [{ width: 24, height: 24, offset: 0 }], out);
    assert.deepEqual(batch.globals.slice(2 * crop * position, 2 * crop * (position + 1)), out);
  }
  batch.release();
  await loader.close();
});

test('images of other channels are skipped by name: used and skipped are all', async () => {
  const mixed = path.join(folder, 'mixed');
  makeChannelFolder(mixed, { perClass: 3, size: 36 });
  makeChannelFolder(path.join(mixed, 'class-0', 'five'), { perClass: 1, size: 36, channels: 5 });
  const rgb = { create: { width: 36, height: 36, channels: 3, background: 'red' } } as const;
  writeFileSync(path.join(mixed, 'class-1', 'photo.jpg'), await sharp(rgb).jpeg().toBuffer());
  const list = await listImages(mixed);
  const loader = new EvalLoader({
    ...{ items: list.items, resize: 32, crop: 32, batchSize: 4, numWorkers: 1, channels: 4 },
  });
  let used = 0;
  const reasons = new Map<string, string>();
  for await (const batch of loader) {
    used += batch.indices.length;
    for (const { path: file, reason } of batch.skipped) reasons.set(path.basename(file), reason);
    assert.equal(batch.images.length, batch.indices.length * 4 * 32 * 32 * 2);
    batch.release();
  }
  assert.equal(used, 6);
  assert.equal(used + 3, list.items.length);
  assert.match(reasons.get('photo.jpg')!, /it has 3 channels, not the 4 of --channels/);
  assert.match(reasons.get('image-0.tif')!, /it has 5 channels, not the 4 of --channels/);
});

test('mean and deviation are those of all pixels', async () => {
  const { mean, std, images: count, skipped, constant } = await measureChannels(items, 4);
  assert.deepEqual([count, skipped.length, constant.length], [12, 0, 0]);
  for (let c = 0; c < 4; c++) {
    const values: number[] = [];
    for (const kind of [0, 1])
      for (let i = 0; i < 6; i++)
        bands(36, 4, 2 * i + kind, kind).forEach((value, at) => {
          if (at % 4 === c) values.push(value / 65535);
        });
    const average = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / values.length;
    assert.ok(Math.abs(mean[c]! / average - 1) < 1e-5, `mean ${mean[c]} against ${average}`);
    assert.ok(Math.abs(std[c]! / Math.sqrt(variance) - 1) < 1e-4);
  }
  await assert.rejects(
    measureChannels(items, 3),
    /none of 12 images has 3 channels.*image-0\.tif: it has 4 channels/,
  );
});
