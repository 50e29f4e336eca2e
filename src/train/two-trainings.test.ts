/** Trainings that run at the same time in one process give the same results as when each runs alone. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { train, type TrainOptions } from './train.js';

let folder = '';
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-two-'));
  await makeImageFolder(path.join(folder, 'images'), { classes: 2, perClass: 6 });
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Twenty-four steps, in each of which the blocks of both networks draw random numbers. */
const options = (name: string, seed: number): TrainOptions & { settings: object } => ({
  images: path.join(folder, 'images'),
  output: path.join(folder, `${name}-${seed}`),
  settings: { ...TINY_SETTINGS, seed, threads: 1, batchSize: 3, epochs: 6, depth: 4 },
});

const inThread = (name: string, seed: number): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../testing/train-worker.js', import.meta.url), {
      workerData: options(name, seed),
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
  await Promise.all([1, 2].map((seed) => inThread('threads', seed)));
  assert.deepEqual(bits('threads'), expected);
});
