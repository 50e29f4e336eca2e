/** Our own kernels against libtorch's operators, in float64 where libtorch can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradients, inferenceMode, perceptron, manualSeed, ops, randn, type Tensor } from './index.js';

const largest = (x: Tensor): number => x.abs().max().item();
const difference = (a: Tensor, b: Tensor): number => largest(a.to('float64').sub(b.to('float64')));

type Inputs = [Tensor, Tensor, Tensor, Tensor, Tensor];

function inputs(rows: number, scale: number): Inputs {
  manualSeed(rows);
  return [
    randn([2, rows, 20]),
    randn([33, 20]).mul(scale),
    randn([33]),
    randn([7, 33]).mul(scale),
    randn([7]),
  ].map((x) => {
    x.requiresGrad = true;
    return x;
  }) as Inputs;
}

const plain = ([x, w1, b1, w2, b2]: Inputs): Tensor => ops.linear(ops.gelu(ops.linear(x, w1, b1)), w2, b2);

for (const [rows, scale] of [
  [1, 0.1],
  [37, 0.5],
  [200, 4], // far into both tails
] as const) {
  test(`perceptron: values and gradients, ${2 * rows} rows, weights of ${scale}`, () => {
    const given = inputs(rows, scale);
    const exact = given.map((t) => {
      const copy = t.detach().to('float64');
      copy.requiresGrad = true;
      return copy;
    }) as Inputs;
    const expected = plain(exact); // (2, rows, 7)
    const got = perceptron(...given);
    assert.deepEqual(got.shape, [2, rows, 7]);
    const off = difference(got, expected) / Math.max(1, largest(expected));
    assert.ok(off < 2e-6, `values differ by ${off}`);
    const upstream = randn(expected.shape);
    const wanted = gradients([expected], exact, { gradOutputs: [upstream.to('float64')] });
    for (const [i, gradient] of gradients([got], given, { gradOutputs: [upstream] }).entries()) {
      const other = wanted[i] as Tensor;
      const off = difference(gradient as Tensor, other) / Math.max(1, largest(other));
      assert.ok(off < 3e-6, `gradient ${i} differs by ${off}`);
    }
  });
}

test('perceptron: without gradients, with some, in other dtypes; no second derivative', () => {
  const given = inputs(5, 0.5);
  const [x, w1, b1, w2, b2] = given;
  assert.ok(
    difference(
      inferenceMode(() => perceptron(...given)),
      plain(given),
    ) < 1e-5,
  );
  const frozen = perceptron(x, w1.detach(), b1.detach(), w2.detach(), b2.detach());
  assert.ok(gradients([frozen.sum()], [x])[0] !== null);
  const half = perceptron(...(given.map((t) => t.to('bfloat16')) as Inputs));
  assert.equal(half.dtype, 'bfloat16');
  assert.throws(
    () => gradients([perceptron(...given).sum()], [x], { createGraph: true }),
    /no second derivative/,
  );
});

test('perceptron: a value that is not finite stays so', () => {
  const [, ...weights] = inputs(1, 0.5);
  const y = perceptron(randn([3, 20]).mul(NaN), ...weights);
  assert.ok(y.toArray().every(Number.isNaN));
});
