import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mean } from '../plain/mean.js';
import { fromTypedArray, liveTensors, manualSeed, randn, tensor } from '../torch/index.js';
import { NEIGHBOURS, neighbourAgreement } from './neighbours.js';

/** Directions in the plane, by their angles in degrees. */
const directions = (angles: readonly number[]) =>
  tensor(angles.map((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)]));

describe('neighbourAgreement', () => {
  // 12 images on a circle; the gaps grow, so that no two neighbours are equally near
  const angles = Array.from({ length: 12 }, (_, i) => 20 * i + i * i * 0.7);
  const features = directions(angles);

  it('is 1 where views are like their images, and by cosine, whatever their lengths', () => {
    const agreed = neighbourAgreement(features, [features, features.mul(3)]);
    assert.deepEqual(agreed, new Array(12).fill(1));
  });

  it('is the share of the nearest five that two views of an image agree on, itself left out', () => {
    // the second view of the first image is where image 6 is
    const moved = directions([angles[6]! + 0.1, ...angles.slice(1)]);
    const agreed = neighbourAgreement(features, [features, moved]);
    assert.deepEqual(agreed.slice(1), new Array(11).fill(1));
    const nearestTo = (angle: number): number[] => {
      const away = (i: number): number => {
        const turn = Math.abs(angles[i]! - angle) % 360;
        return Math.min(turn, 360 - turn);
      };
      return [...angles.keys()]
        .slice(1)
        .sort((a, b) => away(a) - away(b))
        .slice(0, NEIGHBOURS);
    };
    const [here, there] = [nearestTo(angles[0]!), nearestTo(angles[6]! + 0.1)];
    assert.equal(agreed[0], here.filter((each) => there.includes(each)).length / NEIGHBOURS);
    assert.ok(agreed[0] < 1);
  });

  it('is the mean over all pairs of views', () => {
    manualSeed(3);
    const [a, b, c] = [randn([12, 2]), randn([12, 2]), randn([12, 2])];
    const pairs = [
      [a, b],
      [a, c],
      [b, c],
    ].map((pair) => neighbourAgreement(features, pair));
    neighbourAgreement(features, [a, b, c]).forEach((value, i) =>
      assert.ok(Math.abs(value - mean(pairs.map((each) => each[i]!))) < 1e-12),
    );
  });

  it('is 0 for features that are all alike, and near chance for noise', () => {
    const alike = fromTypedArray(new Float32Array(40).fill(0.3), [20, 2]);
    assert.deepEqual(neighbourAgreement(alike, [alike, alike]), new Array(20).fill(0));
    // one direction: all others are exactly as similar, or exactly opposite
    const line = fromTypedArray(
      Float32Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? i + 1 : 0)),
      [20, 2],
    );
    assert.deepEqual(neighbourAgreement(line, [line, line]), new Array(20).fill(0));
    manualSeed(4);
    const noise = neighbourAgreement(randn([1000, 16]), [randn([1000, 16]), randn([1000, 16])]);
    assert.ok(mean(noise) < 0.02, `${mean(noise)}`); // 5 / 999 by chance
  });

  it('is the same for more images than are compared at a time, and leaves no tensor behind', () => {
    manualSeed(5);
    const many = randn([700, 8]);
    const before = liveTensors();
    assert.deepEqual(neighbourAgreement(many, [many, many]), new Array(700).fill(1));
    assert.equal(liveTensors(), before);
  });

  it('takes fewer images than neighbours, which says nothing, and refuses shapes that do not fit', () => {
    assert.deepEqual(
      neighbourAgreement(directions([0, 50, 190]), [directions([0, 50, 190]), directions([0, 50, 190])]),
      [1, 1, 1],
    );
    assert.throws(
      () => neighbourAgreement(features, [features]),
      /at least two views .* got \(12, 2\) and \(12, 2\)/,
    );
    assert.throws(() => neighbourAgreement(features, [features, tensor([[1, 0]])]), /of one shape \(N, D\)/);
  });
});
