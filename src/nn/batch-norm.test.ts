/** BatchNorm in training: the operator of our own, beside libtorch's operators in float64. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Operator } from '../torch/dispatch.js';
import {
  batchNorm,
  gradients,
  manualSeed,
  noGrad,
  ones,
  ops,
  randn,
  setNumThreads,
  getNumThreads,
  type DType,
  type Tensor,
  zeros,
} from '../torch/index.js';
import { BatchNorm } from './index.js';

interface Case {
  shape: readonly number[];
  skips?: boolean;
  /** Not followed by ReLU. */
  isPlain?: boolean;
  /** What is added to every value: sums of squares lose their digits where it is large. */
  shift?: number;
}
const CASES: readonly Case[] = [
  { shape: [6, 32, 7, 5] },
  { shape: [6, 32, 7, 5], skips: true },
  { shape: [8, 3, 2, 1], skips: true },
  { shape: [9, 40] },
  { shape: [9, 40], isPlain: true },
  { shape: [6, 32, 7, 5], isPlain: true },
  { shape: [40, 100, 9, 9], skips: true },
  { shape: [200, 24, 8, 8], skips: true, shift: 1000 },
];
const NAMES = ['output', 'gradient of x', 'of the weight', 'of the bias', 'of skip'];
const [MOMENTUM, EPS] = [0.1, 1e-5];

/** relu(norm(x) + skip) and its gradients. */
type Seen = readonly Tensor[];

function normOf(channels: number): BatchNorm {
  const made = new BatchNorm(channels);
  noGrad(() => {
    made.weight.copy_(randn([channels]));
    made.bias.copy_(randn([channels]));
  });
  return made;
}

function inputsOf({ shape, skips = false, shift = 0 }: Case, dtype: DType) {
  const made = (): Tensor => {
    const plain = randn(shape);
    return shape.length === 4 ? plain.clone({ memoryFormat: 'channels_last' }) : plain;
  };
  return {
    x: made().add(shift).to(dtype),
    skip: skips ? made().to(dtype) : null,
    upstream: made().to(dtype),
  };
}

function seen(
  forward: (x: Tensor, skip: Tensor | null) => Tensor,
  { x, skip, upstream }: ReturnType<typeof inputsOf>,
  [weight, bias]: readonly [Tensor, Tensor],
): Seen {
  const leaves = [x, ...(skip === null ? [] : [skip])].map((one) => {
    const leaf = one.detach();
    leaf.requiresGrad = true;
    return leaf;
  });
  const y = forward(leaves[0]!, leaves[1] ?? null);
  const [gx, gskip] = [leaves[0]!, leaves[1]];
  const found = gradients([y], [gx, weight, bias, ...(gskip === undefined ? [] : [gskip])], {
    gradOutputs: [upstream],
  });
  return [y, ...(found as Tensor[])];
}

/** By libtorch's operators, in float64. */
function expected(bn: BatchNorm, given: ReturnType<typeof inputsOf>, isPlain: boolean): Seen {
  const double = (one: Tensor): Tensor => one.detach().to('float64');
  const [weight, bias] = [double(bn.weight), double(bn.bias)];
  for (const one of [weight, bias]) one.requiresGrad = true;
  const forward = (x: Tensor, skip: Tensor | null): Tensor => {
    const y = ops.batchNorm(x, weight, bias, null, null, true, MOMENTUM, EPS, false);
    return isPlain ? y : (skip === null ? y : y.add(skip)).relu();
  };
  const wide = {
    x: double(given.x),
    skip: given.skip && double(given.skip),
    upstream: double(given.upstream),
  };
  return seen(forward, wide, [weight, bias]);
}

const own = (bn: BatchNorm, given: ReturnType<typeof inputsOf>, isPlain = false): Seen =>
  seen((x, skip) => (isPlain ? bn.forward(x) : bn.relu(x, skip)), given, [bn.weight, bn.bias]);

