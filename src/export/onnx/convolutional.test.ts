/** ResNets and XCiTs as ONNX files in onnxruntime against our own features. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError } from '../../errors.js';
import { buildBackbone } from '../../models/index.js';
import { hashFill } from '../../testing/hash-fill.js';
import { Model } from '../../model.js';
import { checkOnnx } from './check.js';
import { exportOnnx } from './export-onnx.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-onnx-convolutional-'));
after(() => rmSync(folder, { recursive: true }));

describe('an ONNX file gives the feature of an image to 1e-4 of the largest value', () => {
  const cases = [
    { arch: 'resnet18', depth: 8, numHeads: 0, patchSize: 1 },
    { arch: 'resnet50', depth: 16, numHeads: 0, patchSize: 1 },
    { arch: 'resnet_class_attention', depth: 3, numHeads: 8, patchSize: 8 },
    { arch: 'xcit_small_12_p16', depth: 12, numHeads: 8, patchSize: 16 },
  ] as const;
  for (const { arch, ...sizes } of cases) {
    it(`${arch}, at any size`, async () => {
      const backbone = hashFill(
        buildBackbone({ arch, ...(arch === 'resnet_class_attention' ? { embedDim: 32, depth: 3 } : {}) }),
        0.05,
      ).eval();
      const { embedDim } = backbone;
      const model = new Model(backbone, { arch, embedDim, imgSize: 224, ...sizes }, 'memory', 'cpu');
      const file = path.join(folder, `${arch}.onnx`);
      const { outputs } = exportOnnx(model, file, { dynamicSize: true });
      assert.deepEqual(
        outputs,
        arch === 'resnet_class_attention'
          ? { class_token: ['batch', embedDim], patch_tokens: ['batch', 'patches', embedDim] }
          : { feature: ['batch', embedDim] },
      );
      // the second is no multiple of anything
      for (const [imageSize, batch] of [
        [[64, 64], 1],
        [[49, 83], 3],
      ] as const) {
        const check = await checkOnnx(model, file, { imageSize, batch });
        assert.ok(check!.cosine > 1 - 1e-8, `cosine similarity ${check!.cosine}`);
      }
      assert.throws(() => exportOnnx(model, file, { attention: true }), ConfigError);
      // of one size, which no patch divides
      const fixed = exportOnnx(model, file, { imageSize: [49, 83] });
      if (arch === 'resnet_class_attention')
        assert.deepEqual(fixed.outputs['patch_tokens'], ['batch', 7 * 11, embedDim]);
      assert.ok((await checkOnnx(model, file, { imageSize: [49, 83] }))!.cosine > 1 - 1e-8);
      model.dispose();
    });
  }
});
