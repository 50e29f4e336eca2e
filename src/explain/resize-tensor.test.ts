import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromTypedArray, inferenceMode, rand, scope } from '../torch/index.js';
import { resizeTensor } from './resize-tensor.js';

/** (to, from): row i holds the share of each source position in position i. The filter is a triangle. */
function triangleWeights(from: number, to: number): Float32Array {
  const scale = from / to;
  const reach = Math.max(1, scale); // half the filter's width; made smaller it covers what it replaces
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const centre = scale * (i + 0.5);
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    let sum = 0;
    for (let j = first; j < end; j++) {
      const weight = Math.max(0, 1 - Math.abs((j - centre + 0.5) / reach));
      weights[i * from + j] = weight;
      sum += weight;
    }
    for (let j = first; j < end; j++) weights[i * from + j]! /= sum;
  }
  return weights;
}

test('agrees with the filter by its definition to 1e-6, far from the origin too', () => {
  for (const [h, w, height, width] of [
    [48, 85, 48, 30],
    [37, 53, 111, 19],
    [5, 7, 60, 80],
    [8, 8, 1, 1],
    [12, 1920, 11, 1919],
  ] as const)
    inferenceMode(() =>
      scope(() => {
        const image = rand([h, w, 3]).permute([2, 0, 1]); // (3, H, W), as frames come
        const along = fromTypedArray(triangleWeights(w, width), [width, w]);
        const down = fromTypedArray(triangleWeights(h, height), [height, h]);
        const resized = resizeTensor(image, height, width);
        assert.deepEqual([resized.shape, resized.dtype], [[3, height, width], 'float32']);
        const off = down.matmul(image).matmul(along.t()).sub(resized).abs().max().item();
        assert.ok(off < 1e-6, `${h} x ${w} to ${height} x ${width}: ${off}`);
      }),
    );
});

test('an image that has the size already is returned as it is', () => {
  const image = rand([3, 4, 5]);
  assert.equal(resizeTensor(image, 4, 5), image);
});
