import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fromTypedArray, manualSeed, ones, ops, randn, scope, type Tensor } from '../torch/index.js';
import { bestReading, leadingComponents, readThreeWays, whitenedRows } from './readings.js';

/** (count, width) rows whose variance falls from direction to direction, around a mean far from 0. */
function rowsOf(count: number, width: number): Tensor {
  const [basis] = ops.linalgQr(randn([width, width]));
  const scales = fromTypedArray(
    Float32Array.from({ length: width }, (_, i) => 5 * Math.exp(-0.2 * i) + 0.01),
    [width],
  );
  return randn([count, width]).mul(scales).matmul(basis).add(3);
}

describe('leadingComponents', () => {
  it('finds in wide features, by iteration, what the covariance of narrow ones gives', () => {
    scope(() => {
      manualSeed(1);
      const narrow = rowsOf(300, 200);
      const exact = leadingComponents(narrow, 16);
      // the same rows in a wider space: 200 of 1,400 values, the others 0
      const wide = leadingComponents(ops.cat([narrow, narrow.mul(0).repeat([1, 6])], 1), 16);
      assert.deepEqual(wide.axes.shape, [1400, 16]);
      const ratio = wide.variances.div(exact.variances).sub(1).abs().max().item();
      assert.ok(ratio < 1e-3, `variances differ by ${ratio}`);
      const likeness = wide.axes.narrow(0, 0, 200).mul(exact.axes).sum([0]).abs(); // (16), 1 for the same axis
      assert.ok(likeness.min().item() > 0.999, String(likeness.toArray()));
    });
  });

  it('gives each component variance 1, and no more components than there are', () => {
    scope(() => {
      manualSeed(2);
      const rows = rowsOf(20, 8);
      const found = leadingComponents(rows, 128);
      const white = whitenedRows(found, rows); // (20, 8)
      assert.deepEqual(white.shape, [20, 8]);
      const identity = fromTypedArray(
        Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0)),
        [8, 8],
      );
      const covariance = white.t().matmul(white).div(20);
      assert.ok(covariance.sub(identity).abs().max().item() < 1e-3);
      assert.deepEqual(leadingComponents(rows.narrow(0, 0, 4), 128).axes.shape, [8, 3]);
    });
  });
});

describe('readThreeWays', () => {
  it('reads by whitening what directions of large variance hide', () => {
    scope(() => {
      manualSeed(3);
      const labels = Array.from({ length: 200 }, (_, i) => i % 4);
      const patterns = randn([4, 8]);
      const directions = randn([3, 8]); // the same in all classes
      const make = (): Tensor => {
        const own = ops
          .cat(
            labels.map((label) => patterns.narrow(0, label, 1)),
            0,
          )
          .add(randn([200, 8]).mul(0.2));
        const loud = randn([200, 3]).mul(10).matmul(directions);
        return own.add(loud);
      };
      const readings = readThreeWays({ features: make(), labels }, { features: make(), labels });
      assert.ok(readings.whitened > readings.plain + 20, JSON.stringify(readings));
      assert.ok(readings.whitened > 80, JSON.stringify(readings));
      assert.equal(bestReading(readings), 'whitened');
      assert.equal(bestReading({ plain: 5, centred: 5, whitened: 4 }), 'plain');
    });
  });

  it('reads features that are all alike', () => {
    scope(() => {
      const rows = ones([6, 3]);
      const labels = [0, 1, 0, 1, 0, 1];
      const readings = readThreeWays({ features: rows, labels }, { features: rows, labels }, { k: 2 });
      for (const value of Object.values(readings)) assert.ok(value >= 0 && value <= 100);
    });
  });
});
