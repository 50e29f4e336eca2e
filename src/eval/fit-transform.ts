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
import { whiten, type Whitening } from './whitening.js';

/** Images that each whitened component needs. */
export const IMAGES_PER_COMPONENT = 4;
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

const floats = (tensor: Tensor): Float32Array => tensor.to('cpu').to('float32').toTypedArray() as Float32Array;

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
      if (!Number.isFinite(total)) throw new DataError(`features that are not finite numbers can't be whitened`);
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

/** Mean and matrix as tensors. Call this in a scope(). */
function onDevice(transform: FeatureTransform, device: string): Whitening | { mean: Tensor; matrix: null } | null {
  const { mean, matrix } = transform;
  if (mean === null) return null;
  const width = mean.length;
  const centre = fromTypedArray(mean, [width]).to(device);
  return {
    mean: centre,
    matrix: matrix === null ? null : fromTypedArray(matrix, [width, width]).to(device),
  };
}

/**
 * Transforms rows, block by block.
 * @param rows - (N, D) float32, of any lengths. @returns (N, D), of length 1.
 */
export function transformRows(transform: FeatureTransform, rows: Float32Array, width: number): Float32Array {
  const out = new Float32Array(rows.length);
  const count = rows.length / width;
  scope(() =>
    inferenceMode(() => {
      const fitted = onDevice(transform, 'cpu');
      for (let start = 0; start < count; start += BLOCK) {
        const part = rows.subarray(start * width, Math.min(start + BLOCK, count) * width);
        const done = scope(() => transformed(fitted, fromTypedArray(part, [part.length / width, width])));
        out.set(done.toTypedArray() as Float32Array, start * width);
        done.dispose();
      }
    }),
  );
  return out;
}

function transformed(fitted: ReturnType<typeof onDevice>, rows: Tensor): Tensor {
  const unit = unitLength(rows);
  if (fitted === null) return unit;
  const { mean, matrix } = fitted;
  return unitLength(matrix === null ? unit.sub(mean) : whiten({ mean, matrix }, unit));
}

/** Transforms the rows of a tensor in place, block by block: (N, D) float32. */
export function transformInPlace(transform: FeatureTransform, rows: Tensor): void {
  scope(() =>
    inferenceMode(() => {
      const fitted = onDevice(transform, rows.device);
      for (let start = 0; start < rows.size(0); start += BLOCK) {
        const some = rows.narrow(0, start, Math.min(BLOCK, rows.size(0) - start));
        scope(() => some.copy_(transformed(fitted, some)));
      }
    }),
  );
}
