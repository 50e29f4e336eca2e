/** Passes without gradients, which take whole images a thread, against the same layers one by one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  autocast,
  getNumThreads,
  inferenceMode,
  manualSeed,
  noGrad,
  randn,
  scope,
  setNumThreads,
} from '../torch/index.js';
import { type Tensor } from '../torch/index.js';
import { VisionTransformer } from './vision-transformer.js';

const model = (options: { dropPathRate?: number } = {}) => {
  manualSeed(1);
  return new VisionTransformer({
    patchSize: 8,
    imgSize: 32,
    embedDim: 48,
    depth: 3,
    numHeads: 3,
    ...options,
  }).eval();
};
const difference = (a: Tensor, b: Tensor): number => {
  assert.deepEqual(a.shape, b.shape);
  return inferenceMode(() => a.detach().sub(b.detach()).abs().max().item());
};

for (const threads of [1, 2, 3]) {
  test(`${threads} threads: class token, tokens and layers are what they are with gradients`, () => {
    const before = getNumThreads();
    setNumThreads(threads);
    const vit = model();
    // one image alone, fewer than go in groups, numbers that don't divide, groups of several
    for (const count of [1, 3, 7, 130]) {
      scope(() => {
        const images = randn([count, 3, 24, 40]);
        const outputs = () => [
          vit.forward(images),
          vit.forwardTokens(images),
          ...vit.getIntermediateLayers(images, 1),
          ...vit.getIntermediateLayers(images, 3),
        ];
        const expected = outputs();
        for (const mode of [noGrad, inferenceMode]) {
          mode(outputs).forEach((got, i) => {
            assert.ok(!got.requiresGrad);
            assert.ok(difference(got, expected[i]!) < 2e-5, `output ${i} of ${count} images`);
          });
        }
      });
    }
    vit.dispose();
    setNumThreads(before);
  });
}

test('results of noGrad() go into gradients of others, and two passes agree to the bit', () => {
  const vit = model();
  scope(() => {
    const images = randn([20, 3, 32, 32]);
    const features = noGrad(() => vit.forward(images));
    assert.equal(
      difference(
        features,
        noGrad(() => vit.forward(images)),
      ),
      0,
    );
    const scale = randn([48]);
    scale.requiresGrad = true;
    features.mul(scale).sum().backward();
    assert.ok(difference(scale.grad as Tensor, features.sum([0])) < 1e-4);
  });
  vit.dispose();
});

test('in other precisions, and in training with stochastic depth, layers run one by one', () => {
  const vit = model({ dropPathRate: 0.9 });
  scope(() => {
    const images = randn([20, 3, 32, 32]);
    const exact = noGrad(() => vit.forward(images));
    const low = noGrad(() => autocast({ device: 'cpu', dtype: 'bfloat16' }, () => vit.forward(images)));
    assert.ok(difference(low.to('float32'), exact) < 0.2);
    vit.train();
    assert.ok(
      difference(
        noGrad(() => vit.forward(images)),
        exact,
      ) > 0.01,
      'branches are dropped',
    );
  });
  vit.dispose();
});
