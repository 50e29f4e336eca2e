import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../errors.js';
import { tensor, zeros } from '../torch/index.js';
import { architectureNames, buildBackbone, normalizeImages } from './index.js';

test('names give the reference’s sizes; deit is vit', () => {
  const counts = { vit_tiny: 5_524_416, deit_tiny: 5_524_416, vit_small: 21_665_664, vit_base: 85_798_656 };
  for (const [arch, count] of Object.entries(counts)) {
    const model = buildBackbone({ arch });
    assert.equal(
      [...model.parameters()].reduce((sum, { numel }) => sum + numel, 0),
      count,
      arch,
    );
    model.dispose();
  }
  for (const name of ['vit_tiny', 'vit_small', 'vit_base', 'deit_tiny', 'deit_small', 'deit_base', 'vit']) {
    assert.ok((architectureNames as readonly string[]).includes(name));
  }
});

test('vit takes its sizes', () => {
  const model = buildBackbone({
    arch: 'vit',
    patchSize: 4,
    imgSize: 32,
    embedDim: 48,
    depth: 2,
    numHeads: 3,
  });
  assert.equal(model.embedDim, 48);
  assert.deepEqual(model.forward(zeros([2, 3, 12, 20])).shape, [2, 48]);
  assert.throws(() => buildBackbone({ arch: 'vit', embedDim: 48 }), /depth, numHeads missing/);
});

test('an unknown name is refused with those that exist', () => {
  assert.throws(
    () => buildBackbone({ arch: 'vit_smal' }),
    (error) =>
      error instanceof ConfigError && /vit_small/.test(error.message) && /vit_smal'/.test(error.message),
  );
  assert.throws(() => buildBackbone({ arch: 'toString' }), ConfigError);
});

test('bytes become ImageNet-normalised floats as torchvision makes them', () => {
  const bytes = tensor([[[[0, 255]], [[128, 64]], [[1, 200]]]], { dtype: 'uint8' }); // (1, 3, 1, 2)
  const expected = [
    [0, 255],
    [128, 64],
    [1, 200],
  ].flatMap((row, c) => row.map((x) => (x / 255 - [0.485, 0.456, 0.406][c]!) / [0.229, 0.224, 0.225][c]!));
  for (const [i, value] of normalizeImages(bytes).toArray().entries()) {
    assert.ok(Math.abs(value - (expected[i] as number)) < 1e-6);
  }
});
