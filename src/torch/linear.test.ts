/** A linear layer in float32, whichever kernel multiplies it on this machine: against float64, to the bit, and at its edges. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linear, manualSeed, ops, randn, scope, setNumThreads, type Tensor } from './index.js';
import { LINEAR_SHAPES, linearWithGradients } from '../testing/linear-layer.js';

manualSeed(0);
/** Largest difference, as a share of the largest value. */
const off = (a: Tensor, exact: Tensor): number =>
  a.to('float64').sub(exact).abs().max().item() / exact.abs().max().item();

for (const [m, k, n] of LINEAR_SHAPES) {
  test(`${m} x ${k} by ${k} x ${n}: the product of float64, with every gradient`, () => {
    const given = [randn([m, k]), randn([n, k]), randn([n])] as const;
    const upstream = randn([m, n]);
    const run = (dtype: 'float32' | 'float64', layer: typeof linear): Tensor[] => {
      const [x, w, bias] = given.map((value) => value.to(dtype)) as [Tensor, Tensor, Tensor];
      return linearWithGradients(layer, [x, w, bias], upstream.to(dtype));
    };
    const exact = run('float64', (x, w, bias) => ops.linear(x, w, bias));
    for (const [i, got] of run('float32', linear).entries()) {
      const difference = off(got, exact[i] as Tensor);
      assert.ok(difference < 2e-6, `result ${i} differs by ${difference}`);
    }
  });
}

test('the result is the same to the bit with any number of threads', () => {
  const [x, w] = [randn([300, 1500]), randn([200, 1500])];
  const [one, three] = [1, 3].map((threads) => {
    setNumThreads(threads);
    return linear(x, w);
  }) as [Tensor, Tensor];
  setNumThreads(2);
  assert.ok(one.equal(three));
});

test('a number that is not finite stays in its row', () => {
  const [x, w] = [randn([4, 32]), randn([8, 32])];
  for (const value of [Infinity, -Infinity, NaN])
    scope(() => {
      const broken = x.clone();
      broken.select(0, 1).fill_(value);
      const got = linear(broken, w);
      assert.ok(!got.select(0, 1).isfinite().any().item());
      assert.ok(got.select(0, 0).isfinite().all().item());
    });
});
