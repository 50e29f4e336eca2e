/** The loaders, with real files and real threads. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { resolveAugmentation, sampleCropParams } from '../crops/augmentation.js';
import { renderCrops, resizeImage } from '../crops/crops.js';
import { decodeImage } from '../read/decode.js';
import type { ImageItem } from '../list/image-items.js';
import { fixtureImage } from '../../testing/fixture-image.js';
import { EvalLoader, MultiCropLoader, type CropBatch } from './loaders.js';
import { epochPermutation } from '../crops/philox.js';
import { centerCropWindow, resizedShape } from '../../plain/eval-geometry.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-loader-'));
after(() => rmSync(scratch, { recursive: true }));

const COUNT = 23;
const items: ImageItem[] = [];
const augmentation = { globalCropsSize: 32, localCropsSize: 16, localCropsNumber: 3 };

async function writeImage(
  file: string,
  seed: number,
  width = 60 + seed,
  height = 90 - 2 * seed,
): Promise<void> {
  const pixels = fixtureImage(width, height, seed);
  writeFileSync(
    file,
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .jpeg()
      .toBuffer(),
  );
}

before(async () => {
  for (let i = 0; i < COUNT; i++) {
    const file = path.join(scratch, `${i} 🦖.jpg`);
    await writeImage(file, i);
    items.push({ path: file, label: i % 3 });
  }
});

interface Kept {
  epoch: number;
  batch: number;
  indices: number[];
  hash: string;
  skipped: CropBatch['skipped'];
}

/** All batches of a loader, their pixels as hashes. */
async function drain(loader: MultiCropLoader, limit = Infinity): Promise<Kept[]> {
  const kept: Kept[] = [];
  for await (const { epoch, batch, indices, globals, locals, skipped, release } of loader) {
    const hash = createHash('sha256').update(globals);
    if (locals !== null) hash.update(locals);
    kept.push({ epoch, batch, indices, hash: hash.digest('hex'), skipped });
    release();
    if (kept.length === limit) break;
  }
  return kept;
}

const loaderOf = (numWorkers: number, more: Partial<ConstructorParameters<typeof MultiCropLoader>[0]> = {}) =>
  new MultiCropLoader({ items, batchSize: 5, seed: 7, augmentation, numWorkers, epochs: 3, ...more });

test('batches are the same with 0, 1 and 4 workers, to the bit', async () => {
  const [none, one, four] = [await drain(loaderOf(0)), await drain(loaderOf(1)), await drain(loaderOf(4))];
  assert.equal(none.length, 3 * Math.floor(COUNT / 5));
  assert.deepEqual(one, none);
  assert.deepEqual(four, none);
  const seen = none.slice(0, 4).flatMap((batch) => batch.indices);
  assert.deepEqual(seen, [...epochPermutation(COUNT, 7, 0).subarray(0, 20)]);
  assert.equal(new Set(none.map((batch) => batch.hash)).size, none.length);
});

test('adding and removing workers does not change batches', async () => {
  const expected = await drain(loaderOf(0, { epochs: 12 }));
  const loader = loaderOf(1, { epochs: 12 });
  const kept: Kept[] = [];
  const counts = [3, 1, 2, 2, 4, 1, 1, 3, 2, 5, 1];
  for await (const batch of loader) {
    const hash = createHash('sha256').update(batch.globals).update(batch.locals!).digest('hex');
    const { epoch, batch: number, indices, skipped } = batch;
    kept.push({ epoch, batch: number, indices, hash, skipped });
    batch.release();
    loader.setWorkers(counts[kept.length % counts.length]!);
    assert.equal(loader.numWorkers, counts[kept.length % counts.length]);
    if (kept.length % 7 === 0) await sleep(60); // time for threads to start and to end
  }
  assert.deepEqual(kept, expected);
  // the removed workers have exited: the test runner would report threads that are still running
  assert.throws(() => loaderOf(1).setWorkers(0), /internal: 0 workers/);
  assert.throws(() => loaderOf(0).setWorkers(1), /internal: 1 workers/);
});

test('a loader that starts at an epoch and batch has the batches of an uninterrupted run', async () => {
  const all = await drain(loaderOf(0));
  for (const [startEpoch, startBatch] of [
    [0, 3],
    [1, 0],
    [2, 2],
    [1, 4], // after the last batch of epoch 1, that is the start of epoch 2
  ] as const) {
    const rest = await drain(loaderOf(2, { startEpoch, startBatch }));
    assert.deepEqual(rest, all.slice(startEpoch * 4 + startBatch));
  }
});

