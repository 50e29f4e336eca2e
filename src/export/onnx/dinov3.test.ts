/** DINOv3's networks as ONNX files in onnxruntime, and as folders in transformers.js, against our own features. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { ConfigError } from '../../errors.js';
import { Model } from '../../model.js';
import {
  type Backbone,
  buildBackbone,
  DinoV3Transformer,
  normalizeImages,
  SAT493M,
  type TokenBackbone,
} from '../../models/index.js';
import { hashBytes, hashFill } from '../../testing/hash-fill.js';
import { fromTypedArray, noGrad, scope } from '../../torch/index.js';
import { exportTransformers } from '../transformers/export-transformers.js';
import { checkOnnx } from './check.js';
import { buildOnnx, exportOnnx } from './export-onnx.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-onnx-dinov3-'));
after(() => rmSync(folder, { recursive: true }));

const sizes = { embedDim: 64, depth: 2, numHeads: 2, patchSize: 8 };
const NETWORKS: Record<string, () => Backbone> = {
  perceptron: () => buildBackbone({ arch: 'dinov3_vit', ...sizes }),
  SwiGLU: () =>
    new DinoV3Transformer({ ...sizes, ffn: 'swiglu', hiddenDim: 96, qkvBias: false, localNorm: true }),
  ConvNeXt: () => buildBackbone({ arch: 'dinov3_convnext', embedDim: 64, depth: 6 }),
};

function modelOf(name: string, backbone = NETWORKS[name]!()): Model {
  const isConvNeXt = name === 'ConvNeXt';
  const architecture = isConvNeXt
    ? ({ arch: 'dinov3_convnext', embedDim: 64, depth: 6, numHeads: 0, patchSize: 32 } as const)
    : ({ arch: 'dinov3_vit', ...sizes } as const);
  return new Model(hashFill(backbone, 0.08).eval(), { ...architecture, imgSize: 64 }, 'memory', 'cpu');
}

describe('an ONNX file gives our class token, patches and attention to 1e-4', () => {
  for (const name of Object.keys(NETWORKS)) {
    const hasAttention = name !== 'ConvNeXt';
    it(`${name}, at one size`, async () => {
      using model = modelOf(name);
      const file = path.join(folder, `${name}.onnx`);
      const { outputs } = exportOnnx(model, file, { imageSize: [64, 96], attention: hasAttention });
      const patches = hasAttention ? 96 : 6;
      assert.deepEqual(outputs, {
        class_token: ['batch', 64],
        patch_tokens: ['batch', patches, 64],
        ...(hasAttention ? { attention: ['batch', 2, patches + 5, patches + 5] } : {}),
      });
      const check = await checkOnnx(model, file, { imageSize: [64, 96] });
      assert.ok(check!.cosine > 1 - 1e-8);
      if (!hasAttention) assert.throws(() => exportOnnx(model, file, { attention: true }), ConfigError);
    });

    it(`${name}, at any size`, async () => {
      using model = modelOf(name);
      const file = path.join(folder, `${name}-any.onnx`);
      exportOnnx(model, file, { dynamicSize: true, attention: hasAttention });
      for (const imageSize of [
        [64, 64],
        [40, 71],
        [104, 33],
      ] as const)
        assert.ok((await checkOnnx(model, file, { imageSize, batch: 3 }))!.cosine > 1 - 1e-8);
    });
  }

  it('the attention of a page has the class token and the patches, without storage tokens', () => {
    using model = modelOf('perceptron');
    const { graph } = buildOnnx(model, { size: [16, 24], outputs: { classAttention: 'class_attention' } });
    const [{ type } = assert.fail()] = graph.output;
    const dims = type.tensorType.shape.dim.map((dim) => ('dimValue' in dim ? dim.dimValue : dim.dimParam));
    assert.deepEqual(dims, ['batch', 2, 1, 7]);
  });

  it('the file says how images of satellites are normalized', () => {
    using model = modelOf('perceptron', new DinoV3Transformer({ ...sizes, normalization: SAT493M }));
    const { metadataProps } = buildOnnx(model, { size: null, outputs: { classToken: 'class_token' } });
    const props = new Map(metadataProps.map(({ key, value }) => [key, value]));
    assert.equal(props.get('image_mean'), '0.43,0.411,0.296');
  });
});

describe('a folder gives our features in transformers.js', () => {
  for (const [name, type] of [
    ['perceptron', 'dinov3_vit'],
    ['ConvNeXt', 'dinov3_convnext'],
  ] as const)
    it(type, async () => {
      using model = modelOf(name);
      const output = path.join(folder, type);
      const { resize, crop } = exportTransformers(model, output);
      const config = JSON.parse(readFileSync(path.join(output, 'config.json'), 'utf8')) as object;
      assert.equal((config as { model_type: string }).model_type, type);
      // as high as images are resized to, and as wide: nothing is resized
      const bytes = hashBytes('image', [resize, resize, 3]);
      const file = path.join(folder, `${type}.png`);
      await sharp(bytes, { raw: { width: resize, height: resize, channels: 3 } })
        .png()
        .toFile(file);
      const [top, left] = [(resize - crop) / 2, (resize - crop) / 2];
      const cropped = await sharp(bytes, { raw: { width: resize, height: resize, channels: 3 } })
        .extract({ top, left, width: crop, height: crop })
        .raw()
        .toBuffer();
      const { tokens, dims } = scope(() =>
        noGrad(() => {
          const pixels = fromTypedArray(new Uint8Array(cropped), [1, crop, crop, 3]).permute([0, 3, 1, 2]);
          const found = (model.backbone as TokenBackbone).forwardTokens(normalizeImages(pixels)).contiguous();
          return { tokens: found.toTypedArray() as Float32Array, dims: [...found.shape] };
        }),
      );
      const text = execFileSync(
        process.execPath,
        [path.join(root, 'examples', 'transformers.mjs'), output, 'fp32', file],
        { encoding: 'utf8', maxBuffer: 2 ** 26 },
      );
      const got = JSON.parse(text) as { dims: number[]; tokens: number[] };
      assert.deepEqual(got.dims, dims);
      const worst = Math.max(...got.tokens.map((value, i) => Math.abs(value - tokens[i]!)));
      assert.ok(worst < 1e-3, `off by ${worst}`);
    });
});
