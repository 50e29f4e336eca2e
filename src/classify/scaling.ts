/**
 * How features are scaled before a classifier is fitted to them. What is learned on the scaled rows is then written as a
 * layer on the features themselves, as far as the scaling is linear, so that standardizing leaves no trace in a classifier.
 */
import { fitTransform, MOST_WHITENED, transformRows } from '../eval/fit-transform.js';
import { type FeatureTransform, NO_TRANSFORM } from '../plain/feature-transform.js';
import { fromTypedArray } from '../torch/index.js';
import type { LinearLayer } from './logistic.js';

/**
 * `none`: as the network gives them. `standardize`: each of their values has mean 0 and deviation 1. `center`: scaled to
 * length 1, less their mean. `pca`: whitened as well.
 */
export const SCALINGS = ['none', 'standardize', 'center', 'pca'] as const;
export type Scaling = (typeof SCALINGS)[number];

export interface ScaledRows {
  scaling: Scaling;
  /** What a feature goes through before the layer; null for none. */
  transform: FeatureTransform | null;
  /** (N, D) row-major. */
  rows: Float32Array;
  /** Why it is not quite what was asked for; null when it is. */
  remark: string | null;
  /** A layer on the rows as a layer on transformed features. */
  toFeatures(layer: LinearLayer): LinearLayer;
}

/** The scalings that cross-validation chooses among. */
export function candidates(method: 'logistic' | 'knn', width: number): Scaling[] {
  const simple: Scaling[] = method === 'logistic' ? ['none', 'standardize'] : ['none', 'center'];
  return width > MOST_WHITENED ? simple : [...simple, 'pca'];
}

/** Scales rows for logistic regression. @param rows - (N, width) row-major, finite; not changed. */
export function scaleRows(rows: Float32Array, width: number, scaling: Scaling): ScaledRows {
  if (scaling === 'none')
    return { scaling, transform: null, rows, remark: null, toFeatures: (layer) => layer };
  if (scaling === 'standardize') return standardized(rows, width);
  using all = fromTypedArray(rows, [rows.length / width, width]);
  const { transform, remark } = fitTransform(all, scaling);
  // of length 1, values would shrink as features get wider; this way C means much the same for every scaling
  const gain = Math.sqrt(width);
  return {
    ...{ scaling, transform, remark },
    rows: transformRows(transform, rows, width).map((value) => value * gain),
    toFeatures: ({ weight, bias }) => ({ weight: weight.map((value) => value * gain), bias }),
  };
}

/** Rows of length 1 for k-NN. */
export function unitRowsFor(
  rows: Float32Array,
  width: number,
  scaling: Exclude<Scaling, 'standardize'>,
): { transform: FeatureTransform; rows: Float32Array; remark: string | null } {
  using all = fromTypedArray(rows, [rows.length / width, width]);
  const { transform, remark } =
    scaling === 'none' ? { transform: NO_TRANSFORM, remark: null } : fitTransform(all, scaling);
  return { transform, rows: transformRows(transform, rows, width), remark };
}

/** As scikit-learn's StandardScaler: values that never vary are only centred. */
function standardized(rows: Float32Array, width: number): ScaledRows {
  const count = rows.length / width;
  const mean = new Float64Array(width);
  for (let i = 0, d = 0; i < rows.length; i++, d = d + 1 === width ? 0 : d + 1) mean[d]! += rows[i]! / count;
  const variance = new Float64Array(width);
  for (let i = 0, d = 0; i < rows.length; i++, d = d + 1 === width ? 0 : d + 1)
    variance[d]! += (rows[i]! - mean[d]!) ** 2 / count;
  const deviation = variance.map((value, d) => {
    const rounding = (1e-6 * Math.abs(mean[d]!)) ** 2; // of float32
    return value > rounding ? Math.sqrt(value) : 1;
  });
  return {
    ...{ scaling: 'standardize', transform: null, remark: null },
    rows: rows.map((value, i) => (value - mean[i % width]!) / deviation[i % width]!),
    toFeatures({ weight, bias }) {
      const scaled = weight.map((value, i) => value / deviation[i % width]!);
      const offsets = bias.map((value, c) => {
        let sum = value;
        for (let d = 0; d < width; d++) sum -= scaled[c * width + d]! * mean[d]!;
        return sum;
      });
      return { weight: scaled, bias: offsets };
    },
  };
}