test('the pixels are the crops of the sampled parameters, crop-major', async () => {
  const loader = loaderOf(1);
  const { value: batch } = await loader.next();
  assert.ok(batch);
  const settings = resolveAugmentation(augmentation);
  assert.equal(batch.globals.length, 2 * 5 * 3 * 32 * 32);
  assert.equal(batch.locals!.length, 3 * 5 * 3 * 16 * 16);
  assert.ok(batch.globals.buffer instanceof SharedArrayBuffer);
  for (const [position, imageIndex] of batch.indices.entries()) {
    const image = await decodeImage(items[imageIndex]!.path);
    const { width, height } = image;
    const params = sampleCropParams(settings, { seed: 7, epoch: 0, imageIndex, width, height });
    params.forEach((crop, i) => {
      const size = i < 2 ? 32 : 16;
      const expected = new Uint8Array(3 * size * size);
      renderCrops(image, [crop], [{ width: size, height: size, offset: 0 }], expected);
      const from = ((i < 2 ? i : i - 2) * 5 + position) * expected.length;
      const pixels = i < 2 ? batch.globals : batch.locals!;
      assert.deepEqual(Uint8Array.from(pixels.subarray(from, from + expected.length)), expected);
    });
  }
  await loader.close();
});

test('without local crops there are none', async () => {
  const loader = loaderOf(0, { augmentation: { ...augmentation, localCropsNumber: 0 } });
  const { value: batch } = await loader.next();
  assert.equal(batch!.locals, null);
  await loader.close();
});

test('unreadable images of every kind are reported and replaced, the same with any number of workers', async () => {
  const folder = path.join(scratch, 'bad');
  mkdirSync(folder);
  const bad: Record<string, RegExp> = {};
  const put = (name: string, content: Buffer | string, reason: RegExp) => {
    writeFileSync(path.join(folder, name), content);
    bad[path.join(folder, name)] = reason;
  };
  await writeImage(path.join(folder, 'large.jpg'), 1, 300, 200);
  const whole = await sharp(path.join(folder, 'large.jpg')).toBuffer();
  rmSync(path.join(folder, 'large.jpg'));
  put('truncated.jpg', whole.subarray(0, whole.length / 2), /damaged JPEG: the end/);
  put('empty.png', '', /the file is empty/);
  put('text 🦖.jpg', 'Dear diary', /starts with the text/);
  put('folder-to-be.jpg', 'x', /is a folder/);
  rmSync(path.join(folder, 'folder-to-be.jpg'));
  mkdirSync(path.join(folder, 'folder-to-be.jpg'));
  symlinkSync('circle.jpg', path.join(folder, 'circle.jpg'));
  bad[path.join(folder, 'circle.jpg')] = /symbolic links form a cycle/;
  bad[path.join(folder, 'missing.jpg')] = /no such file/;
  if (process.getuid?.() !== 0) {
    put('secret.jpg', whole, /permission denied/);
    chmodSync(path.join(folder, 'secret.jpg'), 0);
  }
  const mixed = [...items.slice(0, 14), ...Object.keys(bad).map((file) => ({ path: file, label: null }))];
  const drained = async (workers: number) =>
    drain(loaderOf(workers, { items: mixed, batchSize: mixed.length, epochs: 2 }));
  const [none, three] = [await drained(0), await drained(3)];
  assert.deepEqual(three, none);
  for (const batch of none) {
    const reasons = new Map(batch.skipped.map((entry) => [entry.path, entry.reason]));
    for (const [file, reason] of Object.entries(bad))
      assert.match(reasons.get(file) ?? 'not reported', reason, file);
    assert.ok(
      batch.indices.every((index) => index < 14),
      'only good images are left',
    );
    assert.equal(batch.indices.length, mixed.length);
  }
  const evaluation = new EvalLoader({ items: mixed, batchSize: 8, resize: 32, crop: 32, numWorkers: 2 });
  const indices: number[] = [];
  let reported = 0;
  for await (const batch of evaluation) {
    indices.push(...batch.indices);
    reported += batch.skipped.length;
    batch.release();
  }
  assert.deepEqual(
    indices,
    Array.from({ length: 14 }, (_, i) => i),
  );
  assert.equal(reported, Object.keys(bad).length);
});

test('when no image can be read the error says why', async () => {
  const bad = Array.from({ length: 6 }, (_, i) => ({
    path: path.join(scratch, `${i}.nothing.jpg`),
    label: null,
  }));
  for (const workers of [0, 2]) {
    const loader = loaderOf(workers, { items: bad });
    await assert.rejects(loader.next(), (error: Error) => {
      assert.equal(error.name, 'DataError');
      return /images in a row can't be read.*no such file/s.test(error.message);
    });
    await loader.close();
  }
});

