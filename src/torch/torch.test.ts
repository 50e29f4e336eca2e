import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError, ShapeError } from '../errors.js';
import {
  arange,
  autocast,
  cudaUnavailableReason,
  empty,
  fromTypedArray,
  full,
  Generator,
  getNumThreads,
  gradients,
  inferenceMode,
  liveTensors,
  manualSeed,
  noGrad,
  ones,
  ops,
  Parameter,
  rand,
  randn,
  scope,
  setNumThreads,
  tensor,
  zeros,
  type DType,
  type Tensor,
} from './index.js';

const close = (actual: ArrayLike<number>, expected: number[], tolerance = 1e-6) => {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of expected.entries()) {
    assert.ok(
      Math.abs((actual[i] as number) - value) <= tolerance,
      `entry ${i}: ${actual[i]} is not ${value}`,
    );
  }
};

test('operators take overloads, defaults, keyword options and numbers for tensors', () => {
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  assert.deepEqual(x.add(1).toArray(), [2, 3, 4, 5]);
  assert.deepEqual(x.add(x, { alpha: 2 }).toArray(), [3, 6, 9, 12]);
  assert.deepEqual(x.sum().toArray(), [10]);
  assert.deepEqual(x.sum(1, true).shape, [2, 1]);
  assert.deepEqual(x.sum([0], false, { dtype: 'float64' }).dtype, 'float64');
  const [values, indices] = x.max(1);
  assert.deepEqual(values.toArray(), [2, 4]);
  assert.deepEqual(indices.toArray(), [1, 1]);
  assert.equal(indices.dtype, 'int64');
  assert.deepEqual(x.maximum(full([1], 3)).toArray(), [3, 3, 3, 4]);
  assert.deepEqual(ops.where(x.gt(2), x, 0).toArray(), [0, 0, 3, 4]);
  assert.deepEqual(ops.cat([x, x], 1).shape, [2, 4]);
  assert.deepEqual(x.permute([1, 0]).toArray(), [1, 3, 2, 4]);
  assert.deepEqual(
    x.split(1).map((part) => part.toArray()),
    [
      [1, 2],
      [3, 4],
    ],
  );
  close(x.std(0, false).toArray(), [1, 1]);
  assert.equal(x.add_(x), x, 'an in-place operator returns its tensor');
  assert.deepEqual(x.toArray(), [2, 4, 6, 8]);
});

test('a whole number keeps an integer tensor integer', () => {
  const x = arange(0, 3, 1, { dtype: 'int64' });
  assert.equal(x.mul(2).dtype, 'int64');
  assert.equal(x.mul(0.5).dtype, 'float32');
});

test('every dtype goes in and out', () => {
  const dtypes: DType[] = ['float32', 'bfloat16', 'float16', 'float64', 'int64', 'int32', 'uint8', 'bool'];
  for (const dtype of dtypes) {
    const x = tensor([0, 1, 1], { dtype });
    assert.equal(x.dtype, dtype);
    assert.deepEqual(x.toArray(), [0, 1, 1], dtype);
  }
  assert.equal(tensor(-2).item(), -2);
  assert.throws(() => tensor([1], { dtype: 'int8' as DType }), /int8/);
});

test('typed arrays and shared memory are shared, not copied', () => {
  const shared = new Float32Array(new SharedArrayBuffer(16));
  const x = fromTypedArray(shared, [2, 2]);
  shared[3] = 7;
  assert.deepEqual(x.toArray(), [0, 0, 0, 7]);
  x.fill_(2);
  assert.deepEqual([...shared], [2, 2, 2, 2]);
  const data = x.data();
  data[0] = 5;
  assert.equal(shared[0], 5);
  assert.throws(() => fromTypedArray(shared, [3]), /needs 3 elements, got 4/);
  assert.throws(() => x.t().data(), /not contiguous/);
  assert.deepEqual(fromTypedArray(new Float32Array(0), [0, 3]).shape, [0, 3]);
});

test("a buffer's owner may be collected before its tensor, and the data outlives the tensor", () => {
  let view: Float32Array | undefined;
  for (let i = 0; i < 50; i++) {
    const x = fromTypedArray(new Float32Array(1 << 16).fill(i), [1 << 16]);
    view = x.data() as Float32Array;
    x.dispose();
  }
  assert.equal(view?.at(-1), 49);
});

test('gradients flow and accumulate, and noGrad stops them', () => {
  const w = new Parameter(tensor([1, 2, 3]));
  w.pow(2).sum().backward();
  w.pow(2).sum().backward();
  assert.deepEqual(w.grad?.toArray(), [4, 8, 12]);
  w.grad = null as Tensor | null;
  assert.equal(String(w.grad), 'null');
  const still = noGrad(() => w.mul(2));
  assert.equal(still.requiresGrad, false);
  assert.equal(w.mul(2).requiresGrad, true);
  assert.equal(inferenceMode(() => w.mul(2)).requiresGrad, false);
  const unused = new Parameter(zeros([1]));
  const found = gradients([w.mul(3).sum()], [w, unused]);
  assert.deepEqual(found[0]?.toArray(), [3, 3, 3]);
  assert.equal(found[1], null);
  w.mul(2).backward(ones([3]));
  assert.deepEqual(w.grad?.toArray(), [2, 2, 2]);
  assert.throws(() => w.mul(2).backward(), /scalar outputs/);
});

