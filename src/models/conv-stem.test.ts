/** The convolutional stem, by hand from libtorch's operators; no original is at hand that its numbers could be held to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, ShapeError } from '../errors.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
import { fromTypedArray, ops, scope, type Tensor } from '../torch/index.js';
import { ConvStem } from './conv-stem.js';
import { buildBackbone } from './registry.js';

const inputOf = (shape: readonly number[]): Tensor => fromTypedArray(hashValues('input', shape, 2), shape);
const sizes = { arch: 'vit_conv', patchSize: 8, imgSize: 32, embedDim: 64, depth: 2, numHeads: 2 } as const;

test('patches go through convolutions of stride 2 with norms and ReLUs, and one of 1 x 1', () => {
  const stem = hashFill(new ConvStem(8, 64), 0.1).train();
  const state = stem.stateDict();
  const part = (name: string): Tensor => state.get(`proj.${name}`)!;
  assert.deepEqual(
    [...state].filter(([name]) => name.endsWith('weight')).map(([name, { shape }]) => [name, shape]),
    [
      ['proj.0.weight', [16, 3, 3, 3]],
      ['proj.1.weight', [16]],
      ['proj.3.weight', [32, 16, 3, 3]],
      ['proj.4.weight', [32]],
      ['proj.6.weight', [64, 32, 3, 3]],
      ['proj.7.weight', [64]],
      ['proj.9.weight', [64, 64, 1, 1]],
    ],
    'the names of MoCo v3',
  );
  scope(() => {
    const images = inputOf([2, 3, 24, 40]);
    let x = images;
    for (const at of [0, 3, 6]) {
      const convolved = ops.conv2d(x, part(`${at}.weight`), null, 2, [1, 1]);
      const norm = [part(`${at + 1}.weight`), part(`${at + 1}.bias`)] as const;
      x = ops.batchNorm(convolved, ...norm, null, null, true, 0.1, 1e-5, false).relu();
    }
    const expected = ops.conv2d(x, part('9.weight'), part('9.bias')); // (2, 64, 3, 5)
    const tokens = stem.forward(images);
    assert.deepEqual(tokens.shape, [2, 15, 64]);
    assert.ok(tokens.sub(expected.flatten(2).transpose(1, 2)).abs().max().item() < 1e-5);
    // what fills no patch is dropped before the convolutions, which would round up
    const larger = ops.constantPadNd(images, [0, 5, 0, 7], 3);
    assert.deepEqual(stem.forward(larger).toArray(), tokens.toArray());
  });
  stem.dispose();
});

test('a transformer with it has the positions and the attention of one without', () => {
  const model = hashFill(buildBackbone(sizes), 0.1).train();
  scope(() => {
    const images = inputOf([2, 3, 32, 32]);
    assert.deepEqual(model.pos_embed.shape, [1, 17, 64]);
    const rows = model.getLastSelfAttention(images);
    assert.deepEqual(rows.shape, [2, 2, 17, 17]);
    for (const sum of rows.sum([-1]).toArray()) assert.ok(Math.abs(sum - 1) < 1e-5);
    assert.equal(model.forward(inputOf([2, 3, 16, 24])).size(1), 64, 'other sizes interpolate positions');
    model.forward(images).sum().backward();
    const first = [...model.namedParameters()].find(([name]) => name === 'patch_embed.proj.0.weight')!;
    assert.ok(first[1].grad!.abs().max().item() > 0);
    for (const [, parameter] of model.namedParameters()) parameter.grad = null;
  });
  model.dispose();
});

test('patches that can’t be halved to, and widths that can’t be halved so often, are refused in words', () => {
  assert.throws(() => new ConvStem(12, 64), ShapeError);
  assert.throws(
    () => buildBackbone({ ...sizes, patchSize: 12 }),
    (error) => error instanceof ConfigError && /patches of 12 pixels: .* take 2, 4, 8/.test(error.message),
  );
  assert.throws(
    () => buildBackbone({ ...sizes, patchSize: 16, embedDim: 68 }),
    /width 68: with patches of 16 pixels the stem takes multiples of 8/,
  );
});
