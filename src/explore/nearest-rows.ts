/** Exact search by matrix products: how small indexes are searched, and how the graph's answers are verified. */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';

/** Similarities in memory at a time: 256 MiB. */
const MOST_SIMILARITIES = 2 ** 26;

export interface NearestRows {
  /** (Q, k) row numbers, most similar first; -1 where there are fewer rows. */
  rows: Int32Array;
  /** (Q, k) cosine similarities. */
  similarities: Float32Array;
  k: number;
}

/** From this similarity on, rows are the same: in float32 that of exact copies differs from 1 by a rounding error. */
export const SAME_SIMILARITY = 0.999999;

/** Euclidean distance of two rows of length 1, from the cosine of their angle: |a - b|^2 = 2 - 2 cos. */
export const distanceOf = (similarity: number): number =>
  Math.sqrt(Math.max(0, 2 - 2 * Math.max(-1, similarity)));

/** Orders one query's results: most similar first, then by row, so that equal images have a fixed order. */
export function sortMatches(matches: { row: number; similarity: number }[]): void {
  matches.sort((a, b) => b.similarity - a.similarity || a.row - b.row);
}

/** @param features - (N, width). @param queries - (Q, width). Rows of length 1. */
export async function exactNearest(
  features: Float32Array,
  queries: Float32Array,
  width: number,
  k: number,
  options: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined } = {},
): Promise<NearestRows> {
  const count = features.length / width;
  const asked = queries.length / width;
  const found = Math.min(k, count);
  const rows = new Int32Array(asked * k).fill(-1);
  const similarities = new Float32Array(asked * k).fill(-Infinity);
  const block = Math.max(1, Math.min(512, Math.floor(MOST_SIMILARITIES / count)));
  using all = fromTypedArray(features, [count, width]);
  for (let start = 0; start < asked; start += block) {
    options.signal?.throwIfAborted();
    const size = Math.min(block, asked - start);
    const [values, indices] = scope(() =>
      inferenceMode(() => {
        const some = fromTypedArray(queries.subarray(start * width, (start + size) * width), [size, width]);
        const [near, at] = some.matmul(all.t()).topk(found); // (size, found)
        return [near.toTypedArray() as Float32Array, at.to('int32').toTypedArray() as Int32Array];
      }),
    );
    for (let i = 0; i < size; i++) {
      const matches = Array.from({ length: found }, (_, j) => ({
        row: indices[i * found + j]!,
        similarity: values[i * found + j]!,
      }));
      sortMatches(matches);
      matches.forEach(({ row, similarity }, j) => {
        rows[(start + i) * k + j] = row;
        similarities[(start + i) * k + j] = similarity;
      });
    }
    options.onProgress?.(start + size);
    await eventLoopTurn();
  }
  return { rows, similarities, k };
}
