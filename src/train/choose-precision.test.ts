/** What `--precision auto` chooses by trial steps, and that a training is the same with them as without. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { listImages } from '../data/index.js';
import { ConfigError, EngineError } from '../errors.js';
import { Backbone } from '../models/index.js';
import { Linear } from '../nn/index.js';
import type { Precision } from '../plain/precisions.js';
import { readRunConfig } from '../run/run-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { getNumThreads, liveTensors, ops, precisionProblem, type Tensor } from '../torch/index.js';
import { choosePrecision } from './choose-precision.js';
import type { TrainEvent } from './events.js';
import { planTraining } from './plan.js';
import { train } from './train.js';

let folder = '';
let images = '';
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-precision-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 9 });
});
after(() => rmSync(folder, { recursive: true, force: true }));

const SETTINGS = { ...TINY_SETTINGS, precision: 'auto' } as const;
const LONG = { steps: 1_000_000 };
const problem = precisionProblem('bf16', 'cpu');
const needsBf16 = { skip: problem ?? false };

/** Seconds by precision, as a reason says them. */
const timesIn = (reason: string): Map<string, number> =>
  new Map(
    [...reason.matchAll(/(fp32|bf16-matmul|bf16) ([\d.]+) (m?s)\b/g)].map(([, name = '', value, unit]) => [
      name,
      Number(value) / (unit === 'ms' ? 1000 : 1),
    ]),
  );

test(
  'it chooses the fastest by the times that it names, or a more exact one within 3%, and leaves nothing behind',
  needsBf16,
  async () => {
    const [live, threads] = [liveTensors(), getNumThreads()];
    let trials = 0;
    for (const optimizer of ['adamw', 'muon'] as const) {
      const settings = { ...SETTINGS, optimizer, threads: 1 };
      const { precision, reason } = await choosePrecision(settings, {
        length: LONG,
        onTrial: () => trials++,
      });
      const times = timesIn(reason);
      assert.deepEqual([...times.keys()], ['fp32', 'bf16-matmul', 'bf16'], reason);
      assert.match(reason, /trial steps of 5 images take/);
      // 3%, and what rounding the times that are said may change
      const least = Math.min(...times.values());
      assert.ok(times.get(precision)! < 1.05 * least, `${precision}: ${reason}`);
      for (const [name, seconds] of times) {
        if (name === precision) break;
        assert.ok(seconds > 1.01 * least, `${name} is as fast, and more exact: ${reason}`);
      }
    }
    assert.equal(trials, 2);
    assert.deepEqual([liveTensors(), getNumThreads()], [live, threads]);
  },
);

test('a training that is too short for trial steps, or has no other precision, stays with fp32 and says why', async () => {
  for (const length of [{ seconds: 0.001 }, { steps: 3 }]) {
    const { precision, reason } = await choosePrecision(SETTINGS, { length });
    assert.equal(precision, 'fp32');
    assert.match(
      reason,
      problem === null
        ? /^trying bf16-matmul and bf16 would take longer than the [\d.]+ m?s of this training that/
        : /bfloat16/,
    );
  }
});

/** Has no memory left for features in float32. */
class Large extends Backbone {
  readonly embedDim = 48;
  readonly mix = new Linear(3 * 8 * 8, 48);
  forward(pictures: Tensor): Tensor {
    const out = this.mix.forward(ops.adaptiveAvgPool2d(pictures, [8, 8]).flatten(1)); // (B, 48)
    if (out.dtype === 'float32') throw new EngineError('linear: out of memory');
    return out;
  }
}

test('where fp32 has no memory, a precision that has is taken', needsBf16, async () => {
  const settings = {
    ...{ ...SETTINGS, arch: 'custom' as const, embedDim: undefined, depth: undefined, numHeads: undefined },
  } as const;
  const live = liveTensors();
  const { precision, reason } = await choosePrecision(settings, { length: LONG, build: () => new Large() });
  assert.equal(precision, 'bf16');
  assert.equal(reason, 'a step of 5 images fits into the memory of cpu, which one in fp32 does not');
  assert.equal(liveTensors(), live);
});

