/**
 * Whitening by principal components (reference: utils.py PCA with whit 0.5, and how eval_copy_detection.py calls it): the
 * mean is subtracted from the features that are transformed, but, as there, not from those that the covariance is computed
 * from.
 */
import { principalAxes } from '../explain/principal-axes.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';

/** Eigenvalues below this share of the largest are raised to it. */
const LEAST_EIGENVALUE = 1e-5;

export interface Whitening {
  /** (D) */
  mean: Tensor;
  /** (D, D), rows are components over the square roots of their variances, the largest first. */
  matrix: Tensor;
}

/** @param features - (N, D) float32. */
export function learnWhitening(features: Tensor): Whitening {
  return scope(() =>
    inferenceMode(() => {
      const covariance = features.t().matmul(features).div(features.size(0)); // (D, D)
      const { variances, axes } = principalAxes(covariance);
      const least = variances.max().mul(LEAST_EIGENVALUE).item();
      const scales = variances.clampMin(least).pow(-0.5); // (D)
      const rows = axes.t().mul(scales.unsqueeze(1)); // (D, D)
      const matrix = rows.to('float32').to(features.device);
      return { mean: features.mean([0]), matrix };
    }),
  );
}

/** (N, D) to (N, D). */
export function whiten({ mean, matrix }: Whitening, features: Tensor): Tensor {
  return scope(() => inferenceMode(() => features.sub(mean).matmul(matrix.t())));
}
