/** What ends a training before its time, but leaves its state whole, loses no step. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { DataError, EngineError } from '../errors.js';
import { Backbone } from '../models/index.js';
import { Linear } from '../nn/index.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { ops, type Tensor } from '../torch/index.js';
import type { TrainEvent } from './events.js';
import type { TrainOptions } from './options.js';
import { train } from './train.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-kept-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);
const SETTINGS = { ...TINY_SETTINGS, numWorkers: 0, saveckpFreq: 0, warmupTeacherTempEpochs: 0 };

/** Trains until it fails. @returns Why, and what was said. */
async function failing(options: TrainOptions, onStep: (step: number) => void = () => undefined) {
  const warnings: string[] = [];
  let steps = 0;
  const onEvent = (event: TrainEvent): void => {
    if (event.type === 'warning') warnings.push(event.message);
    if (event.type !== 'step') return;
    steps = event.step;
    onStep(steps);
  };
  const error = await train({ ...options, onEvent }).then(
    () => assert.fail('expected to fail'),
    (reason: unknown) => reason as Error,
  );
  return { error, steps, warnings: warnings.join('\n') };
}

function isKept(run: string, { steps, warnings }: { steps: number; warnings: string }): void {
  assert.ok(steps > 0);
  assert.equal(path.basename(newestCheckpoint(run)!), `step-${String(steps).padStart(8, '0')}`);
  assert.match(
    warnings,
    new RegExp(`the state after step ${steps} is saved\\. Continue with: dino train --resume `),
  );
}

test('images that can no longer be read', async () => {
  const images = at('lost');
  await makeImageFolder(images, { classes: 1, perClass: 80 });
  const settings = { ...SETTINGS, epochs: 3, maxBadShare: 1 };
  const run = at('lost-run');
  const ended = await failing({ images, output: run, settings }, (step) => {
    if (step === 3) rmSync(path.join(images, 'class-0'), { recursive: true });
  });
  assert.ok(ended.error instanceof DataError, String(ended.error));
  assert.match(ended.error.message, /images in a row can't be read/);
  isKept(run, ended);
});

test('more unreadable images than are allowed', async () => {
  const images = at('bad');
  await makeImageFolder(images, { classes: 1, perClass: 20 });
  for (const name of readdirSync(path.join(images, 'class-0')).slice(0, 4))
    writeFileSync(path.join(images, 'class-0', name), 'broken');
  const run = at('bad-run');
  const ended = await failing({ images, output: run, settings: { ...SETTINGS, maxBadShare: 0.05 } });
  assert.match(ended.error.message, /more than --max-bad-share 0\.05 allows/);
  isKept(run, ended);
});

/** Runs out of memory after so many forward passes. */
class Growing extends Backbone {
  readonly embedDim = 48;
  readonly mix = new Linear(3 * 8 * 8, 48);
  static left = 0;
  forward(images: Tensor): Tensor {
    if (Growing.left-- === 0) throw new EngineError('linear(Tensor): out of memory');
    return this.mix.forward(ops.adaptiveAvgPool2d(images, [8, 8]).flatten(1)); // (B, 48)
  }
}

test('memory that runs out, with what helps', async () => {
  const images = at('bad');
  const run = at('large-run');
  Growing.left = 12;
  const settings = {
    ...{ ...SETTINGS, arch: 'custom' as const, embedDim: undefined, depth: undefined, numHeads: undefined },
    ...{ maxBadShare: 1, batchSize: 4 },
  } as const;
  const ended = await failing({ images, output: run, settings, backbone: () => new Growing() });
  assert.ok(ended.error instanceof EngineError);
  assert.match(
    ended.error.message,
    /^A step doesn't fit into the memory of cpu\. Start a new run with --micro-batch-size 2 \(.*--activation-checkpointing true, --precision bf16, a --batch-size below 4\. linear/,
  );
  isKept(run, ended);
});

test('a stop during k-NN ends like any other', async () => {
  const images = at('labelled');
  await makeImageFolder(images, { classes: 4, perClass: 18 });
  const controller = new AbortController();
  const run = at('stopped-run');
  const result = await train({
    ...{ images, output: run, signal: controller.signal },
    settings: {
      ...{ ...SETTINGS, batchSize: 18, epochs: 3, judgeEvery: 1 },
      ...{ knnEvery: 1, knnTrain: images, knnVal: images },
    },
    // just before the first k-NN
    onEvent: (event) => event.type === 'judge' && event.step === 4 && controller.abort(),
  });
  assert.deepEqual([result.interrupted, result.steps], [true, 5]);
  assert.equal(path.basename(newestCheckpoint(run)!), 'step-00000005');
});
