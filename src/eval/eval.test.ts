/** k-NN and features from folders of images to results, with a tiny model. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parquetReadObjects } from 'hyparquet';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { fromTypedArray, liveTensors, tensor } from '../torch/index.js';
import { loadModel, type Model } from '../model.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { hashValues } from '../testing/hash-fill.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { evaluateKnn, evaluateKnnFeatures, knnClassify } from './knn.js';
import { writeFeatures } from './write-features.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-eval-'));
const train = path.join(folder, 'train');
const val = path.join(folder, 'val');
let model: Model;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
  await writeColourFolders(train, 6);
  await writeColourFolders(val, 4, 44);
});
after(() => rmSync(folder, { recursive: true }));

describe('evaluateKnn', () => {
  it('tells plain colours apart, warns about k, reports progress and leaves no tensors', async () => {
    const warnings: string[] = [];
    const parts = new Set<string>();
    const before = liveTensors();
    const result = await evaluateKnn(model, {
      train,
      val,
      k: [1, 5, 200],
      batchSize: 5,
      numWorkers: 0,
      onWarning: (message) => warnings.push(message),
      onProgress: ({ part, done, total }) => parts.add(`${part} ${done}/${total}`),
    });
    assert.equal(result.top1['1'], 100);
    assert.deepEqual([result.trainImages, result.valImages, result.classes], [18, 12, 3]);
    assert.deepEqual([result.resize, result.crop], [37, 32]);
    assert.match(warnings.join(), /k 200 is more than the 18 training images/);
    assert.ok(parts.has('train 18/18') && parts.has('val 12/12'));
    noTensorLeft(before);
  });

  it('matches classes by name, and refuses those it can not', async () => {
    const fewer = path.join(folder, 'fewer');
    await writeColourFolders(fewer, 2);
    rmSync(path.join(fewer, 'blue'), { recursive: true });
    // without blue, green is class 0 there and 1 in train
    const result = await evaluateKnn(model, { train, val: fewer, k: [1], numWorkers: 0 });
    assert.equal(result.top1['1'], 100);
    await assert.rejects(evaluateKnn(model, { train: fewer, val, k: [1] }), /lacks: blue/);
    await assert.rejects(evaluateKnn(model, { train: path.join(train, 'red'), val, k: [1] }), DataError);
    await assert.rejects(evaluateKnn(model, { train, val, k: [0, 1.5], temperature: -1 }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 3);
      return true;
    });
    await assert.rejects(evaluateKnn(model, { train, val, crop: 4 }), /smaller than the model's patches/);
  });

  it('writes its features, and gives the same from them without the model', async () => {
    const dump = path.join(folder, 'new', 'features');
    const options = { k: [1, 5], temperature: 0.1 };
    const result = await evaluateKnn(model, { train, val, ...options, numWorkers: 0, dumpFeatures: dump });
    assert.deepEqual(evaluateKnnFeatures(dump, options), result);
    const { tensors, metadata } = readSafetensors(path.join(dump, 'trainfeat.safetensors'));
    assert.deepEqual(JSON.parse(metadata['classes']!), ['blue', 'green', 'red']);
    const first = Array.from(tensors.get('features')!.toTypedArray().subarray(0, 24), Number);
    assert.ok(Math.abs(first.reduce((sum, value) => sum + value ** 2, 0) - 1) < 1e-5);
    const again = path.join(folder, 'again');
    await evaluateKnn(model, { train, val, ...options, crop: 24, numWorkers: 0, dumpFeatures: again });
    cpSync(path.join(dump, 'testfeat.safetensors'), path.join(again, 'testfeat.safetensors'));
    assert.throws(() => evaluateKnnFeatures(again), /written by different evaluations/);
    assert.throws(() => evaluateKnnFeatures(path.join(folder, 'none')), CheckpointError);
    writeSafetensors(path.join(dump, 'testfeat.safetensors'), { features: tensor([[1, 0]]) });
    assert.throws(() => evaluateKnnFeatures(dump), /expected features .* got features float32\[1, 2\]/);
    const numbers = tensor([0], { dtype: 'int64' });
    writeSafetensors(path.join(dump, 'testfeat.safetensors'), {
      features: tensor([[1, 0]]),
      labels: numbers,
    });
    assert.throws(() => evaluateKnnFeatures(dump), /24 and 2 values per image/);
  });

  it("reads the reference's own dumps", () => {
    const torch = fileURLToPath(new URL('../../test/fixtures/eval/torch', import.meta.url));
    const result = evaluateKnnFeatures(torch, { k: [1, 3] });
    const unit = (name: string, count: number) => fromTypedArray(hashValues(name, [count, 4]), [count, 4]);
    const labels = (count: number) => Array.from({ length: count }, (_, i) => i % 3);
    const [train, test] = [unit('train', 12), unit('test', 5)];
    const scores = knnClassify(
      { features: train, labels: labels(12) },
      { features: test, labels: labels(5) },
      { k: [1, 3] },
    );
    for (const k of [1, 3]) assert.equal(result.top1[k], scores.get(k)!.top1);
    assert.deepEqual([result.trainImages, result.valImages], [12, 5]);
  });

  it('says when a class folder that val needs is empty', async () => {
    const empty = path.join(folder, 'empty');
    await writeColourFolders(empty, 1);
    rmSync(path.join(empty, 'red', 'red 0.png'));
    await assert.rejects(evaluateKnn(model, { train: empty, val }), /red \(its folder holds no images\)/);
  });

  it('stops when told to', async () => {
    const stop = new AbortController();
    const running = evaluateKnn(model, {
      train,
      val,
      batchSize: 2,
      numWorkers: 0,
      signal: stop.signal,
      onProgress: () => stop.abort(new Error('enough')),
    });
    await assert.rejects(running, /enough/);
  });
});

describe('embed', () => {
  it('gives class, mean and patch features, one or more layers', async () => {
    const cls = await model.embed(train, { numWorkers: 0 });
    assert.deepEqual(cls.shape, [18, 24]);
    assert.deepEqual(cls.classes, ['blue', 'green', 'red']);
    assert.equal(cls.labels[17], 2);
    const deep = await model.embed(train, { layers: 3, numWorkers: 0 });
    assert.deepEqual(deep.shape, [18, 72]);
    // the last layer comes last, and is the class feature itself
    const tail = deep.features.subarray(48, 72);
    for (let i = 0; i < 24; i++) assert.ok(Math.abs(tail[i]! - cls.features[i]!) < 1e-5);
    const patches = await model.embed(train, { features: 'patches', numWorkers: 0 });
    assert.deepEqual(patches.shape, [18, 16, 24]);
    const mean = await model.embed(train, { features: 'patch-mean', numWorkers: 0 });
    let sum = 0;
    for (let n = 0; n < 16; n++) sum += patches.features[n * 24 + 5]!;
    assert.ok(Math.abs(sum / 16 - mean.features[5]!) < 1e-5);
  });

  it('does not depend on batches or workers, and streams', async () => {
    const whole = await model.embed(val, { batchSize: 12, numWorkers: 0 });
    const rows: number[] = [];
    const paths: string[] = [];
    for await (const batch of model.embedBatches(val, { batchSize: 5, numWorkers: 2 })) {
      rows.push(...batch.features);
      paths.push(...batch.paths);
    }
    assert.deepEqual(paths, whole.paths);
    rows.forEach((value, i) => assert.ok(Math.abs(value - whole.features[i]!) < 1e-5));
  });

  it('leaves out bad images and names them', async () => {
    const bad = path.join(folder, 'bad.png');
    writeFileSync(bad, 'not an image');
    const good = path.join(val, 'red', 'red 0.png');
    const result = await model.embed([bad, good, bad], { numWorkers: 0 });
    assert.deepEqual(result.paths, [good]);
    assert.deepEqual(result.shape, [1, 24]);
    assert.deepEqual(
      result.skipped.map((entry) => entry.path),
      [bad, bad],
    );
    await assert.rejects(
      model.embed([bad], { numWorkers: 0 }),
      /none of the 1 images can be read; the first: .*: /,
    );
    await assert.rejects(model.embed([]), DataError);
    await assert.rejects(model.embed(val, { layers: 4, crop: 4 }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.problems.length, 2);
      return true;
    });
  });
});

describe('writeFeatures', () => {
  it('writes safetensors, npy and parquet that read back as they were', async () => {
    const result = await model.embed(val, { numWorkers: 0 });
    const at = (name: string) => path.join(folder, name);
    assert.deepEqual(await writeFeatures(at('f.safetensors'), result), [at('f.safetensors')]);
    const { tensors, metadata } = readSafetensors(at('f.safetensors'));
    assert.deepEqual(tensors.get('features')!.toTypedArray(), result.features);
    assert.deepEqual(tensors.get('labels')!.toArray(), result.labels);
    assert.deepEqual(JSON.parse(metadata['paths']!), result.paths);

    await writeFeatures(at('f.npy'), result);
    const bytes = readFileSync(at('f.npy'));
    const headerLength = bytes.readUInt16LE(8);
    assert.equal((10 + headerLength) % 64, 0);
    const header = bytes.toString('latin1', 10, 10 + headerLength);
    assert.match(header, /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(12, 24\), \} *\n$/);
    assert.equal(bytes.length, 10 + headerLength + 12 * 24 * 4);
    assert.equal(bytes.readFloatLE(10 + headerLength + 4), result.features[1]);
    const lines = readFileSync(at('f.paths.jsonl'), 'utf8').trim().split('\n');
    assert.deepEqual(JSON.parse(lines[0]!), { path: result.paths[0], label: 0, class: 'blue' });

    await writeFeatures(at('f.parquet'), result);
    const data = readFileSync(at('f.parquet'));
    const file = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const rows = await parquetReadObjects({ file });
    assert.equal(rows.length, 12);
    assert.equal(rows[7]!['path'], result.paths[7]);
    assert.equal(rows[7]!['label'], result.labels[7]);
    assert.deepEqual(rows[7]!['features'], [...result.features.subarray(7 * 24, 8 * 24)]);
    await assert.rejects(writeFeatures(at('f.csv'), result), ConfigError);
    // its folder is made; a file in its place is not a folder
    await writeFeatures(path.join(folder, 'no', 'such', 'f.npy'), result);
    assert.deepEqual(readFileSync(path.join(folder, 'no', 'such', 'f.npy')), bytes);
    await assert.rejects(writeFeatures(path.join(at('f.npy'), 'f.npy'), result), /can't be written/);
  });
});
