import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShapeError } from '../errors.js';
import { headJaccards, jaccardScore } from './jaccard.js';

/** 4 x 6 pixels: an object of 7 pixels, in 2 x 3 patches of 2 x 2 pixels. */
const truth = Uint8Array.of(
  ...[255, 255, 255, 0, 0, 0],
  ...[255, 255, 255, 0, 0, 0],
  ...[0, 0, 255, 0, 0, 0],
  ...[0, 0, 0, 0, 0, 0],
);
const layout = { rows: 2, columns: 3, patchSize: 2 };

describe('headJaccards', () => {
  it('counts pixels, each patch enlarged to its own', () => {
    const masks = Uint8Array.of(...[1, 0, 0, 0, 0, 0], ...[1, 1, 0, 0, 1, 0], ...[0, 0, 1, 1, 0, 1]);
    // by hand: 4 of 7; 7 of 12; none
    assert.deepEqual(headJaccards({ ...layout, heads: 3, masks }, truth), [4 / 7, 7 / 12, 0]);
  });

  it('agrees with counting every pixel of an enlarged mask', () => {
    const size = { rows: 4, columns: 5, patchSize: 3 };
    const bit = (i: number, salt: number): number => Number(((i * 2654435761 + salt) >>> 5) % 3 === 0);
    const masks = Uint8Array.from({ length: 2 * 20 }, (_, i) => bit(i, 1));
    const object = Uint8Array.from({ length: 12 * 15 }, (_, i) => bit(i, 2) * 255);
    const expected = [0, 1].map((head) => {
      let [intersection, union] = [0, 0];
      for (let y = 0; y < 12; y++) {
        for (let x = 0; x < 15; x++) {
          const inMask = masks[head * 20 + Math.floor(y / 3) * 5 + Math.floor(x / 3)] === 1;
          const inObject = object[y * 15 + x] === 255;
          intersection += Number(inMask && inObject);
          union += Number(inMask || inObject);
        }
      }
      return intersection / union;
    });
    assert.deepEqual(headJaccards({ ...size, heads: 2, masks }, object), expected);
  });

  it('is 0 for nothing on nothing, and refuses other sizes', () => {
    const empty = { ...layout, heads: 1, masks: new Uint8Array(6) };
    assert.deepEqual(headJaccards(empty, new Uint8Array(24)), [0]);
    assert.throws(() => headJaccards(empty, new Uint8Array(25)), ShapeError);
    assert.throws(() => headJaccards({ ...empty, heads: 2 }, truth), /masks: expected 2 heads of 2 x 3/);
  });
});

describe('jaccardScore', () => {
  it('chooses the head by image, and once for all', () => {
    const score = jaccardScore([[[0.5, 0.1]], [[0.25, 0.75]], [[0, 0.5]], [[0.25, 0.25]]]);
    assert.deepEqual(score, { bestPerImage: 50, bestHead: 40, heads: [25, 40], images: 4 });
  });

  it('chooses a head for each object, and counts each image once', () => {
    const score = jaccardScore([[[0.5, 0], [0, 1]], [[0.25, 0]]]); // prettier-ignore
    assert.deepEqual(score, { bestPerImage: 50, bestHead: 25, heads: [25, 25], images: 2 });
  });

  it('refuses an empty set and images of different heads', () => {
    assert.throws(() => jaccardScore([[]]), ShapeError);
    assert.throws(() => jaccardScore([]), /got 0 images with no heads/);
    assert.throws(() => jaccardScore([[[0.5]], [[0.5, 0.5]]]), /2 images with 1 and 2 heads/);
  });
});
