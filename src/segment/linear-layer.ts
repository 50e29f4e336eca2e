/**
 * Fits the linear layer of a segmentation to patch features (the linear probe of DINOv2, Oquab et al. 2023, section 7.4, with its
 * features held fixed): logits of the patches are interpolated bilinearly, and the cross-entropy of the pixels is minimized, plus
 * a penalty of the weights on standardized features. The interpolation is linear, so that this is a convex problem: L-BFGS
 * finds its minimum, the same for every seed.
 *
 * Departure: the pixels are those of a grid with four by four positions in each patch, not all of the mask's; between
 * patches' centres logits are linear, so that more positions say little else. Labels are the mask's at these positions.
 */
import { lbfgsAsync, type Evaluated } from '../optim/index.js';
import {
  fromTypedArray,
  inferenceMode,
  noGrad,
  ops,
  Parameter,
  scope,
  type Tensor,
  zeros,
} from '../torch/index.js';
import type { PatchGrid } from './patch-grid.js';

/** Positions along a side of a patch. */
export const POSITIONS = 4;
/** PyTorch's number of the reduction. */
const SUM = 2;
/** Marks positions whose label doesn't count. */
export const NO_LABEL = 255;

/** An image's patch features and the labels of its positions. */
export interface LabelledGrid extends PatchGrid {
  /** (rows * POSITIONS, columns * POSITIONS) class numbers, or NO_LABEL. */
  labels: Uint8Array;
}

export interface SegmentLayer {
  /** (classes, D) */
  weight: Float32Array;
  /** (classes) */
  bias: Float32Array;
}

export interface SegmentLayerOptions {
  /** Half of it times the squared weights (on standardized features) is added to the mean loss of a pixel. */
  penalty: number;
  maxIterations: number;
  signal?: AbortSignal | undefined;
  onIteration?: (() => void) | undefined;
}

/** Mean, deviation and the covariance's axes of all patches. */
interface Moments {
  /** (D) float64 */
  mean: Tensor;
  /** (D, D): maps coordinates to weights of centred features. */
  toWeights: Tensor;
  /** (D): variances of the coordinates. */
  variances: Float64Array;
}

/** Of the gradient in the scaled coordinates. */
const TOLERANCE = 1e-4;
/** Axes that are computed: with more, coordinates are the standardized features themselves. */
const MOST_AXES = 2048;

function momentsOf(grids: readonly LabelledGrid[], width: number): Moments {
  let count = 0;
  const mean = zeros([width], { dtype: 'float64' });
  const square = zeros([width, width], { dtype: 'float64' });
  const each = (use: (rows: Tensor) => void): void => {
    for (const { features, rows, columns } of grids)
      scope(() => use(fromTypedArray(features, [rows * columns, width]).to('float64')));
  };
  each((rows) => {
    count += rows.size(0);
    mean.add_(rows.sum([0]));
  });
  mean.div_(count);
  each((rows) => {
    const centred = rows.sub(mean);
    square.add_(centred.t().matmul(centred));
  });
  square.div_(count);
  const deviation = square.diagonal().clampMin(1e-12).sqrt(); // (D)
  if (width > MOST_AXES)
    return { mean, toWeights: ops.diag(deviation.reciprocal()), variances: new Float64Array(width).fill(1) };
  const correlation = square.div(deviation).div(deviation.unsqueeze(1)); // (D, D)
  const [values, axes] = ops.linalgEigh(correlation); // (D), (D, D)
  return {
    mean,
    toWeights: axes.div(deviation.unsqueeze(1)),
    variances: values.clampMin(0).toTypedArray() as Float64Array,
  };
}

/** The sum of the losses of an image's positions and its gradient, added to `weight.grad` and `bias.grad`. */
function addLoss(grid: LabelledGrid, weight: Parameter, bias: Parameter, share: number): number {
  const { features, rows, columns, labels, width } = grid;
  const classes = weight.size(0);
  const rowsOf = fromTypedArray(features, [rows * columns, width]);
  const logits = ops.addmm(bias, rowsOf, weight.t()); // (N, K)
  const image = logits.t().reshape([1, classes, rows, columns]);
  const large = ops.upsampleBilinear2d(image, [rows * POSITIONS, columns * POSITIONS], false); // (1, K, h, w)
  const target = fromTypedArray(labels, [1, rows * POSITIONS, columns * POSITIONS]).to('int64');
  const loss = ops.crossEntropyLoss(large, target, null, SUM, NO_LABEL);
  const shared = loss.mul(share);
  shared.backward();
  return shared.item();
}

