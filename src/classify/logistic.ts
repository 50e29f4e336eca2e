/**
 * Multinomial logistic regression with scikit-learn's objective (LogisticRegression, solver lbfgs): for weights W (K, D) and
 * intercepts b (K), it minimizes
 *
 *   C * sum_i weight_i * -log softmax(W x_i + b)[label_i] + 1/2 |W|^2
 *
 * where intercepts are not penalized. With two classes scikit-learn has one vector w of weights, for the second class; here
 * it has one for each, w / 2 and -w / 2, for which the penalty counts twice.
 *
 * The problem is solved in other coordinates, which don't change its minimum: the features are centred (the intercept takes
 * it up) and rotated to their principal axes (the penalty is the same in every direction), and each axis is scaled by what
 * an upper bound of the Hessian (Böhning 1992, "Multinomial logistic regression algorithm") says about it. L-BFGS then needs tens of
 * steps where it would need hundreds. With fewer rows than features, only as many axes are left as there are rows.
 */
import { lbfgs, type Evaluated } from '../optim/index.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';

/** Axes that are computed: more would take longer than the steps that they save. */
const MOST_AXES = 2048;
/** With fewer rows than features, axes with less than this share of the largest variance are rounding. */
const LEAST_VARIANCE = 1e-12;
/** Of the gradient in the scaled coordinates. */
export const TOLERANCE = 1e-5;

export interface LogisticFit {
  /** (K, R + 1) in the problem's own coordinates: weights, then the intercept; where a fit with a similar C begins. */
  place: Float64Array;
  iterations: number;
  evaluations: number;
  converged: boolean;
}

export interface LogisticOptions {
  /** C: large values fit the images more closely, small ones keep the weights small. */
  c: number;
  /** (N), at least 0: how much each row counts; default 1. */
  weights?: Float64Array;
  /** A fit to begin with. */
  start?: LogisticFit;
  tolerance?: number;
  maxIterations?: number;
}

/** A linear layer: logits = W x + b. */
export interface LinearLayer {
  /** (K, D) */
  weight: Float64Array;
  /** (K) */
  bias: Float64Array;
}

/** Rows with labels, prepared once for fits with several C and weights. Dispose of it. */
export class LogisticProblem implements Disposable {
  /** (N, R) float64, centred, along the axes. */
  readonly #rows: Tensor;
  /** (D) float64 */
  readonly #mean: Tensor;
  /** (D, R) float64; null where the coordinates are the features' own. */
  readonly #axes: Tensor | null;
  /** (R): variances along the axes. */
  readonly #variances: Float64Array;
  /** (N, 1) int64 */
  readonly #target: Tensor;

  /**
   * @param rows - (N, D) row-major, finite.
   * @param labels - (N) class numbers below `classes`.
   * @param classes - K, at least 2.
   */
  constructor(
    rows: Float32Array,
    readonly width: number,
    labels: readonly number[],
    readonly classes: number,
  ) {
    const count = labels.length;
    const made = scope(() =>
      inferenceMode(() => {
        const given = fromTypedArray(rows, [count, width]).to('float64');
        const mean = given.mean([0]); // (D)
        const centred = given.sub(mean); // (N, D)
        const target = fromTypedArray(BigInt64Array.from(labels, BigInt), [count, 1]);
        const axes = Math.min(count, width) <= MOST_AXES ? axesOf(centred) : null; // (D, R)
        const along = axes === null ? centred : centred.matmul(axes); // (N, R)
        const variances = along.square().mean([0]).toTypedArray() as Float64Array;
        return { mean, target, axes, along, variances };
      }),
    );
    this.#rows = made.along.keep();
    this.#mean = made.mean.keep();
    this.#axes = made.axes?.keep() ?? null;
    this.#target = made.target.keep();
    this.#variances = made.variances;
  }

  get count(): number {
    return this.#target.size(0);
  }

