/** Weights packed for products in bfloat16 are packed again after an optimizer's step and after the teacher's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  linear,
  noGrad,
  ops,
  Parameter,
  precisionProblem,
  randn,
  withPackedWeights,
  withPrecision,
  type Tensor,
} from '../torch/index.js';
import { buildOptimizer, OPTIMIZERS, parameterGroups } from './index.js';

const skip = precisionProblem('bf16-matmul', 'cpu') ?? false;
const input = randn([40, 64]);
const product = (weight: Tensor): Tensor =>
  noGrad(() => withPrecision('bf16-matmul', 'cpu', () => linear(input, weight)));

const changes: Record<string, (weight: Parameter) => void> = {
  'the average of a teacher': (weight) =>
    noGrad(() => ops._foreachLerp_([weight], [randn(weight.shape)], 0.5)),
  ...Object.fromEntries(
    OPTIMIZERS.map((name) => [
      `a step of ${name}`,
      (weight: Parameter) => {
        const optimizer = buildOptimizer(name, parameterGroups([['layer.weight', weight]]));
        weight.grad = randn(weight.shape);
        optimizer.step({ lr: 0.5, weightDecay: 0.1 });
        weight.grad = null;
      },
    ]),
  ),
};

for (const [name, change] of Object.entries(changes)) {
  test(`after ${name}`, { skip }, () => {
    const weight = new Parameter(randn([96, 64]));
    withPackedWeights(() => {
      const before = product(weight);
      assert.ok(product(weight).equal(before));
      for (let time = 0; time < 2; time++) {
        change(weight);
        const after = product(weight);
        assert.ok(!after.equal(before), 'the weight has not changed');
        assert.ok(after.equal(product(weight.detach().clone())), 'a stale weight was used');
      }
    });
  });
}
