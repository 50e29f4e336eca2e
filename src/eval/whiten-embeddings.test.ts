/** Whitened features of images: what is written, what k-NN scores with them, and features that are not numbers. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ConfigError, DataError, DinoError } from '../errors.js';
import { readNpy } from '../files/npy.js';
import { unitRows } from '../plain/maps.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { fromTypedArray, full, scope } from '../torch/index.js';
import { loadModel, type Model } from '../model.js';
import { evaluateKnn, evaluateKnnFeatures, knnClassify } from './knn.js';
import { applyWhitening, fitWhitening, whitenEmbeddings } from './whiten-embeddings.js';
import { writeFeatures } from './write-features.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-whiten-'));
const [train, val] = [path.join(folder, 'train'), path.join(folder, 'val')];
let model: Model;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
  await writeColourFolders(train, 24);
  await writeColourFolders(val, 4, 44);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const close = (a: Float32Array, b: Float32Array): void => {
  assert.equal(a.length, b.length);
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]!) < 1e-5, `${i}: ${value} and ${b[i]!}`));
};

describe('whitenEmbeddings', () => {
  it('writes features, mean and matrix, which make the features of an image that was not there', async () => {
    const raw = await model.embed(train, { numWorkers: 0 });
    const result = await whitenEmbeddings(model, raw, { whiten: 'pca', numWorkers: 0 });
    assert.equal(result.whitening.mode, 'pca');
    for (const ending of ['.npy', '.safetensors', '.parquet']) {
      const file = path.join(folder, ending.slice(1), `f${ending}`);
      const files = await writeFeatures(file, result);
      assert.ok(files.every((each) => existsSync(each)));
      assert.deepEqual(
        files.map((each) => path.basename(each)).filter((name) => /mean|matrix/.test(name)),
        ['f.mean.npy', 'f.matrix.npy'],
      );
    }
    const read = (name: string) => readNpy(readFileSync(path.join(folder, 'npy', name)))!;
    const [features, mean, matrix] = [read('f.npy'), read('f.mean.npy'), read('f.matrix.npy')];
    assert.deepEqual([features.shape, mean.shape, matrix.shape], [[72, 24], [24], [24, 24]]);
    const byHand = (x: Float32Array): Float32Array => {
      const unit = unitRows(x, 24).map((value, d) => value - mean.values[d]!);
      const rows = Array.from({ length: 24 }, (_, r) =>
        unit.reduce((sum, value, d) => sum + value * matrix.values[r * 24 + d]!, 0),
      );
      return unitRows(Float32Array.from(rows), 24);
    };
    close(features.values.subarray(24, 48), byHand(raw.features.slice(24, 48)));
    const other = await model.embed([path.join(val, 'red', 'red 1.png')]);
    close(applyWhitening(result.whitening, other.features), byHand(other.features));
  });

  it('leaves no transform of earlier features beside new ones', async () => {
    const raw = await model.embed(train, { numWorkers: 0 });
    const [center, pca] = await Promise.all(
      (['center', 'pca'] as const).map((whiten) => whitenEmbeddings(model, raw, { whiten, numWorkers: 0 })),
    );
    for (const ending of ['npy', 'safetensors', 'parquet']) {
      const place = path.join(folder, `again-${ending}`);
      const write = (result: typeof raw) => writeFeatures(path.join(place, `f.${ending}`), result);
      for (const [result, parts] of [
        [pca!, ['f.matrix.npy', 'f.mean.npy']],
        [center!, ['f.mean.npy']],
        [pca!, ['f.matrix.npy', 'f.mean.npy']],
        [raw, []],
      ] as const) {
        await write(result);
        assert.deepEqual(
          readdirSync(place)
            .filter((name) => /mean|matrix/.test(name))
            .sort(),
          parts,
          ending,
        );
      }
      // new features that can't be written to their end
      await write(pca!);
      const file = path.join(place, `f.${ending}`);
      rmSync(file);
      mkdirSync(file);
      await assert.rejects(write(center!), DinoError);
      assert.deepEqual(readdirSync(place), [`f.${ending}`]);
    }
  });

  it('leaves alone what may belong to other features, or to a person', async () => {
    const raw = await model.embed(train, { numWorkers: 0 });
    const pca = await whitenEmbeddings(model, raw, { whiten: 'pca', numWorkers: 0 });
    const place = path.join(folder, 'beside');
    mkdirSync(place);
    const at = (name: string) => path.join(place, name);
    const kept = (name: string, file: string, message: RegExp) =>
      assert.rejects(writeFeatures(at(file), raw), (error) => {
        assert.ok(error instanceof ConfigError && message.test(error.message), String(error));
        return existsSync(at(name)) && !existsSync(at(file));
      });
    for (const [name, file] of [
      ['own.paths.jsonl', 'own.npy'],
      ['own2.mean.npy', 'own2.parquet'],
    ] as const) {
      writeFileSync(at(name), 'mine');
      await kept(
        name,
        file,
        /is there, and .*own2?\.(npy|parquet), to which it would belong, is not: .*own2?-2\..* is not taken$/,
      );
      assert.equal(readFileSync(at(name), 'utf8'), 'mine');
    }
    await writeFeatures(at('f.npy'), pca);
    const matrix = readFileSync(at('f.matrix.npy'));
    await kept('f.matrix.npy', 'f.safetensors', /f\.mean\.npy is there, and may belong to .*f\.npy: /);
    await writeFeatures(at('g.parquet'), raw); // has nothing beside it
    await writeFeatures(at('g.npy'), raw);
    await writeFeatures(at('g.npy'), raw); // its own file of names is replaced, whatever g.parquet is
    assert.deepEqual(readFileSync(at('f.matrix.npy')), matrix);
  });

  it('chooses by other views, and of patches and of bytes by the spectrum', async () => {
    const raw = await model.embed(train, { numWorkers: 0 });
    const chosen = await whitenEmbeddings(model, raw, { numWorkers: 0 });
    assert.match(chosen.whitening.reason, /another view of an image is found among those of 36/);
    const bytes = await model.embed(raw.paths.map((file) => new Uint8Array(readFileSync(file))));
    const blind = await whitenEmbeddings(model, bytes, { numWorkers: 0 });
    assert.match(blind.whitening.reason, /the mean cosine between two images is [\d.]+, the effective rank/);
    const patches = await model.embed(val, { features: 'patches', numWorkers: 0 });
    const whitened = await whitenEmbeddings(model, patches, {
      features: 'patches',
      whiten: 'center',
      numWorkers: 0,
    });
    assert.deepEqual(whitened.shape, patches.shape);
    close(
      whitened.features.subarray(0, 24),
      applyWhitening(fitWhitening(patches.features, 24, 'center'), patches.features.slice(0, 24)),
    );
  });

  it('names the image whose features are not numbers, and refuses what does not fit', async () => {
    const raw = await model.embed(train, { numWorkers: 0 });
    raw.features[5 * 24] = Infinity;
    await assert.rejects(whitenEmbeddings(model, raw, { whiten: 'pca' }), (error) => {
      assert.ok(error instanceof DataError);
      return error.message.includes(raw.paths[5]!) && /NaN or infinite/.test(error.message);
    });
    assert.throws(() => fitWhitening(new Float32Array(25), 24), ConfigError);
    const fitted = fitWhitening(raw.features.slice(24 * 6), 24, 'center');
    assert.throws(() => applyWhitening(fitted, new Float32Array(25)), ConfigError);
    assert.throws(() => applyWhitening(fitted, new Float32Array(24), 12), ConfigError);
  });
});

describe('k-NN', () => {
  it('scores centred and whitened features as a transform by hand does, beside the reference', async () => {
    const dump = path.join(folder, 'dump');
    const result = await evaluateKnn(model, { train, val, k: [1, 5], numWorkers: 0, dumpFeatures: dump });
    const [a, b] = [await model.embed(train, { numWorkers: 0 }), await model.embed(val, { numWorkers: 0 })];
    const scoresOf = (mode: 'none' | 'center' | 'pca') =>
      scope(() => {
        const fitted = fitWhitening(a.features, 24, mode);
        const part = ({ features, labels, paths }: typeof a) => ({
          features: fromTypedArray(applyWhitening(fitted, features, 24), [paths.length, 24]),
          labels: labels as number[],
        });
        const scores = knnClassify(part(a), part(b), { k: [1, 5] });
        return Object.fromEntries([...scores].map(([k, { top1 }]) => [String(k), top1]));
      });
    assert.deepEqual(result.top1, scoresOf('none'));
    assert.deepEqual(result.center?.top1, scoresOf('center'));
    assert.deepEqual(result.pca?.top1, scoresOf('pca'));
    const again = evaluateKnnFeatures(dump, { k: [1, 5] });
    assert.deepEqual([again.top1, again.center, again.pca], [result.top1, result.center, result.pca]);
  });

  it('leaves out what features that are all alike cannot have, and says so', async () => {
    const same = path.join(folder, 'same');
    await writeColourFolders(same, 1);
    const one = path.join(same, 'blue', 'blue 0.png');
    for (const name of ['green', 'red']) copyFileSync(one, path.join(same, name, `${name} 0.png`));
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    const result = await evaluateKnn(model, { train: same, val: same, k: [1], numWorkers: 0, onWarning });
    assert.deepEqual([result.center, result.pca], [null, null]);
    assert.match(warnings.join(), /the features of all 3 images are the same/);
  });

  it('names the image whose features are not numbers', async () => {
    using broken = loadModel(path.join(folder, 'run'), { device: 'cpu' });
    const [weight] = [...broken.backbone.parameters()];
    scope(() => weight!.copy_(full([...weight!.shape], NaN)));
    await assert.rejects(evaluateKnn(broken, { train, val, k: [1], numWorkers: 0 }), (error) => {
      assert.ok(error instanceof DataError);
      return /blue 0\.png: its features contain NaN/.test(error.message);
    });
    const good = { features: full([3, 2], 1), labels: [0, 1, 0] };
    const bad = { features: full([3, 2], NaN), labels: [0, 1, 0] };
    assert.throws(() => knnClassify(good, bad), /row 0 of test: its features contain NaN/);
    assert.throws(() => knnClassify(bad, good), /row 0 of train/);
  });
});
