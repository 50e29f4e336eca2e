/**
 * Clusters: spherical k-means (Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering")
 * from k-means++ seeds (Arthur and Vassilvitskii 2007), the best of a few tries. Without a given number of clusters, the
 * one with the best simplified silhouette is taken (Hruschka, de Castro and Campello 2004): distances to the clusters'
 * centres instead of those to all of their images, so that it is computed in one pass.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { indexArgument } from './arguments.js';
import {
  callback,
  checkCall,
  count as wholeNumber,
  optionsOf,
  signal as abortSignal,
} from '../plain/check-options.js';
import { PhiloxStream, Purpose } from '../data/crops/philox.js';
import { ConfigError } from '../errors.js';
import { fromTypedArray, inferenceMode, scope, type Tensor, zeros } from '../torch/index.js';
import type { ImageIndex } from './image-index.js';
import { SAME_SIMILARITY } from './nearest-rows.js';
import { unitRows } from '../plain/maps.js';

const MOST_STEPS = 50;
const TRIES = 4;
/** Similarities in memory at a time: 64 MiB. */
const MOST_SIMILARITIES = 2 ** 24;
/** How many images the number of clusters is chosen by. */
const SAMPLE = 20_000;
/** Numbers of clusters that are tried, up to the square root of the images. */
const NUMBERS = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 100];
/** Tries for each of them. */
const SEARCH_TRIES = 2;

export interface ClusterOptions {
  /** How many; default: chosen among 2 to 100, at most the square root of the number of images. */
  clusters?: number;
  /** Decides the starts; default 0. */
  seed?: number;
  /** Most typical images returned for each, default 5. */
  typical?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Called when there are fewer clusters than were asked for. */
  onWarning?: (message: string) => void;
}

export interface Cluster {
  /** Rows, most typical (nearest to the centre) first. */
  rows: number[];
  /** The first of them. */
  typical: { row: number; path: string; similarity: number }[];
  /** Mean similarity of its images to its centre. */
  tightness: number;
}

export interface Clustering {
  /** The largest first. */
  clusters: Cluster[];
  /** (N): each image's cluster. */
  assignment: Int32Array;
  /** Simplified silhouette, -1 to 1: how much nearer images are to their own centre than to the next. */
  silhouette: number;
  /** The numbers of clusters that were tried, with their silhouettes; empty when the number was given. */
  tried: { clusters: number; silhouette: number }[];
}

export interface KMeans {
  /** (K, width), of length 1. */
  centres: Float32Array;
  assignment: Int32Array;
  /** (N): similarity to its own centre, and to the next nearest. */
  own: Float32Array;
  next: Float32Array;
}

