/**
 * Fits a transform of features (src/plain/feature-transform.ts) to those of some images: their mean, and a whitening by
 * principal components whose variances are shrunk first. Where images are few, small variances are mostly accidents of the
 * sample, and whitening would blow them up into noise that hides everything else. So
 * 1. the covariance is shrunk towards a multiple of the identity, by as much as the sample demands (Ledoit and Wolf 2004, "A
 *    well-conditioned estimator for large-dimensional covariance matrices");
 * 2. only as many of the largest components are whitened as there are IMAGES_PER_COMPONENT images for; the smaller ones
 *    are scaled like the last of them. In between lies `center` (one component), which scales all alike.
 */
import { ConfigError, DataError } from '../errors.js';
import { principalAxes } from '../explain/principal-axes.js';
import { unitLength } from '../models/index.js';
import { type FeatureTransform, NO_TRANSFORM, type TransformMode } from '../plain/feature-transform.js';
import { fromTypedArray, inferenceMode, scope, type Tensor, zeros } from '../torch/index.js';
import { whiten } from './whitening.js';

/** Images that each whitened component needs. */
export const IMAGES_PER_COMPONENT = 8;
/** Below this total variance of features of length 1, they differ by rounding alone. */
const LEAST_VARIANCE = 1e-10;
/** Wider features are not whitened: their principal components would take minutes and gigabytes. */
export const MOST_WHITENED = 4096;
/** Rows that are computed with at a time. */
const BLOCK = 2 ** 14;

export interface FittedTransform {
  transform: FeatureTransform;
  /** Whitened components, up to D; 0 without whitening. */
  components: number;
  /** How far the covariance was shrunk, 0 to 1; 0 without whitening. */
  shrinkage: number;
  /** Why it is not, or only partly, what was asked for; null when it is. */
  remark: string | null;
}

/** Calls `use` with (B, D) rows of length 1 on the rows' device, block by block. */
function unitBlocks(rows: Tensor, use: (block: Tensor, start: number) => void): void {
  for (let start = 0; start < rows.size(0); start += BLOCK) {
    const size = Math.min(BLOCK, rows.size(0) - start);
    scope(() => use(unitLength(rows.narrow(0, start, size)), start));
  }
}

interface Moments {
  /** (D) float64 */
  mean: Tensor;
  /** (D, D) float64, around the mean. */
  covariance: Tensor;
  /** Mean of the fourth powers of the centred rows' lengths. */
  fourth: number;
}

/** Moments of the rows, scaled to length 1. Call this in a scope(). */
function momentsOf(rows: Tensor): Moments {
  const [count, width] = [rows.size(0), rows.size(1)];
  const device = rows.device.startsWith('mps') ? 'cpu' : rows.device;
  const mean = zeros([width], { dtype: 'float64', device });
  unitBlocks(rows, (block) => mean.add_(block.to(device).to('float64').sum([0])));
  mean.div_(count);
  const covariance = zeros([width, width], { dtype: 'float64', device });
  let fourth = 0;
  unitBlocks(rows, (block) => {
    const centred = block.to(device).to('float64').sub(mean); // (B, D)
    covariance.add_(centred.t().matmul(centred));
    fourth += centred.square().sum([1]).square().sum().item();
  });
  covariance.div_(count);
  return { mean, covariance, fourth: fourth / count };
}

/** The share of the covariance that Ledoit and Wolf replace by a multiple of the identity. */
function shrinkageOf({ covariance, fourth }: Moments, count: number, total: number): number {
  const square = covariance.square().sum().item();
  const apart = square - (total * total) / covariance.size(0);
  const noise = (fourth - square) / count;
  return apart > 0 ? Math.min(1, Math.max(0, noise / apart)) : 1;
}

/**
 * The mean cosine between two different rows, and the effective rank of their covariance: the exponential of the entropy of
 * its eigenvalues, 1 to D (0 where all rows are alike). @param rows - (N, D), N at least 2.
 */
export function spectrumOf(rows: Tensor): { cosine: number; rank: number } {
  return scope(() =>
    inferenceMode(() => {
      const count = rows.size(0);
      const { mean, covariance } = momentsOf(rows);
      // the squared length of the mean is the mean cosine, that of each row with itself included
      const cosine = (count * mean.square().sum().item() - 1) / (count - 1);
      if (covariance.trace().item() < LEAST_VARIANCE) return { cosine, rank: 0 };
      const variances = principalAxes(covariance).variances.clampMin(0);
      const shares = variances.div(variances.sum()).clampMin(1e-300); // (D)
      return { cosine, rank: Math.exp(-shares.mul(shares.log()).sum().item()) };
    }),
  );
}

