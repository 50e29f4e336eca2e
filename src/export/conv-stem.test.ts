/** A transformer with a convolutional stem in every format that weights are written to. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ConfigError } from '../errors.js';
import { loadModel, type Model } from '../model.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { scope, zeros } from '../torch/index.js';
import { train } from '../train/train.js';
import { exportWeights } from '../weights/export-weights.js';
import { checkOnnx } from './onnx/check.js';
import { exportOnnx } from './onnx/export-onnx.js';
import { exportTransformers } from './transformers/export-transformers.js';

let folder = '';
let model: Model;
const at = (name: string): string => path.join(folder, name);
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dino-conv-stem-'));
  await makeImageFolder(at('images'), { classes: 2, perClass: 9 });
  // a training, so that the running statistics of the norms are those of images
  await train({
    images: at('images'),
    output: at('run'),
    settings: { ...TINY_SETTINGS, arch: 'vit_conv', epochs: 1, warmupTeacherTempEpochs: 0 },
  });
  model = loadModel(at('run'), { device: 'cpu' });
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

test('.safetensors and .pth are recognized by their tensors and give the same features', () => {
  assert.equal(model.architecture.arch, 'vit_conv');
  for (const format of ['safetensors', 'pth'] as const) {
    const file = at(`weights.${format}`);
    exportWeights(at('run'), { format, output: file });
    const again = loadModel(file, { device: 'cpu' });
    assert.deepEqual(again.architecture, model.architecture, format);
    scope(() => {
      const images = zeros([2, 3, 32, 40]).add_(0.5);
      assert.deepEqual(
        again.backbone.forward(images).toArray(),
        model.backbone.forward(images).toArray(),
        format,
      );
    });
    again.dispose();
  }
});

test('ONNX gives features and attention, at one size and at any, with pixels that fill no patch', async () => {
  for (const [name, options, imageSize] of [
    ['fixed', { imageSize: [36, 44], attention: true }, [36, 44]],
    ['dynamic', { dynamicSize: true, attention: true }, [44, 61]],
  ] as const) {
    const file = at(`${name}.onnx`);
    exportOnnx(model, file, { ...options, ...('imageSize' in options ? { imageSize: [36, 44] } : {}) });
    const check = await checkOnnx(model, file, { imageSize: [...imageSize], batch: 2 });
    assert.ok(check!.cosine > 1 - 1e-8, `${name}: cosine similarity ${check!.cosine}`);
    for (const [output, difference] of Object.entries(check!.differences))
      assert.ok(difference < 1e-4, `${name}, ${output}: ${difference}`);
  }
});

test('Hugging Face’s format has no such stem: the error says so, and what has', () => {
  assert.throws(
    () => exportTransformers(model, at('transformers')),
    (error) =>
      error instanceof ConfigError &&
      /vit_conv embeds patches by convolutions\. Export ONNX/.test(error.message),
  );
});
