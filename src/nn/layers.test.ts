import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShapeError } from '../errors.js';
import { manualSeed, noGrad, ones, ops, rand, randn, tensor, type Tensor } from '../torch/index.js';
import { BatchNorm, Conv2d, Dropout, DropPath, GELU, LayerNorm, Linear, WeightNormLinear } from './index.js';

function assertNear(actual: Tensor, expected: Tensor | readonly number[], tolerance = 1e-6): void {
  const wanted = Array.isArray(expected) ? (expected as number[]) : (expected as Tensor).toArray();
  const found = actual.toArray();
  assert.equal(found.length, wanted.length);
  for (const [i, value] of found.entries()) {
    assert.ok(
      Math.abs(value - (wanted[i] as number)) <= tolerance,
      `[${i}]: ${value}, expected ${wanted[i]}`,
    );
  }
}
const set = (into: Tensor, values: readonly number[]): void => (into.data() as Float32Array).set(values);

test('Linear is x W^T + b, its initial values within 1 / sqrt(in)', () => {
  const layer = new Linear(16, 64);
  assert.deepEqual(layer.weight.shape, [64, 16]);
  const most = Math.max(...layer.weight.toArray().map(Math.abs));
  assert.ok(most <= 0.25 && most > 0.24);
  assert.ok(Math.max(...(layer.bias as Tensor).toArray().map(Math.abs)) <= 0.25);

  const small = new Linear(2, 3);
  set(small.weight, [1, 2, 3, 4, 5, 6]);
  set(small.bias as Tensor, [10, 20, 30]);
  assertNear(small.forward(tensor([[1, -1]])), [9, 19, 29]);
  assert.equal(new Linear(2, 3, { bias: false }).bias, null);
});

test('Conv2d slides its kernel with stride and padding, and drops a remainder', () => {
  const layer = new Conv2d(1, 1, 2, { stride: 2 });
  set(layer.weight, [1, 10, 100, 1000]);
  set(layer.bias as Tensor, [0.5]);
  const image = tensor([
    [
      [
        [1, 2, 9],
        [3, 4, 9],
        [9, 9, 9],
      ],
    ],
  ]); // (1, 1, 3, 3)
  assertNear(layer.forward(image), [1 + 20 + 300 + 4000 + 0.5]);
  const padded = new Conv2d(2, 5, 3, { padding: 1, bias: false });
  assert.deepEqual(padded.forward(ones([1, 2, 4, 6])).shape, [1, 5, 4, 6]);
});

test('LayerNorm gives rows mean 0 and variance 1, with its eps inside the root', () => {
  const layer = new LayerNorm(4, { eps: 0.5 });
  set(layer.weight, [1, 1, 1, 2]);
  set(layer.bias, [0, 0, 0, 1]);
  const root = Math.sqrt(1.25 + 0.5); // variance of 0, 1, 2, 3 and eps
  assertNear(layer.forward(tensor([[0, 1, 2, 3]])), [-1.5 / root, -0.5 / root, 0.5 / root, 3 / root + 1]);
});

test('BatchNorm normalizes by the batch in training, by its running statistics in evaluation', () => {
  const layer = new BatchNorm(2);
  const x = tensor([
    [1, 10],
    [3, 30],
  ]); // (2, 2)
  assertNear(layer.forward(x), [-1, -1, 1, 1], 1e-4);
  assertNear(layer.running_mean, [0.2, 2]); // momentum 0.1
  assertNear(layer.running_var, [0.9 + 0.1 * 2, 0.9 + 0.1 * 200], 1e-5); // unbiased
  assert.equal(layer.num_batches_tracked.item(), 1);
  layer.eval();
  assertNear(
    layer.forward(x),
    [0.8 / Math.sqrt(1.1), 8 / Math.sqrt(20.9), 2.8 / Math.sqrt(1.1), 28 / Math.sqrt(20.9)],
    1e-4,
  );
  assert.equal(layer.num_batches_tracked.item(), 1);
});

