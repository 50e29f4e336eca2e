/** All crops of an image, decoding included, in this thread: what a loader worker does. */
import { existsSync, readdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { ImageReader } from '../dist/data/index.js';
import { ImageDecoder } from '../dist/data/read/image-decoder.js';
import { PackedImages } from '../dist/data/list/packed-images.js';
import { renderPosition, slotBytes } from '../dist/data/load/render.js';
import { PAPER } from '../dist/train/presets.js';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
sharp.concurrency(1);
sharp.cache(false);

/** Files of a set; crops.py takes the same. */
export async function filesOf(set, data) {
  const inside = (folder) =>
    readdirSync(folder)
      .sort()
      .map((name) => path.join(folder, name));
  if (set === 'cifar') return inside(path.join(data, 'cifar10-mini', 'train', 'airplane')).slice(0, 200);
  const sized = [];
  for (const file of inside(path.join(data, 'photos'))) {
    const { width, height } = await sharp(file).metadata();
    if (width === 500 && height === 375) sized.push(file);
  }
  if (set === 'photos') return sized;
  const large = path.join(os.tmpdir(), 'dino-bench-4000x3000.jpg');
  if (!existsSync(large)) await sharp(sized[0]).resize(4000, 3000).jpeg({ quality: 90 }).toFile(large);
  return [large];
}

const files = await filesOf(c.set, c.data);
const augmentation = { ...PAPER };
if (c.globalSize) {
  Object.assign(augmentation, {
    globalCropsSize: c.globalSize,
    localCropsSize: c.localSize,
    localCropsNumber: c.locals,
  });
}
const job = { kind: 'crops', seed: 0, batchSize: 1, augmentation };
const { globals, locals } = slotBytes(job);
const out = new Uint8Array(new SharedArrayBuffer(globals + locals));
const list = PackedImages.from(files.map((path) => ({ path, label: null })));
const images = new ImageDecoder(new ImageReader(list));
const times = Math.max(1, Math.round((c.set === 'cifar' ? 400 : c.set === 'photos' ? 60 : 5) / files.length));
let epoch = 0;
async function all() {
  for (let i = 0; i < files.length; i++)
    await renderPosition(job, images, { epoch, imageIndex: i, position: 0 }, out);
  epoch++;
}
await all();
await contestant(async () => {
  for (let i = 0; i < times; i++) await all();
  return times * files.length;
});
