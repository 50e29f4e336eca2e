/** Training on images whose channels are taken as they are, and what becomes of the weights. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import sharp from 'sharp';
import { listImages } from '../data/index.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { embed } from '../eval/embed.js';
import { evaluateKnn } from '../eval/knn.js';
import { attention } from '../explain/attention.js';
import { lookAt } from '../explain/look.js';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { searchIndex } from '../explore/search.js';
import { exportOnnx } from '../export/onnx/export-onnx.js';
import { readLines } from '../files/json-lines.js';
import { loadModel } from '../model.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import { readRunConfig } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { makeChannelFolder } from '../testing/channel-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { writeTinyRun } from '../testing/saved-run.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import type { Tensor } from '../torch/index.js';
import { describeWeights } from '../weights/describe.js';
import { exportWeights } from '../weights/export-weights.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import type { TrainEvent } from './events.js';
import { settingsOfInit } from './init.js';
import { resolveSettings } from './presets.js';
import { train } from './train.js';

const FOUR: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ channels: 4, saturation: 0, hue: 0, grayscaleProbability: 0, solarizeProbability: 0 },
};
/** Changes no weight: what it ends with is what it began with. */
const STILL: TrainSettings = {
  ...FOUR,
  ...{ lr: 0, minLr: 0, weightDecay: 0, weightDecayEnd: 0, epochs: 1, warmupEpochs: 0 },
  ...{ dropPathRate: 0, useBnInHead: false, warmupTeacherTempEpochs: 0 },
};

let folder = '';
let images = '';
const at = (name: string): string => path.join(folder, name);
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dino-train-channels-'));
  images = at('images');
  makeChannelFolder(images);
  makeChannelFolder(at('val'), { seed: 7 });
  await train({ images, output: at('run'), settings: FOUR });
});
after(() => rmSync(folder, { recursive: true, force: true }));

const tensorsOf = (run: string): Map<string, Tensor> =>
  readSafetensors(path.join(newestCheckpoint(run)!, 'teacher.safetensors')).tensors;
const valuesOf = (tensor: Tensor | undefined): Float32Array =>
  tensor!.contiguous().toTypedArray() as Float32Array;
const stemOf = (run: string): Tensor => tensorsOf(run).get('backbone.patch_embed.proj.weight')!;

test('a run measures its channels once, records them, and resumes to the bit', async () => {
  const { channels, mean, std } = readRunConfig(at('run')).settings;
  assert.equal(channels, 4);
  mean!.forEach((value, c) => assert.ok(Math.abs(value - [1100, 2100, 3100, 2400][c]! / 65535) < 0.002));
  assert.equal(std!.length, 4);
  assert.deepEqual(stemOf(at('run')).shape.slice(1), [4, 8, 8]);
  const controller = new AbortController();
  const events: TrainEvent[] = [];
  await train({
    ...{ images, output: at('stopped'), settings: FOUR, signal: controller.signal },
    onEvent: (event) => {
      events.push(event);
      if (event.type === 'step' && event.step === 4) controller.abort();
    },
  });
  const told = events.find((event) => event.type === 'channels')!;
  assert.deepEqual([told.mean, told.std, told.measured!.images], [mean, std, 18]);
  await train({ output: at('stopped'), resume: true });
  assert.deepEqual(fingerprint(at('stopped')), fingerprint(at('run')));
});

