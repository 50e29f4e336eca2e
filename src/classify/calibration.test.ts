/** Temperature, calibration error and intervals against numbers known otherwise. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { probabilitiesOf } from '../plain/classifier-head.js';
import { hashWords } from '../testing/hash-fill.js';
import { calibrationError, fitTemperature } from './calibration.js';
import { classWeights, stratifiedFolds } from './folds.js';
import { shareEstimate } from './report.js';

/** Images whose labels are drawn from softmax(logits / temperature). */
function drawn(temperature: number, count = 4000, classes = 4) {
  const words = hashWords('drawn', count * (classes + 1));
  const logits = Float64Array.from({ length: count * classes }, (_, i) => 6 * (words[i]! / 2 ** 32));
  const labels = Array.from({ length: count }, (_, i) => {
    const p = probabilitiesOf(logits.subarray(i * classes, (i + 1) * classes), temperature);
    let left = words[count * classes + i]! / 2 ** 32;
    return Math.min(classes - 1, p.findIndex((share) => (left -= share) < 0) >>> 0);
  });
  return { logits, labels, classes };
}

describe('fitTemperature', () => {
  it('finds the temperature that labels were drawn with', () => {
    for (const temperature of [0.5, 1, 3]) {
      const { logits, labels, classes } = drawn(temperature);
      const found = fitTemperature(logits, labels, classes);
      assert.ok(Math.abs(found / temperature - 1) < 0.06, `${found}, expected ${temperature}`);
    }
  });

  it('makes no probability 1 of a few images that are all right, nor loses its way where all are wrong', () => {
    const logits = Float64Array.from([9, 0, 0, 0, 9, 0, 0, 0, 9]);
    const sure = probabilitiesOf(logits.subarray(0, 3), fitTemperature(logits, [0, 1, 2], 3))[0]!;
    assert.ok(Math.abs(sure - 0.8) < 1e-6, String(sure)); // 3 images: 4 of 5 right
    const lost = fitTemperature(logits, [1, 2, 0], 3);
    assert.ok(lost > 100 && lost <= 1000, String(lost));
    assert.equal(fitTemperature(new Float64Array(0), [], 3), 1);
  });
});

describe('calibrationError', () => {
  it('is the mean gap between probability and accuracy of its bins', () => {
    const predictions = [
      ...Array.from({ length: 6 }, (_, i) => ({ probability: 0.9, isRight: i < 3 })), // 0.4 too sure
      ...Array.from({ length: 4 }, (_, i) => ({ probability: 0.5, isRight: i < 3 })), // 0.25 not sure enough
    ];
    const { ece, bins } = calibrationError(predictions);
    assert.ok(Math.abs(ece - (0.6 * 0.4 + 0.4 * 0.25)) < 1e-12);
    assert.equal(bins.length, 15);
    assert.equal(
      bins.reduce((sum, bin) => sum + bin.images, 0),
      10,
    );
    assert.deepEqual(calibrationError([{ probability: 1, isRight: true }]).ece, 0);
  });
});

describe('shareEstimate', () => {
  it("is Wilson's interval", () => {
    // statsmodels' proportion_confint(count, nobs, method='wilson')
    for (const [right, count, low, high] of [
      [8, 10, 0.4901625, 0.9433178],
      [0, 10, 0, 0.2775328],
      [97, 100, 0.9154808, 0.9897451],
    ] as const) {
      const found = shareEstimate(right, count);
      assert.equal(found.value, right / count);
      assert.ok(
        Math.abs(found.low - low) < 1e-4 && Math.abs(found.high - high) < 1e-4,
        JSON.stringify(found),
      );
    }
  });
});

describe('stratifiedFolds', () => {
  it('spreads every class evenly, by the seed, and never tests the only image of a class', () => {
    const labels = [...Array.from({ length: 23 }, () => 0), ...Array.from({ length: 7 }, () => 1), 2, 3, 3];
    const folds = stratifiedFolds(labels, 4, 5, 1);
    assert.deepEqual(folds, stratifiedFolds(labels, 4, 5, 1));
    assert.notDeepEqual(folds, stratifiedFolds(labels, 4, 5, 2));
    assert.equal(folds[30], -1);
    for (const label of [0, 1, 3]) {
      const sizes = new Array<number>(5).fill(0);
      labels.forEach((each, i) => each === label && sizes[folds[i]!]!++);
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${label}: ${sizes.join()}`);
    }
    assert.notEqual(folds[31], folds[32]);
    const sizes = new Array<number>(5).fill(0);
    for (const fold of folds) if (fold >= 0) sizes[fold]!++;
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, sizes.join());
  });

  it('balances classes as scikit-learn does', () => {
    assert.deepEqual([...classWeights([0, 0, 0, 1], 2, 'balanced')], [4 / 6, 2]);
    assert.deepEqual([...classWeights([0, 0, 0, 1], 2, 'none')], [1, 1]);
  });
});
