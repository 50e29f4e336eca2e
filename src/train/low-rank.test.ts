/** `--lora-rank`: a run begun from weights of which only a low-rank part of the attention changes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { MultiCropWrapper } from '../dino/index.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { ops, scope, type Tensor } from '../torch/index.js';
import { readSafetensors } from '../weights/safetensors.js';
import { settingsOfInit } from './init.js';
import { resolveSettings } from './presets.js';
import { train } from './train.js';

let folder = '';
let images = '';
let given: MultiCropWrapper;
let settings: TrainSettings;
const at = (name: string): string => path.join(folder, name);
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dino-lora-'));
  images = at('images');
  await makeImageFolder(images, { classes: 2, perClass: 9 });
  given = writeTinyRun(at('given'));
  const ofInit = settingsOfInit({ init: at('given'), initWithHead: false });
  settings = { ...TINY_SETTINGS, ...ofInit, init: at('given'), initWithHead: false, loraRank: 2 };
});
after(() => rmSync(folder, { recursive: true, force: true }));

const tensorsOf = (run: string, file: string): Map<string, Tensor> =>
  readSafetensors(path.join(newestCheckpoint(run)!, file)).tensors;
const valuesOf = (tensor: Tensor): Float32Array => tensor.contiguous().toTypedArray() as Float32Array;

test('a run changes the attention by products of the rank, and nothing else of the backbone', async () => {
  await train({ images, output: at('run'), settings });
  const student = tensorsOf(at('run'), 'student.safetensors');
  let changed = 0;
  for (const [name, tensor] of given.backbone.stateDict()) {
    const now = student.get(`backbone.${name}`)!;
    if (!/attn\.(qkv|proj)\.weight$/.test(name)) {
      assert.deepEqual(valuesOf(now), valuesOf(tensor), name);
      continue;
    }
    changed++;
    scope(() => {
      const difference = now.sub(tensor.detach());
      const [, values] = ops.linalgSvd(difference);
      const sizes = [...valuesOf(values)];
      assert.ok(sizes[0]! > 1e-5, `${name} has changed`);
      assert.ok(sizes[2]! < 1e-3 * sizes[0]!, `${name}: ${sizes.slice(0, 4).join(' ')}`);
    });
  }
  assert.equal(changed, 6);
});

test('it begins with the given weights, to the bit, in the student and in what is written for use', async () => {
  const still = { lr: 0, minLr: 0, weightDecay: 0, weightDecayEnd: 0, epochs: 1, warmupTeacherTempEpochs: 0 };
  await train({ images, output: at('still'), settings: { ...settings, ...still } });
  for (const file of ['student.safetensors', 'teacher.safetensors']) {
    const tensors = tensorsOf(at('still'), file);
    for (const [name, tensor] of given.backbone.stateDict())
      assert.deepEqual(valuesOf(tensors.get(`backbone.${name}`)!), valuesOf(tensor), `${file} ${name}`);
  }
});

test('stopped and resumed it is the same to the bit, also while the backbone waits', async () => {
  const expected = fingerprint(at('run'));
  for (const stopAt of [1, 4]) {
    const run = at(`stopped-${stopAt}`);
    const controller = new AbortController();
    await train({
      ...{ images, output: run, settings, signal: controller.signal },
      onEvent: (event) => {
        if (event.type === 'step' && event.step === stopAt) controller.abort();
      },
    });
    await train({ output: run, resume: true });
    assert.deepEqual(fingerprint(run), expected, `stopped at step ${stopAt}`);
  }
});

test('activation checkpointing, which recomputes blocks, changes nothing', async () => {
  const run = at('checkpointed');
  await train({
    images,
    output: run,
    settings: { ...settings, epochs: 1, activationCheckpointing: true, warmupTeacherTempEpochs: 0 },
  });
  await train({
    images,
    output: at('plain'),
    settings: { ...settings, epochs: 1, warmupTeacherTempEpochs: 0 },
  });
  const [a, b] = [run, at('plain')].map((each) => tensorsOf(each, 'student.safetensors')) as [
    Map<string, Tensor>,
    Map<string, Tensor>,
  ];
  for (const [name, tensor] of a) {
    if (tensor.dtype !== 'float32') continue; // counts of batches
    const other = valuesOf(b.get(name)!);
    const worst = valuesOf(tensor).reduce((max, value, i) => Math.max(max, Math.abs(value - other[i]!)), 0);
    assert.ok(worst < 1e-5, `${name}: ${worst}`);
  }
});

test('what cannot be is refused before anything starts', () => {
  const facts = { device: 'cpu', cores: 2, memoryGiB: 8, images: 18, width: 40, height: 40 } as const;
  const resolve = (flags: Record<string, unknown>) => resolveSettings({ facts, flags });
  assert.throws(() => resolve({ loraRank: 4 }), /loraRank 4: low-rank updates are for trained weights/);
  assert.throws(() => resolve({ loraLayers: 4, init: at('given') }), /give --lora-rank too/);
  assert.throws(() => resolve({ loraRank: 0, init: at('given') }), /--lora-rank is 0/);
});
