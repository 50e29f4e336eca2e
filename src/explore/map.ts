/**
 * A map of all images: UMAP in two dimensions (McInnes, Healy and Melville 2018, arXiv 1802.03426) by umap-js, on the
 * neighbours that the index finds. It begins at the first two principal components, so that the large structure doesn't
 * depend on chance, and the same seed gives the same map of an index.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import path from 'node:path';
import { UMAP } from 'umap-js';
import { indexArgument, nearestFields, nearestOf } from './arguments.js';
import { checkCall, count as wholeNumber, optionsOf } from '../plain/check-options.js';
import { PhiloxStream, Purpose } from '../data/crops/philox.js';
import { DataError } from '../errors.js';
import { principalAxes } from '../explain/principal-axes.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import { lockFolder } from '../files/folder-lock.js';
import { FloatRows, writeFloatRows } from './feature-file.js';
import type { ImageIndex, NearestOptions } from './image-index.js';
import { writeManifest } from './index-draft.js';
import { readManifest, sealFile, writingOf } from './index-format.js';

/** UMAP's own defaults. */
export const NEIGHBOURS = 15;
const MIN_DISTANCE = 0.1;
/** Principal components are scaled to this range, as in UMAP's own initialization. */
export const REACH = 10;
/** Steps between two checks of the signal. */
const STEPS = 5;

export interface MapOptions extends NearestOptions {
  /** Default 0. */
  seed?: number;
}

/** The first two principal components, scaled to -10 to 10. @returns (N, 2) */
function principal(index: ImageIndex): Float32Array {
  const { count, width } = index;
  return scope(() =>
    inferenceMode(() => {
      const rows = fromTypedArray(index.features(), [count, width]);
      const mean = rows.mean([0], true);
      const covariance = rows.t().matmul(rows).div(count).sub(mean.t().matmul(mean)); // (D, D)
      const { axes } = principalAxes(covariance, Math.min(2, width)); // (D, 2)
      const places = rows.sub(mean).matmul(axes.flip([1]).to('float32')); // (N, 2), the second component across
      return places.div(places.abs().max().clampMin(1e-12)).mul(REACH).toTypedArray() as Float32Array;
    }),
  );
}

const mapOptions = optionsOf<MapOptions>({}, { ...nearestFields, seed: wholeNumber() });

/** @returns (N, 2) positions. @throws The signal's reason when aborted. */
export async function layoutMap(index: ImageIndex, options: MapOptions = {}): Promise<Float32Array> {
  checkCall('layoutMap()', indexArgument(index), ['options', mapOptions, options]);
  const { seed = 0, signal, onProgress } = options;
  const { count } = index;
  const start = principal(index);
  if (count <= 3) return start;
  const k = Math.min(NEIGHBOURS, count - 1);
  const near = await index.neighbours(k - 1, nearestOf(options));
  const indices: number[][] = [];
  const distances: number[][] = [];
  for (let row = 0; row < count; row++) {
    const found: [number, number][] = [[row, 0]]; // an image is its own first neighbour here
    for (let j = 0; j < k - 1; j++) {
      const other = near.rows[row * (k - 1) + j]!;
      const similarity = near.similarities[row * (k - 1) + j]!;
      if (other >= 0) found.push([other, Math.sqrt(Math.max(0, 2 - 2 * similarity))]);
    }
    while (found.length < k) found.push(found.at(-1)!);
    indices.push(found.map(([other]) => other));
    distances.push(found.map(([, distance]) => distance));
  }
  const stream = new PhiloxStream(seed, Purpose.permutation, 1);
  return layoutNeighbours({ indices, distances, start, random: () => stream.random(), signal, onProgress });
}

export interface Neighbourhood {
  /** Each image's nearest ones, itself first, and how far away they are: (N, k) each. */
  indices: number[][];
  distances: number[][];
  /** (N, 2) places to begin at. */
  start: Float32Array;
  /** In [0, 1). */
  random: () => number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** UMAP of images by their neighbours. @returns (N, 2) positions. @throws The signal's reason when aborted. */
export async function layoutNeighbours(from: Neighbourhood): Promise<Float32Array> {
  const { indices, distances, start, random, signal, onProgress } = from;
  const umap = new UMAP({ nNeighbors: indices[0]!.length, minDist: MIN_DISTANCE, random });
  umap.setPrecomputedKNN(indices, distances);
  // with given neighbours, it only reads how many features there are
  const epochs = umap.initializeFit(indices.map(() => []));
  umap.getEmbedding().forEach((place, row) => {
    // a little apart, since equal images would stay on one point
    place[0] = start[2 * row]! + (-0.01 + random() * 0.02);
    place[1] = start[2 * row + 1]! + (-0.01 + random() * 0.02);
  });
  for (let epoch = 0; epoch < epochs; epoch++) {
    umap.step();
    if (epoch % STEPS > 0) continue;
    signal?.throwIfAborted();
    onProgress?.(epoch, epochs);
    await eventLoopTurn();
  }
  return Float32Array.from(umap.getEmbedding().flat());
}

/** The map that is kept in an index; null when there is none, or the images have changed since. */
export function readMap(index: ImageIndex): Float32Array | null {
  checkCall('readMap()', indexArgument(index));
  const file = readManifest(index.folder).files.map;
  if (file === null) return null;
  using rows = new FloatRows(index.folder, file, 'positions', index.count, 2);
  return rows.all();
}

/**
 * Lays out the map of an index and keeps it there, until its images change.
 * @throws DataError when the index was changed meanwhile, or another process is writing it.
 */
export async function makeMap(index: ImageIndex, options: MapOptions = {}): Promise<Float32Array> {
  checkCall('makeMap()', indexArgument(index), ['options', mapOptions, options]);
  const positions = await layoutMap(index, options);
  await keepMap(index, positions);
  return positions;
}

/**
 * Keeps a map in the index.
 *
 * @param positions - (N, 2)
 * @throws DataError as makeMap().
 */
export async function keepMap(index: ImageIndex, positions: Float32Array): Promise<void> {
  const lock = await lockFolder(index.folder);
  try {
    const manifest = readManifest(index.folder);
    if (writingOf(manifest) !== writingOf(index.manifest))
      throw new DataError(`${index.folder} was changed while its map was made: make it again`);
    const name = `map-${manifest.generation}.safetensors`;
    writeFloatRows(path.join(index.folder, name), 'positions', 2, [positions], index.folder);
    writeManifest(index.folder, {
      ...manifest,
      files: { ...manifest.files, map: sealFile(index.folder, name) },
    });
  } finally {
    lock.release();
  }
}
