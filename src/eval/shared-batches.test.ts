/** Features by several processes are those of one: in order, none twice, none missing. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { testFolder } from '../testing/distributed-run.js';
import { dino } from '../testing/ranks.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { readSafetensors } from '../weights/safetensors.js';
import { DealtItems } from './shared-batches.js';

test('batches are dealt out whole, and every item once', () => {
  for (const length of [0, 1, 7, 8, 9, 23, 24, 25]) {
    const items = Array.from({ length }, (_, i) => ({ path: String(i), label: i }));
    const parts = [0, 1, 2].map((rank) => new DealtItems(items, { rank, count: 3, batchSize: 4 }));
    for (const part of parts) {
      assert.equal([...part].length, part.length);
      assert.deepEqual(
        part.map((item, i) => [item.label, part.position(i)]),
        [...part].map(({ label }) => [label, label]),
      );
      assert.equal(part.at(part.length), undefined);
    }
    const all = parts.flatMap((part) => part.map((item) => item.label ?? -1)).sort((a, b) => a - b);
    assert.deepEqual(
      all,
      items.map((_, i) => i),
    );
  }
  const [first] = [
    new DealtItems(Array(9).fill({ path: '', label: null }), { rank: 0, count: 2, batchSize: 4 }),
  ];
  assert.deepEqual(
    [0, 3, 4].map((i) => first.position(i)),
    [0, 3, 8],
  );
});

const { newRun, images } = testFolder();

test('dino embed and eval knn --nproc 3 give what one process gives, bad images left out', async () => {
  const run = newRun();
  writeTinyRun(run).dispose();
  writeFileSync(path.join(images(), 'class-0', 'broken.png'), 'no image');
  const line = (kind: string, ...more: string[]): string[] => [
    ...(kind === 'embed' ? ['embed', run, images(), '--output', newRun() + '.safetensors'] : []),
    ...(kind === 'knn' ? ['eval', 'knn', run, '--train', images(), '--val', images(), '--k', '3'] : []),
    ...['--batch-size', '4', '--json', ...more],
  ];
  const results: unknown[] = [];
  for (const more of [[], ['--nproc', '3']]) {
    const embedded = await dino(line('embed', ...more));
    assert.equal(embedded.code, 0, embedded.stderr);
    const { files, shape, skipped } = JSON.parse(embedded.stdout) as {
      files: string[];
      shape: number[];
      skipped: unknown[];
    };
    const { tensors } = readSafetensors(files[0] ?? '');
    const features = [...tensors].map(([name, tensor]) => [name, [...tensor.toArray()]]);
    const knn = await dino(line('knn', ...more));
    assert.equal(knn.code, 0, knn.stderr);
    results.push({ shape, skipped, features, knn: JSON.parse(knn.stdout) as unknown });
  }
  assert.deepEqual((results[0] as { shape: number[] }).shape[0], 18);
  assert.equal((results[0] as { skipped: unknown[] }).skipped.length, 1);
  assert.deepEqual(results[1], results[0]);
});
