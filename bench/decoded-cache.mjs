/**
 * The data path over a few epochs with and without the cache of decoded images: `node bench/decoded-cache.mjs IMAGES [SIZE]
 * [WORKERS]`. Only the loader runs, and its batches are released immediately; prints images per second for each epoch. Also
 * with room for a third of the images, to see what is cached when not all fit.
 */
import { parseBytes } from '../dist/plain/units.js';
import { listImages, MultiCropLoader } from '../dist/data/index.js';

const [source, size = '2GiB', workers = '2'] = process.argv.slice(2);
const { items } = await listImages(source);
const batchSize = Math.min(64, items.length);

async function epochs(decodedCache) {
  const loader = new MultiCropLoader({
    ...{ items, batchSize, seed: 0, epochs: 3, numWorkers: Number(workers), decodedCache },
  });
  const speeds = [];
  let [images, start] = [0, performance.now()];
  for await (const batch of loader) {
    batch.release();
    images += batchSize;
    if (batch.batch < loader.batchesPerEpoch - 1) continue;
    const now = performance.now();
    speeds.push(Math.round((1000 * images) / (now - start)));
    [images, start] = [0, now];
  }
  return { speeds, held: loader.cached };
}

const { held } = await epochs(parseBytes(size)); // brings the files into memory, and warms up the code
for (const [name, bytes] of [
  ['without', 0],
  ['all', parseBytes(size)],
  ['a third', Math.ceil(held.bytes / 3)],
]) {
  const { speeds, held } = await epochs(bytes);
  const kept =
    held === null
      ? ''
      : `, ${held.images} of ${items.length} images in ${(held.bytes / 2 ** 20).toFixed(0)} MiB`;
  console.log(`${name}: ${speeds.join(', ')} images/s${kept}`);
}