/**
 * Fits the layer.
 * @param grids - At least one position has a label. @param classes - K, at least 2.
 * @throws The signal's reason when aborted.
 */
export async function fitSegmentLayer(
  grids: readonly LabelledGrid[],
  classes: number,
  { penalty, maxIterations, signal, onIteration }: SegmentLayerOptions,
): Promise<SegmentLayer & { converged: boolean; iterations: number }> {
  const { width } = grids[0]!;
  const labelled = grids.reduce(
    (sum, { labels }) => sum + labels.reduce((n, label) => n + (label === NO_LABEL ? 0 : 1), 0),
    0,
  );
  const { mean, toWeights, variances } = scope(() => noGrad(() => momentsOf(grids, width)));
  const size = width + 1;
  const curvature = (1 / classes) * (1 - 1 / classes); // of the loss along a logit, where all classes are equally likely
  const scales = Float64Array.from({ length: size }, (_, i) =>
    i === width ? curvature ** -0.5 : (curvature * variances[i]! + penalty) ** -0.5,
  );
  const weight = new Parameter(zeros([classes, width]));
  const bias = new Parameter(zeros([classes]));

  /** Puts a place's weights into the layer; gives its coordinates (K, D). */
  const place = (x: Float64Array): Tensor => {
    const all = fromTypedArray(x, [classes, size]).mul(fromTypedArray(scales, [size])); // (K, D + 1)
    const along = all.narrow(1, 0, width); // (K, D)
    const own = along.matmul(toWeights.t()); // (K, D): of the features
    weight.copy_(own);
    bias.copy_(all.select(1, width).sub(own.matmul(mean)));
    return along;
  };
  const evaluate = (x: Float64Array): Evaluated => {
    signal?.throwIfAborted();
    onIteration?.();
    return scope(() => {
      const along = noGrad(() => place(x));
      weight.grad = null;
      bias.grad = null;
      let loss = 0;
      for (const grid of grids) loss += scope(() => addLoss(grid, weight, bias, 1 / labelled));
      return noGrad(() => {
        const ofBias = bias.grad!.to('float64'); // (K)
        // features are centred in these coordinates: the bias moves with the weights
        const ofWeight = weight.grad!.to('float64').sub(ops.outer(ofBias, mean)); // (K, D)
        const slopes = ofWeight.matmul(toWeights).add(along.mul(penalty));
        const gradient = ops.cat([slopes, ofBias.unsqueeze(1)], 1).mul(fromTypedArray(scales, [size]));
        return {
          value: loss + (penalty / 2) * along.square().sum().item(),
          gradient: gradient.toTypedArray() as Float64Array,
        };
      });
    });
  };
  try {
    const found = await lbfgsAsync(evaluate, new Float64Array(classes * size), {
      tolerance: TOLERANCE,
      maxIterations,
    });
    scope(() => noGrad(() => void place(found.x)));
    return {
      weight: weight.toTypedArray() as Float32Array,
      bias: bias.toTypedArray() as Float32Array,
      ...{ converged: found.converged, iterations: found.iterations },
    };
  } finally {
    for (const tensor of [mean, toWeights, weight.grad, bias.grad, weight, bias]) tensor?.dispose();
  }
}

/** Logits of the patches, (rows * columns, classes). */
export function layerLogits({ weight, bias }: SegmentLayer, grid: PatchGrid): Float32Array {
  const { features, rows, columns, width } = grid;
  return scope(() =>
    inferenceMode(() => {
      const layer = fromTypedArray(weight, [bias.length, width]);
      const rowsOf = fromTypedArray(features, [rows * columns, width]);
      return ops.addmm(fromTypedArray(bias, [bias.length]), rowsOf, layer.t()).toTypedArray() as Float32Array;
    }),
  );
}
