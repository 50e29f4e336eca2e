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

/** How features are read: as they are, with their mean subtracted, or whitened after that. */
export const READINGS = ['plain', 'centred', 'whitened'] as const;
export type Reading = (typeof READINGS)[number];

/** Top-1 accuracies in percent, by reading. */
export type Readings = Readonly<Record<Reading, number>>;

/** The reading with the highest accuracy; of equals the simplest. */
export const bestReading = (readings: Readings): Reading =>
  READINGS.reduce((best, reading) => (readings[reading] > readings[best] ? reading : best));

/**
 * Prepares the three readings.
 *
 * @param rows - (N, D) float32, from which mean and components are taken.
 * @returns A function from other rows (M, D) to what is compared by cosine: (M, D), or (M, components) if whitened. All rows
 *   are scaled to length 1 first. Call it in the same scope().
 */
export function reader(
  rows: Tensor,
  components = WHITENED_COMPONENTS,
): (other: Tensor, reading: Reading) => Tensor {
  const found = leadingComponents(unitLength(rows), components);
  return (other, reading) =>
    scope(() =>
      inferenceMode(() => {
        const unit = unitLength(other);
        if (reading === 'plain') return unit;
        return reading === 'centred' ? unit.sub(found.mean) : whitenedRows(found, unit);
      }),
    );
}

/**
 * k-NN with the same vote (temperature 0.07) in each reading.
 * @param train - Mean and components come from these alone.
 */
export function readThreeWays(
  train: LabelledFeatures,
  test: LabelledFeatures,
  options: { k?: number; components?: number } = {},
): Readings {
  const { k = 20, components } = options;
  return scope(() =>
    inferenceMode(() => {
      const read = reader(train.features, components);
      const vote = (reading: Reading): number =>
        scope(() => {
          const bank = { features: read(train.features, reading), labels: train.labels };
          const queries = { features: read(test.features, reading), labels: test.labels };
          return knnClassify(bank, queries, { k: [k] }).get(k)!.top1;
        });
      return { plain: vote('plain'), centred: vote('centred'), whitened: vote('whitened') };
    }),
  );
}
