/**
 * Training runs at the same time in one process give the same results as when each runs alone. DINO_TEST_KILLS=20 tests that
 * many rounds of two runs in separate threads, one of which starts at a random moment of the other; the default is one.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import type { TrainSettings } from '../run/settings.js';
import { precisionProblem } from '../torch/index.js';
import type { TrainOptions } from './options.js';
import { train } from './train.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);

let folder = '';
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-two-'));
  await makeImageFolder(path.join(folder, 'images'), { classes: 2, perClass: 6 });
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Twenty-four steps, in each of which the blocks of both networks draw random numbers. */
const options = (
  name: string,
  seed: number,
  more: Partial<TrainSettings> = {},
): TrainOptions & { settings: object } => {
  const settings = {
    ...TINY_SETTINGS,
    seed,
    threads: 1,
    batchSize: 3,
    epochs: 6,
    depth: 4,
    ...more,
  } as TrainSettings;
  // architectures other than `vit` determine their sizes
  if (settings.arch !== 'vit')
    for (const size of ['embedDim', 'depth', 'numHeads'] as const) delete settings[size];
  return { images: path.join(folder, 'images'), output: path.join(folder, `${name}-${seed}`), settings };
};

const inThread = (options: TrainOptions): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../testing/train-worker.js', import.meta.url), {
      workerData: options,
    });
    worker.on('message', resolve);
    worker.on('error', reject);
  });

test('two trainings at the same time, taking turns in one thread or each in its own', async () => {
  for (const seed of [1, 2]) await train(options('alone', seed));
  const bits = (name: string): Record<string, string>[] =>
    [1, 2].map((seed) => fingerprint(options(name, seed).output));
  const expected = bits('alone');
  await Promise.all([1, 2].map((seed) => train(options('turns', seed))));
  assert.deepEqual(bits('turns'), expected);
  await Promise.all([1, 2].map((seed) => inThread(options('threads', seed))));
  assert.deepEqual(bits('threads'), expected);
});

/** What may differ between two runs in one process: network, optimizer, precision, and number of threads. */
const KINDS: readonly Partial<TrainSettings>[] = [
  {},
  { optimizer: 'sgd', threads: 2 },
  { arch: 'resnet18', batchSize: 2, epochs: 2 },
  { precision: 'bf16', microBatchSize: 1, useBnInHead: false },
  { precision: 'bf16-matmul' },
];

test('two trainings of different precisions at the same time, in one thread or each in its own', async () => {
  const both = (name: string): TrainOptions[] =>
    (['fp32', 'bf16-matmul'] as const).map((precision) =>
      options(`${name}-${precision}`, 5, { precision, epochs: 2 }),
    );
  const bits = (name: string): Record<string, string>[] =>
    both(name).map(({ output }) => fingerprint(output));
  for (const one of both('alone')) await train(one);
  const expected = bits('alone');
  if (precisionProblem('bf16-matmul', 'cpu') === null) assert.notDeepEqual(expected[0], expected[1]);
  await Promise.all(both('turns').map((one) => train(one)));
  assert.deepEqual(bits('turns'), expected);
  await Promise.all(both('threads').map(inThread));
  assert.deepEqual(bits('threads'), expected);
});

test('two training runs in separate threads, the second starting at a random moment of the first', async () => {
  const moments: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const kinds = [KINDS[round % KINDS.length], KINDS[Math.floor(round / KINDS.length) % KINDS.length]];
    const both = (name: string): TrainOptions[] =>
      kinds.map((kind, which) => options(`${name}-${round}`, 10 * round + which, kind));
    const bits = (name: string): Record<string, string>[] =>
      both(name).map(({ output }) => fingerprint(output));
    const began = performance.now();
    for (const one of both('lone')) await inThread(one);
    const moment = (Math.random() * (performance.now() - began)) / 2;
    await Promise.all(
      both('random').map(async (one, which) => {
        await sleep(which * moment);
        await inThread(one);
      }),
    );
    assert.deepEqual(bits('random'), bits('lone'), `round ${round}, ${moment} ms apart`);
    moments.push(Math.round(moment));
  }
  if (ROUNDS > 1) console.log(`two in threads: ${ROUNDS} rounds, apart by ms ${moments.join(' ')}`);
});

test('of two training runs in separate threads with the same folder, one gets it and the other is refused', async () => {
  const alone = options('lone-folder', 3);
  await inThread(alone);
  for (let round = 0; round < ROUNDS; round++) {
    const shared = { ...options(`shared-${round}`, 3) };
    const [refused, ...more] = (await Promise.allSettled([inThread(shared), inThread(shared)])).filter(
      (one) => one.status === 'rejected',
    );
    assert.match(String(refused?.reason), /is in use by process \d+ \(this one\)|already holds a run/);
    assert.deepEqual(more, []);
    assert.deepEqual(fingerprint(shared.output), fingerprint(alone.output));
  }
});
