/**
 * How features are transformed before they are compared. What features have in common (their mean), and the few directions
 * in which they vary most, can drown everything else; centring takes away the first, whitening both. It is fitted by
 * src/eval/fit-transform.ts; here is what the browser needs, without libtorch.
 */
import { unitRows } from './maps.js';

/** `none`: as the network gives them. `center`: their mean is subtracted. `pca`: then they are whitened as well. */
export const TRANSFORM_MODES = ['none', 'center', 'pca'] as const;
export type TransformMode = (typeof TRANSFORM_MODES)[number];

/** What a caller asks for; `auto` chooses one of the others. */
export const WHITEN_CHOICES = ['auto', 'pca', 'center', 'none'] as const;
export type WhitenChoice = (typeof WHITEN_CHOICES)[number];

/** Applied to rows of length 1: the mean is subtracted, the matrix applied, the result scaled to length 1 again. */
export interface FeatureTransform {
  mode: TransformMode;
  /** (D); null for `none`. */
  mean: Float32Array | null;
  /** (D, D), row-major, its rows are the output's components; only for `pca`. */
  matrix: Float32Array | null;
}

export const NO_TRANSFORM: FeatureTransform = { mode: 'none', mean: null, matrix: null };

/**
 * Transforms one feature, without libtorch.
 * @param feature - (D), of any length but 0.
 * @returns (D), of length 1; zeros for a feature that equals the mean.
 */
export function transformFeature(
  { mean, matrix }: Omit<FeatureTransform, 'mode'>,
  feature: Float32Array,
): Float32Array<ArrayBuffer> {
  const width = feature.length;
  const unit = unitRows(feature, width);
  if (mean === null) return unit;
  const centred = unit.map((value, d) => value - mean[d]!);
  if (matrix === null) return unitRows(centred, width);
  const out = new Float32Array(width);
  for (let row = 0, at = 0; row < width; row++) {
    let sum = 0;
    for (let d = 0; d < width; d++, at++) sum += matrix[at]! * centred[d]!;
    out[row] = sum;
  }
  return unitRows(out, width);
}
