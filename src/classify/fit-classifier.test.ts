/** Classifiers from folders of images to a file and back, with a tiny model. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { classifyFeature } from '../plain/classifier-head.js';
import { loadModel, type Model } from '../model.js';
import { liveTensors } from '../torch/index.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { loadClassifier, saveClassifier } from './classifier-file.js';
import { C_GRID } from './cross-validate.js';
import { fitClassifier, type FitClassifierOptions } from './fit-classifier.js';
import { writePredictions } from './write-predictions.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-classify-'));
const at = (...parts: string[]) => path.join(folder, ...parts);
let model: Model;
before(async () => {
  writeTinyRun(at('run')).dispose();
  model = loadModel(at('run'), { device: 'cpu' });
  await writeColourFolders(at('train'), 6);
  await writeColourFolders(at('val'), 3, 44);
  await makeImageFolder(at('discs'), { classes: 4, perClass: 9, size: 36 });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** With two settings, unless others are given: trying all of them takes a second. */
const fit = (options: Partial<FitClassifierOptions> = {}) =>
  fitClassifier(model, {
    ...{ images: at('train'), numWorkers: 0 },
    ...(options.method === 'knn' ? {} : { scaling: 'standardize', c: [0.1, 10] }),
    ...options,
  });
const ALL = { scaling: 'auto', c: C_GRID } as const;

