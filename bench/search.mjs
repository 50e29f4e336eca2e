/**
 * Search in an index of many images, with made-up features (384 numbers, around 1,000 centres):
 *
 *   node bench/search.mjs [images, 1,000,000] [a folder in which to keep the index]
 *
 * search: one query for its ten nearest, a thousand times; queries are rows of the index with noise added. recall: of the
 * ten nearest by exact search over all rows, for 200 rows.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { unitRows } from '../dist/plain/maps.js';
import { ImageIndex } from '../dist/explore/image-index.js';
import { clusteredRows, featureIndex, normals } from '../dist/testing/feature-index.js';

const WIDTH = 384;
const K = 10;
const count = Number(process.argv[2] ?? 1_000_000);
const given = process.argv[3];
const folder = given ?? mkdtempSync(path.join(os.tmpdir(), 'dino-bench-search-'));

try {
  let start = performance.now();
  if (!existsSync(path.join(folder, 'index.json'))) {
    const rows = clusteredRows(count, WIDTH, 1000, 0.8);
    console.log(`made ${count} rows in ${Math.round((performance.now() - start) / 1000)} s`);
    start = performance.now();
    (await featureIndex(folder, rows, WIDTH)).close();
    console.log(`built and written in ${Math.round((performance.now() - start) / 1000)} s`);
  }
  start = performance.now();
  const index = ImageIndex.open(folder);
  const query = (i) => {
    const row = index.feature((i * 7919) % index.count);
    const off = normals(WIDTH, 100 + i);
    return unitRows(
      row.map((value, d) => value + (0.3 * off[d]) / Math.sqrt(WIDTH)),
      WIDTH,
    );
  };
  await index.search(query(0), K, { exact: false });
  const firstMs = performance.now() - start;
  const times = [];
  for (let i = 0; i < 1000; i++) {
    const asked = query(i);
    start = performance.now();
    await index.search(asked, K, { exact: false });
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const recall = await index.recall(200);
  start = performance.now();
  await index.search(query(1), K, { exact: true });
  console.log(
    JSON.stringify({
      images: index.count,
      width: WIDTH,
      openAndFirstMs: Math.round(firstMs),
      medianMs: Number(times[500].toFixed(2)),
      p95Ms: Number(times[950].toFixed(2)),
      slowestMs: Number(times.at(-1).toFixed(2)),
      recallAt10: Number(recall.toFixed(4)),
      exactMs: Math.round(performance.now() - start),
    }),
  );
  index.close();
} finally {
  if (given === undefined) rmSync(folder, { recursive: true, force: true });
}
