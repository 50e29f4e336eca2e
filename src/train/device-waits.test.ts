/**
 * A training on a device doesn't wait for it: results stay there until a line of metrics is due, crops are copied on a stream
 * of their own, and a step that isn't finite is found out without the host. On the device without hardware, which counts what
 * a host would wait for, and makes a copy of that stream only when something waits for it (native/guarded).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { DinoError } from '../errors.js';
import { readLines } from '../files/json-lines.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { isGuarded, openTestDevice, TEST_DEVICE } from '../testing/test-device.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { Operator } from '../torch/dispatch.js';
import { fromTypedArray, isIdle, setNumThreads, synchronize } from '../torch/index.js';
import { train } from './train.js';

setNumThreads(1);
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-device-waits-'));
const images = path.join(folder, 'images');
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);
before(async () => {
  await openTestDevice();
  await makeImageFolder(images, { classes: 2, perClass: 5 });
  await train({
    ...{ images, output: path.join(folder, 'given') },
    settings: { ...SETTINGS, device: 'cpu', steps: 1 },
  });
});
after(() => rmSync(folder, { recursive: true }));

/** One epoch of five steps. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ device: TEST_DEVICE, batchSize: 2, steps: 5, numWorkers: 0, threads: 1, watchImages: ['none'] },
};
const RESNET: TrainSettings = { ...SETTINGS, arch: 'resnet', depth: 4, optimizer: 'lars' };
delete RESNET.numHeads;
const VARIANTS: Record<string, TrainSettings> = {
  'DINO with AdamW': SETTINGS,
  'SimDINO with Muon': { ...SETTINGS, loss: 'simdino', outDim: 16, optimizer: 'muon' },
  'KoLeo, micro-batches and checkpointing, with SGD': {
    ...SETTINGS,
    ...{ koleoWeight: 0.1, microBatchSize: 1, activationCheckpointing: true, optimizer: 'sgd' },
  },
  'low-rank updates in bf16': {
    ...SETTINGS,
    loraRank: 2,
    init: path.join(folder, 'given'),
    precision: 'bf16',
  },
  'a ResNet with LARS': RESNET,
};

for (const [name, settings] of Object.entries(VARIANTS)) {
  it(
    `${name}: the host reads once for a line of metrics, and waits for no copy`,
    { skip: !isGuarded },
    async () => {
      const [reads, copies] = ['guarded::reads', 'guarded::blocking_copies'].map(
        (op) => new Operator(op, ['']),
      );
      const counts: [step: number, reads: number, copies: number, isLine: boolean][] = [];
      await train({
        ...{ images, output: newRun(), settings: { ...settings, logEvery: 2 } },
        onEvent: (event) => {
          if (event.type !== 'step') return;
          const [read, copied] = [reads!.call([]) as number, copies!.call([]) as number];
          counts.push([event.step, read, copied, event.metrics !== null]);
          assert.equal(event.loss === null, event.metrics === null);
        },
      });
      assert.deepEqual(
        counts.filter(([, , , isLine]) => isLine).map(([step]) => step),
        [2, 4, 5],
      );
      for (const [i, [step, read, copied, isLine]] of counts.entries()) {
        const [, readBefore, copiedBefore] = counts[i - 1] ?? [0, NaN, NaN];
        if (i === 0) continue; // the copies of the networks are in it
        assert.equal(read - readBefore, isLine ? 1 : 0, `step ${step}: values read`);
        assert.equal(copied - copiedBefore, 0, `step ${step}: copies that were waited for`);
      }
    },
  );
}

/** The files of a run's checkpoint, without its log. */
const checkpointOf = (run: string): Record<string, string> => {
  const files = fingerprint(run);
  delete files['losses'];
  return files;
};

it('steps that nobody read are the same to the bit as those that were', async () => {
  const [read, unread] = [newRun(), newRun()];
  await train({ images, output: read, settings: SETTINGS });
  await train({ images, output: unread, settings: { ...SETTINGS, logEvery: 100 } });
  assert.equal(readLines(path.join(unread, 'metrics.jsonl')).length, 1);
  assert.deepEqual(checkpointOf(unread), checkpointOf(read));
});

const DIVERGING = { lr: 1e30, minLr: 1e30, warmupEpochs: 1, clipGrad: 0, logEvery: 100 } as const;
const OPTIMIZERS = ['adamw', 'sgd', 'lars', 'muon'] as const;
for (const [i, optimizer] of OPTIMIZERS.entries()) {
  // found out at the line of metrics that ends the epoch, or before a checkpoint that is due
  const saveEverySteps = i % 2 === 0 ? 0 : 4;
  it(`${optimizer}: a step that isn't finite changes nothing, nor do those after it until it is noticed`, async () => {
    const settings = { ...SETTINGS, ...DIVERGING, optimizer, saveEverySteps };
    const diverged = newRun();
    await assert.rejects(train({ images, output: diverged, settings }), (error) => {
      return error instanceof DinoError && error.code === 'NOT_FINITE';
    });
    const files = checkpointOf(diverged);
    const { checkpoint } = files;
    const last = Number(/\d+$/.exec(checkpoint!)![0]);
    assert.ok(last > 0 && last < 4, `${checkpoint}: steps in the dark before and after the one that failed`);
    const stopped = newRun();
    const stop = new AbortController();
    await train({
      ...{ images, output: stopped, settings, signal: stop.signal },
      onEvent: (event) => event.type === 'step' && event.step === last && stop.abort(),
    });
    assert.deepEqual(files, checkpointOf(stopped));
  });
}

it('an upload has the bytes of when it was asked for, whatever becomes of them', () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
  const copy = bytes.slice();
  const there = fromTypedArray(bytes, [bytes.length]).upload(TEST_DEVICE);
  bytes.fill(7);
  assert.deepEqual(there.toTypedArray(), copy);
  assert.equal(there.device, TEST_DEVICE);
  synchronize(TEST_DEVICE);
  assert.ok(isIdle(TEST_DEVICE));
  const here = fromTypedArray(bytes, [bytes.length]);
  assert.equal(here.upload('cpu'), here);
  assert.equal(there.upload(TEST_DEVICE), there);
});