describe('fitClassifier', () => {
  it('tries every C that is given, and no other', async () => {
    // after the first two none is better: of the usual values the rest would not be tried
    const c = [10, 1e3, 1e4, 1e5, 1e6, 1e7];
    const { trials, value } = await fit({ c: c.toReversed(), scaling: 'none' });
    assert.deepEqual(
      trials.map((trial) => trial.value),
      c,
    );
    assert.ok(c.includes(value));
  });

  for (const method of ['logistic', 'knn'] as const)
    it(`tells plain colours apart, says how well, and leaves no tensors: ${method}`, async () => {
      const before = liveTensors();
      const parts = new Set<string>();
      const result = await fit({
        ...{ method, validation: at('val'), ...(method === 'knn' ? {} : ALL) },
        onProgress: ({ part, done, total }) => parts.add(`${part} ${done === total}`),
      });
      const { crossValidation, validation, classifier } = result;
      assert.deepEqual(
        result.classes,
        ['blue', 'green', 'red'].map((name) => ({ name, images: 6 })),
      );
      assert.equal(crossValidation?.images, 18);
      assert.equal(validation?.images, 9);
      assert.equal(validation.accuracy.value, 1);
      assert.ok(validation.accuracy.low > 0.6 && validation.accuracy.low < 0.8);
      assert.deepEqual(validation.confusion, [
        [3, 0, 0],
        [0, 3, 0],
        [0, 0, 3],
      ]);
      assert.ok(result.trials.length > 5);
      assert.ok(['images true', 'validation true', 'fit true'].every((part) => parts.has(part)));
      const { predictions, skipped } = await classifier.predict(at('val'), { numWorkers: 0 });
      assert.equal(predictions.length, 9);
      assert.equal(skipped.length, 0);
      for (const { path: image, label, probability, runnerUp, runnerUpProbability } of predictions) {
        assert.equal(label, path.basename(path.dirname(image)));
        assert.ok(probability > runnerUpProbability && runnerUp !== label);
        assert.ok(probability < 1, 'few images never make it certain');
      }
      noTensorLeft(before);
    });

  it('gives the same classifier for the same seed, and others for others', async () => {
    const [a, b, c] = [
      await fit({ images: at('discs') }),
      await fit({ images: at('discs') }),
      await fit({ images: at('discs'), seed: 3 }),
    ];
    assert.deepEqual(a.classifier.head, b.classifier.head);
    assert.deepEqual(a.crossValidation, b.crossValidation);
    assert.notDeepEqual(a.crossValidation!.logLoss, c.crossValidation!.logLoss);
  });

  it('takes given settings', async () => {
    const one = await fit({ scaling: 'standardize', c: [0.1], layers: 2, features: 'patch-mean' });
    assert.deepEqual([one.scaling, one.value, one.trials.length], ['standardize', 0.1, 1]);
    const { head, takes } = one.classifier;
    assert.ok(head.kind === 'logistic' && head.weight.length === 3 * 48 && head.transform === null);
    assert.deepEqual(takes, { features: 'patch-mean', layers: 2, resize: 37, crop: 32 });
    const other = await fit({ method: 'knn', scaling: 'center', k: [3, 3, 1], folds: 3 });
    assert.deepEqual(
      other.trials.map(({ value }) => value),
      [1, 3],
    );
    assert.equal(other.classifier.origin.folds, 3);
  });

  it('names the numbers of neighbours that are more than a fold leaves', async () => {
    const warnings: string[] = [];
    const knn = {
      method: 'knn',
      scaling: 'none',
      onWarning: (message: string) => warnings.push(message),
    } as const;
    const { trials } = await fit({ ...knn, k: [100, 3, 50] });
    assert.deepEqual(
      trials.map(({ value }) => value),
      [3],
    );
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0]!,
      /k 50, 100 were not tried: without a fold, 14 images are left to vote; give .*at most 14/,
    );
    warnings.length = 0;
    assert.equal((await fit({ ...knn, k: [16] })).value, 16);
    assert.match(
      warnings.join('\n'),
      /^k 16 is more than the 14 images .*in cross-validation all of them voted$/,
    );
    warnings.length = 0;
    await fit({ ...knn, k: [1, 14] });
    await fit(knn);
    assert.deepEqual(warnings, []);
  });

  it('balances classes on request', async () => {
    const skewed = at('skewed');
    cpSync(at('discs'), skewed, { recursive: true });
    for (let i = 2; i < 9; i++) rmSync(path.join(skewed, 'class-1', `image-${i}.png`));
    const shared = { images: skewed, scaling: 'none', c: [1e-3] } as const;
    const plain = (await fit(shared)).crossValidation!;
    const balanced = (await fit({ ...shared, classWeight: 'balanced' })).crossValidation!;
    const predicted = (report: typeof plain) => report.classes[1]!.predicted;
    assert.ok(predicted(balanced) > predicted(plain), `${predicted(balanced)} ${predicted(plain)}`);
  });

  it('says what can not be cross-validated, and learns from it all the same', async () => {
    const lone = at('lone');
    cpSync(at('train'), lone, { recursive: true });
    for (let i = 1; i < 6; i++) rmSync(path.join(lone, 'red', `red ${i}.png`));
    const warnings: string[] = [];
    const onWarning = (message: string) => void warnings.push(message);
    const { crossValidation, classifier } = await fit({ images: lone, onWarning });
    assert.match(warnings.join('\n'), /1 of 3 classes has a single image: red\..*can't be cross-validated/);
    assert.equal(crossValidation!.images, 12);
    assert.deepEqual(crossValidation!.classes[2]!.recall, null);
    const { predictions } = await classifier.predict(path.join(at('val'), 'red'), { numWorkers: 0 });
    assert.ok(predictions.every(({ label }) => label === 'red'));

    for (const name of ['blue', 'green'])
      for (let i = 1; i < 6; i++) rmSync(path.join(lone, name, `${name} ${i}.png`));
    warnings.length = 0;
    for (const method of ['logistic', 'knn'] as const) {
      const none = await fit({ images: lone, validation: at('val'), method, onWarning });
      assert.equal(none.crossValidation, null);
      assert.deepEqual([none.trials.length, none.temperature], [0, 1]);
      assert.equal(none.validation!.accuracy.value, 1);
    }
    assert.match(warnings[0]!, /every class has a single image: nothing can be cross-validated/);
    // what is given holds, tried or not
    for (const [c, value, line] of [
      [[5, 10], 5, /C 5 is taken, the nearest to 1 of those given, and 10 not tried/],
      [[0.01, 0.3, 50], 0.3, /C 0\.3 is taken, .*and 0\.01, 50 not tried/],
    ] as const) {
      warnings.length = 0;
      assert.equal((await fit({ images: lone, c, onWarning })).value, value);
      assert.match(warnings.join('\n'), line);
    }
    warnings.length = 0;
    assert.equal((await fit({ images: lone, c: C_GRID, onWarning })).value, 1);
    assert.equal((await fit({ images: lone, method: 'knn', k: [2, 1], onWarning })).value, 1);
    assert.match(warnings.join('\n'), /k 1 is taken, the smallest of those given, and 2 not tried/);
    assert.equal(warnings.length, 3);
  });

  it('names and counts what it leaves out', async () => {
    const damaged = at('damaged');
    cpSync(at('train'), damaged, { recursive: true });
    writeFileSync(path.join(damaged, 'blue', 'broken.png'), 'not a picture');
    mkdirSync(path.join(damaged, 'yellow'));
    writeFileSync(path.join(damaged, 'yellow', 'broken.png'), 'nor this');
    writeFileSync(path.join(damaged, 'blue', 'notes.txt'), 'text');
    const warnings: string[] = [];
    const result = await fit({ images: damaged, onWarning: (message) => warnings.push(message) });
    assert.deepEqual(
      result.skipped.map(({ path: file }) => path.relative(damaged, file)),
      ['blue/broken.png', 'yellow/broken.png'],
    );
    assert.match(warnings.join('\n'), /1 of 4 classes has no readable image and is left out: yellow/);
    assert.deepEqual(result.leftOut.byExtension, { '.txt': 1 });
    assert.deepEqual([result.images, result.classes.length], [18, 3]);
    assert.ok(result.classifier.classes.every((name) => name !== 'yellow'));
  });

  it('refuses what it can not learn from', async () => {
    await assert.rejects(fit({ images: at('train', 'red') }), /\(images\) has no labels/);
    const single = at('single');
    cpSync(at('train', 'red'), path.join(single, 'red'), { recursive: true });
    await assert.rejects(fit({ images: single }), /has 1 class \(red\) with readable images; .* at least 2/);
    await assert.rejects(fit({ validation: at('discs') }), /has classes that .* lacks: class-0/);
    await assert.rejects(fit({ method: 'knn', c: [1], scaling: 'standardize' }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 2);
      return true;
    });
    await assert.rejects(fit({ layers: 9 }), /layers 9; expected 1 to 3/);
    const reason = new Error('enough');
    await assert.rejects(fit({ signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const late = fit({
      signal: controller.signal,
      onProgress: ({ part }) => part === 'fit' && controller.abort(reason),
    });
    await assert.rejects(late, reason);
  });
});

describe('a classifier in a file', () => {
  for (const method of ['logistic', 'knn'] as const)
    it(`predicts the same after it was moved, without the weights that it came from: ${method}`, async () => {
      const file = at('deep', method, 'model.safetensors');
      const { classifier } = await fit({ images: at('discs'), method, scaling: 'pca' });
      saveClassifier(classifier, file);
      const moved = at('elsewhere.safetensors');
      renameSync(file, moved);
      const wanted = await classifier.predict(at('discs'), { numWorkers: 0 });
      using loaded = loadClassifier(moved, { device: 'cpu' });
      assert.deepEqual(await loaded.predict(at('discs'), { numWorkers: 0 }), wanted);
      assert.deepEqual(loaded.origin, classifier.origin);
      // it is a file of weights too
      using weights = loadModel(moved, { device: 'cpu' });
      assert.deepEqual(weights.architecture, model.architecture);
      assert.deepEqual([...weights.origin.warnings, ...weights.origin.notes], []);
      if (classifier.head.kind !== 'logistic') return;
      const embedded = await weights.embed(at('discs'), { numWorkers: 0 });
      const p = classifyFeature(classifier.head, embedded.features.subarray(0, 24));
      assert.ok(Math.abs(Math.max(...p) - wanted.predictions[0]!.probability) < 1e-5);
    });

  it('is refused when it is damaged, and says where', async () => {
    const file = at('model.safetensors');
    const { classifier } = await fit();
    saveClassifier(classifier, file);
    const { tensors, metadata } = readSafetensors(file);
    const description = JSON.parse(metadata['dino_classifier']!) as Record<string, unknown>;
    const broken =
      (change: object, others: object = {}) =>
      (): unknown => {
        const made = { ...metadata, dino_classifier: JSON.stringify({ ...description, ...change }) };
        writeSafetensors(at('broken.safetensors'), { ...Object.fromEntries(tensors), ...others }, made);
        return loadClassifier(at('broken.safetensors'), { device: 'cpu' });
      };
    const bias = 'head.classifier.bias';
    const weight = 'head.classifier.weight';
    for (const [load, expected] of [
      [broken({ version: 9 }), /of version 9; this dino reads 1/],
      [
        broken({ temperature: -1, classes: ['one'] }),
        /description is damaged:\n {2}classes:.*\n {2}temperature:/s,
      ],
      [broken({ classes: ['a', 'b'] }), /weight is float32\[3, 24\].*expected float32\[2, 24\]/],
      [broken({ classes: ['a', 'b', 'a'] }), /two classes have the same name/],
      [broken({}, { [bias]: tensors.get(bias)!.mul(NaN) }), /bias has values that are not finite/],
      [broken({}, { [weight]: tensors.get(weight)!.to('float64') }), /weight is float64/],
      [broken({ method: 'knn' }), /k-NN needs k/],
      [broken({ backbone: '0'.repeat(64) }), /its backbone has changed since/],
    ] as const)
      assert.throws(load, (error) => {
        assert.ok(error instanceof CheckpointError, String(error));
        assert.match(error.message, expected);
        return true;
      });
    assert.throws(
      () => loadClassifier(at('run', 'checkpoints', 'step-00000012', 'teacher.safetensors')),
      /holds no classifier/,
    );
    assert.throws(() => loadClassifier(at('nowhere')), CheckpointError);
    assert.throws(() => saveClassifier(classifier, folder), CheckpointError);
  });
});

describe('writePredictions', () => {
  it('accounts for every image in each format', async () => {
    const mixed = at('mixed');
    cpSync(at('val'), mixed, { recursive: true });
    writeFileSync(path.join(mixed, 'red', 'a "bad", one.png'), 'x');
    const { classifier } = await fit();
    const result = await classifier.predict(mixed, { numWorkers: 0 });
    assert.deepEqual([result.predictions.length, result.skipped.length], [9, 1]);
    const read = (name: string) => {
      writePredictions(at('out', name), result);
      return readFileSync(at('out', name), 'utf8');
    };
    const rows = read('all.csv').trimEnd().split('\n');
    assert.equal(rows[0], 'path,label,probability,runner_up,runner_up_probability,skipped');
    assert.equal(rows.length, 11);
    assert.match(rows[1]!, /blue 0\.png,blue,0\.\d+,\w+,0\.\d+,$/);
    assert.match(rows[10]!, /^".*a ""bad"", one\.png",,,,,./);
    const lines = read('all.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { path: string });
    assert.equal(new Set(lines.map((line) => line.path)).size, 10);
    const json = JSON.parse(read('all.json')) as {
      classes: string[];
      predictions: object[];
      skipped: object[];
    };
    assert.deepEqual([json.classes.length, json.predictions.length, json.skipped.length], [3, 9, 1]);
    assert.throws(() => writePredictions(at('out', 'all.xml'), result), ConfigError);
    assert.throws(() => writePredictions(path.join(at('out', 'all.csv'), 'x.csv'), result), DataError);
    await assert.rejects(
      classifier.predict([Buffer.from('x')]),
      /none of the 1 images can be read; the first: bytes\[0\]: /,
    );
  });
});
