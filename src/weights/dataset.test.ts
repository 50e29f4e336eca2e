/** Web or satellite images: what decides how a DINOv3 network's images are normalized. */
import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../errors.js';
import { backboneShapes, buildBackbone, IMAGENET, SAT493M } from '../models/index.js';
import { scope, withoutMemory } from '../torch/index.js';
import { settingsOfInit } from '../train/init.js';
import { describeWeights } from './describe.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-dataset-'));
after(() => rmSync(folder, { recursive: true }));

type Shapes = Iterable<readonly [name: string, shape: readonly number[]]>;

/** A safetensors file of a model of any size: a header, and a hole where the numbers would be. */
function hollow(name: string, shapes: Shapes, metadata: Record<string, string> = {}): string {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  let end = 0;
  const entries = [...shapes].map(([key, shape]) => {
    const begin = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    return [key, { dtype: 'F16', shape, data_offsets: [begin, end] }] as const;
  });
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const fd = openSync(file, 'w');
  writeSync(fd, Buffer.concat([length, header]));
  ftruncateSync(fd, 8 + header.length + end);
  closeSync(fd);
  return file;
}

/** Names and shapes of ViT-L in transformers' files: the fixture has the first of its blocks. */
function transformersShapes(): Shapes {
  const { known } = JSON.parse(
    readFileSync(
      fileURLToPath(new URL('../../test/fixtures/weights/dinov3-names.json', import.meta.url)),
      'utf8',
    ),
  ) as { known: Record<string, { tensors: [string, number[]][] }> };
  return known['transformers/dinov3_vitl16']!.tensors.flatMap(([name, shape]) =>
    Array.from({ length: name.includes('layer.0.') ? 24 : 1 }, (_, i) => [
      name.replace('layer.0.', `layer.${i}.`),
      shape,
    ]),
  ) as [string, number[]][];
}

const archOf = (file: string, normalization?: 'imagenet' | 'sat493m'): string =>
  describeWeights(file, normalization === undefined ? {} : { normalization }).architecture.arch;

describe('ViT-L', () => {
  it('of the original is told by its norm of local crops', () => {
    const web = hollow('l.safetensors', backboneShapes({ arch: 'dinov3_vitl16' }));
    assert.equal(archOf(web), 'dinov3_vitl16');
    const satellite = hollow('l-local.safetensors', backboneShapes({ arch: 'dinov3_vitl16_sat493m' }));
    assert.equal(archOf(satellite), 'dinov3_vitl16_sat493m');
    assert.throws(() => archOf(satellite, 'imagenet'), ConfigError);
    assert.equal(archOf(satellite, 'sat493m'), 'dinov3_vitl16_sat493m');
    assert.deepEqual(describeWeights(satellite).notes, []);
  });

  it('of transformers by the preprocessor_config.json beside it, or by the caller', () => {
    const file = hollow('hf/model.safetensors', transformersShapes());
    const beside = path.join(folder, 'hf');
    writeFileSync(path.join(beside, 'config.json'), '{"model_type":"dinov3_vit","num_attention_heads":16}');
    assert.equal(archOf(beside), 'dinov3_vitl16');
    // no norm of local crops there, of either
    assert.match(describeWeights(beside).notes.join(), /tensors don't tell.*--normalization sat493m/);
    for (const [{ mean }, arch] of [
      [SAT493M, 'dinov3_vitl16_sat493m'],
      [IMAGENET, 'dinov3_vitl16'],
    ] as const) {
      writeFileSync(path.join(beside, 'preprocessor_config.json'), JSON.stringify({ image_mean: mean }));
      for (const weights of [beside, file]) assert.equal(archOf(weights), arch);
      assert.doesNotMatch(describeWeights(beside).notes.join(), /tensors don't tell/);
    }
    assert.equal(archOf(beside, 'sat493m'), 'dinov3_vitl16_sat493m');
  });

  it('of transformers may be told to a training', () => {
    const init = hollow('untold.safetensors', transformersShapes());
    const notes: string[] = [];
    const note = (message: string) => notes.push(message);
    assert.equal(settingsOfInit({ init, numHeads: 16 }, note).arch, 'dinov3_vitl16');
    assert.match(notes.join(), /tensors don't tell.*\(--init-normalization sat493m for the other\)/);
    const told = settingsOfInit({ init, numHeads: 16, initNormalization: 'sat493m' });
    assert.equal(told.arch, 'dinov3_vitl16_sat493m');
  });
});

describe('ViT-7B, whose tensors are the same', () => {
  const shapes = [...backboneShapes({ arch: 'dinov3_vit7b16' })];
  it('is of web images, and a note says that the tensors do not tell', () => {
    const file = hollow('weights.safetensors', shapes);
    const { architecture, notes } = describeWeights(file);
    assert.equal(architecture.arch, 'dinov3_vit7b16');
    assert.match(notes.join(), /tensors don't tell.*--normalization sat493m/);
    assert.equal(archOf(file, 'sat493m'), 'dinov3_vit7b16_sat493m');
    assert.deepEqual(describeWeights(file, { normalization: 'imagenet' }).notes, []);
  });

  it('is told by the name of the official file, or by the record of an exported one', () => {
    const official = hollow('dinov3_vit7b16_pretrain_sat493m-a6675841.safetensors', shapes);
    assert.equal(archOf(official), 'dinov3_vit7b16_sat493m');
    assert.match(describeWeights(official).notes.join(), /by its name/);
    const web = hollow('dinov3_vit7b16_pretrain_lvd1689m-a955f4ea.safetensors', shapes);
    assert.deepEqual(describeWeights(web).notes, []);
    const arch = 'dinov3_vit7b16_sat493m';
    const record = {
      arch,
      embed_dim: '4096',
      depth: '40',
      num_heads: '32',
      patch_size: '16',
      image_size: '224',
    };
    assert.equal(archOf(hollow('exported.safetensors', shapes, record)), arch);
  });
});

it('other networks are not of satellite images, and another mean beside them is a warning', () => {
  const shapes = [...backboneShapes({ arch: 'dinov3_vits16' })];
  const file = hollow('s/model.safetensors', shapes);
  assert.throws(() => archOf(file, 'sat493m'), /only dinov3_vitl16 and dinov3_vit7b16/);
  const beside = path.join(folder, 's');
  writeFileSync(path.join(beside, 'preprocessor_config.json'), '{"image_mean":[0.5,0.5,0.5]}');
  assert.match(describeWeights(beside).warnings.join(), /normalized by the mean 0.5, 0.5, 0.5; here/);
});

it('a network of satellite images normalizes by their mean and deviation', () => {
  scope(() =>
    withoutMemory(() => {
      for (const arch of ['dinov3_vitl16', 'dinov3_vit7b16', 'dinov3_convnext_tiny'])
        assert.deepEqual(buildBackbone({ arch }).normalization, IMAGENET);
      for (const arch of ['dinov3_vitl16_sat493m', 'dinov3_vit7b16_sat493m'])
        assert.deepEqual(buildBackbone({ arch }).normalization, {
          mean: [0.43, 0.411, 0.296],
          std: [0.213, 0.156, 0.143],
        });
    }),
  );
});