const floats = (tensor: Tensor): Float32Array =>
  tensor.to('cpu').to('float32').toTypedArray() as Float32Array;

/**
 * Fits a transform.
 *
 * @param rows - (N, D) float32, finite, of any lengths.
 * @returns A transform of a simpler mode, with a remark, where the features can't support the one that is asked for: all
 *   alike (`none`), or too few for a single whitened component (`center`).
 * @throws ConfigError for `pca` of features wider than 4,096; DataError when a feature is not finite.
 */
export function fitTransform(rows: Tensor, mode: TransformMode): FittedTransform {
  const [count, width] = [rows.size(0), rows.size(1)];
  if (mode === 'none') return { transform: NO_TRANSFORM, components: 0, shrinkage: 0, remark: null };
  if (mode === 'pca' && width > MOST_WHITENED)
    throw new ConfigError(
      `features of ${width} values can't be whitened: at most ${MOST_WHITENED}; try center, or fewer layers`,
    );
  return scope(() =>
    inferenceMode((): FittedTransform => {
      const moments = momentsOf(rows);
      const total = moments.covariance.trace().item();
      if (!Number.isFinite(total))
        throw new DataError(`features that are not finite numbers can't be whitened`);
      if (total < LEAST_VARIANCE) {
        const remark = `the features of all ${count} images are the same: nothing in them can be centred or whitened`;
        return { transform: NO_TRANSFORM, components: 0, shrinkage: 0, remark };
      }
      const mean = floats(moments.mean);
      const components = Math.min(width, Math.floor(count / IMAGES_PER_COMPONENT));
      const centred = { mode: 'center', mean, matrix: null } as const;
      if (mode === 'center') return { transform: centred, components: 0, shrinkage: 0, remark: null };
      if (components < 2) {
        const remark =
          `${count} images are too few to whiten features with (${2 * IMAGES_PER_COMPONENT} or more are needed): ` +
          'only their mean is subtracted';
        return { transform: centred, components: 0, shrinkage: 0, remark };
      }
      const shrinkage = shrinkageOf(moments, count, total);
      const { variances, axes } = principalAxes(moments.covariance); // (D), (D, D)
      const shrunk = variances.mul(1 - shrinkage).add((shrinkage * total) / width);
      const least = Math.max(shrunk.narrow(0, components - 1, 1).item(), LEAST_VARIANCE / width);
      const scales = shrunk.clampMin(least).pow(-0.5); // (D)
      const matrix = floats(axes.t().mul(scales.unsqueeze(1)));
      const remark =
        components < width
          ? `${count} images support ${components} whitened components of the ${width}: the others are scaled like the last of them`
          : null;
      return { transform: { mode: 'pca', mean, matrix }, components, shrinkage, remark };
    }),
  );
}

/**
 * The transform as a function of rows on a device: (B, D) float32 of any lengths to (B, D) of length 1. Call this in a
 * scope(): the function's tensors are freed with it.
 */
export function tensorTransform(transform: FeatureTransform, device: string): (rows: Tensor) => Tensor {
  const { mean, matrix } = transform;
  if (mean === null) return unitLength;
  const width = mean.length;
  const centre = fromTypedArray(mean, [width]).to(device);
  if (matrix === null) return (rows) => unitLength(unitLength(rows).sub(centre));
  const whitening = { mean: centre, matrix: fromTypedArray(matrix, [width, width]).to(device) };
  return (rows) => unitLength(whiten(whitening, unitLength(rows)));
}

/**
 * Transforms rows, block by block.
 *
 * @param rows - (N, width) of any lengths.
 * @param into - Where the result goes; `rows` itself saves memory.
 * @returns (N, width), rows of length 1; zeros for one that equals the mean.
 */
export function transformRows(
  transform: FeatureTransform,
  rows: Float32Array,
  width: number,
  into: Float32Array = new Float32Array(rows.length),
): Float32Array {
  scope(() =>
    inferenceMode(() => {
      const apply = tensorTransform(transform, 'cpu');
      for (let start = 0; start < rows.length; start += BLOCK * width) {
        const part = rows.subarray(start, start + BLOCK * width);
        scope(() => {
          const done = apply(fromTypedArray(part, [part.length / width, width]));
          into.set(done.toTypedArray() as Float32Array, start);
        });
      }
    }),
  );
  return into;
}
