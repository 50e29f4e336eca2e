/** Which images of a gallery a page begins with. */
import { fromTypedArray, inferenceMode, scope } from '../../torch/index.js';

/** Images that are compared with each other; of a larger gallery, these many at equal distances. */
const MOST_COMPARED = 2000;

/**
 * Images that stand for the others: greedily, each next one is the one that brings all images closest to a chosen one
 * (facility location). They are of different kinds, and each is typical of its kind.
 *
 * @param features - (images, width), rows of length 1.
 * @returns Rows, at most `count`, the one that stands for most first.
 */
export function variedRows(features: Float32Array, width: number, count: number): number[] {
  const images = features.length / width;
  const compared = Math.min(images, MOST_COMPARED);
  const rows = Array.from({ length: compared }, (_, i) => Math.floor((i * images) / compared));
  const some = new Float32Array(compared * width);
  rows.forEach((row, i) => some.set(features.subarray(row * width, (row + 1) * width), i * width));
  const similarities = scope(() =>
    inferenceMode(() => {
      const matrix = fromTypedArray(some, [compared, width]); // (M, D)
      return matrix.matmul(matrix.t()).toTypedArray() as Float32Array; // (M, M)
    }),
  );
  const nearest = new Float32Array(compared).fill(-1);
  const chosen: number[] = [];
  while (chosen.length < Math.min(count, compared)) {
    let best = { gain: -1, i: -1 };
    for (let i = 0; i < compared; i++) {
      if (chosen.includes(i)) continue;
      let gain = 0;
      for (let j = 0; j < compared; j++) gain += Math.max(0, similarities[i * compared + j]! - nearest[j]!);
      if (gain > best.gain) best = { gain, i };
    }
    chosen.push(best.i);
    for (let j = 0; j < compared; j++)
      nearest[j] = Math.max(nearest[j]!, similarities[best.i * compared + j]!);
  }
  return chosen.map((i) => rows[i]!);
}
