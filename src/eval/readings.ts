/**
 * k-NN on features read three ways: as they are, with their mean subtracted, and whitened by their leading principal
 * components. The mean and the few directions of largest variance can drown everything else, for a network's features as
 * for pixels; comparing both in each way is fair to both.
 */
import { principalAxes } from '../explain/principal-axes.js';
import { unitLength } from '../models/index.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';
import { knnClassify, type LabelledFeatures } from './knn.js';

/** Principal components that are whitened; the smaller ones are left out. */
export const WHITENED_COMPONENTS = 128;

/** Of up to this many values per feature, the covariance is computed and solved exactly. */
const SOLVED = 1024;
/** Otherwise: directions beyond those that are wanted, and rounds, of the iteration that finds them. */
const SPARE = 32;
const ROUNDS = 8;

/** Variances below this share of the largest are rounding. */
const LEAST_VARIANCE = 1e-7;

export interface Components {
  /** (1, D) */
  mean: Tensor;
  /** (D, count): directions of length 1, the one of largest variance first. */
  axes: Tensor;
  /** (count) */
  variances: Tensor;
}

/**
 * The leading principal components of features of any width: exact up to 1,024 values, otherwise by subspace iteration
 * (Halko, Martinsson and Tropp 2011), which never forms the covariance and whose start is fixed.
 *
 * @param rows - (N, D) float32.
 * @param count - At most N - 1 and D are given.
 */
export function leadingComponents(rows: Tensor, count = WHITENED_COMPONENTS): Components {
  const [images, width] = [rows.size(0), rows.size(1)];
  const wanted = Math.max(1, Math.min(count, images - 1, width));
  return scope(() =>
    inferenceMode(() => {
      const mean = rows.mean([0], true); // (1, D)
      const centred = rows.sub(mean); // (N, D)
      if (width <= SOLVED) {
        const covariance = centred.t().matmul(centred).div(images); // (D, D)
        const { variances, axes } = principalAxes(covariance, wanted);
        return { mean, axes: axes.to('float32'), variances: variances.to('float32') };
      }
      const kept = Math.min(wanted + SPARE, images, width);
      let basis = ops.linalgQr(centred.t().matmul(startingRows(images, kept)))[0]; // (D, kept)
      for (let round = 0; round < ROUNDS; round++) {
        basis = scope(() => ops.linalgQr(centred.t().matmul(centred.matmul(basis)))[0]);
      }
      const inside = centred.matmul(basis); // (N, kept)
      const { variances, axes } = principalAxes(inside.t().matmul(inside).div(images), wanted);
      return { mean, axes: basis.matmul(axes.to('float32')), variances: variances.to('float32') };
    }),
  );
}

/** Fixed numbers in [-1, 1), as good as random: (rows, columns). */
function startingRows(rows: number, columns: number): Tensor {
  const values = new Float32Array(rows * columns);
  for (let i = 0, state = 1; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 31;
  }
  return fromTypedArray(values, [rows, columns]);
}

/** (N, D) to (N, count): the components of the rows, each with variance 1 over the rows they were computed from. */
export function whitenedRows({ mean, axes, variances }: Components, rows: Tensor): Tensor {
  return scope(() =>
    inferenceMode(() => {
      const least = variances.max().mul(LEAST_VARIANCE).item();
      const scales = variances.clampMin(Math.max(least, Number.MIN_VALUE)).rsqrt(); // (count)
      return rows.sub(mean).matmul(axes).mul(scales); // (N, count)
    }),
  );
}

/** Top-1 accuracies in percent. */
export interface Readings {
  /** As the features are, by cosine. */
  plain: number;
  /** The mean of the training images' features subtracted from both. */
  centred: number;
  /** By the leading principal components of the training images' features, scaled to the same variance. */
  whitened: number;
}

/** The largest of the three. */
export const bestReading = ({ plain, centred, whitened }: Readings): number =>
  Math.max(plain, centred, whitened);

/**
 * k-NN with the same vote, temperature 0.07, three times. Features are scaled to length 1 first.
 * @param train - Mean and components come from these alone.
 */
export function readThreeWays(
  train: LabelledFeatures,
  test: LabelledFeatures,
  options: { k?: number; components?: number } = {},
): Readings {
  const { k = 20, components = WHITENED_COMPONENTS } = options;
  const vote = (bank: Tensor, queries: Tensor): number =>
    knnClassify(
      { features: bank, labels: train.labels },
      { features: queries, labels: test.labels },
      { k: [k] },
    ).get(k)!.top1;
  return scope(() =>
    inferenceMode(() => {
      const [bank, queries] = [unitLength(train.features), unitLength(test.features)];
      const found = leadingComponents(bank, components);
      return {
        plain: vote(bank, queries),
        centred: scope(() => vote(bank.sub(found.mean), queries.sub(found.mean))),
        whitened: scope(() => vote(whitenedRows(found, bank), whitenedRows(found, queries))),
      };
    }),
  );
}
