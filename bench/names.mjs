/**
 * The loader's bookkeeping at the size of the largest data sets: a list of 100 million made-up names, the order of an epoch,
 * the shares of ranks, and look-ups; measures time, bytes, and the process's memory. No image is read.
 *
 *   node bench/names.mjs [names] [processes]
 */
import { shardOrder } from '../dist/data/load/loaders.js';
import { PackedImages, PackedImagesBuilder } from '../dist/data/list/packed-images.js';
import { epochPermutation } from '../dist/data/crops/philox.js';

const [count = 1e8, processes = 1024] = process.argv.slice(2).map(Number);
const perFolder = 1300;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const rows = [];
async function measure(what, work) {
  const start = performance.now();
  const result = await work();
  const seconds = (performance.now() - start) / 1000;
  rows.push({ what, seconds, note: '' });
  return [result, rows.at(-1)];
}

const [list, listed] = await measure(`list of ${count.toExponential(0)} names made`, () => {
  const builder = new PackedImagesBuilder();
  builder.beginPart();
  for (let i = 0; i < count; i++) {
    const folder = Math.floor(i / perFolder);
    const name = `/data/set/n${String(folder).padStart(8, '0')}/n${String(folder).padStart(8, '0')}_${i % perFolder}.JPEG`;
    builder.add(name, folder);
  }
  return builder.finish();
});
const { names, blocks, labels } = list.shared;
const bytes =
  names.reduce((sum, segment) => sum + segment.byteLength, 0) + blocks.byteLength + labels.byteLength;
listed.note = `${mib(bytes)}, ${(bytes / count).toFixed(1)} bytes per name, including labels`;

const [, opened] = await measure(
  'opened by another thread (the same memory)',
  () => new PackedImages(list.shared),
);
opened.note = 'each loader thread; no copy';

const [order, ordered] = await measure("an epoch's order", () => epochPermutation(count, 0, 1));
ordered.note = mib(order.byteLength);

const [own, shared] = await measure(`share of one rank of ${processes}`, () =>
  shardOrder(order, { rank: processes - 1, count: processes }),
);
shared.note = mib(own.byteLength);

const looked = 1e5;
const [, lookups] = await measure(`${looked} names looked up in that order`, () => {
  for (let i = 0; i < looked; i++) list.path(order[i]);
});
lookups.note = `${((1e6 * lookups.seconds) / looked).toFixed(1)} us each`;

for (const { what, seconds, note } of rows)
  console.log(`| ${what} | ${seconds.toPrecision(3)} s | ${note} |`);
console.log(`highest resident memory ${mib(process.resourceUsage().maxRSS * 1024)}`);
