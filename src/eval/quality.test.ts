import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { listImages } from '../data/index.js';
import { buildBackbone } from '../models/index.js';
import { loadModel, Model } from '../model.js';
import { writeImageNames } from '../run/image-names.js';
import { readRunConfig, writeRunConfig } from '../run/run-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY, writeTinyRun } from '../testing/saved-run.js';
import { liveTensors, manualSeed, noGrad, rand, type Tensor } from '../torch/index.js';
import { evaluateQuality } from './quality.js';
import { pixelFeatures, qualityOfNetworks, untrainedBackbone } from './quality-of-networks.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-quality-'));
const run = path.join(folder, 'run');
const many = path.join(folder, 'many');
const few = path.join(folder, 'few');
let model: Model;
before(async () => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
  await makeImageFolder(many, { classes: 4, perClass: 25 });
  await makeImageFolder(few, { classes: 2, perClass: 4 });
  const list = await listImages(many);
  writeImageNames(run, list);
  writeRunConfig(run, { ...readRunConfig(run), images: many });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe('evaluateQuality', () => {
  it('measures the model, the untrained network and pixels, the same way each time, and leaves no tensor behind', async () => {
    const before = liveTensors();
    const result = await evaluateQuality(model, { images: many, views: 2 });
    noTensorLeft(before);
    assert.deepEqual(await evaluateQuality(model, { images: many, views: 2, numWorkers: 0 }), result);
    assert.equal(result.images, 100);
    assert.equal(result.score, result.measures[result.measure]);
    for (const measures of [result.measures, result.untrained!, result.pixels]) {
      assert.ok(measures.neighbours >= 0 && measures.neighbours <= 1);
      assert.ok(measures.otherView >= 0 && measures.otherView <= 1);
      assert.ok(measures.otherViewRank >= measures.otherView);
      assert.ok(measures.rankMe >= 1 && measures.lidar >= 1);
    }
    assert.notDeepEqual(result.untrained, result.measures);
    assert.equal(result.against, null);
    assert.deepEqual([result.resize, result.crop, result.trainedOn], [37, 32, 100]);
    assert.ok(result.words.includes('the model was trained on these images'));
    assert.ok(
      result.words.some((line) =>
        /^the features are .* raw pixels: [\d.]+% against [\d.]+%(, a difference that may be chance)?$/.test(
          line,
        ),
      ),
      result.words.join('\n'),
    );
  });

  it('compares two models; a model with itself is alike', async () => {
    const again = loadModel(run, { device: 'cpu' });
    const result = await evaluateQuality(model, { images: many, views: 2, against: again });
    assert.deepEqual(result.against, result.measures);
    assert.equal(result.verdicts.against, 'alike');
    // another size: another pass, and a line that says so
    manualSeed(1);
    const backbone = buildBackbone({
      arch: 'vit',
      embedDim: 24,
      depth: 2,
      numHeads: 3,
      patchSize: 8,
      imgSize: 48,
    });
    backbone.eval();
    const larger = new Model(backbone, { ...model.architecture, depth: 2, imgSize: 48 }, model.file, 'cpu');
    const apart = await evaluateQuality(model, { images: many, views: 2, against: larger });
    assert.deepEqual(apart.measures, result.measures);
    assert.notDeepEqual(apart.against, result.measures);
    assert.ok(apart.words.some((line) => line.includes('different sizes (32 and 48 pixels)')));
    again.dispose();
    larger.dispose();
  });

  it('says when the images are not those of the training, and only samples many', async () => {
    const other = await evaluateQuality(model, { images: few, views: 2 });
    assert.equal(other.trainedOn, 0);
    assert.ok(other.words.includes('the model was trained on none of these images'));
    const some = await evaluateQuality(model, { images: many, views: 2, maxImages: 70 });
    assert.deepEqual([some.images, some.notSampled, some.trainedOn], [70, 30, 70]);
    assert.ok(some.words.some((line) => line.startsWith('30 of 100 images were not sampled')));
    // the same files by another name are still the same files to a person, but the run knows places and names only
    const link = path.join(folder, 'link');
    symlinkSync(many, link);
    assert.equal((await evaluateQuality(model, { images: link, views: 2 })).trainedOn, 0);
  });

  it('can not tell from few images, and says so', async () => {
    const { verdicts, words, images } = await evaluateQuality(model, { images: few, views: 2 });
    assert.equal(images, 8);
    assert.deepEqual(verdicts, { untrained: null, pixels: null, against: null });
    assert.ok(words.some((line) => line.startsWith('8 images are too few to tell')));
    assert.ok(!words.some((line) => line.startsWith('the features are')));
  });

  it('names an image and the model when the features are not numbers', async () => {
    const broken = loadModel(run, { device: 'cpu' });
    const [first] = [...broken.backbone.parameters()] as [Tensor];
    noGrad(() => first.fill_(NaN));
    await assert.rejects(evaluateQuality(broken, { images: few, views: 2 }), (error: Error) => {
      const expected = `image-0.png: its features by ${model.file} contain NaN or infinite values (and those of 7 other images of 8)`;
      return error.message.includes(expected) || assert.fail(error.message);
    });
    // the other model's, in one pass over the images and in a pass of its own
    for (const crop of [broken.architecture.imgSize, 2 * broken.architecture.imgSize]) {
      const architecture = { ...broken.architecture, imgSize: crop };
      const against = new Model(broken.backbone, architecture, 'runs/other', 'cpu');
      await assert.rejects(
        evaluateQuality(model, { images: few, views: 2, against }),
        /image-0\.png: its features by the other model, runs\/other, contain NaN or infinite values/,
      );
    }
    broken.dispose();
  });

  it('refuses options that mean nothing', async () => {
    await assert.rejects(evaluateQuality(model, { images: few, views: 1 }), /views/);
    await assert.rejects(evaluateQuality(model, { images: few, maxImages: 1 }), /maxImages/);
  });
});

describe('the untrained network', () => {
  it('has the weights that training begins with, and takes no numbers from the default generator', () => {
    manualSeed(5);
    const expected = rand([3]).toArray();
    manualSeed(5);
    const one = untrainedBackbone(model.architecture, 7, 'cpu')!;
    assert.deepEqual(rand([3]).toArray(), expected);
    manualSeed(7);
    const { arch, embedDim, depth, numHeads, patchSize, globalCropsSize } = TINY;
    const two = buildBackbone({ arch, embedDim, depth, numHeads, patchSize, imgSize: globalCropsSize });
    const values = [...one.stateDict()].map(([name, value]) => [name, value.toArray()]);
    assert.deepEqual(
      values,
      [...two.stateDict()].map(([name, value]) => [name, value.toArray()]),
    );
    one.dispose();
    two.dispose();
  });
});

describe('qualityOfNetworks', () => {
  it('gives features that tell images apart more than those that do not', async () => {
    const { items } = await listImages(many);
    const { measures } = await qualityOfNetworks(
      new Map([
        ['pixels', pixelFeatures],
        ['brightness', (images: Tensor) => images.mean([1, 2, 3]).unsqueeze(1)],
        ['alike', (images: Tensor) => images.mean([2, 3]).mul(0).add(0.5)],
      ]),
      items,
      { resize: 36, crop: 32, views: 2, most: 100, seed: 0, device: 'cpu' },
    );
    const [pixels, brightness, alike] = ['pixels', 'brightness', 'alike'].map((name) => measures.get(name)!);
    assert.ok(pixels!.otherViewRank > 2 * brightness!.otherViewRank);
    assert.deepEqual([alike!.otherView, alike!.neighbours], [0, 0]);
    assert.ok(pixels!.neighbours > brightness!.neighbours);
    assert.ok(Math.abs(alike!.rankMe - 1) < 1e-3);
  });
});