test('scope frees what is neither returned nor kept, also when it throws', () => {
  const before = liveTensors();
  const kept: Tensor[] = [];
  const { a, list } = scope(() => {
    const x = ones([4]);
    kept.push(x.mul(3).keep());
    x.add(1).add(2);
    return { a: x, list: [x.mul(2)] };
  });
  assert.equal(liveTensors(), before + 3);
  assert.deepEqual(list[0]?.toArray(), [2, 2, 2, 2]);
  for (const one of [a, ...list, ...kept]) one.dispose();
  assert.equal(liveTensors(), before);
  assert.throws(() =>
    scope(() => {
      ones([4]).add(1);
      throw new Error('stop');
    }),
  );
  assert.equal(liveTensors(), before);
  {
    using x = ones([2]);
    assert.equal(x.isDisposed, false);
  }
  assert.equal(liveTensors(), before);
  assert.throws(() => a.add(1), /disposed/);
  assert.throws(() => scope(() => Promise.resolve(1)), /synchronous/);
});

test('inner scopes hand what they return to the enclosing scope', () => {
  const before = liveTensors();
  scope(() => {
    const inner = scope(() => ones([2]).add(1));
    assert.deepEqual(inner.toArray(), [2, 2]);
  });
  assert.equal(liveTensors(), before);
});

test("generators give PyTorch's numbers and continue from a saved state", () => {
  manualSeed(0);
  close(rand([3]).toArray(), [0.49625658988952637, 0.7682217955589294, 0.08847743272781372], 0);
  const generator = new Generator().manualSeed(7);
  const state = generator.getState();
  const first = randn([5], { generator }).toArray();
  const second = randn([5], { generator }).toArray();
  generator.setState(state);
  assert.deepEqual(randn([5], { generator }).toArray(), first);
  assert.deepEqual(randn([5], { generator }).toArray(), second);
  assert.notDeepEqual(first, second);
});

test('autocast computes products in the given dtype and ends with its function', () => {
  const x = ones([2, 2]);
  assert.equal(autocast({ device: 'cpu', dtype: 'bfloat16' }, () => x.matmul(x)).dtype, 'bfloat16');
  assert.equal(
    autocast({ device: 'cpu', dtype: 'bfloat16', enabled: false }, () => x.matmul(x)).dtype,
    'float32',
  );
  assert.throws(() => autocast({ device: 'cpu', dtype: 'bfloat16' }, () => x.matmul(ones([3]))));
  assert.equal(x.matmul(x).dtype, 'float32');
});

test('an error names the operator and its arguments, with a JavaScript stack', () => {
  const a = ones([2, 3]);
  assert.throws(
    () => a.matmul(ones([2, 3])),
    (error: Error) =>
      error instanceof ShapeError &&
      /matmul\(float32\[2, 3\], float32\[2, 3\]\)/.test(error.message) &&
      /torch\.test/.test(error.stack ?? ''),
  );
  assert.throws(
    () => (a as unknown as { add(other: string): Tensor }).add('x'),
    /add: got \(float32\[2, 3\], 'x'\); expected one of/,
  );
  assert.throws(() => empty([-1]), ShapeError);
});

test('a whole number of more than 64 bits is refused, not wrapped', () => {
  const whole = tensor([1], { dtype: 'int64' });
  assert.equal(whole.mul(2n ** 62n).item(), 2 ** 62);
  for (const tooLarge of [2n ** 63n, -(2n ** 63n) - 1n, 2n ** 64n + 5n]) {
    const what = new RegExp(`${tooLarge} does not fit a 64-bit integer`);
    assert.throws(() => whole.add(tooLarge), what);
    assert.throws(() => whole.sum([tooLarge as unknown as number]), what);
  }
  const generator = new Generator().manualSeed(2n ** 64n - 1n);
  const state = generator.getState().toArray();
  for (const seed of [2n ** 64n, -1n, -1]) {
    assert.throws(() => generator.manualSeed(seed), /a seed is a whole number from 0 to 2\^64 - 1, got/);
  }
  assert.deepEqual(generator.getState().toArray(), state);
});

test('a missing device is an error that says why', () => {
  if (cudaUnavailableReason() !== null) {
    assert.throws(
      () => zeros([1], { device: 'cuda:0' }),
      (error: Error) => {
        return error instanceof EngineError && /cuda:0.*can't be used/.test(error.message);
      },
    );
  } else {
    assert.equal(zeros([1], { device: 'cuda:0' }).device, 'cuda:0');
  }
  assert.throws(() => zeros([1], { device: 'gpu' }), /expected 'cpu', 'cuda'/);
});

test('the number of threads can be set', () => {
  const before = getNumThreads();
  setNumThreads(1);
  assert.equal(getNumThreads(), 1);
  setNumThreads(before);
  assert.equal(getNumThreads(), before);
});

test('tensors that are never disposed of are collected', async () => {
  assert.ok(globalThis.gc, 'run with --expose-gc');
  const before = liveTensors();
  for (let i = 0; i < 20; i++) ones([1000]).add(1);
  for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(liveTensors() - before < 10, `${liveTensors() - before} of 40 tensors are left`);
});