test('images of other channels are skipped with their reason, and counted', async () => {
  const mixed = at('mixed');
  makeChannelFolder(mixed);
  const photo = { create: { width: 40, height: 40, channels: 3, background: 'red' } } as const;
  writeFileSync(path.join(mixed, 'class-0', 'photo.png'), await sharp(photo).png().toBuffer());
  const settings = { ...FOUR, epochs: 6, maxBadShare: 0.5 };
  const events: TrainEvent[] = [];
  const result = await train({
    ...{ images: mixed, output: at('mixed-run'), settings, onEvent: (event) => events.push(event) },
  });
  assert.equal(result.skipped, 1);
  const [line] = readLines(at('mixed-run/skipped.jsonl'));
  assert.match(
    `${String(line!['path'])}: ${String(line!['reason'])}`,
    /photo\.png: it has 3 channels, not the 4 of --channels/,
  );
  const told = events.find((event) => event.type === 'channels')!;
  assert.deepEqual([told.measured!.images, told.measured!.skipped], [18, 1]);
  await assert.rejects(
    train({ images, output: at('none'), settings: { ...FOUR, channels: 7 } }),
    /none of 18 images has 7 channels \(--channels\); the first: .*image-0\.tif: it has 4 channels, not the 7/,
  );
});

test('features of any such image, k-NN, an index and a search see the fourth channel', async () => {
  using model = loadModel(at('run'), { device: 'cpu' });
  assert.deepEqual([model.backbone.channels, model.architecture.channels], [4, 4]);
  const sizes = { resize: 32, crop: 32 };
  const { features, shape, skipped } = await embed(model, at('mixed'), sizes);
  assert.deepEqual(shape, [18, 32]);
  assert.equal(skipped.length, 1);
  assert.ok(features.every(Number.isFinite));
  const { top1 } = await evaluateKnn(model, { train: images, val: at('val'), k: [5], ...sizes });
  assert.ok(top1['5']! > 80, `${top1['5']}%: only the fourth channel tells the classes apart`);
  const built = await buildIndex(model, images, { output: at('index'), ...sizes });
  assert.equal(built.images, 18);
  using index = ImageIndex.open(at('index'));
  const query = path.join(at('val'), 'class-1', 'image-0.tif');
  const found = await searchIndex(index, { plus: [query], top: 5, model });
  assert.equal(found.length, 5);
  await assert.rejects(searchIndex(index, { plus: [query], region: [0, 0, 1, 1], model }), /8-bit RGB only/);
});

test('what shows images says plainly that it is for 8-bit RGB', async () => {
  using model = loadModel(at('run'), { device: 'cpu' });
  const image = path.join(images, 'class-0', 'image-0.tif');
  const isPlain = (error: Error): boolean =>
    error instanceof ConfigError &&
    /takes images of 4 channels as they are.*8-bit RGB only/.test(error.message);
  await assert.rejects(attention(model, image, {}), isPlain);
  await assert.rejects(lookAt(model, [image]), isPlain);
  assert.throws(() => exportOnnx(model, at('model.onnx')), isPlain);
});

test('written weights say what they take, and load as the run does', async () => {
  for (const format of ['safetensors', 'pth'] as const) {
    const file = at(`weights.${format}`);
    exportWeights(at('run'), { format, output: file });
    const { architecture } = describeWeights(file);
    const { channels, mean, std } = readRunConfig(at('run')).settings;
    assert.deepEqual([architecture.channels, architecture.mean, architecture.std], [channels, mean, std]);
    using model = loadModel(file, { device: 'cpu' });
    using run = loadModel(at('run'), { device: 'cpu' });
    const [a, b] = [await embed(model, at('val')), await embed(run, at('val'))];
    assert.deepEqual(a.features, b.features);
  }
});

test('weights that do not say how their channels are normalized, or contradict themselves, are refused', () => {
  const { tensors } = readSafetensors(at('weights.safetensors'));
  const write = (name: string, metadata: Record<string, string>): string => {
    writeSafetensors(at(name), tensors, metadata);
    return at(name);
  };
  assert.throws(
    () => loadModel(write('silent.safetensors', { format: 'pt' }), { device: 'cpu' }),
    (error) =>
      error instanceof CheckpointError && /takes images of 4 channels, and nothing says/.test(error.message),
  );
  const record = { num_heads: '2', channels: '3', image_mean: '0,0,0', image_std: '1,1,1' };
  assert.throws(
    () => loadModel(write('other.safetensors', record), { device: 'cpu' }),
    /says that it takes images of 3 channels, but its first layer takes 4/,
  );
});

