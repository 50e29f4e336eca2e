/**
 * Images worth labelling first.
 *
 * - diverse: each next image is the one farthest from all chosen so far: the greedy k-centre (Gonzalez 1985), the core-set
 *   of Sener and Savarese 2018 (arXiv 1708.00489). Covers everything, odd images included; for many labels.
 * - typical: images whose neighbours are nearest, by the inverse mean distance of the 20 nearest ("typicality" of Hacohen,
 *   Dekel and Weinshall 2022, arXiv 2202.02794). May choose near-duplicates.
 * - both (default): TypiClust of the same paper: as many clusters as images are wanted, at most 500, and of each the most
 *   typical image; clusters that already have labels come last, larger ones first. Best for few labels.
 */
import { indexArgument, nearestFields, nearestOf } from './arguments.js';
import { checkCall, count, oneOf, optionsOf, rows as rowNumbers } from '../plain/check-options.js';
import { PhiloxStream, Purpose } from '../data/crops/philox.js';
import { ConfigError } from '../errors.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import { kMeans } from './cluster.js';
import type { ImageIndex, NearestOptions } from './image-index.js';
import { distanceOf } from './nearest-rows.js';

export const SELECT_BY = ['diverse', 'typical', 'both'] as const;
export type SelectBy = (typeof SELECT_BY)[number];

/** The paper's neighbours and most clusters. */
const NEIGHBOURS = 20;
const MOST_CLUSTERS = 500;
/** A smaller cluster has no typical image, as in the paper; where clusters are small, one below half the average size. */
const LEAST_MEMBERS = 5;

export interface SelectOptions extends NearestOptions {
  /** How many images. */
  size: number;
  by?: SelectBy;
  /** Rows that already have labels: the others are chosen to complement them. */
  labelled?: readonly number[];
  /** Decides where k-means starts; default 0. */
  seed?: number;
}

/** The density around each image: the inverse of the mean distance to its neighbours. */
async function typicality(index: ImageIndex, options: NearestOptions): Promise<Float64Array> {
  const k = Math.min(NEIGHBOURS, index.count - 1);
  if (k < 1) return new Float64Array(index.count);
  const { similarities } = await index.neighbours(k, nearestOf(options));
  return Float64Array.from({ length: index.count }, (_, row) => {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += distanceOf(similarities[row * k + j]!);
    return k / Math.max(sum, 1e-9);
  });
}

/** Greedy k-centre. Without labels it begins at the image nearest to the mean. */
function diverse(
  index: ImageIndex,
  size: number,
  labelled: readonly number[],
  signal?: AbortSignal,
): number[] {
  const { count, width } = index;
  const features = index.features();
  using rows = fromTypedArray(features, [count, width]);
  const nearest = new Float32Array(count).fill(-Infinity); // similarity to the nearest chosen
  const similarityTo = (feature: Float32Array): Float32Array =>
    scope(() =>
      inferenceMode(() => rows.mv(fromTypedArray(feature, [width])).toTypedArray() as Float32Array),
    );
  const chosen: number[] = [];
  const add = (row: number): void => {
    const similarity = similarityTo(index.feature(row));
    for (let i = 0; i < count; i++) if (similarity[i]! > nearest[i]!) nearest[i] = similarity[i]!;
    nearest[row] = Infinity;
  };
  for (const row of labelled) add(row);
  while (chosen.length < size) {
    signal?.throwIfAborted();
    let row = 0;
    if (chosen.length === 0 && labelled.length === 0) {
      const mean = scope(() => inferenceMode(() => rows.mean([0]).toTypedArray() as Float32Array));
      const similarity = similarityTo(mean);
      for (let i = 1; i < count; i++) if (similarity[i]! > similarity[row]!) row = i;
    } else {
      for (let i = 1; i < count; i++) if (nearest[i]! < nearest[row]!) row = i;
    }
    chosen.push(row);
    add(row);
  }
  return chosen;
}

async function typiclust(
  index: ImageIndex,
  size: number,
  labelled: readonly number[],
  options: SelectOptions,
): Promise<number[]> {
  const density = await typicality(index, options);
  const k = Math.min(labelled.length + size, MOST_CLUSTERS, index.count);
  const random = new PhiloxStream(options.seed ?? 0, Purpose.permutation, k);
  const { assignment } = await kMeans(index.features(), index.width, k, random, options.signal);
  const isLabelled = new Set(labelled);
  const clusters = Array.from({ length: k }, () => ({ rows: [] as number[], labels: 0, size: 0 }));
  assignment.forEach((cluster, row) => {
    const into = clusters[cluster]!;
    into.size++;
    if (isLabelled.has(row)) into.labels++;
    else into.rows.push(row);
  });
  for (const { rows } of clusters) rows.sort((a, b) => density[b]! - density[a]! || a - b);
  const least = Math.min(LEAST_MEMBERS, index.count / k / 2);
  const chosen: number[] = [];
  while (chosen.length < size) {
    const open = clusters.filter(({ rows }) => rows.length > 0);
    const large = open.filter(({ size: members }) => members >= least);
    const next = (large.length > 0 ? large : open).reduce((a, b) =>
      b.labels < a.labels || (b.labels === a.labels && b.size > a.size) ? b : a,
    );
    chosen.push(next.rows.shift()!);
    next.labels++;
  }
  return chosen;
}

const selectOptions = optionsOf<SelectOptions>(
  { size: count() },
  { ...nearestFields, by: oneOf(SELECT_BY), labelled: rowNumbers, seed: count() },
);

/** @returns Rows, in the order in which to label them. @throws ConfigError for options out of range. */
export async function selectImages(index: ImageIndex, options: SelectOptions): Promise<number[]> {
  checkCall('selectImages()', indexArgument(index), ['options', selectOptions, options]);
  const { size, by = 'both', labelled = [] } = options;
  const known = [...new Set(labelled)];
  const free = index.count - known.length;
  const problems: string[] = [];
  if (!(Number.isInteger(size) && size >= 1 && size <= free))
    problems.push(`size ${size}; expected 1 to ${free}, the images without labels`);
  if (known.some((row) => !(Number.isInteger(row) && row >= 0 && row < index.count)))
    problems.push(`labelled holds rows that the index of ${index.count} images lacks`);
  if (problems.length > 0) throw new ConfigError(problems);
  if (by === 'diverse') return diverse(index, size, known, options.signal);
  if (by === 'both') return typiclust(index, size, known, options);
  const density = await typicality(index, options);
  const isKnown = new Set(known);
  return Array.from(density, (_, row) => row)
    .filter((row) => !isKnown.has(row))
    .sort((a, b) => density[b]! - density[a]! || a - b)
    .slice(0, size);
}