describe('BatchNorm in training', () => {
  for (const [dtype, tolerance] of [
    ['float32', 2e-6],
    ['bfloat16', 2 ** -8],
  ] as const) {
    for (const each of CASES) {
      const { shape, skips = false, isPlain = false, shift = 0 } = each;
      if (dtype === 'bfloat16' && shift > 0) continue; // its values would be all alike
      const what = `${shape.join(' x ')}${skips ? ' with a skip connection' : ''}${isPlain ? ' alone' : ''}${shift > 0 ? `, ${shift} added` : ''}`;
      it(`is norm, sum and ReLU, with their gradients: ${dtype}, ${what}`, () => {
        manualSeed(1);
        const bn = normOf(shape[1]!);
        const given = inputsOf(each, dtype);
        const [wanted, got] = [expected(bn, given, isPlain), own(bn, given, isPlain)];
        for (const [i, one] of got.entries()) {
          const apart = one.to('float64').sub(wanted[i]!);
          // a value near 0 may fall on the other side of ReLU, and have another gradient: few do
          const size = (x: Tensor): number => (shift === 0 ? x.abs().max() : x.square().mean().sqrt()).item();
          const off = size(apart) / size(wanted[i]!);
          assert.ok(off < (shift === 0 ? tolerance : 1e-2), `${NAMES[i]}: off by ${off}`);
        }
        assert.deepEqual([got[0]!.dtype, got[1]!.dtype, got[2]!.dtype], [dtype, dtype, 'float32']);
      });
    }
  }

  it('tracks the statistics of batches as libtorch does', () => {
    manualSeed(2);
    const bn = normOf(16);
    const [mean, variance] = [zeros([16]), ones([16])];
    for (let i = 0; i < 3; i++) {
      const { x } = inputsOf({ shape: [5, 16, 6, 6], shift: i }, 'float32');
      bn.relu(x);
      ops.batchNorm(x, null, null, mean, variance, true, MOMENTUM, EPS, false);
    }
    assert.ok(bn.running_mean.sub(mean).abs().max().item() < 1e-6);
    assert.ok(bn.running_var.sub(variance).abs().max().item() < 1e-6);
    assert.equal(bn.num_batches_tracked.item(), 3);
  });

  it('is the same to the bit with any number of threads, and in evaluation norm and ReLU', () => {
    manualSeed(3);
    const bn = normOf(64);
    const given = inputsOf({ shape: [32, 64, 16, 16], skips: true }, 'float32');
    const before = getNumThreads();
    const found = [1, 2, 3].map((threads) => {
      setNumThreads(threads);
      return own(bn, given);
    });
    setNumThreads(before);
    for (const one of found.slice(1))
      for (const [i, tensor] of one.entries()) assert.ok(tensor.equal(found[0]![i]!), NAMES[i]);
    bn.eval();
    assert.ok(bn.relu(given.x, given.skip).equal(bn.forward(given.x).add(given.skip!).relu()));
  });

  describe('with parameters that are not as many as the channels, or not beside each other', () => {
    const like = (n: number): { mean: Tensor; variance: Tensor } => ({
      mean: zeros([n]),
      variance: ones([n]),
    });
    /** Every other number of a tensor that has twice as many. */
    const apart = (values: Tensor): Tensor => ops.stack([values, values.mul(0).sub(1)], 1).select(1, 0);
    const given = { weight: ones([4]), bias: zeros([4]), running: like(4), momentum: MOMENTUM, eps: EPS };
    const x = (): Tensor => randn([8, 4]);

    it('says so, and writes nothing', () => {
      // our loops would read and write as many as there are channels
      assert.throws(() => new BatchNorm(4).forward(randn([8, 4096])), /4096/);
      for (const wrong of [
        { weight: ones([3]) },
        { bias: zeros([3]) },
        { running: like(3) },
        { running: { mean: zeros([4]), variance: ones([3]) } },
        { running: { mean: zeros([3]), variance: ones([4]) } },
      ])
        assert.throws(() => batchNorm(x(), { ...given, ...wrong }), /4 elements/);
      const one = new Operator('dino::batch_norm', ['']);
      for (const running of [
        [zeros([4]), null],
        [null, ones([4])],
      ])
        assert.throws(
          () => one.call([x(), given.weight, given.bias, ...running, MOMENTUM, EPS, null, false]),
          /neither/,
        );
    });

    it('is what libtorch makes of numbers apart from each other', () => {
      manualSeed(4);
      const [batch, weight, bias] = [x(), randn([4]), randn([4])];
      const [found, wanted] = [like(4), like(4)];
      const strided = { mean: apart(found.mean), variance: apart(found.variance) };
      const y = batchNorm(batch, { ...given, weight: apart(weight), bias: apart(bias), running: strided });
      const { mean, variance } = wanted;
      const expected = ops.batchNorm(batch, weight, bias, mean, variance, true, MOMENTUM, EPS, false);
      for (const [got, other] of [
        [y, expected],
        [strided.mean, mean],
        [strided.variance, variance],
      ] as const)
        assert.ok(got.sub(other).abs().max().item() < 1e-6);
    });

    it('refuses no channels', () => {
      const none = { ...given, weight: ones([0]), bias: zeros([0]), running: null };
      for (const shape of [
        [4, 0],
        [4, 0, 2, 2],
      ])
        assert.throws(() => batchNorm(randn(shape), none));
    });
  });

  it('keeps what is not a number', () => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const { x } = inputsOf({ shape: [4, 32, 3, 3] }, dtype);
      x.select(1, 5).mul_(NaN);
      const y = normOf(32).relu(x).to('float32');
      assert.deepEqual(
        [y.select(1, 5).isnan().all().item(), y.select(1, 6).isnan().any().item()],
        [1, 0],
        dtype,
      );
    }
  });
});