test('weights of RGB begin a run of four channels, with their first layer expanded', async () => {
  const network = writeTinyRun(at('rgb'));
  const settings = {
    ...{ ...STILL, ...settingsOfInit({ init: at('rgb'), initWithHead: false }), init: at('rgb') },
    initWithHead: false,
  };
  await train({ images, output: at('expanded'), settings });
  const rgb = valuesOf(network.backbone.stateDict().get('patch_embed.proj.weight'));
  const patch = 8 * 8;
  const found = valuesOf(stemOf(at('expanded')));
  const worst = found.reduce((most, value, i) => {
    const [d, c] = [Math.floor(i / (4 * patch)), Math.floor(i / patch) % 4];
    return Math.max(most, Math.abs(value - 0.75 * rgb[(3 * d + (c % 3)) * patch + (i % patch)]!));
  }, 0);
  assert.ok(worst < 1e-7, `${worst}`);
  for (const [name, tensor] of network.backbone.stateDict())
    if (name !== 'patch_embed.proj.weight')
      assert.deepEqual(valuesOf(tensorsOf(at('expanded')).get(`backbone.${name}`)), valuesOf(tensor), name);
});

test('weights of four channels go on with what they were normalized by, and with no other number', async () => {
  const { mean, std } = readRunConfig(at('run')).settings;
  const ofInit = settingsOfInit({ init: at('run') });
  assert.deepEqual([ofInit.channels, ofInit.mean, ofInit.std], [4, mean, std]);
  const { channels, ...plain } = STILL;
  const settings = { ...plain, ...ofInit, init: at('run'), useBnInHead: true };
  assert.equal(channels, 4);
  await train({ images: at('val'), output: at('further'), settings });
  const further = readRunConfig(at('further')).settings;
  assert.deepEqual([further.channels, further.mean, further.std], [4, mean, std]);
  const list = await listImages(images);
  const facts = {
    device: 'cpu',
    cores: 2,
    memoryGiB: 8,
    images: list.items.length,
    width: 40,
    height: 40,
  } as const;
  assert.throws(
    () => resolveSettings({ facts, flags: { channels: 6, init: at('run') }, weights: ofInit }),
    /--channels is 6, but the weights have 4/,
  );
});

test('lists of another length, and what needs RGB, are refused before anything starts', () => {
  const facts = { device: 'cpu', cores: 2, memoryGiB: 8, images: 18, width: 40, height: 40 } as const;
  const resolve = (flags: Record<string, unknown>) => resolveSettings({ facts, flags });
  const wrong: [flags: Record<string, unknown>, message: RegExp][] = [
    [{ channels: 4, mean: ['0.1', '0.2'], std: ['1', '1', '1', '1'] }, /mean has 2 values for 4 channels/],
    [{ channels: 4, mean: '0.1,0.2,0.3,0.4' }, /std needs|mean needs std too/],
    [{ mean: '0.1', std: '0.2' }, /give --channels/],
    [{ channels: 17 }, /--channels is 17/],
    [{ channels: 4, mean: '1,1,1,1', std: '1,1,0,1' }, /--std/],
    [{ channels: 4, hue: '0.1' }, /hue 0.1: it is for 8-bit RGB/],
    [{ channels: 4, watchImages: 'auto' }, /watchImages/],
  ];
  for (const [flags, message] of wrong) assert.throws(() => resolve(flags), message, JSON.stringify(flags));
  const { settings, choices } = resolve({ channels: 4, arch: 'vit' });
  assert.deepEqual([settings.hue, settings.saturation, settings.grayscaleProbability], [0, 0, 0]);
  assert.equal(settings.watchImages, undefined);
  const reasons = choices.filter(({ reason }) => reason.includes('8-bit RGB only')).map(({ name }) => name);
  assert.deepEqual(reasons.sort(), ['grayscaleProbability', 'hue', 'saturation', 'solarizeProbability']);
});
