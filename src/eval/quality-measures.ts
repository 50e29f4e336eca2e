/**
 * Measures of features that need no labels, as pure functions of tensors. Each follows its paper's formula; they are computed
 * in float64 on the CPU.
 */
import { ShapeError } from '../errors.js';
import { eye, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';

const double = (features: Tensor): Tensor => features.to('cpu').to('float64');

function checkTable(features: Tensor, least: number): void {
  const [count = 0, width = 0] = features.shape;
  if (features.shape.length !== 2 || count < least || width < 1)
    throw new ShapeError(
      `expected features (N, D) of at least ${least} images, got (${features.shape.join(', ')})`,
    );
}

/** The papers' epsilon, which keeps the logarithm finite. */
const EPSILON = 1e-7;

/**
 * exp of the entropy of the values as shares of their sum: between 1 and how many there are.
 * @param zeros - Further values that are 0.
 */
function effectiveRank(values: Tensor, zeros = 0): number {
  const sum = values.sum().item();
  if (!(sum > 0)) return 1;
  const shares = values.div(sum).add(EPSILON);
  const entropy = -shares.mul(shares.log()).sum().item() - zeros * EPSILON * Math.log(EPSILON);
  return Math.exp(entropy);
}

/**
 * RankMe: the effective rank of the features, exp of the entropy of their singular values. Higher is better.
 * Source: Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by
 * Their Rank" (ICML 2023), equation 1. The features are not centred, as there.
 *
 * @param features - (N, D), finite. The paper takes 25,600 images; with fewer than D the rank is at most N.
 * @returns 1 to min(N, D).
 * @throws ShapeError when it is not (N, D).
 */
export function rankMe(features: Tensor): number {
  checkTable(features, 1);
  return inferenceMode(() => scope(() => effectiveRank(ops.linalgSvdvals(double(features)))));
}

/** The paper's delta, which is added to the diagonal of the within-image covariance. */
const DELTA = 1e-4;

/**
 * LiDAR: the effective rank of how images differ, relative to how views of one image do: exp of the entropy of the
 * eigenvalues of Sw^(-1/2) Sb Sw^(-1/2), where Sb is the covariance of the images' means over their views and Sw the mean
 * covariance of an image's views. Higher is better.
 * Source: Thilak et al., "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures" (ICLR 2024),
 * equations 1 to 4. The same eigenvalues are found here as squared singular values of L^-1 B, where Sw = L L^T and
 * Sb = B B^T.
 *
 * @param views - At least 2 tensors (N, D), finite: row i of each is a view of image i. The paper takes 50 views of 1,000
 *   images, and 10 in its smaller experiments.
 * @returns 1 to min(N, D).
 * @throws ShapeError when they are fewer than two, or not of one shape.
 */
export function lidar(views: readonly Tensor[]): number {
  const [first] = views;
  if (first === undefined || views.length < 2)
    throw new ShapeError(`LiDAR needs at least 2 views of each image, got ${views.length}`);
  checkTable(first, 2);
  if (views.some(({ shape }) => shape.join() !== first.shape.join()))
    throw new ShapeError(
      `the views are not of one shape: ${views.map(({ shape }) => `(${shape.join(', ')})`).join(' ')}`,
    );
  return inferenceMode(() =>
    scope(() => {
      const [count, width] = first.shape as [number, number];
      const all = ops.stack(views.map(double)); // (Q, N, D)
      const means = all.mean([0]); // (N, D)
      const apart = all.sub(means).reshape([-1, width]); // (Q * N, D)
      const within = apart
        .t()
        .matmul(apart)
        .div(apart.size(0))
        .add(eye(width, { dtype: 'float64' }).mul(DELTA)); // (D, D)
      const between = means
        .sub(means.mean([0]))
        .div(Math.sqrt(count))
        .t(); // (D, N)
      const lower = ops.linalgCholesky(within); // (D, D)
      const whitened = ops.linalgSolveTriangular(lower, between, { upper: false }); // (D, N)
      return effectiveRank(ops.linalgSvdvals(whitened).pow(2), Math.max(0, width - count));
    }),
  );
}

/** Ranks of the eigenvalues that the power law is fitted to, as in the authors' code: the first three are left out. */
const FIRST_RANK = 4;
const LAST_RANK = 100;
/** A line through fewer points says little. */
const LEAST_POINTS = 5;
/** Eigenvalues below this share of the largest are rounding errors of float32 features. */
const LEAST_EIGENVALUE = 1e-12;

/**
 * alpha-ReQ: the exponent of the power law by which the eigenvalues of the features' covariance fall, lambda_j ~ j^-alpha.
 * Best near 1: far above it a few directions hold everything, far below it the features are noise.
 * Source: Agrawal et al., "alpha-ReQ: Assessing Representation Quality in Self-Supervised Learning by measuring
 * eigenspectrum decay" (NeurIPS 2022). The paper doesn't say which eigenvalues are fitted; the authors' code fits ranks 4 to
 * 100, each weighted by 1 / rank (the fit of Stringer et al. 2019), which is done here, or as many as there are.
 *
 * @param features - (N, D), finite.
 * @returns The exponent; null when there are fewer than five eigenvalues to fit.
 * @throws ShapeError when it is not (N, D).
 */
export function alphaReq(features: Tensor): number | null {
  checkTable(features, 2);
  return inferenceMode(() =>
    scope(() => {
      const values = double(features);
      const singular = ops.linalgSvdvals(values.sub(values.mean([0]))); // (min(N, D)), descending
      const eigenvalues = [...(singular.pow(2).toTypedArray() as Float64Array)];
      const largest = eigenvalues[0]!;
      const used = eigenvalues.filter((value) => value > largest * LEAST_EIGENVALUE).slice(0, LAST_RANK);
      const points = used.slice(FIRST_RANK - 1).map((value, i) => {
        const rank = FIRST_RANK + i;
        return { x: Math.log(rank), y: Math.log(value), weight: 1 / rank };
      });
      return points.length < LEAST_POINTS ? null : -slope(points);
    }),
  );
}

/** Slope of the weighted least-squares line. */
function slope(points: readonly { x: number; y: number; weight: number }[]): number {
  const total = points.reduce((sum, { weight }) => sum + weight, 0);
  const meanX = points.reduce((sum, { x, weight }) => sum + weight * x, 0) / total;
  const meanY = points.reduce((sum, { y, weight }) => sum + weight * y, 0) / total;
  const along = points.reduce((sum, { x, y, weight }) => sum + weight * (x - meanX) * (y - meanY), 0);
  const spread = points.reduce((sum, { x, weight }) => sum + weight * (x - meanX) ** 2, 0);
  return along / spread;
}
