/** Linear evaluation from folders of images to results, with a tiny model. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { liveTensors, ones } from '../torch/index.js';
import { hashWeight } from '../testing/hash-fill.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { loadModel, Model } from '../model.js';
import { SAT493M } from '../models/index.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { evaluateLinear, type LinearEpoch, type LinearOptions } from './linear.js';
import { readClassifier } from './linear-checkpoint.js';
import { LinearProbe } from './linear-probe.js';
import { saveEvaluation } from './save-evaluation.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-linear-'));
const train = path.join(folder, 'train');
const val = path.join(folder, 'val');
let model: Model;
let options: LinearOptions;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
  await writeColourFolders(train, 5);
  await writeColourFolders(val, 2, 44);
  writeFileSync(path.join(train, 'red', 'bad.png'), 'no image');
  options = { train, val, epochs: 4, lr: 0.5, batchSize: 4, valFreq: 3, numWorkers: 0 };
});
after(() => rmSync(folder, { recursive: true }));

const weightsIn = (output: string) =>
  readSafetensors(path.join(output, 'checkpoint.safetensors')).tensors.get('linear.weight')!.toArray();

describe('evaluateLinear', () => {
  it('learns plain colours, validates when asked to, keeps the best, leaves no tensors', async () => {
    const epochs: LinearEpoch[] = [];
    const parts = new Set<string>();
    const before = liveTensors();
    const result = await evaluateLinear(model, {
      ...options,
      output: path.join(folder, 'whole'),
      onEpoch: (stats) => epochs.push(stats),
      onProgress: ({ part, epoch, done, total }) => parts.add(`${part} ${epoch} ${done}/${total}`),
    });
    noTensorLeft(before);
    assert.equal(result.top1, 100);
    assert.equal(result.top5, null);
    // one of the 16 can't be read
    assert.deepEqual([result.trainImages, result.valImages, result.classes], [15, 6, 3]);
    // three blocks: the tiny model has no fourth
    assert.deepEqual([result.nLastBlocks, result.resize, result.crop], [3, 37, 32]);
    assert.deepEqual(
      result.skipped.map((entry) => path.basename(entry.path)),
      ['bad.png'],
    );
    // epochs 0 and 3, and the last, which is 3
    assert.deepEqual(
      epochs.map((stats) => stats.top1 !== undefined),
      [true, false, false, true],
    );
    assert.equal(result.bestTop1, Math.max(epochs[0]!.top1!, epochs[3]!.top1!));
    assert.ok(parts.has('train 3 16/16') && parts.has('val 3 6/6') && !parts.has('val 1 6/6'));
    const log = readFileSync(path.join(folder, 'whole', 'log.jsonl'), 'utf8')
      .trim()
      .split('\n');
    assert.deepEqual(
      log.map((line) => JSON.parse(line) as LinearEpoch),
      epochs,
    );
  });

  it('goes on where it was interrupted, to the bit, and trains no more when it is done', async () => {
    const output = path.join(folder, 'stopped');
    const stop = new AbortController();
    const interrupted = evaluateLinear(model, {
      ...options,
      output,
      signal: stop.signal,
      onProgress: ({ epoch, done }) => {
        if (epoch === 2 && done === 8) stop.abort(new Error('enough'));
      },
    });
    await assert.rejects(interrupted, /enough/);
    const warnings: string[] = [];
    let epochs = 0;
    const again = () =>
      evaluateLinear(model, {
        ...options,
        output,
        onWarning: (message) => warnings.push(message),
        onEpoch: () => epochs++,
      });
    const result = await again();
    assert.match(warnings.join(), /resuming after epoch 2 of 4/);
    assert.equal(epochs, 2);
    assert.deepEqual(weightsIn(output), weightsIn(path.join(folder, 'whole')));
    const log = (name: string) => readFileSync(path.join(folder, name, 'log.jsonl'), 'utf8');
    assert.equal(log('stopped'), log('whole'));
    // also the image that was skipped, which is met in training alone
    assert.deepEqual(
      result.skipped.map((entry) => path.basename(entry.path)),
      ['bad.png'],
    );
    assert.deepEqual(await again(), result);
    assert.equal(epochs, 2);
  });

  it('refuses the checkpoint of another evaluation, and a damaged one', async () => {
    const output = path.join(folder, 'whole');
    await assert.rejects(
      evaluateLinear(model, { ...options, output, lr: 0.1, val: train, train: val, epochs: 9 }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, /lr is 0\.1, but was 0\.5/);
        assert.match(error.message, /epochs is 9, but was 4/);
        assert.match(error.message, /the training images are not those of/);
        assert.match(error.message, /the validation images are not those of/);
        assert.equal(error.problems.length, 5);
        return true;
      },
    );
    const damaged = path.join(folder, 'damaged');
    mkdirSync(damaged);
    writeSafetensors(path.join(damaged, 'checkpoint.safetensors'), { 'linear.weight': ones([3, 72]) });
    await assert.rejects(evaluateLinear(model, { ...options, output: damaged }), CheckpointError);
  });

  it('refuses other validation images, whose best accuracy would be that of the first', async () => {
    const output = path.join(folder, 'whole');
    const others = path.join(folder, 'others');
    cpSync(val, others, { recursive: true });
    assert.equal((await evaluateLinear(model, { ...options, output, val: others })).bestTop1, 100);
    // the same names, as those of a data set's corrupted copies
    appendFileSync(path.join(others, 'red', 'red 0.png'), 'x');
    await assert.rejects(evaluateLinear(model, { ...options, output, val: others }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^the validation images are not those of .*checkpoint\.safetensors\n/);
      assert.match(error.message, /another --output.*\n.*--evaluate --linear-weights .*\.safetensors$/);
      return true;
    });
    rmSync(path.join(others, 'red', 'red 0.png'));
    await assert.rejects(evaluateLinear(model, { ...options, output, val: others }), ConfigError);
  });

  it('refuses features of the same weights with other images or heads', async () => {
    const output = path.join(folder, 'whole');
    using other = loadModel(path.join(folder, 'run'), { device: 'cpu' });
    other.backbone.normalization = SAT493M;
    await assert.rejects(
      evaluateLinear(other, { ...options, output }),
      /the mean and deviation that the model's images are normalized with are not those of/,
    );
    const { backbone, architecture, file } = model;
    const heads = new Model(backbone, { ...architecture, numHeads: 2 }, file, 'cpu');
    await assert.rejects(evaluateLinear(heads, { ...options, output }), /numHeads is 2, but was \d in/);
  });

  it('measures anew where an older checkpoint does not say on which images it was best', async () => {
    const output = path.join(folder, 'older');
    cpSync(path.join(folder, 'whole'), output, { recursive: true });
    const file = path.join(output, 'checkpoint.safetensors');
    const { tensors, metadata } = readSafetensors(file);
    const state = JSON.parse(metadata['linear']!) as { bestTop1: number; settings: Record<string, unknown> };
    assert.equal(state.bestTop1, 100);
    for (const name of ['val', 'numHeads', 'normalization']) delete state.settings[name];
    writeSafetensors(file, tensors, { linear: JSON.stringify(state) });
    // the wrong colours in two folders of three
    const wrong = path.join(folder, 'wrong');
    cpSync(val, wrong, { recursive: true });
    renameSync(path.join(wrong, 'red'), path.join(wrong, 'kept'));
    renameSync(path.join(wrong, 'blue'), path.join(wrong, 'red'));
    renameSync(path.join(wrong, 'kept'), path.join(wrong, 'blue'));
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    const { top1, bestTop1 } = await evaluateLinear(model, { ...options, output, val: wrong, onWarning });
    assert.ok(top1 < 50, String(top1));
    assert.equal(bestTop1, top1);
    assert.match(warnings.join('\n'), /does not say which images it was validated on/);
  });

  it('measures a given classifier, also under the names that the reference saves', async () => {
    const checkpoint = path.join(folder, 'whole', 'checkpoint.safetensors');
    const result = await evaluateLinear(model, { ...options, linearWeights: checkpoint });
    assert.equal(result.top1, 100);
    // nothing was trained
    assert.deepEqual([result.epochs, result.lr, result.trainImages, result.skipped], [null, null, null, []]);
    const { tensors } = readSafetensors(checkpoint);
    const renamed = path.join(folder, 'renamed.safetensors');
    const entries = ['weight', 'bias'].map(
      (key) => [`module.linear.${key}`, tensors.get(`linear.${key}`)!] as const,
    );
    writeSafetensors(renamed, new Map(entries));
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    assert.deepEqual(await evaluateLinear(model, { ...options, linearWeights: renamed, onWarning }), result);
    assert.match(
      warnings.join(),
      /does not say which classes its outputs are: .* the folders of .*train, in order/,
    );
    await assert.rejects(
      evaluateLinear(model, { ...options, nLastBlocks: 1, linearWeights: renamed }),
      /shape of linear.weight: expected \[3, 24\], got \[3, 72\]/,
    );
  });

  it('knows the classes of its own classifier by name, whatever other folders hold', async () => {
    const linearWeights = path.join(folder, 'whole', 'checkpoint.safetensors');
    // one class fewer, and one more that sorts before the others: by place, all outputs would be those of other classes
    const [some, more] = [path.join(folder, 'some'), path.join(folder, 'more')];
    for (const place of [some, more]) cpSync(val, place, { recursive: true });
    rmSync(path.join(some, 'blue'), { recursive: true });
    const subset = await evaluateLinear(model, { ...options, train: some, val: some, linearWeights });
    assert.deepEqual([subset.top1, subset.classes, subset.valImages], [100, 3, 4]);
    cpSync(path.join(more, 'red'), path.join(more, 'a new one'), { recursive: true });
    await assert.rejects(
      evaluateLinear(model, { ...options, train: more, val: more, linearWeights }),
      /more has classes that .*checkpoint\.safetensors was not trained on: a new one\. Its classes are blue, green, red\.$/,
    );
    await assert.rejects(evaluateLinear(model, { ...options, numLabels: 2, linearWeights }), ConfigError);
  });

  it("measures a classifier of the reference's checkpoint.pth.tar", async () => {
    const saved = fileURLToPath(
      new URL('../../test/fixtures/eval/torch/checkpoint.pth.tar', import.meta.url),
    );
    const probe = new LinearProbe(72, 3, { device: 'cpu' });
    readClassifier(saved, probe.classifier);
    const { weight, bias } = probe.classifier.linear;
    assert.deepEqual(weight.toTypedArray(), hashWeight('linear.weight', [3, 72], 0.04));
    assert.deepEqual(bias!.toTypedArray(), hashWeight('linear.bias', [3], 0.04));
    const result = await evaluateLinear(model, { ...options, linearWeights: saved });
    assert.ok(result.top1 >= 0 && result.top1 <= 100);
  });

  it('refuses settings and folders that do not fit, all problems at once', async () => {
    await assert.rejects(
      evaluateLinear(model, { ...options, epochs: 0, lr: -1, batchSize: 1.5, valFreq: 0, seed: -1 }),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.problems.length, 5);
        return true;
      },
    );
    await assert.rejects(evaluateLinear(model, { ...options, nLastBlocks: 4 }), /expected 1 to 3/);
    await assert.rejects(
      evaluateLinear(model, { ...options, numLabels: 2 }),
      /numLabels 2; expected at least 3/,
    );
    const fewer = path.join(folder, 'fewer');
    await writeColourFolders(fewer, 1);
    rmSync(path.join(fewer, 'blue'), { recursive: true });
    await assert.rejects(evaluateLinear(model, { ...options, train: fewer }), /lacks: blue/);
    await assert.rejects(evaluateLinear(model, { ...options, val: path.join(val, 'red') }), DataError);
    await assert.rejects(
      evaluateLinear(model, { ...options, lr: 1e39 }),
      /the loss is (NaN|Infinity) in epoch/,
    );
  });
});

describe('saveEvaluation', () => {
  it("keeps results in the weights' run, and nowhere for a lone file", () => {
    const file = saveEvaluation(model.file, 'linear', { top1: 99 });
    assert.equal(file, path.join(folder, 'run', 'evaluations', 'linear.json'));
    const { date, ...saved } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    assert.ok(Date.parse(String(date)) > 0);
    const weights = 'checkpoints/step-00000012/teacher.safetensors';
    assert.deepEqual(saved, { evaluation: 'linear', weights, step: 12, top1: 99 });
    const lone = path.join(folder, 'lone.safetensors');
    writeSafetensors(lone, { x: ones([1]) });
    assert.equal(saveEvaluation(lone, 'linear', {}), null);
  });
});
