/** Our own operators against the same formulas with libtorch's operators, in float64. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  attentionResidual,
  gradients,
  inferenceMode,
  manualSeed,
  ops,
  perceptron,
  perceptronResidual,
  randn,
  setNumThreads,
  tensor,
  type Affine,
  type KeptSamples,
  type NormParameters,
  type Tensor,
} from './index.js';

setNumThreads(2); // a chunk is 512 rows per thread: some cases below have more than one

const EPS = 1e-6;
const all: KeptSamples = { kept: null, scale: 1 };
const largest = (x: Tensor): number => (x.numel === 0 ? 0 : x.abs().max().item());
const difference = (a: Tensor, b: Tensor): number => largest(a.to('float64').sub(b.to('float64')));

/** Leaves with requiresGrad. */
const leaves = (tensors: readonly Tensor[], dtype: 'float32' | 'float64' | 'bfloat16'): Tensor[] =>
  tensors.map((t) => {
    const leaf = t.detach().to(dtype).clone();
    leaf.requiresGrad = true;
    return leaf;
  });
const affine = (weight: Tensor | undefined, bias: Tensor | undefined): Affine => ({
  weight: weight as Tensor,
  bias: bias as Tensor,
});
const norm = (weight: Tensor | undefined, bias: Tensor | undefined): NormParameters => ({
  ...affine(weight, bias),
  eps: EPS,
});

type Formula = (given: readonly Tensor[]) => Tensor;

/** Values and the gradient for every input equal those of the formula in float64. */
function assertSame(given: readonly Tensor[], ours: Formula, formula: Formula): void {
  const mine = leaves(given, 'float32');
  const exact = leaves(given, 'float64');
  const got = ours(mine);
  const expected = formula(exact);
  assert.deepEqual(got.shape, expected.shape);
  const off = difference(got, expected) / Math.max(1, largest(expected));
  assert.ok(off < 2e-6, `values differ by ${off}`);
  const upstream = randn(expected.shape);
  const wanted = gradients([expected], exact, { gradOutputs: [upstream.to('float64')] });
  for (const [i, gradient] of gradients([got], mine, { gradOutputs: [upstream] }).entries()) {
    const other = wanted[i] as Tensor;
    const off = difference(gradient as Tensor, other) / Math.max(1, largest(other));
    assert.ok(off < 5e-6, `gradient ${i} differs by ${off}`);
  }
  assert.ok(
    difference(
      inferenceMode(() => ours(mine)),
      expected,
    ) /
      Math.max(1, largest(expected)) <
      2e-6,
  );
  const half = ours(leaves(given, 'bfloat16'));
  assert.equal(half.dtype, 'bfloat16');
}

const writtenPerceptron: Formula = ([x, w1, b1, w2, b2]) =>
  ops.linear(ops.gelu(ops.linear(x as Tensor, w1 as Tensor, b1)), w2 as Tensor, b2);

/** x + scale * branch(norm(x)) of the kept samples. */
function writtenResidual(
  x: Tensor,
  normWeight: Tensor,
  normBias: Tensor,
  { kept, scale }: KeptSamples,
  branch: (y: Tensor) => Tensor,
): Tensor {
  const y = branch(ops.layerNorm(x, [x.size(-1)], normWeight, normBias, EPS));
  if (kept === null) return x.add(y, { alpha: scale });
  return x.indexAdd(0, kept, y.indexSelect(0, kept), { alpha: scale });
}

/** x (B, N, 20), weights of a perceptron 20 -> 33 -> out. */
function perceptronInputs(batch: number, tokens: number, scale: number, out: number): Tensor[] {
  manualSeed(tokens);
  return [
    randn([batch, tokens, 20]),
    randn([33, 20]).mul(scale),
    randn([33]),
    randn([out, 33]).mul(scale),
    randn([out]),
  ];
}

for (const [rows, scale] of [
  [1, 0.1],
  [37, 0.5],
  [700, 4], // far into both tails; several chunks
] as const) {
  test(`perceptron: values and gradients, ${2 * rows} rows, weights of ${scale}`, () => {
    assertSame(
      perceptronInputs(2, rows, scale, 7),
      ([x, w1, b1, w2, b2]) => perceptron(x as Tensor, affine(w1, b1), affine(w2, b2)),
      writtenPerceptron,
    );
  });
}

const draws: [string, () => KeptSamples][] = [
  ['all samples', () => all],
  ['some, scaled', () => ({ kept: tensor([0, 2, 3], { dtype: 'int64' }), scale: 1.25 })],
  ['none', () => ({ kept: tensor([], { dtype: 'int64' }), scale: 1.25 })],
  ['a scale of 0', () => ({ kept: null, scale: 0 })],
];
for (const tokens of [1, 9, 400]) {
  for (const [name, draw] of draws) {
    test(`perceptron with norm and skip connection: ${tokens} tokens, ${name}`, () => {
      const samples = draw();
      assertSame(
        [...perceptronInputs(5, tokens, 0.5, 20), randn([20]), randn([20])],
        ([x, w1, b1, w2, b2, weight, bias]) =>
          perceptronResidual(x as Tensor, norm(weight, bias), affine(w1, b1), affine(w2, b2), samples),
        ([x, w1, b1, w2, b2, weight, bias]) =>
          writtenResidual(x as Tensor, weight as Tensor, bias as Tensor, samples, (y) =>
            writtenPerceptron([y, w1, b1, w2, b2] as Tensor[]),
          ),
      );
    });

    for (const heads of [1, 3]) {
      test(`attention with norm and skip connection: ${tokens} tokens, ${heads} heads, ${name}`, () => {
        const samples = draw();
        const width = 16 * heads;
        manualSeed(tokens + heads);
        const deviation = width ** -0.5;
        assertSame(
          [
            randn([5, tokens, width]),
            randn([3 * width, width]).mul(deviation),
            randn([3 * width]),
            randn([width, width]).mul(deviation),
            randn([width]),
            randn([width]),
            randn([width]),
          ],
          ([x, qkv, qkvBias, proj, projBias, weight, bias]) =>
            attentionResidual(
              x as Tensor,
              norm(weight, bias),
              affine(qkv, qkvBias),
              affine(proj, projBias),
              heads,
              samples,
            ),
          ([x, qkv, qkvBias, proj, projBias, weight, bias]) =>
            writtenResidual(x as Tensor, weight as Tensor, bias as Tensor, samples, (y) =>
              ops.linear(
                writtenAttention(ops.linear(y, qkv as Tensor, qkvBias), heads),
                proj as Tensor,
                projBias,
              ),
            ),
        );
      });
    }
  }
}

/** Attention of projected tokens, (B, N, 3 C) to (B, N, C). */
function writtenAttention(qkv: Tensor, heads: number): Tensor {
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

test('some weights frozen; no second derivative; non-finite values stay non-finite', () => {
  const [x, ...frozen] = perceptronInputs(2, 5, 0.5, 20) as [Tensor, ...Tensor[]];
  const [w1, b1, w2, b2] = frozen;
  const [leaf] = leaves([x], 'float32') as [Tensor];
  const run = (input: Tensor): Tensor =>
    perceptronResidual(input, norm(b2, b2), affine(w1, b1), affine(w2, b2), all);
  assert.ok(gradients([run(leaf).sum()], [leaf])[0] !== null);
  assert.throws(() => gradients([run(leaf).sum()], [leaf], { createGraph: true }), /no second derivative/);
  assert.ok(run(x.mul(NaN)).toArray().every(Number.isNaN));
});