/** Two nearest centres of all rows. */
async function assign(
  rows: Tensor,
  centres: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Omit<KMeans, 'centres'>> {
  const [count, width] = [rows.size(0), rows.size(1)];
  const k = centres.length / width;
  const two = Math.min(2, k);
  const assignment = new Int32Array(count);
  const own = new Float32Array(count);
  const next = new Float32Array(count).fill(-1);
  const block = Math.max(1, Math.floor(MOST_SIMILARITIES / k));
  for (let start = 0; start < count; start += block) {
    signal?.throwIfAborted();
    const size = Math.min(block, count - start);
    const [values, at] = scope(() =>
      inferenceMode(() => {
        const similarity = rows.narrow(0, start, size).matmul(fromTypedArray(centres, [k, width]).t()); // (size, K)
        const [best, which] = similarity.topk(two);
        return [best.toTypedArray() as Float32Array, which.to('int32').toTypedArray() as Int32Array];
      }),
    );
    for (let i = 0; i < size; i++) {
      assignment[start + i] = at[i * two]!;
      own[start + i] = values[i * two]!;
      if (two === 2) next[start + i] = values[i * two + 1]!;
    }
    await eventLoopTurn();
  }
  return { assignment, own, next };
}

/** Sums of the rows of each cluster: (K, width). */
function sums(rows: Tensor, assignment: Int32Array, k: number): Float32Array {
  return scope(() =>
    inferenceMode(() => {
      const at = fromTypedArray(assignment, [assignment.length]).to('int64');
      return zeros([k, rows.size(1)])
        .indexAdd(0, at, rows)
        .toTypedArray() as Float32Array;
    }),
  );
}

/** k-means++: each next centre is a row drawn by its squared distance to the nearest so far. */
function seeds(rows: Tensor, features: Float32Array, k: number, random: PhiloxStream): Float32Array {
  const [count, width] = [rows.size(0), rows.size(1)];
  const centres = new Float32Array(k * width);
  const distance = new Float64Array(count).fill(Infinity);
  let chosen = random.integer(count);
  for (let c = 0; c < k; c++) {
    const centre = features.subarray(chosen * width, (chosen + 1) * width);
    centres.set(centre, c * width);
    const similarity = scope(() =>
      inferenceMode(() => rows.mv(fromTypedArray(centre, [width])).toTypedArray() as Float32Array),
    );
    let total = 0;
    for (let i = 0; i < count; i++) {
      distance[i] = Math.min(distance[i]!, Math.max(0, 2 - 2 * similarity[i]!));
      total += distance[i]!;
    }
    let left = random.random() * total;
    chosen = count - 1;
    for (let i = 0; i < count; i++) {
      left -= distance[i]!;
      if (left <= 0 && distance[i]! > 0) {
        chosen = i;
        break;
      }
    }
  }
  return centres;
}

/** One run of spherical k-means. @param features - (N, width), rows of length 1. */
export async function kMeans(
  features: Float32Array,
  width: number,
  k: number,
  random: PhiloxStream,
  signal?: AbortSignal,
): Promise<KMeans & { objective: number }> {
  const count = features.length / width;
  using rows = fromTypedArray(features, [count, width]);
  let centres = seeds(rows, features, k, random);
  let assigned = await assign(rows, centres, signal);
  for (let step = 0; step < MOST_STEPS; step++) {
    const before = assigned.assignment;
    const moved = sums(rows, before, k);
    const sizes = new Int32Array(k);
    for (const cluster of before) sizes[cluster]!++;
    // a cluster that has lost all of its images begins again at the image farthest from its centre
    const worst = sizes.includes(0) ? Array.from(assigned.own, (_, i) => i) : [];
    worst.sort((a, b) => assigned.own[a]! - assigned.own[b]!);
    for (let c = 0; c < k; c++)
      if (sizes[c] === 0) {
        const row = worst.shift()!;
        moved.set(features.subarray(row * width, (row + 1) * width), c * width);
      }
    centres = unitRows(moved, width);
    assigned = await assign(rows, centres, signal);
    if (before.every((cluster, i) => cluster === assigned.assignment[i])) break;
  }
  const objective = assigned.own.reduce((sum, value) => sum + value, 0) / count;
  return { centres, ...assigned, objective };
}

async function bestOf(
  features: Float32Array,
  width: number,
  k: number,
  tries: number,
  options: ClusterOptions,
  onTry: () => void,
): Promise<KMeans> {
  let best: (KMeans & { objective: number }) | null = null;
  for (let attempt = 0; attempt < tries; attempt++) {
    const random = new PhiloxStream(options.seed ?? 0, Purpose.permutation, k, attempt);
    const found = await kMeans(features, width, k, random, options.signal);
    if (best === null || found.objective > best.objective) best = found;
    onTry();
  }
  return best!;
}

/** Mean of (b - a) / max(a, b), with the distances a to its own centre and b to the next. */
function silhouetteOf({ own, next }: Pick<KMeans, 'own' | 'next'>): number {
  const distance = (similarity: number): number => Math.sqrt(Math.max(0, 2 - 2 * similarity));
  let sum = 0;
  for (let i = 0; i < own.length; i++) {
    const [a, b] = [distance(own[i]!), distance(next[i]!)];
    const most = Math.max(a, b);
    sum += most > 0 ? (b - a) / most : 0;
  }
  return sum / own.length;
}

const clusterOptions = optionsOf<ClusterOptions>(
  {},
  {
    ...{ clusters: wholeNumber(), seed: wholeNumber(), typical: wholeNumber() },
    ...{ signal: abortSignal, onProgress: callback, onWarning: callback },
  },
);

/** @throws ConfigError for a number of clusters that doesn't fit the images. */
export async function clusterIndex(index: ImageIndex, options: ClusterOptions = {}): Promise<Clustering> {
  checkCall('clusterIndex()', indexArgument(index), ['options', clusterOptions, options]);
  const { clusters: wanted, typical = 5, onProgress } = options;
  const { count, width } = index;
  if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 1 && wanted <= count))
    throw new ConfigError(`clusters ${wanted}; expected 1 to ${count}, the images of the index`);
  const features = index.features();
  const numbers =
    wanted === undefined ? NUMBERS.filter((k) => k <= Math.max(2, Math.sqrt(count)) && k < count) : [];
  const total = numbers.length * SEARCH_TRIES + TRIES;
  let done = 0;
  const onTry = (): void => onProgress?.(++done, total);
  const tried: Clustering['tried'] = [];
  const sample = sampled(features, width, SAMPLE);
  for (const k of numbers) {
    const found = await bestOf(sample, width, k, SEARCH_TRIES, options, onTry);
    tried.push({ clusters: k, silhouette: silhouetteOf(found) });
  }
  const k =
    wanted ??
    tried.reduce((a, b) => (b.silhouette > a.silhouette ? b : a), { clusters: 1, silhouette: -1 }).clusters;
  const found = await bestOf(features, width, k, TRIES, options, onTry);
  const clustering = arranged(index, found, k, typical);
  if (wanted !== undefined && clustering.clusters.length < wanted)
    options.onWarning?.(fewerLine(index, wanted, clustering.clusters.length));
  return { ...clustering, silhouette: k === 1 ? 0 : silhouetteOf(found), tried };
}

