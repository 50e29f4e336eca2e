/**
 * A map of features: UMAP in two dimensions (McInnes, Healy and Melville 2018), from each image's nearest ones by cosine. It
 * begins at the first two principal components, so that the large structure does not depend on chance.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { UMAP } from 'umap-js';
import { leadingComponents } from '../eval/readings.js';
import { unitLength } from '../models/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import { sceneRandom } from './scenes.js';

const NEIGHBOURS = 15;
/** Principal components are scaled to this range, as in UMAP's own initialization. */
const REACH = 10;
/** Steps between two checks of the signal. */
const STEPS = 5;

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
  const random = sceneRandom(seed, 0x3a9, 0);
  const umap = new UMAP({ nNeighbors: k, random });
  const rowOf = <T>(all: ArrayLike<T>, row: number): T[] =>
    Array.from({ length: k }, (_, j) => all[row * k + j]!);
  umap.setPrecomputedKNN(
    Array.from({ length: count }, (_, row) => rowOf(near, row)),
    Array.from({ length: count }, (_, row) =>
      rowOf(similarities, row).map((similarity) => Math.sqrt(Math.max(0, 2 - 2 * similarity))),
    ),
  );
  // with given neighbours, it only reads how many features there are
  const epochs = umap.initializeFit(Array.from({ length: count }, () => []));
  umap.getEmbedding().forEach((place, row) => {
    // a little apart, since equal images would stay on one point
    place[0] = start[2 * row]! + 0.02 * (random() - 0.5);
    place[1] = start[2 * row + 1]! + 0.02 * (random() - 0.5);
  });
  for (let epoch = 0; epoch < epochs; epoch++) {
    umap.step();
    if (epoch % STEPS > 0) continue;
    signal?.throwIfAborted();
    await eventLoopTurn();
  }
  return fitted(Float32Array.from(umap.getEmbedding().flat()));
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
