/** What a similarity means in an index: the share of pairs of its images that are less alike. */
import { PhiloxStream, Purpose } from '../data/crops/philox.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import type { ImageIndex } from './image-index.js';

/** Pairs that are drawn: a share is right to about half a percent. */
const PAIRS = 20_000;

/** Similarities of random pairs of different images, rising; always the same of one index. Empty for one image. */
export function pairSimilarities(index: ImageIndex): Float32Array {
  const { count, width } = index;
  if (count < 2) return new Float32Array(0);
  const random = new PhiloxStream(0, Purpose.permutation, 2);
  const [one, other] = [new Int32Array(PAIRS), new Int32Array(PAIRS)];
  for (let i = 0; i < PAIRS; i++) {
    one[i] = random.integer(count);
    other[i] = (one[i]! + 1 + random.integer(count - 1)) % count;
  }
  const similarities = scope(() =>
    inferenceMode(() => {
      const rows = fromTypedArray(index.features(), [count, width]);
      const [a, b] = [one, other].map((some) =>
        rows.indexSelect(0, fromTypedArray(some, [PAIRS]).to('int64')),
      );
      return a!.mul(b!).sum([1]).toTypedArray() as Float32Array; // (PAIRS)
    }),
  );
  return similarities.sort();
}

/** The share of rising numbers that are below a value, 0 to 1. */
export function shareBelow(rising: Float32Array, value: number): number {
  let [low, high] = [0, rising.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return rising.length === 0 ? 0 : low / rising.length;
}