test('evaluation: Resize and CenterCrop in order, a smaller last batch, labels', async () => {
  for (const numWorkers of [0, 3]) {
    const loader = new EvalLoader({ items, batchSize: 10, resize: 36, crop: 32, numWorkers });
    const indices: number[] = [];
    for await (const batch of loader) {
      assert.equal(batch.images.length, batch.indices.length * 3 * 32 * 32);
      for (const [position, index] of batch.indices.entries()) {
        const image = await decodeImage(items[index]!.path);
        const shape = resizedShape(image.width, image.height, 36);
        const window = centerCropWindow(shape, 32);
        const expected = resizeImage(image, { ...shape, window, planar: true });
        const pixels = batch.images.subarray(position * expected.length, (position + 1) * expected.length);
        assert.deepEqual(Uint8Array.from(pixels), expected);
        assert.equal(batch.labels[position], items[index]!.label);
      }
      indices.push(...batch.indices);
      batch.release();
    }
    assert.deepEqual(
      indices,
      items.map((_, i) => i),
    );
  }
});

test('workers stop when all slots are full, and go on when one is released', async () => {
  const loader = loaderOf(2, { slots: 3, epochs: 1000 });
  const held: CropBatch[] = [];
  for (let i = 0; i < 3; i++) held.push((await loader.next()).value!);
  await sleep(200);
  const before = held.map((batch) => createHash('sha256').update(batch.globals).digest('hex'));
  await assert.rejects(loader.next(), /3 slots.*release\(\)/s);
  await sleep(200);
  const hashes = held.map((batch) => createHash('sha256').update(batch.globals).digest('hex'));
  assert.deepEqual(hashes, before, 'a held batch is not written to');
  held[1]!.release();
  held[1]!.release(); // a second time does nothing
  const next = (await loader.next()).value!;
  assert.equal(next.epoch * loader.batchesPerEpoch + next.batch, 3);
  assert.equal(next.globals.byteOffset, held[1]!.globals.byteOffset);
  assert.equal(next.globals.buffer, held[1]!.globals.buffer);
  await assert.rejects(loader.next(), /release\(\)/);
  await loader.close();
});

test('the memory of slots is reused: it does not grow with the number of batches', async () => {
  const loader = loaderOf(1, { epochs: 1000, batchSize: 20 });
  const buffers = new Set<ArrayBufferLike>();
  let rssAt20 = 0;
  let count = 0;
  for await (const batch of loader) {
    buffers.add(batch.globals.buffer);
    batch.release();
    if (++count === 20) rssAt20 = process.memoryUsage().rss;
    if (count === 120) break;
  }
  assert.equal(buffers.size, 3);
  const grown = (process.memoryUsage().rss - rssAt20) / 2 ** 20;
  assert.ok(grown < 64, `${grown} MB more after 100 batches`);
});

test('leaving the loop, close() and the abort signal end the workers', async () => {
  for await (const batch of loaderOf(2)) {
    batch.release();
    break;
  }
  const closed = loaderOf(2);
  closed.start();
  await closed.close();
  assert.deepEqual(await closed.next(), { done: true, value: undefined });

  const controller = new AbortController();
  const aborted = loaderOf(2, { signal: controller.signal, epochs: 1000 });
  (await aborted.next()).value!.release();
  const reason = new Error('enough');
  const waiting = (async () => {
    for (;;) (await aborted.next()).value!.release();
  })();
  setTimeout(() => controller.abort(reason), 50);
  await assert.rejects(waiting, (error) => error === reason);
  await aborted.close();
  await assert.rejects(loaderOf(1, { signal: controller.signal }).next(), (error) => error === reason);
  // threads that are still running would keep this process alive: the test runner would report it
});

test('the abort signal is heard where this thread renders all batches', async () => {
  const controller = new AbortController();
  const loader = loaderOf(0, { signal: controller.signal, epochs: 200 });
  const reason = new Error('enough');
  const toTheEnd = async () => {
    for (;;) {
      const { value } = await loader.next();
      if (value === undefined) return;
      value.release();
    }
  };
  setTimeout(() => controller.abort(reason), 1);
  await assert.rejects(toTheEnd(), (error) => error === reason);
});

