/** DINOv2's models as ONNX files, for transformers.js and as a page: in the programs that run them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { Model } from '../model.js';
import { type ArchitectureName, buildBackbone, type Dinov2, normalizeImages } from '../models/index.js';
import { hashBytes, hashFill } from '../testing/hash-fill.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import { checkOnnx } from './onnx/check.js';
import { exportOnnx } from './onnx/export-onnx.js';
import { decodeModel } from './onnx/proto.js';
import { exportTransformers } from './transformers/export-transformers.js';
import { exportWeb } from './web/export-web.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-export-dinov2-'));
const at = (...names: string[]): string => path.join(folder, ...names);
after(() => rmSync(folder, { recursive: true }));

const SIZES = { embedDim: 48, depth: 3, numHeads: 3, patchSize: 14 };

/** Positions for 5 x 5 patches; made for images of 2 x 2, so that they are interpolated. */
function modelOf(
  arch: 'dinov2_vit' | 'dinov2_vit_reg' | 'dinov2_vit_swiglu' | 'dinov2_vit_swiglu_reg',
): Model {
  const backbone = hashFill(buildBackbone({ arch, ...SIZES, imgSize: 70 }), 0.12).eval();
  const architecture = { arch, ...SIZES, imgSize: 28, positionsSize: 70, wholePatches: true } as const;
  return new Model(backbone, architecture, 'memory', 'cpu');
}

for (const arch of ['dinov2_vit', 'dinov2_vit_reg', 'dinov2_vit_swiglu', 'dinov2_vit_swiglu_reg'] as const) {
  describe(`an ONNX file of a ${arch} gives our outputs in onnxruntime to 1e-4`, () => {
    const model = modelOf(arch);
    after(() => model.dispose());
    const isNear = async (
      file: string,
      imageSize: readonly [number, number],
      batch: number,
    ): Promise<string[]> => {
      const check = await checkOnnx(model, file, { imageSize, batch });
      assert.ok(check, 'onnxruntime-node is a development dependency');
      for (const [name, difference] of Object.entries(check.differences))
        assert.ok(difference < 1e-4, `${imageSize.join(' x ')}: ${name} is off by ${difference}`);
      return Object.keys(check.differences).sort();
    };

    it('of one size, the usual one or another', async () => {
      const file = at(`${arch}.onnx`);
      const result = exportOnnx(model, file, { attention: true });
      assert.deepEqual(result.imageSize, [28, 28]);
      assert.deepEqual(result.outputs['patch_tokens'], ['batch', 4, 48]);
      const all = 4 + (model.backbone as Dinov2).prefixTokens;
      assert.deepEqual(result.outputs['attention'], ['batch', 3, all, all]);
      const names = ['attention', 'class_token', 'patch_tokens'];
      assert.deepEqual(await isNear(file, [28, 28], 2), names);
      exportOnnx(model, file, { imageSize: [42, 98] });
      await isNear(file, [42, 98], 1);
      assert.throws(
        () => exportOnnx(model, file, { imageSize: 64 }),
        /64 x 64; expected a multiple of 14.*56 or 70/,
      );
    });

    it('of any size: that of the positions, smaller and larger ones', async () => {
      const file = at(`${arch}-any.onnx`);
      exportOnnx(model, file, { dynamicSize: true, attention: true });
      for (const size of [[70, 70], [28, 28], [14, 56], [98, 84], [140, 70]] as const) await isNear(file, size, 1); // prettier-ignore
    });

    it('of the page, whose attention has no registers', async () => {
      const site = at(`${arch}-web`);
      await exportWeb(model, site, { dtype: 'fp32' });
      const names = await isNear(path.join(site, 'model.onnx'), [42, 70], 1);
      assert.deepEqual(names, ['class_attention', 'class_token', 'patch_tokens']);
      const {
        model: said,
        sizes,
        title,
      } = JSON.parse(readFileSync(path.join(site, 'model.json'), 'utf8')) as {
        model: { imgSize: number; patchSize: number };
        sizes: { crop: number };
        title: string;
      };
      assert.deepEqual([said.imgSize, said.patchSize, sizes.crop, title], [28, 14, 28, arch]);
      const { output } = decodeModel(readFileSync(path.join(site, 'model.onnx'))).graph;
      const attention = output.find(({ name }) => name === 'class_attention')!.docString!;
      assert.equal(/without|left out/.test(attention), arch.endsWith('_reg'));
    });
  });
}

it('transformers.js runs what is exported for it, as the class that transformers has for it', async () => {
  const image = at('image.png');
  const [height, width] = [32, 44];
  const bytes = hashBytes('image', [height, width, 3]);
  const raw = { width, height, channels: 3 } as const;
  await sharp(bytes, { raw }).png().toFile(image);
  const cropped = await sharp(bytes, { raw })
    .extract({ top: 2, left: 8, width: 28, height: 28 })
    .raw()
    .toBuffer();
  for (const [arch, type] of [
    ['dinov2_vit', 'dinov2'],
    ['dinov2_vit_swiglu_reg', 'dinov2_with_registers'],
  ] as const) {
    const model = modelOf(arch);
    const { resize, crop } = exportTransformers(model, at(type), { quantized: false });
    assert.deepEqual([resize, crop], [32, 28]);
    const config = JSON.parse(readFileSync(at(type, 'config.json'), 'utf8')) as Record<string, unknown>;
    assert.deepEqual(
      [
        config['model_type'],
        config['use_swiglu_ffn'],
        config['num_register_tokens'] ?? 0,
        config['image_size'],
      ],
      [type, arch.includes('swiglu'), arch.endsWith('_reg') ? 4 : 0, 28],
    );
    const example = fileURLToPath(new URL('../../examples/transformers.mjs', import.meta.url));
    const text = execFileSync(process.execPath, [example, at(type), 'fp32', image], { encoding: 'utf8' });
    const { dims, tokens } = JSON.parse(text) as { dims: number[]; tokens: number[] };
    scope(() =>
      inferenceMode(() => {
        const pixels = fromTypedArray(new Uint8Array(cropped), [1, 28, 28, 3]).permute([0, 3, 1, 2]);
        const expected = (model.backbone as Dinov2).forwardTokens(normalizeImages(pixels.contiguous()));
        assert.deepEqual(dims, expected.shape);
        const values = expected.contiguous().toArray();
        const worst = Math.max(...tokens.map((value, i) => Math.abs(value - values[i]!)));
        assert.ok(worst < 1e-3, `off by ${worst}`);
      }),
    );
    model.dispose();
  }
});

it('what is exported says how the network is called', () => {
  const model = modelOf('dinov2_vit_reg');
  exportOnnx(model, at('said.onnx'));
  const { docString, metadataProps } = decodeModel(readFileSync(at('said.onnx')));
  const record = Object.fromEntries(metadataProps.map(({ key, value }) => [key, value]));
  assert.match(docString, /^dinov2_vit_reg, width 48, patches of 14 pixels$/);
  assert.deepEqual(
    [record['arch'], record['image_size']],
    ['dinov2_vit_reg' satisfies ArchitectureName, '28'],
  );
  model.dispose();
});
