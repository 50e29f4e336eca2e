/**
 * Images that don't belong: those whose k-th nearest neighbour is far (Ramaswamy, Rastogi and Shim 2000, "Efficient
 * algorithms for mining outliers"; on normalized deep features, Sun et al. 2022, "Out-of-distribution detection with deep
 * nearest neighbors", arXiv 2204.06507). The k-th and not the first, so that an odd image with a copy is found too.
 */
import { indexArgument, nearestFields, nearestOf } from './arguments.js';
import { checkCall, count, optionsOf } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import type { ImageIndex, NearestOptions } from './image-index.js';
import { distanceOf, SAME_SIMILARITY } from './nearest-rows.js';

/** Neighbours that an ordinary image has. */
export const OUTLIER_NEIGHBOURS = 10;
/** A score this many median deviations above the median counts as far off (Iglewicz and Hoaglin 1993). */
const FAR = 3.5;
/** Median absolute deviation of a normal distribution, in standard deviations. */
const MAD = 0.6745;
/** The standard deviation of a normal distribution, in mean absolute deviations. */
const MEAN_AD = 1.253314;

export interface OutlierOptions extends NearestOptions {
  /** Which neighbour's distance is taken; default 10. */
  k?: number;
  /** How many images are returned, default 20. */
  top?: number;
}

export interface Outlier {
  row: number;
  path: string;
  /** Euclidean distance to the k-th nearest neighbour, 0 to 2. */
  distance: number;
  /** How far above the usual distance, in robust standard deviations; 0 for all when all distances are the same. */
  deviation: number;
  /** Whether that is beyond 3.5. */
  far: boolean;
  nearest: { path: string; similarity: number };
}

const median = (sorted: Float64Array): number => {
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

/**
 * How far each score is from the median, in robust standard deviations: by the median absolute deviation, or by the mean one
 * where more than half of the scores are the same (Iglewicz and Hoaglin), as those of images with exact copies are.
 */
function deviationsOf(scores: Float64Array): Float64Array {
  const middle = median(Float64Array.from(scores).sort());
  // a square differs by twice as much as the similarity: distances of copies are rounding errors, not differences
  const off = scores.map((score) =>
    Math.abs(score ** 2 - middle ** 2) < 2 * (1 - SAME_SIMILARITY) ? 0 : score - middle,
  );
  const sizes = off.map(Math.abs).sort();
  const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  const spread = median(sizes) / MAD || MEAN_AD * mean;
  return spread > 0 ? off.map((each) => each / spread) : off;
}

/** Distance of each image's k-th neighbour; k is clipped to the images there are. */
export async function outlierScores(index: ImageIndex, options: OutlierOptions = {}): Promise<Float64Array> {
  const { k: wanted = OUTLIER_NEIGHBOURS } = options;
  if (!(Number.isInteger(wanted) && wanted >= 1)) throw new ConfigError(`k ${wanted}; expected at least 1`);
  const k = Math.min(wanted, index.count - 1);
  if (k < 1) return new Float64Array(index.count);
  const { similarities } = await index.neighbours(k, nearestOf(options));
  return Float64Array.from({ length: index.count }, (_, row) => distanceOf(similarities[row * k + k - 1]!));
}

const outlierOptions = optionsOf<OutlierOptions>({}, { ...nearestFields, k: count(1), top: count(1) });

/** @returns The most outlying first. */
export async function findOutliers(index: ImageIndex, options: OutlierOptions = {}): Promise<Outlier[]> {
  checkCall('findOutliers()', indexArgument(index), ['options', outlierOptions, options]);
  const { top = 20 } = options;
  const scores = await outlierScores(index, options);
  if (index.count < 2) return [];
  const deviations = deviationsOf(scores);
  const { rows, similarities, k } = await index.neighbours(
    Math.min(options.k ?? OUTLIER_NEIGHBOURS, index.count - 1),
    nearestOf(options),
  );
  const order = Array.from(scores, (_, row) => row).sort((a, b) => scores[b]! - scores[a]! || a - b);
  return order.slice(0, top).map((row) => {
    const deviation = deviations[row]!;
    const near = rows[row * k]!;
    return {
      ...{ row, path: index.pathOf(row), distance: scores[row]!, deviation, far: deviation > FAR },
      nearest: { path: index.pathOf(near), similarity: similarities[row * k]! },
    };
  });
}