  /** Coordinates of a class: the axes, and the intercept. */
  get #coordinates(): number {
    return this.#variances.length + 1;
  }

  fit({ c, weights, start, tolerance = TOLERANCE, maxIterations = 1000 }: LogisticOptions): LogisticFit {
    const [count, classes, size] = [this.count, this.classes, this.#coordinates];
    const total = weights === undefined ? count : weights.reduce((sum, weight) => sum + weight, 0);
    // the objective over C * total, so that its gradient doesn't grow with the number of rows
    const penalty = (classes === 2 ? 2 : 1) / (c * total);
    const curvature = (1 / classes) * (1 - 1 / classes); // of the loss along a logit, where all classes are equally likely
    const scales = Float64Array.from({ length: size }, (_, i) =>
      i === size - 1 ? curvature ** -0.5 : (curvature * this.#variances[i]! + penalty) ** -0.5,
    );
    const shares = scope(() =>
      fromTypedArray(
        (weights ?? new Float64Array(count).fill(1)).map((w) => w / total),
        [count, 1],
      ).keep(),
    );
    try {
      const begin = new Float64Array(classes * size);
      if (start !== undefined) start.place.forEach((value, i) => (begin[i] = value / scales[i % size]!));
      const found = lbfgs(
        (x) => scope(() => inferenceMode(() => this.#evaluate(x, scales, shares, penalty))),
        begin,
        { tolerance, maxIterations },
      );
      const { iterations, evaluations, converged } = found;
      return {
        place: found.x.map((value, i) => value * scales[i % size]!),
        iterations,
        evaluations,
        converged,
      };
    } finally {
      shares.dispose();
    }
  }

  /** The objective and its gradient in scaled coordinates. @param shares - (N, 1), sums to 1. */
  #evaluate(x: Float64Array, scales: Float64Array, shares: Tensor, penalty: number): Evaluated {
    const size = this.#coordinates;
    const rows = this.#rows;
    const scale = fromTypedArray(scales, [size]);
    const place = fromTypedArray(x, [this.classes, size]).mul(scale); // (K, R + 1)
    const weight = place.narrow(1, 0, size - 1); // (K, R)
    const logits = ops.addmm(place.select(1, size - 1), rows, weight.t()); // (N, K)
    const logs = logits.logSoftmax(1); // (N, K)
    const loss = -logs.gather(1, this.#target).mul(shares).sum().item();
    const errors = logs.exp_().mul_(shares); // (N, K): probabilities less 1 for the right class
    errors.scatterAdd_(1, this.#target, shares.neg());
    const slopes = errors.t().matmul(rows).add_(weight, { alpha: penalty }); // (K, R)
    const gradient = ops.cat([slopes, errors.sum([0]).unsqueeze(1)], 1).mul_(scale); // (K, R + 1)
    return {
      value: loss + (penalty / 2) * weight.square().sum().item(),
      gradient: gradient.toTypedArray() as Float64Array,
    };
  }

  /** Logits of all rows, (N, K). */
  logits({ place }: LogisticFit): Float64Array {
    return scope(() =>
      inferenceMode(() => {
        const size = this.#coordinates;
        const all = fromTypedArray(place, [this.classes, size]);
        const weight = all.narrow(1, 0, size - 1);
        return ops.addmm(all.select(1, size - 1), this.#rows, weight.t()).toTypedArray() as Float64Array;
      }),
    );
  }

  /** A fit as a layer on the rows that were given. */
  layer({ place }: LogisticFit): LinearLayer {
    return scope(() =>
      inferenceMode(() => {
        const size = this.#coordinates;
        const all = fromTypedArray(place, [this.classes, size]);
        const along = all.narrow(1, 0, size - 1); // (K, R)
        const weight = this.#axes === null ? along : along.matmul(this.#axes.t()); // (K, D)
        const bias = all.select(1, size - 1).sub(weight.matmul(this.#mean)); // (K)
        return {
          weight: weight.toTypedArray() as Float64Array,
          bias: bias.toTypedArray() as Float64Array,
        };
      }),
    );
  }

  dispose(): void {
    for (const tensor of [this.#rows, this.#mean, this.#axes, this.#target]) tensor?.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The axes along which centred rows vary, (D, R), orthonormal columns. @param centred - (N, D) float64. */
function axesOf(centred: Tensor): Tensor {
  if (centred.size(1) <= centred.size(0)) return ops.linalgEigh(centred.t().matmul(centred))[1]; // (D, D)
  const [ascending, vectors] = ops.linalgEigh(centred.matmul(centred.t())); // (N), (N, N)
  const values = ascending.toTypedArray() as Float64Array;
  const kept = values.filter((value) => value > LEAST_VARIANCE * values.at(-1)!).length;
  if (kept === 0) return centred.t().narrow(1, 0, 1).mul(0); // all rows are the same
  const some = vectors.narrow(1, values.length - kept, kept).flip([1]); // (N, R), the largest first
  const axes = centred.t().matmul(some); // (D, R)
  // rounding leaves those of small variance a little askew
  return ops.linalgQr(axes.div(axes.norm(2, [0], true)))[0];
}
