/**
 * Arguments of our own operators that don't fit each other, or whose numbers lie apart: what libtorch's operators make of them, an
 * error or their values, and never what lies beside a tensor in memory.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  full,
  gradients,
  linear,
  manualSeed,
  noGrad,
  ops,
  patches,
  precisionProblem,
  randn,
  setNumThreads,
  tensor,
  withMatmulPrecision,
  type Affine,
  type Tensor,
} from './index.js';

setNumThreads(2);
manualSeed(0);

const affine = (out: number, of: number): Affine => ({
  weight: randn([out, of]).mul(of ** -0.5),
  bias: randn([out]),
});
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
const cases = (tokens: number): Record<string, Case> => ({
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
    });

    it('patches that are not square, or larger than the image, or nothing', () => {
      const [x, w] = [randn([2, 3, 16, 16]), randn([5, 3, 4, 2])];
      const wanted = ops.conv2d(x, w, null, 4).flatten(2).transpose(1, 2);
      assertSame([within(() => patches(x, w))], [wanted], tolerance);
      for (const size of [17, 0])
        assert.throws(() => within(() => patches(x, randn([5, 3, size, size]))), refusal);
    });
  });
}