test('BatchNorm takes images too, and refuses a single value per channel in training', () => {
  const layer = new BatchNorm(3);
  const out = layer.forward(randn([2, 3, 4, 4]));
  assertNear(out.mean([0, 2, 3]), [0, 0, 0], 1e-5);
  assertNear(out.pow(2).mean([0, 2, 3]), [1, 1, 1], 1e-3);
  assert.throws(
    () => layer.forward(ones([1, 3])),
    (error) => error instanceof ShapeError && /larger batch/.test(error.message),
  );
  assert.deepEqual(layer.eval().forward(ones([1, 3])).shape, [1, 3]);
});

test('Dropout zeroes the given share, keeps the mean, and does nothing in evaluation', () => {
  manualSeed(1);
  const layer = new Dropout(0.25);
  const out = layer.forward(ones([10_000])).toArray();
  const zeroed = out.filter((value) => value === 0).length;
  assert.ok(Math.abs(zeroed / 10_000 - 0.25) < 0.02, String(zeroed));
  assert.ok(out.every((value) => value === 0 || Math.abs(value - 4 / 3) < 1e-6));
  const x = rand([5]);
  assert.equal(layer.eval().forward(x), x);
});

test('DropPath drops whole samples and scales up the rest', () => {
  manualSeed(2);
  const layer = new DropPath(0.4);
  const out = layer.forward(ones([2000, 2, 3])); // (B, N, C)
  const perSample = out.flatten(1);
  assert.deepEqual(perSample.amin([1]).toArray(), perSample.amax([1]).toArray());
  const dropped = perSample.select(1, 0).eq(0).sum().item();
  assert.ok(Math.abs(dropped / 2000 - 0.4) < 0.04, String(dropped));
  assert.ok(Math.abs(out.max().item() - 1 / 0.6) < 1e-6);
  const x = rand([5, 1]);
  assert.equal(new DropPath(0).forward(x), x);
  assert.equal(layer.eval().forward(x), x);
});

for (const rate of [0.1, 0.5, 0.999]) {
  test(`DropPath.residual is the sum with the dropped branch, for less work: rate ${rate}`, () => {
    const [layer, linear] = [new DropPath(rate), new Linear(4, 4)];
    const results = ['residual', 'forward'].map((how) => {
      manualSeed(5);
      const x = randn([6, 3, 4]); // (B, N, C)
      x.requiresGrad = true;
      let samples = 0;
      const branch = (kept: Tensor): Tensor => {
        samples = kept.size(0);
        return linear.forward(kept).sin();
      };
      const out = how === 'residual' ? layer.residual(x, branch) : x.add(layer.forward(branch(x)));
      out.mul(out).sum().backward();
      const gradients = [x, linear.weight].map((t) => t.grad as Tensor);
      linear.weight.grad = null;
      return { out, gradients, samples };
    });
    const [skipped, whole] = results as [(typeof results)[0], (typeof results)[0]];
    assertNear(skipped.out, whole.out);
    for (const [i, gradient] of skipped.gradients.entries())
      assertNear(gradient, whole.gradients[i] as Tensor, 1e-4);
    if (rate === 0.5) assert.ok(skipped.samples < 6, 'some are not computed');
  });
}

test('GELU is the exact one', () => {
  // x * Phi(x); the tanh approximation differs by 1.5e-4 at 1
  assertNear(new GELU().forward(tensor([-1, 0, 1, 3])), [-0.15865525, 0, 0.84134475, 2.99595031]);
});

test('WeightNormLinear starts as the plain layer with weight v, and its weight is g v / |v|', () => {
  const layer = new WeightNormLinear(4, 3);
  const x = randn([5, 4]);
  assertNear(layer.forward(x), ops.linear(x, layer.weight_v));
  assert.deepEqual([...layer.stateDict().keys()], ['weight_g', 'weight_v']);
  noGrad(() => layer.weight_g.fill_(1));
  noGrad(() => layer.weight_v.mul_(5)); // the lengths of v don't matter
  const unit = layer.weight_v.div(layer.weight_v.norm(2, [1], true)); // (3, 4)
  assertNear(layer.forward(x), ops.linear(x, unit));
});
