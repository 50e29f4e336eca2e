/** ONNX files in onnxruntime against our own outputs, and what the files say of themselves. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError } from '../../errors.js';
import { buildBackbone } from '../../models/index.js';
import { hashFill } from '../../testing/hash-fill.js';
import { noGrad } from '../../torch/index.js';
import { Model } from '../../model.js';
import { checkOnnx } from './check.js';
import { buildOnnx, exportOnnx } from './export-onnx.js';
import { decodeModel, encodeModel } from './proto.js';
import { quantizeOnnx } from './quantize.js';
import { exportTransformers } from '../transformers/export-transformers.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-onnx-'));
after(() => rmSync(folder, { recursive: true }));

/** A narrow model whose weights are large enough for attention to be far from uniform. */
function narrowModel(
  patchSize: number,
  imgSize: number,
  shape = { embedDim: 48, depth: 3, numHeads: 3 },
): Model {
  const backbone = hashFill(buildBackbone({ arch: 'vit', patchSize, imgSize, ...shape }), 0.15).eval();
  return new Model(backbone, { arch: 'vit', patchSize, imgSize, ...shape }, 'memory', 'cpu');
}

describe('an ONNX file gives our outputs in onnxruntime to 1e-4', () => {
  const cases = [
    { patchSize: 8, imgSize: 32, imageSize: undefined, batch: 1 },
    { patchSize: 8, imgSize: 32, imageSize: 56, batch: 3 },
    { patchSize: 16, imgSize: 64, imageSize: [48, 112], batch: 3 },
    { patchSize: 5, imgSize: 32, imageSize: [33, 28], batch: 2 },
  ] as const;
  for (const { patchSize, imgSize, imageSize, batch } of cases) {
    it(`patch ${patchSize}, made for ${imgSize}, at ${String(imageSize ?? 'its own size')}, batch ${batch}`, async () => {
      const model = narrowModel(patchSize, imgSize);
      const file = path.join(folder, 'fixed', `p${patchSize}.onnx`);
      const result = exportOnnx(model, file, {
        attention: true,
        ...(imageSize === undefined ? {} : { imageSize }),
      });
      assert.ok(result.imageSize);
      assert.deepEqual(result.inputs['pixel_values'], ['batch', 3, ...result.imageSize]);
      const check = await checkOnnx(model, file, { imageSize: result.imageSize, batch });
      assert.ok(check, 'onnxruntime-node is a development dependency');
      assert.deepEqual(Object.keys(check.differences).sort(), ['attention', 'class_token', 'patch_tokens']);
      for (const [name, difference] of Object.entries(check.differences)) {
        assert.ok(difference < 1e-4, `${name} is off by ${difference}`);
      }
      model.dispose();
    });
  }

  it('at any size with dynamicSize, the learnt one and others', async () => {
    const model = narrowModel(8, 32);
    const file = path.join(folder, 'dynamic.onnx');
    const result = exportOnnx(model, file, { dynamicSize: true, attention: true });
    assert.equal(result.imageSize, null);
    // 16 x 64 has as many patches as the learnt grid, but is not square; the last is cut off at both edges
    for (const imageSize of [
      [32, 32],
      [16, 64],
      [40, 40],
      [24, 72],
      [8, 8],
      [61, 45],
      [38, 34],
    ] as const) {
      const check = await checkOnnx(model, file, { imageSize, batch: 1 });
      for (const [name, difference] of Object.entries(check!.differences)) {
        assert.ok(difference < 1e-4, `${imageSize.join(' x ')}: ${name} is off by ${difference}`);
      }
    }
    model.dispose();
  });

  it('notices a model of other weights', async () => {
    const model = narrowModel(8, 32);
    const file = path.join(folder, 'other.onnx');
    exportOnnx(model, file);
    const other = narrowModel(8, 32);
    noGrad(() => other.backbone.stateDict().get('pos_embed')!.mul_(1.1));
    await assert.rejects(
      checkOnnx(other, file, { imageSize: [32, 32] }),
      /onnxruntime's class_token is off by/,
    );
    model.dispose();
    other.dispose();
  });
});

