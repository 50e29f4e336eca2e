/**
 * Arguments of our own operators that don't fit each other, or whose numbers lie apart: what libtorch's operators make of them, an
 * error or their values, and never what lies beside a tensor in memory.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  attentionResidual,
  blocksInGroups,
  classAttention,
  convolution,
  full,
  gradients,
  linear,
  manualSeed,
  noGrad,
  ops,
  patches,
  perceptron,
  perceptronResidual,
  precisionProblem,
  randn,
  setNumThreads,
  tensor,
  withMatmulPrecision,
  type Affine,
  type KeptSamples,
  type NormParameters,
  type Tensor,
} from './index.js';

setNumThreads(2);
manualSeed(0);

const all: KeptSamples = { kept: null, scale: 1 };
const indices = (values: number[]): Tensor => tensor(values, { dtype: 'int64' });
const affine = (out: number, of: number): Affine => ({
  weight: randn([out, of]).mul(of ** -0.5),
  bias: randn([out]),
});
const norm = (width: number): NormParameters => ({ weight: randn([width]), bias: randn([width]), eps: 1e-6 });

/** The same values, with NaN between the numbers. */
const apart = (x: Tensor): Tensor => ops.stack([x, full(x.shape, NaN)], -1).select(-1, 0);
const largest = (x: Tensor): number => (x.numel === 0 ? 0 : x.abs().max().item());
const off = (a: Tensor, b: Tensor): number => largest(a.sub(b)) / Math.max(1e-3, largest(b));

type Given = readonly [Tensor, Tensor, Tensor, ...Tensor[]];
interface Case {
  given: () => Given;
  run: (given: Given) => Tensor;
  /** The dimension of the first that weights must fit. */
  channels: number;
}

const WIDTH = 32;
const of = ({ weight, bias }: Affine): [Tensor, Tensor] => [weight, bias];
const residual = (tokens: number, kept: KeptSamples): Record<string, Case> => ({
  attentionResidual: {
    given: () => [
      randn([3, tokens, WIDTH]),
      ...of(norm(WIDTH)),
      ...of(affine(3 * WIDTH, WIDTH)),
      ...of(affine(WIDTH, WIDTH)),
    ],
    run: ([x, weight, bias, a, b, c, d]) =>
      attentionResidual(
        x,
        { weight, bias, eps: 1e-6 },
        { weight: a!, bias: b! },
        { weight: c!, bias: d! },
        2,
        kept,
      ),
    channels: 2,
  },
  perceptronResidual: {
    given: () => [
      randn([3, tokens, WIDTH]),
      ...of(norm(WIDTH)),
      ...of(affine(48, WIDTH)),
      ...of(affine(WIDTH, 48)),
    ],
    run: ([x, weight, bias, a, b, c, d]) =>
      perceptronResidual(
        x,
        { weight, bias, eps: 1e-6 },
        { weight: a!, bias: b! },
        { weight: c!, bias: d! },
        kept,
      ),
    channels: 2,
  },
});
const cases = (tokens: number): Record<string, Case> => ({
  ...residual(tokens, all),
  perceptron: {
    given: () => [randn([3, tokens, WIDTH]), ...of(affine(48, WIDTH)), ...of(affine(7, 48))],
    run: ([x, weight, bias, c, d]) => perceptron(x, { weight, bias }, { weight: c!, bias: d! }),
    channels: 2,
  },
  classAttention: {
    given: () => [randn([3, tokens, WIDTH]), ...of(affine(3 * WIDTH, WIDTH)), ...of(affine(WIDTH, WIDTH))],
    run: ([x, weight, bias, c, d]) => classAttention(x, { weight, bias }, { weight: c!, bias: d! }, 2),
    channels: 2,
  },
  linear: {
    given: () => [randn([3, tokens, WIDTH]), ...of(affine(8, WIDTH))],
    run: ([x, w, bias]) => linear(x, w, bias),
    channels: 2,
  },
  patches: {
    given: () => [randn([2, 3, 4 * tokens, 9]), randn([5, 3, 4, 4]), randn([5])],
    run: ([x, w, bias]) => patches(x, w, bias),
    channels: 1,
  },
});

/** The result and the gradients of its squares' sum. */
function seen(run: Case['run'], given: Given): Tensor[] {
  for (const one of given) one.requiresGrad = true;
  const y = run(given);
  return [y, ...(gradients([y.square().sum()], [...given]) as Tensor[])];
}
function assertSame(got: readonly Tensor[], wanted: readonly Tensor[], tolerance: number): void {
  for (const [i, one] of got.entries()) {
    assert.deepEqual(one.shape, wanted[i]!.shape);
    const difference = off(one, wanted[i]!);
    // NaN is not below it
    assert.ok(
      difference <= tolerance,
      `${i === 0 ? 'the result' : `gradient ${i - 1}`} is off by ${difference}`,
    );
  }
}

/** Not one of our own checks of what went in before. */
const refusal = (error: Error): boolean => !error.message.includes('internal:');

const modes = {
  ieee: { skip: false, within: <T>(fn: () => T): T => fn(), tolerance: 1e-5 },
  'bf16-matmul': {
    skip: precisionProblem('bf16-matmul', 'cpu') ?? false,
    within: <T>(fn: () => T): T => withMatmulPrecision('bf16', fn),
    tolerance: 0.06,
  },
};

