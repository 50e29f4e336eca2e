/** Weights that give NaN: every evaluation refuses them, and names an image. A mean over NaN looks like a number. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fitClassifier } from '../classify/fit-classifier.js';
import { DataError } from '../errors.js';
import { loadModel, type Model } from '../model.js';
import { jpegOf } from '../testing/shards.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { liveTensors, noGrad, type Tensor } from '../torch/index.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';
import { evaluateCopyDetection } from './copy-detection.js';
import { evaluateKnn } from './knn.js';
import { evaluateLinear } from './linear.js';
import { evaluateQuality } from './quality.js';
import { evaluateRetrieval } from './retrieval.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-finite-'));
const at = (...names: string[]): string => path.join(folder, ...names);
const file = new URL('../../test/fixtures/eval/retrieval.json', import.meta.url);
const retrieval = JSON.parse(readFileSync(file, 'utf8')) as Record<'images' | 'queries', string[]> & {
  pickle: string;
};
let good: Model;
let broken: Model;

before(async () => {
  writeTinyRun(at('run'));
  good = loadModel(at('run'), { device: 'cpu' });
  broken = loadModel(at('run'), { device: 'cpu' });
  const last = [...broken.backbone.parameters()].at(-1) as Tensor;
  noGrad(() => last.fill_(NaN));
  await writeColourFolders(at('train'), 5);
  await writeColourFolders(at('val'), 2, 44);
  for (const place of ['copydays/original', 'copydays/strong', 'roxford5k/jpg'])
    mkdirSync(at(place), { recursive: true });
  for (const name of ['200000', '200100'])
    for (const part of ['original', 'strong'])
      writeFileSync(at('copydays', part, `${name}.jpg`), await jpegOf(Number(name)));
  writeFileSync(at('roxford5k', 'gnd_roxford5k.pkl'), Buffer.from(retrieval.pickle, 'base64'));
  const picture = await jpegOf(1);
  for (const name of [...retrieval.images, ...retrieval.queries])
    writeFileSync(at('roxford5k', 'jpg', `${name}.jpg`), picture);
});
after(() => {
  good.dispose();
  broken.dispose();
  rmSync(folder, { recursive: true });
});

const EVALUATIONS: Record<string, (model: Model) => Promise<unknown>> = {
  knn: (model) => evaluateKnn(model, { train: at('train'), val: at('val'), numWorkers: 0 }),
  linear: (model) =>
    evaluateLinear(model, { train: at('train'), val: at('val'), epochs: 1, lr: 0.1, numWorkers: 0 }),
  'a given linear classifier': async (model) => {
    const [train, val, output] = [at('train'), at('val'), at('linear')];
    await evaluateLinear(good, { train, val, output, epochs: 1, numWorkers: 0 });
    const linearWeights = path.join(output, 'checkpoint.safetensors');
    return evaluateLinear(model, { train, val, linearWeights, numWorkers: 0 });
  },
  retrieval: (model) => evaluateRetrieval(model, { dataPath: folder, imsize: 32, numWorkers: 0 }),
  'copy detection': (model) =>
    evaluateCopyDetection(model, { dataPath: at('copydays'), imsize: 32, numWorkers: 0 }),
  quality: (model) => evaluateQuality(model, { images: at('train'), views: 2, numWorkers: 0 }),
  embed: (model) => model.embed(at('train'), { numWorkers: 0 }),
  'embed of patches': (model) => model.embed(at('train'), { features: 'patches', numWorkers: 0 }),
  classify: (model) => fitClassifier(model, { images: at('train'), numWorkers: 0 }),
};

describe('features that are not numbers', () => {
  for (const [name, evaluate] of Object.entries(EVALUATIONS))
    it(`are refused by ${name}, which takes sound ones`, async () => {
      await evaluate(good);
      const before = liveTensors();
      await assert.rejects(evaluate(broken), (error) => {
        assert.ok(error instanceof DataError);
        assert.match(error.message, /\.(png|jpg): its features .*contain NaN or infinite values/);
        return true;
      });
      noTensorLeft(before);
    });
});