it('a file says how its input is made, and is read back as it was written', () => {
  const model = narrowModel(8, 32);
  const file = path.join(folder, 'meta.onnx');
  const { bytes } = exportOnnx(model, file);
  const content = readFileSync(file);
  assert.equal(content.length, bytes);
  const onnx = decodeModel(content);
  assert.deepEqual(onnx.opsetImport, [{ domain: '', version: 17 }]);
  const metadata = Object.fromEntries(onnx.metadataProps.map(({ key, value }) => [key, value]));
  assert.equal(metadata['image_mean'], '0.485,0.456,0.406');
  assert.equal(metadata['image_std'], '0.229,0.224,0.225');
  assert.equal(metadata['center_crop'], '32');
  const saysOf = (imageSize: number | [number, number]) => {
    const { file: other } = exportOnnx(model, path.join(folder, 'meta-of-size.onnx'), { imageSize });
    const pairs = decodeModel(readFileSync(other)).metadataProps.map(({ key, value }) => [key, value]);
    const {
      image_size: own,
      resize_shorter_side: resize,
      center_crop: crop,
    } = Object.fromEntries(pairs) as Record<string, string>;
    return [own, resize, crop];
  };
  assert.deepEqual(saysOf(48), ['32', '55', '48']);
  assert.deepEqual(saysOf([40, 64]), ['32', undefined, undefined]);
  assert.match(onnx.graph.input[0]!.docString!, /RGB images in \[0, 1\], less the mean/);
  assert.deepEqual(Buffer.from(encodeModel(onnx)), content);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('partial')),
    [],
  );
  assert.throws(() => decodeModel(content.subarray(0, 1000)), /not an ONNX model/);
  model.dispose();
});

it('sizes that can not be are refused, and nothing is written', () => {
  const model = narrowModel(8, 32);
  const file = path.join(folder, 'refused.onnx');
  for (const imageSize of [7, 32.5, [32, 4], NaN] as const) {
    assert.throws(() => exportOnnx(model, file, { imageSize }), ConfigError);
  }
  assert.throws(() => exportOnnx(model, file, { imageSize: 32, dynamicSize: true }), /exclude each other/);
  assert.throws(() => exportTransformers(model, file, { imageSize: 40, resize: 32 }), /larger than resize/);
  assert.ok(!readdirSync(folder).includes('refused.onnx'));
  model.dispose();
});

it('quantised: a quarter of the size, and nearly the same features', async () => {
  const model = narrowModel(8, 32, { embedDim: 192, depth: 4, numHeads: 3 });
  const file = path.join(folder, 'q');
  const { files } = exportTransformers(model, file);
  const [full, small] = [files['onnx/model.onnx']!, files['onnx/model_quantized.onnx']!];
  assert.ok(small < 0.3 * full, `${small} of ${full} bytes`);
  const exact = await checkOnnx(model, path.join(file, 'onnx/model.onnx'), { imageSize: [32, 32] });
  assert.ok(exact!.cosine > 0.99999);
  const check = await checkOnnx(model, path.join(file, 'onnx/model_quantized.onnx'), {
    imageSize: [32, 32],
    isExact: false,
  });
  assert.ok(check!.cosine > 0.98 && check!.cosine < 0.999999, `cosine ${check!.cosine}`);
  const onnx = decodeModel(readFileSync(path.join(file, 'onnx/model.onnx')));
  const products = (nodes: readonly { opType: string }[], type: string): number =>
    nodes.filter(({ opType }) => opType === type).length;
  const { node } = quantizeOnnx(onnx)!.graph;
  assert.equal(products(node, 'MatMulInteger'), 4 * 4);
  assert.equal(products(node, 'MatMul'), 4 * 2); // those of two activations
  model.dispose();
});

it('quantised: null of a graph without products of matrices', () => {
  const backbone = hashFill(buildBackbone({ arch: 'resnet18' }), 0.1).eval();
  const sizes = {
    arch: 'resnet18',
    embedDim: 512,
    depth: 8,
    numHeads: 0,
    patchSize: 1,
    imgSize: 64,
  } as const;
  using model = new Model(backbone, sizes, 'memory', 'cpu');
  assert.ok(quantizeOnnx(buildOnnx(model, { size: null, outputs: {} })) === null);
});