test('a worker that fails is an error, and the loader does not hang', async () => {
  const workers: [string, RegExp][] = [
    [`throw new Error('out of luck')`, /worker failed: out of luck/],
    [`process.exit(3)`, /worker failed: it exited with code 3/],
    [`setTimeout(() => { throw new RangeError('later') }, 30)`, /worker failed: later/],
  ];
  for (const [code, message] of workers) {
    const workerFile = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
    // endless: on a busy machine this thread could finish three epochs before a worker fails
    const loader = loaderOf(2, { workerFile, epochs: Infinity });
    const untilItFails = async () => {
      for (;;) (await loader.next()).value?.release(); // this thread makes batches too, until it hears of it
    };
    await assert.rejects(
      untilItFails(),
      (error: Error) => error.name === 'EngineError' && message.test(error.message),
    );
    await assert.rejects(loader.next(), message);
    await loader.close();
  }
});

test('shards share an epoch without overlap', async () => {
  const shardOf = async (rank: number) => {
    const batches = await drain(loaderOf(0, { shard: { rank, count: 2 }, batchSize: 4, epochs: 1 }));
    return batches.flatMap((batch) => batch.indices);
  };
  const [even, odd] = [await shardOf(0), await shardOf(1)];
  const order = [...epochPermutation(COUNT, 7, 0)];
  assert.deepEqual(even, order.filter((_, i) => i % 2 === 0).slice(0, 8));
  // 23 images: 11 for each process, of which 8 fill batches; none is used twice
  assert.deepEqual(odd, order.filter((_, i) => i % 2 === 1).slice(0, 8));
});

test('settings that can’t work are refused before anything starts', () => {
  assert.throws(
    () => loaderOf(0, { batchSize: 24 }),
    /23 images, fewer than one batch of 24.*--batch-size to 23/s,
  );
  assert.throws(() => loaderOf(0, { items: [] }), /There are 0 images/);
  assert.throws(
    () => loaderOf(-1, { batchSize: 0, seed: 0.5 }),
    (error: Error) => error.message.split('\n').length === 3,
  );
  assert.throws(() => loaderOf(0, { startBatch: 5 }), /startBatch is 5, but an epoch has 4/);
  assert.throws(() => new EvalLoader({ items, batchSize: 4, resize: 200, crop: 224 }), /crop is 224/);
});

test('the first epochs may have crops of half the side: the same crops, smaller; all others are as without them', async () => {
  const crops = { ...augmentation, globalBlurProbability1: 0, solarizeProbability: 0, lowResEpochs: 1 };
  const more = { augmentation: crops, epochs: 2 };
  const [none, two] = [await drain(loaderOf(0, more)), await drain(loaderOf(2, more))];
  assert.deepEqual(two, none);
  const full = await drain(loaderOf(0, { augmentation: { ...crops, lowResEpochs: 0 }, epochs: 2 }));
  assert.deepEqual(none.slice(4), full.slice(4), 'the second epoch, to the bit');
  // begun in the middle, on either side of the edge
  for (const [startEpoch, startBatch] of [
    [0, 2],
    [0, 4],
    [1, 1],
  ] as const)
    // prettier-ignore
    assert.deepEqual(await drain(loaderOf(1, { ...more, startEpoch, startBatch })), none.slice(4 * startEpoch + startBatch));

  const loaders = [loaderOf(0, more), loaderOf(0, { augmentation: { ...crops, lowResEpochs: 0 } })] as const;
  const [half, whole] = [await loaders[0].next(), await loaders[1].next()].map((next) => next.value!) as [
    CropBatch,
    CropBatch,
  ];
  assert.deepEqual([half.globalSize, half.localSize, whole.globalSize, whole.localSize], [16, 8, 32, 16]);
  for (const [small, large, images, side] of [
    [half.globals, whole.globals, 10, 16],
    [half.locals!, whole.locals!, 15, 8],
  ] as const) {
    assert.deepEqual([small.length, large.length], [images * 3 * side ** 2, images * 3 * (2 * side) ** 2]);
    let difference = 0;
    for (let i = 0; i < small.length; i++) {
      const [plane, y, x] = [Math.floor(i / side ** 2), Math.floor(i / side) % side, i % side];
      const at = (dy: number, dx: number): number =>
        large[(plane * 2 * side + 2 * y + dy) * 2 * side + 2 * x + dx]!;
      difference += Math.abs(small[i]! - (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4);
    }
    assert.ok(difference / small.length < 8, `mean difference ${difference / small.length} of 255`);
  }
  for (const batch of [half, whole]) batch.release();
  for (const loader of loaders) await loader.close();
  assert.throws(
    () => loaderOf(0, { augmentation: { ...crops, globalCropsSize: 33 } }),
    /--global-crops-size must be even, so that it can be halved/,
  );
});