/** Says why there are fewer clusters than were asked for. */
function fewerLine(index: ImageIndex, wanted: number, found: number): string {
  const distinct = distinctImages(index, wanted);
  return (
    `${wanted} clusters were asked for and there are ${found}: ` +
    (distinct < wanted
      ? `only ${distinct} of the ${index.count} images differ, the others are copies of them to this model`
      : `no image was nearest to the centres of the others; another seed may fill them`)
  );
}

/** How many images differ from one another, at most `most`. */
function distinctImages(index: ImageIndex, most: number): number {
  const { count, width } = index;
  using rows = fromTypedArray(index.features(), [count, width]);
  const isKnown = new Uint8Array(count);
  let distinct = 0;
  for (let row = 0; row < count && distinct < most; row++) {
    if (isKnown[row] === 1) continue;
    distinct++;
    const similarity = scope(() =>
      inferenceMode(
        () => rows.mv(fromTypedArray(index.feature(row), [width])).toTypedArray() as Float32Array,
      ),
    );
    for (let i = row; i < count; i++) if (similarity[i]! >= SAME_SIMILARITY) isKnown[i] = 1;
  }
  return distinct;
}

/** Rows spread evenly through the index. */
function sampled(features: Float32Array, width: number, most: number): Float32Array {
  const count = features.length / width;
  if (count <= most) return features;
  const some = new Float32Array(most * width);
  for (let i = 0; i < most; i++) {
    const row = Math.floor((i * count) / most);
    some.set(features.subarray(row * width, (row + 1) * width), i * width);
  }
  return some;
}

/** Clusters by size, their images by nearness to the centre. */
function arranged(
  index: ImageIndex,
  { assignment, own }: KMeans,
  k: number,
  typical: number,
): Pick<Clustering, 'clusters' | 'assignment'> {
  const members = Array.from({ length: k }, () => [] as number[]);
  assignment.forEach((cluster, row) => members[cluster]!.push(row));
  const order = members.map((_, cluster) => cluster).filter((cluster) => members[cluster]!.length > 0);
  order.sort((a, b) => members[b]!.length - members[a]!.length || members[a]![0]! - members[b]![0]!);
  const place = new Int32Array(k);
  order.forEach((cluster, i) => (place[cluster] = i));
  const clusters = order.map((cluster): Cluster => {
    const rows = members[cluster]!.sort((a, b) => own[b]! - own[a]! || a - b);
    return {
      rows,
      typical: rows.slice(0, typical).map((row) => ({ row, path: index.pathOf(row), similarity: own[row]! })),
      tightness: rows.reduce((sum, row) => sum + own[row]!, 0) / rows.length,
    };
  });
  return { clusters, assignment: assignment.map((cluster) => place[cluster]!) };
}
