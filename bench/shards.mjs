/**
 * What shards cost and save:
 *   node bench/shards.mjs start [--images 14000000] [--shards 1400]   start of a process on a large index
 *   node bench/shards.mjs read --data DIR                             images per second from a folder, tar and Parquet
 * `start` makes shards that have sizes but no contents, and the index that real ones would have.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { listImages, MultiCropLoader, PackedImagesBuilder, writeShards } from '../dist/data/index.js';
import { indexPlaces } from '../dist/data/list/shards/list-shards.js';
import { writeIndex } from '../dist/data/list/shards/index-file.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: 'string', default: '14000000' },
    shards: { type: 'string', default: '1400' },
    data: { type: 'string' },
    folder: { type: 'string' },
  },
});

const mebibytes = (bytes) => Math.round(bytes / 2 ** 20);

/** Runs in a separate process, so that only the memory of the start is measured. */
async function open(folder) {
  const before = process.memoryUsage().rss;
  const start = performance.now();
  const list = await listImages(folder);
  const seconds = (performance.now() - start) / 1000;
  const { shared } = list.items;
  const arrays = [...shared.names, shared.blocks, shared.labels, shared.offsets, shared.lengths];
  console.log(
    JSON.stringify({
      images: list.items.length,
      scanned: list.index.scanned,
      seconds: Number(seconds.toFixed(2)),
      listMiB: mebibytes(arrays.reduce((sum, array) => sum + (array?.byteLength ?? 0), 0)),
      residentMiB: mebibytes(process.memoryUsage().rss - before),
      heapMiB: mebibytes(process.memoryUsage().heapUsed),
      last: list.items.at(-1).path.split('/').at(-1),
    }),
  );
}

async function start(scratch) {
  const [count, shards] = [Number(values.images), Number(values.shards)];
  const files = Array.from({ length: shards }, (_, i) =>
    path.join(scratch, `shard-${String(i).padStart(6, '0')}.tar`),
  );
  const each = Math.ceil(count / shards);
  const builder = new PackedImagesBuilder();
  const began = performance.now();
  for (const [k, file] of files.entries()) {
    writeFileSync(file, '');
    truncateSync(file, 2 ** 30);
    const { size, mtimeMs } = statSync(file);
    builder.beginPart(file, size, mtimeMs);
    for (let i = k * each; i < Math.min((k + 1) * each, count); i++) {
      const wnid = 10_000_000 + Math.floor(i / 650);
      const place = { kind: 'tar', offset: 512 * (i % each), length: 90_000 + (i % 7000) };
      builder.add(`n${wnid}/n${wnid}_${i % 650}.JPEG`, Math.floor(i / 650) % 21841, place);
    }
  }
  const images = builder.finish();
  console.log(`made ${count} names in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  const described = files.map(() => ({ labels: { kind: 'number', names: [] }, problems: [] }));
  const index = indexPlaces(files).places[0];
  await writeIndex(index, scratch, { images, shards: described, fingerprint: 'f', description: null });
  console.log(`index: ${mebibytes(statSync(index).size)} MiB`);
  for (let round = 0; round < 3; round++) {
    const self = fileURLToPath(import.meta.url);
    const child = spawnSync(process.execPath, [self, 'open', '--folder', scratch], { encoding: 'utf8' });
    process.stdout.write(child.stdout + child.stderr);
  }
}

async function imagesPerSecond(source) {
  const { items } = await listImages(source);
  const batchSize = 32;
  const loader = new MultiCropLoader({ items, batchSize, seed: 0, epochs: 1, numWorkers: 2 });
  let images = 0;
  const began = performance.now();
  for await (const batch of loader) {
    images += batch.indices.length;
    batch.release();
  }
  return (1000 * images) / (performance.now() - began);
}

async function read(scratch) {
  const folder = path.join(values.data, 'imagenette-mini', 'train');
  const began = performance.now();
  await writeShards(folder, { output: path.join(scratch, 'tar'), shardSize: 10e6 });
  console.log(`dino shard: ${((performance.now() - began) / 1000).toFixed(2)} s`);
  const { items } = await listImages(folder);
  const data = items.map(({ path: file }) => new Uint8Array(readFileSync(file)));
  mkdirSync(path.join(scratch, 'parquet'));
  const parquet = path.join(scratch, 'parquet', 'all.parquet');
  writeFileSync(
    parquet,
    new Uint8Array(
      parquetWriteBuffer({ columnData: [{ name: 'image', type: 'BYTE_ARRAY', data }], rowGroupSize: 100 }),
    ),
  );
  const sources = { folder, tar: path.join(scratch, 'tar'), parquet };
  const best = {};
  for (let round = 0; round < 3; round++) {
    for (const [name, source] of Object.entries(sources))
      best[name] = Math.max(best[name] ?? 0, await imagesPerSecond(source));
  }
  for (const [name, speed] of Object.entries(best)) console.log(`${name}: ${speed.toFixed(1)} images/s`);
}

if (positionals[0] === 'open') {
  await open(values.folder);
} else {
  const scratch = mkdtempSync(path.join(tmpdir(), 'dino-bench-shards-'));
  try {
    await (positionals[0] === 'read' ? read(scratch) : start(scratch));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
