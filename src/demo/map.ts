/** A map of features that are in no index, laid out like an index's map (src/explore/map.ts). */
import { leadingComponents } from '../eval/readings.js';
import { layoutNeighbours, NEIGHBOURS, REACH } from '../explore/map.js';
import { unitLength } from '../models/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import { sceneRandom } from './scenes.js';

/**
 * @param rows - (N, D) of any lengths; N above 3.
 * @returns (N, 2) positions, 0 to 1 in both directions.
 * @throws The signal's reason when aborted.
 */
export async function mapOf(rows: Tensor, seed: number, signal?: AbortSignal): Promise<Float32Array> {
  const count = rows.size(0);
  const k = Math.min(NEIGHBOURS, count);
  const { near, similarities, start } = scope(() =>
    inferenceMode(() => {
      const unit = unitLength(rows);
      const [values, found] = unit.matmul(unit.t()).topk(k); // (N, k) each; an image is its own first neighbour
      const { mean, axes } = leadingComponents(unit, 2);
      const places = unit.sub(mean).matmul(axes); // (N, 2)
      return {
        near: [...found.toArray()].map(Number),
        similarities: values.toTypedArray() as Float32Array,
        start: places.div(places.abs().max().clampMin(1e-12)).mul(REACH).toTypedArray() as Float32Array,
      };
    }),
  );
  const rowsOf = <T>(all: ArrayLike<T>): T[][] =>
    Array.from({ length: count }, (_, row) => Array.from({ length: k }, (_, j) => all[row * k + j]!));
  const places = await layoutNeighbours({
    indices: rowsOf(near),
    distances: rowsOf(similarities).map((row) =>
      row.map((similarity) => Math.sqrt(Math.max(0, 2 - 2 * similarity))),
    ),
    ...{ start, random: sceneRandom(seed, 0x3a9, 0), signal },
  });
  return fitted(places);
}

/** Moves and scales both directions to 0 to 1. */
function fitted(places: Float32Array): Float32Array {
  const out = new Float32Array(places.length);
  for (const axis of [0, 1]) {
    const values = places.filter((_, i) => i % 2 === axis);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    values.forEach((value, i) => (out[2 * i + axis] = high > low ? (value - low) / (high - low) : 0.5));
  }
  return out;
}
