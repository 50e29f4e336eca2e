/** Our own kernels against libtorch's operators, in float64 where libtorch can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradients, inferenceMode, linearGelu, manualSeed, ops, randn, type Tensor } from './index.js';

const largest = (x: Tensor): number => x.abs().max().item();
const difference = (a: Tensor, b: Tensor): number => largest(a.to('float64').sub(b.to('float64')));

function inputs(rows: number, scale: number): [Tensor, Tensor, Tensor] {
  manualSeed(rows);
  return [randn([2, rows, 20]), randn([33, 20]).mul(scale), randn([33])].map((x) => {
    x.requiresGrad = true;
    return x;
  }) as [Tensor, Tensor, Tensor];
}

for (const [rows, scale] of [
  [1, 0.1],
  [37, 0.5],
  [200, 4], // far into both tails
] as const) {
  test(`linearGelu: values and gradients, ${2 * rows} rows, weights of ${scale}`, () => {
    const [x, weight, bias] = inputs(rows, scale);
    const exact = [x, weight, bias].map((t) => {
      const copy = t.detach().to('float64');
      copy.requiresGrad = true;
      return copy;
    }) as [Tensor, Tensor, Tensor];
    const expected = ops.gelu(ops.linear(...exact)); // (2, rows, 33)
    const got = linearGelu(x, weight, bias);
    assert.deepEqual(got.shape, [2, rows, 33]);
    const size = Math.max(1, largest(expected));
    assert.ok(difference(got, expected) < 2e-6 * size, `values differ by ${difference(got, expected)}`);
    const upstream = randn(expected.shape);
    const wanted = gradients([expected], exact, { gradOutputs: [upstream.to('float64')] });
    for (const [i, gradient] of gradients([got], [x, weight, bias], { gradOutputs: [upstream] }).entries()) {
      const other = wanted[i] as Tensor;
      const off = difference(gradient as Tensor, other) / Math.max(1, largest(other));
      assert.ok(off < 3e-6, `gradient ${i} differs by ${off}`);
    }
  });
}

test('linearGelu: without gradients, with some, in other dtypes; no second derivative', () => {
  const [x, weight, bias] = inputs(5, 0.5);
  const expected = ops.gelu(ops.linear(x, weight, bias));
  assert.ok(
    difference(
      inferenceMode(() => linearGelu(x, weight, bias)),
      expected,
    ) < 1e-6,
  );
  const frozen = weight.detach();
  assert.ok(gradients([linearGelu(x, frozen, bias).sum()], [x])[0] !== null);
  const half = linearGelu(x.to('bfloat16'), weight.to('bfloat16'), bias.to('bfloat16'));
  assert.equal(half.dtype, 'bfloat16');
  assert.throws(
    () => gradients([linearGelu(x, weight, bias).sum()], [x], { createGraph: true }),
    /no second derivative/,
  );
});

test('linearGelu: a value that is not finite stays so', () => {
  const [, weight, bias] = inputs(1, 0.5);
  const y = linearGelu(randn([3, 20]).mul(NaN), weight, bias);
  assert.ok(y.toArray().every(Number.isNaN));
});