test('trial steps end with the signal', needsBf16, async () => {
  const signal = AbortSignal.abort(new Error('enough'));
  const live = liveTensors();
  await assert.rejects(choosePrecision(SETTINGS, { length: LONG, signal }), /enough/);
  assert.equal(liveTensors(), live);
});

/** Trains for a few steps of a long run. @returns The precision of its start event, and other events. */
async function begin(output: string, precision: Precision | 'auto', resume = false) {
  const stop = new AbortController();
  const events: TrainEvent[] = [];
  const until = resume ? 6 : 4;
  await train({
    ...(resume ? { resume } : { images, settings: { ...SETTINGS, precision, ...LONG, epochs: 400_000 } }),
    output,
    signal: stop.signal,
    onEvent: (event) => {
      events.push(event);
      if (event.type === 'step' && event.step === until) stop.abort();
    },
  });
  return {
    start: events.find((event) => event.type === 'start'),
    chosen: events.find((event) => event.type === 'precision'),
  };
}

test('train() chooses, keeps the choice in the run, and computes what a run that was given it computes', async () => {
  const [auto, given] = [path.join(folder, 'auto'), path.join(folder, 'given')];
  const { start, chosen } = await begin(auto, 'auto');
  const { precision } = readRunConfig(auto).settings;
  assert.notEqual(precision, 'auto');
  assert.equal(start?.precision, precision);
  assert.equal(chosen?.precision, precision);
  assert.match(chosen?.reason ?? '', problem === null ? /trial steps of 5 images take/ : /bfloat16/);
  const other = await begin(given, precision);
  assert.equal(other.chosen, undefined);
  assert.deepEqual(fingerprint(auto), fingerprint(given));
  const resumed = await begin(auto, 'auto', true);
  assert.equal(resumed.start?.precision, precision);
  assert.equal(resumed.chosen, undefined, 'a resumed run keeps its precision');
  await begin(given, precision, true);
  assert.deepEqual(fingerprint(auto), fingerprint(given));
});

test('a plan names its precision and the reason, and leaves it open where it may not measure', async () => {
  const list = await listImages(images);
  const flags = { device: 'cpu', batchSize: 5, embedDim: 32, depth: 1, outDim: 32, steps: 500_000 };
  const plan = (more: object, measures: boolean) =>
    planTraining(list, { sources: { flags: { ...flags, ...more } }, preset: 'auto', measures });
  const choiceOf = ({ choices }: Awaited<ReturnType<typeof plan>>) =>
    choices.filter(({ name }) => name === 'precision');
  for (const more of [{}, { precision: 'auto' }]) {
    const planned = await plan(more, true);
    const [choice, ...further] = choiceOf(planned);
    assert.deepEqual(further, []);
    assert.equal(planned.settings.precision, choice?.value);
    assert.match(choice?.reason ?? '', problem === null ? /trial steps of 5 images take/ : /bfloat16/);
  }
  assert.equal((await plan({}, false)).settings.precision, 'auto');
  const fixed = await plan({ precision: 'bf16' }, true);
  assert.deepEqual([fixed.settings.precision, choiceOf(fixed)], ['bf16', []]);
});

test('a precision that the device does not have is refused', async () => {
  const output = path.join(folder, 'refused');
  const settings = { ...TINY_SETTINGS, device: 'auto', precision: 'fp16' } as const;
  await assert.rejects(train({ images, output, settings: { ...settings, device: 'cpu' } }), ConfigError);
  await assert.rejects(
    train({ images, output, settings: { ...settings, precision: 'bf16-matmul', device: 'cuda' } }),
    {
      name: 'ConfigError',
      message: /bf16-matmul is for the CPU/,
    },
  );
});
