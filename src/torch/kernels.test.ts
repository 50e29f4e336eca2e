/** Our own kernels against libtorch's operators, in float64 where libtorch can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  gradients,
  inferenceMode,
  manualSeed,
  multiHeadAttention,
  ops,
  perceptron,
  randn,
  type Tensor,
} from './index.js';

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

/** Written out, in whatever dtype comes. */
function writtenOut(qkv: Tensor, heads: number): Tensor {
  const [b = 0, n = 0, c3 = 0] = qkv.shape;
  const parts = qkv.view([b, n, 3, heads, c3 / 3 / heads]).permute([2, 0, 3, 1, 4]);
  const [q, k, v] = parts.unbind(0) as [Tensor, Tensor, Tensor]; // (B, heads, N, d)
  const weights = q
    .matmul(k.transpose(-2, -1))
    .mul((c3 / 3 / heads) ** -0.5)
    .softmax(-1);
  return weights
    .matmul(v)
    .transpose(1, 2)
    .reshape([b, n, c3 / 3]);
}

for (const [tokens, heads] of [
  [1, 1],
  [10, 3],
  [197, 2],
] as const) {
  test(`multiHeadAttention: values and gradients, ${tokens} tokens, ${heads} heads`, () => {
    manualSeed(tokens);
    const qkv = randn([3, tokens, 3 * 16 * heads]);
    qkv.requiresGrad = true;
    const exact = qkv.detach().to('float64');
    exact.requiresGrad = true;
    const expected = writtenOut(exact, heads);
    const got = multiHeadAttention(qkv, heads);
    assert.deepEqual(got.shape, [3, tokens, 16 * heads]);
    assert.ok(difference(got, expected) < 2e-6);
    const upstream = randn(expected.shape);
    const [gradient] = gradients([got], [qkv], { gradOutputs: [upstream] });
    const [wanted] = gradients([expected], [exact], { gradOutputs: [upstream.to('float64')] });
    assert.ok(difference(gradient as Tensor, wanted as Tensor) < 5e-6);
    assert.ok(
      difference(
        inferenceMode(() => multiHeadAttention(qkv, heads)),
        expected,
      ) < 2e-6,
    );
    const half = multiHeadAttention(qkv.detach().to('bfloat16'), heads);
    assert.ok(difference(half, expected) < 0.1);
  });
}
