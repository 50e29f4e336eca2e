/** The compact list compared with an array, in any order of reading; its size; places in shards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { BLOCK, PackedImages, PackedImagesBuilder } from './packed-images.js';
import { PhiloxStream, Purpose } from '../crops/philox.js';

const NAMES = [
  ...Array.from({ length: 3 * BLOCK + 5 }, (_, i) => `/photos/class ${i % 4}/n0144_${i}.JPEG`),
  '',
  'a',
  'ab',
  'a',
  '🦖/ü.jpg',
  'x'.repeat(5000),
  `${'x'.repeat(4999)}y`,
  'new\nline',
  '/',
  'ä',
  'á',
];
const items = NAMES.map((path, i) => ({ path, label: i % 5 === 0 ? null : i % 7 }));

test('returns what was added, forwards, backwards and in random order', () => {
  const packed = PackedImages.from(items);
  assert.equal(packed.length, items.length);
  assert.deepEqual([...packed], items);
  assert.deepEqual(
    packed.map((item, i) => [item.path, i]),
    items.map((item, i) => [item.path, i]),
  );
  for (let i = items.length - 1; i >= 0; i--) assert.deepEqual(packed.at(i), items[i]);
  const stream = new PhiloxStream(1, Purpose.permutation, 0);
  for (let i = 0; i < 2000; i++) {
    const index = stream.integer(items.length);
    assert.equal(packed.path(index), items[index]!.path);
    assert.equal(packed.label(index), items[index]!.label);
  }
  assert.deepEqual(packed.at(-1), items.at(-1));
  assert.equal(packed.at(items.length), undefined);
  assert.equal(packed.at(-items.length - 1), undefined);
  assert.throws(() => packed.name(items.length), /internal/);
  assert.equal(PackedImages.from(packed), packed);
});

test('an empty list, and lists without labels', () => {
  const none = PackedImages.from([]);
  assert.equal(none.length, 0);
  assert.equal(none.at(0), undefined);
  assert.deepEqual([...none], []);
  const unlabelled = PackedImages.from(items.map(({ path }) => ({ path, label: null })));
  assert.equal(unlabelled.shared.labels, null);
  assert.equal(unlabelled.label(3), null);
});

test('images in shards know their places; empty shards lie between', () => {
  const builder = new PackedImagesBuilder();
  const expected: { path: string; offset: number; length: number; within: number }[] = [];
  for (const [shard, count] of [40, 0, 1, 0, 0, 33].entries()) {
    builder.beginPart(`/s/${shard}.tar`, 1000 * shard, shard + 0.5);
    for (let i = 0; i < count; i++) {
      const [offset, length] = [2 ** 33 + 512 * i, 100 + i];
      builder.add(`img ${i}.jpg`, null, { kind: 'tar', offset, length });
      expected.push({ path: `/s/${shard}.tar::img ${i}.jpg`, offset, length, within: i });
    }
  }
  const packed = builder.finish();
  assert.deepEqual(
    Array.from({ length: packed.length }, (_, i) => {
      const place = packed.place(i);
      assert.ok(place.kind === 'tar');
      const { offset, length } = place;
      const within = i - packed.firstOf(packed.partOf(i));
      return { path: packed.path(i), offset, length, within };
    }),
    expected,
  );
  assert.deepEqual(packed.parts[5], { file: '/s/5.tar', count: 33, size: 5000, mtimeMs: 5.5 });
  assert.deepEqual(
    [packed.partOf(39), packed.partOf(40), packed.partOf(41), packed.firstOf(5)],
    [0, 2, 5, 41],
  );
});

test('another thread reads the same memory', async () => {
  const packed = PackedImages.from(items);
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ PackedImages }) => parentPort.postMessage([...new PackedImages(workerData.shared)]));`;
  const module = new URL('./packed-images.js', import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: { module, shared: packed.shared } });
  const seen = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.deepEqual(seen, items);
  await worker.terminate();
});

test('many names of ImageNet’s kind take less than 20 bytes each, labels included', () => {
  const count = Number(process.env['DINO_TEST_NAMES'] ?? 200_000);
  const builder = new PackedImagesBuilder();
  builder.beginPart();
  for (let i = 0; i < count; i++) {
    builder.add(
      `/data/imagenet21k/train/n${10_000_000 + Math.floor(i / 700)}/n${10_000_000 + Math.floor(i / 700)}_${i}.JPEG`,
      i % 21841,
    );
  }
  const { shared } = builder.finish();
  const bytes = [...shared.names, shared.blocks, shared.labels!].reduce(
    (sum, buffer) => sum + buffer.byteLength,
    0,
  );
  assert.ok(bytes / count < 20, `${bytes / count} bytes each`);
});