for (const [mode, { skip, within, tolerance }] of Object.entries(modes)) {
  describe(`in ${mode}`, { skip }, () => {
    for (const tokens of [5, 200]) {
      for (const [name, { given, run, channels }] of Object.entries(cases(tokens))) {
        it(`${name}, ${tokens} tokens: each argument with its numbers apart is the same`, () => {
          const plain = given();
          const copies = (): Tensor[] => plain.map((one) => one.detach().clone());
          const wanted = within(() => seen(run, copies() as unknown as Given));
          for (const i of plain.keys()) {
            const strided = copies().with(i, apart(plain[i]!.detach())) as unknown as Given;
            assertSame(
              within(() => seen(run, strided)),
              wanted,
              tolerance,
            );
          }
        });

        it(`${name}, ${tokens} tokens: an argument with one number too few is an error`, () => {
          const plain = given();
          const sides = plain.flatMap((one, i) =>
            (i === 0 ? [channels] : [0, 1])
              .filter((side) => side < one.shape.length)
              .map((side) => [i, side] as const),
          );
          for (const [i, side] of sides) {
            const one = plain[i]!;
            const short = one.narrow(side, 0, one.shape[side]! - 1).contiguous();
            const call = (): Tensor => within(() => run([...plain].with(i, short) as unknown as Given));
            assert.throws(call, refusal, `argument ${i}, dimension ${side}`);
            assert.throws(() => noGrad(call), refusal, `argument ${i}, dimension ${side}, without gradients`);
          }
        });
      }
    }

    it('a bias that is the same for all outputs, or too long', () => {
      const [x, w] = [randn([4, 400, WIDTH]), randn([8, WIDTH])];
      const one = tensor([3]);
      assertSame([within(() => linear(x, w, one))], [within(() => linear(x, w)).add(3)], tolerance);
      assert.throws(() => within(() => linear(x, w, randn([9]))), refusal);
      assert.throws(() => within(() => linear(x, randn([8, 2 * WIDTH]))), refusal);
      assert.throws(() => within(() => linear(tensor(1), w)), refusal);
      assert.throws(() => within(() => perceptron(tensor(1), affine(5, 3), affine(3, 5))), refusal);
    });

    it('patches that are not square, or larger than the image, or nothing', () => {
      const [x, w] = [randn([2, 3, 16, 16]), randn([5, 3, 4, 2])];
      const wanted = ops.conv2d(x, w, null, 4).flatten(2).transpose(1, 2);
      assertSame([within(() => patches(x, w))], [wanted], tolerance);
      for (const size of [17, 0])
        assert.throws(() => within(() => patches(x, randn([5, 3, size, size]))), refusal);
    });

    for (const name of ['attentionResidual', 'perceptronResidual']) {
      it(`${name}: kept samples listed apart, out of range, of nothing`, () => {
        const listed = indices([0, 2]);
        const strided = ops.stack([listed, listed.add(99)], 1).select(1, 0);
        const runs = [listed, strided, indices([0, 3]), indices([])].map(
          (kept) => residual(5, { kept, scale: 2 })[name]!,
        );
        const plain = runs[0]!.given();
        const results = runs.slice(0, 2).map(({ run }) => within(() => seen(run, plain)));
        assertSame(results[1]!, results[0]!, 0);
        assert.throws(() => within(() => runs[2]!.run(plain)), refusal);
        for (const [shape, { run }] of [
          [[0, 5, WIDTH], runs[3]!],
          [[2, 0, WIDTH], residual(5, { kept: indices([1]), scale: 2 })[name]!],
          [[2, 0, WIDTH], residual(5, all)[name]!],
          [[0, 5, WIDTH], residual(5, all)[name]!],
        ] as const) {
          const [, ...weights] = plain;
          const [y, x, ...others] = within(() => seen(run, [randn(shape), ...weights] as unknown as Given));
          assert.deepEqual([y!.shape, x!.shape], [shape, shape]);
          assert.deepEqual(
            others.map((gradient) => largest(gradient)),
            others.map(() => 0),
          );
        }
      });
    }

    it('heads that do not divide the width', () => {
      for (const [width, heads] of [
        [32, 0],
        [32, -2],
        [50, 3], // 16 each, and 2 are left
      ] as const) {
        const [x, qkv, proj] = [randn([2, 5, width]), affine(3 * width, width), affine(width, width)];
        const heading = /heads don't divide/;
        assert.throws(() => within(() => attentionResidual(x, norm(width), qkv, proj, heads, all)), heading);
        assert.throws(() => within(() => classAttention(x, qkv, proj, heads)), heading);
      }
    });

    it('blocks in groups: too few weights, no tokens, weights that would make more of the tokens', () => {
      const groups = (x: Tensor, weights: Tensor[]): Tensor[] | null =>
        noGrad(() =>
          within(() => blocksInGroups(x, weights, { heads: 1, eps: 1e-6, keep: 1, classOnly: false })),
        );
      const block = (width: number, wide: number): Tensor[] => [
        ...of(norm(width)),
        ...of(affine(3 * wide, width)),
        ...of(affine(wide, wide)),
        ...of(norm(wide)),
        ...of(affine(9, wide)),
        ...of(affine(wide, 9)),
        ...of(norm(wide)),
      ];
      assert.throws(() => groups(randn([8, 5, 16]), []), /weights per block/);
      assert.throws(() => groups(randn([8, 16]), block(16, 16)), /tokens/);
      assert.equal(groups(randn([8, 0, 16]), block(16, 16)), null);
      assert.deepEqual(groups(randn([8, 5, 16]), block(16, 16))?.[0]?.shape, [8, 5, 16]);
      assert.throws(() => groups(randn([8, 5, 1]), block(1, 4000)), /a block made/);
    });
  });
}

it('a convolution in steps of nothing is refused', () => {
  const w = randn([8, 4, 3, 3]);
  w.requiresGrad = true;
  const x = randn([2, 4, 5, 5]).clone({ memoryFormat: 'channels_last' });
  assert.throws(() => convolution(x, w, null, { stride: 0, padding: 1, groups: 1 }), /stride/);
});
