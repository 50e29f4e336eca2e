/** The report's page, and an exported classifier in onnxruntime. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CheckpointError, ConfigError } from '../errors.js';
import { loadModel, Model } from '../model.js';
import { buildBackbone } from '../models/index.js';
import { hashFill } from '../testing/hash-fill.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { writeOfficialWeights, writeTinyRun } from '../testing/saved-run.js';
import { checkClassifierOnnx, exportClassifier } from './export-classifier.js';
import { fitClassifier, type FitClassifierOptions, type FitClassifierResult } from './fit-classifier.js';
import { confusionSvg } from './report-pictures.js';
import { renderClassifierReport, writeClassifierReport } from './report-page.js';
import type { ClassScore } from './report.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-report-'));
const at = (...parts: string[]) => path.join(folder, ...parts);
let model: Model;
let result: FitClassifierResult;
const fit = (options: Partial<FitClassifierOptions> = {}, of = model) =>
  fitClassifier(of, { images: at('discs'), numWorkers: 0, ...options });
before(async () => {
  writeTinyRun(at('run')).dispose();
  model = loadModel(at('run'), { device: 'cpu' });
  await makeImageFolder(at('discs'), { classes: 4, perClass: 6, size: 36 });
  result = await fit({ scaling: 'none', c: [1e-4] }); // hardly fitted: it makes mistakes
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe('writeClassifierReport', () => {
  it('writes one page without scripts, with every figure, and thumbnails of the mistakes', async () => {
    const { mistakes, confusion, accuracy } = result.crossValidation!;
    assert.ok(mistakes.length > 0);
    await writeClassifierReport(at('deep', 'report.html'), result);
    const page = readFileSync(at('deep', 'report.html'), 'utf8');
    assert.doesNotMatch(page, /<script|https?:|javascript:/i);
    assert.match(page, /Content-Security-Policy" content="default-src 'none'/);
    assert.ok(page.includes(`${(100 * accuracy.value).toFixed(1)}%`));
    const pictures = page.match(/src="data:image\/webp;base64,/g) ?? [];
    assert.equal(pictures.length, Math.min(24, mistakes.length));
    const cells =
      page.match(/<rect class="(right|wrong)" fill-opacity="[\d.]+" x="\d+" y="\d+" width/g) ?? [];
    assert.equal(cells.length, confusion.flat().filter((images) => images > 0).length);
  });

  it('escapes names, and does without an image that is gone', async () => {
    const [first] = result.crossValidation!.mistakes;
    const name = '<b>"bad" & \u001b[31m';
    const mistakes = [{ ...first!, path: '/nowhere/<i>.png', label: name }];
    const classes = result.crossValidation!.classes.map((one, i) => (i === 0 ? { ...one, name } : one));
    const crossValidation = { ...result.crossValidation!, mistakes, classes };
    const page = await renderClassifierReport({ ...result, crossValidation, remarks: ['<u>left</u>'] });
    assert.doesNotMatch(page, /<b>"bad|<i>\.png|<u>/);
    assert.ok(!page.includes('\u001b'));
    assert.match(page, /&lt;b&gt;&quot;bad&quot; &amp; \\u001b\[31m/);
    assert.match(page, /&lt;u&gt;left&lt;\/u&gt;/);
  });

  it('draws many classes without numbers, and says so where nothing was measured', async () => {
    const classes = Array.from({ length: 100 }, (_, i) => ({ name: `class ${i}` }) as ClassScore);
    const confusion = classes.map((_, c) => classes.map((__, p) => (c === p ? 3 : 0)));
    const svg = confusionSvg({ classes, confusion });
    assert.match(svg, /300 of 300 images are on the diagonal/);
    assert.doesNotMatch(svg, /text-anchor="middle"/);
    const none = await renderClassifierReport({ ...result, crossValidation: null, trials: [] });
    assert.match(none, /nothing could be measured/);
  });
});

describe('exportClassifier', () => {
  for (const [name, options] of [
    ['class token, raw', { scaling: 'none' }],
    ['class token, whitened', { scaling: 'pca' }],
    ['mean of the patches, centred', { scaling: 'center', features: 'patch-mean' }],
  ] as const)
    it(`computes the same probabilities in onnxruntime: ${name}`, async () => {
      const { classifier } = await fit({ ...options, c: [1] });
      const exported = exportClassifier(classifier, at('model.onnx'));
      assert.deepEqual(exported.outputs['probabilities'], ['batch', 4]);
      assert.deepEqual(exported.imageSize, [32, 32]);
      const check = await checkClassifierOnnx(classifier, exported.file, [32, 32]);
      assert.ok(check!.differences['probabilities']! < 1e-5, JSON.stringify(check));
      assert.ok(readFileSync(exported.file).includes(JSON.stringify(exported.classes)));
      const dynamic = exportClassifier(classifier, at('dynamic.onnx'), { dynamicSize: true });
      assert.equal(dynamic.imageSize, null);
      await checkClassifierOnnx(classifier, dynamic.file, [40, 48]);
    });

  for (const options of [
    { arch: 'dinov3_vit', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
    { arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: 0, patchSize: 32, imgSize: 32 },
    { arch: 'dinov2_vit_reg', embedDim: 32, depth: 2, numHeads: 2, patchSize: 8, imgSize: 32 },
  ] as const)
    it(`computes the same probabilities in onnxruntime: ${options.arch}`, async () => {
      const backbone = hashFill(buildBackbone(options), 0.1).eval();
      using other = new Model(backbone, options, at('run'), 'cpu');
      for (const features of ['cls', 'patch-mean'] as const) {
        const { classifier } = await fit({ c: [1], scaling: 'none', features }, other);
        const { file, imageSize } = exportClassifier(classifier, at('other.onnx'));
        const check = await checkClassifierOnnx(classifier, file, imageSize!);
        assert.ok(check!.differences['probabilities']! < 1e-5, JSON.stringify(check));
      }
    });

  it('takes convolutional networks too, and refuses what a graph can not have', async () => {
    writeOfficialWeights(at('resnet.pth'), 'resnet18');
    using convolutional = loadModel(at('resnet.pth'), { device: 'cpu' });
    const { classifier } = await fit({ c: [1], scaling: 'none', crop: 32, resize: 36 }, convolutional);
    const { file } = exportClassifier(classifier, at('resnet.onnx'), { imageSize: 32 });
    await checkClassifierOnnx(classifier, file, [32, 32]);
    const knn = (await fit({ method: 'knn', layers: 2 })).classifier;
    assert.throws(
      () => exportClassifier(knn, at('knn.onnx')),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, /only logistic regression.*\n.*2 layers/);
        return true;
      },
    );
    const { classifier: own } = await fit({ c: [1], scaling: 'none' });
    const { classifier: another } = await fit({ c: [100], scaling: 'none' });
    const other = exportClassifier(own, at('own.onnx'));
    await assert.rejects(checkClassifierOnnx(another, other.file, [32, 32]), CheckpointError);
  });
});
