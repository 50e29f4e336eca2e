/**
 * Chooses how features are scaled, and C or k, by cross-validation: each image is predicted by classifiers that were fitted to
 * the other folds, and the setting with the most right predictions is taken, of equals the one with the least log loss.
 *
 * Scalings are fitted to all images at once: they see no labels.
 */
import { probabilitiesOf } from '../plain/classifier-head.js';
import { countsOf, classWeights, stratifiedFolds } from './folds.js';
import { type LogisticFit, LogisticProblem } from './logistic.js';
import { neighbourLogits } from './neighbours.js';
import { argmax } from './report.js';
import { type ScaledRows, type Scaling, scaleRows, unitRowsFor } from './scaling.js';

/** C is tried in these steps, and then once between the best and its neighbours. */
export const C_GRID: readonly number[] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 1e3, 1e4];
export const K_GRID: readonly number[] = [1, 3, 5, 10, 20, 50, 100, 200];
/** Where nothing can be cross-validated. */
const USUAL_C = 1;
/** The value of C that is usual, or of those that are allowed the nearest to it, in steps of equal ratio. */
const nearestToUsual = (grid: readonly number[]): number =>
  grid.reduce((best, c) => (Math.abs(Math.log(c / USUAL_C)) < Math.abs(Math.log(best / USUAL_C)) ? c : best));
/** Larger C are not tried once this many in a row were no better. */
const PATIENCE = 2;
/** Of the fits that are only compared. */
const ROUGH = 1e-4;

/** Labelled features. */
export interface TrainingSet {
  /** (N, width) row-major, finite. */
  rows: Float32Array;
  width: number;
  /** (N) class numbers. */
  labels: readonly number[];
  /** Number of classes, at least 2; each has at least one row. */
  classes: number;
}

export interface SearchOptions {
  scalings: readonly Scaling[];
  classWeight: 'none' | 'balanced';
  folds: number;
  seed: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A setting that was tried. */
export interface Trial {
  scaling: Scaling;
  /** C of the logistic regression, or k of the nearest neighbours. */
  value: number;
  /** Share of right predictions, 0 to 1; with balanced classes the mean over the classes. */
  accuracy: number;
  /** nats, before the temperature. */
  logLoss: number;
}

/** Predictions of the images that could be tested, each by a classifier of the other folds. */
export interface OutOfFold {
  /** (tested, classes) */
  logits: Float64Array;
  /** Rows of the images. */
  tested: number[];
}

/** Lets signals and timers be handled between two fits. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Which rows are tested in which fold, and how predictions of them are judged. */
class Judge {
  readonly fold: Int32Array;
  readonly tested: number[];
  readonly #set: TrainingSet;
  /** (tested): each counts the same, or each class. */
  readonly #shares: number[];

  constructor(set: TrainingSet, { classWeight, folds, seed }: Omit<SearchOptions, 'scalings'>) {
    this.#set = set;
    this.fold = stratifiedFolds(set.labels, set.classes, folds, seed);
    this.tested = [...this.fold.keys()].filter((row) => this.fold[row]! >= 0);
    const labels = this.tested.map((row) => set.labels[row]!);
    const counts = countsOf(labels, set.classes);
    const present = counts.filter((count) => count > 0).length;
    this.#shares = labels.map((label) =>
      classWeight === 'none' ? 1 / labels.length : 1 / (present * counts[label]!),
    );
  }

  /** Rows of (N, classes) that are tested. */
  pick(logits: Float64Array): Float64Array {
    const { classes } = this.#set;
    const some = new Float64Array(this.tested.length * classes);
    this.tested.forEach((row, i) =>
      some.set(logits.subarray(row * classes, (row + 1) * classes), i * classes),
    );
    return some;
  }

  /** @param logits - (tested, classes) */
  score(logits: Float64Array): { accuracy: number; logLoss: number } {
    const { classes, labels } = this.#set;
    let [accuracy, logLoss] = [0, 0];
    this.tested.forEach((row, i) => {
      const values = logits.subarray(i * classes, (i + 1) * classes);
      const label = labels[row]!;
      const share = this.#shares[i]!;
      if (argmax(values) === label) accuracy += share;
      logLoss -= share * Math.log(Math.max(probabilitiesOf(values, 1)[label]!, Number.MIN_VALUE));
    });
    return { accuracy, logLoss };
  }
}

const isBetter = (a: Trial, b: Trial): boolean =>
  // equal but for the rounding of sums
  a.accuracy > b.accuracy + 1e-9 || (a.accuracy > b.accuracy - 1e-9 && a.logLoss < b.logLoss);

/** The best of the trials so far, with its predictions. */
class Best {
  readonly trials: Trial[] = [];
  trial: Trial | null = null;
  logits: Float64Array | null = null;

  /** @returns Whether it is the best so far. */
  add(trial: Trial, logits: Float64Array): boolean {
    this.trials.push(trial);
    if (this.trial !== null && !isBetter(trial, this.trial)) return false;
    this.trial = trial;
    this.logits = logits;
    return true;
  }
}

export interface LogisticSearch extends OutOfFold {
  trials: Trial[];
  scaling: Scaling;
  c: number;
  scaled: ScaledRows;
  /** Of the chosen scaling; the caller disposes of it. */
  problem: LogisticProblem;
}

/**
 * Chooses scaling and C.
 * @param given - The only values of C, in rising order; null for C_GRID, which is cut short and refined.
 * @throws The signal's reason when aborted.
 */
export async function searchLogistic(
  set: TrainingSet,
  given: readonly number[] | null,
  options: SearchOptions,
): Promise<LogisticSearch> {
  const grid = given ?? C_GRID;
  const judge = new Judge(set, options);
  const best = new Best();
  const { tested } = judge;
  let kept: { scaled: ScaledRows; problem: LogisticProblem } | null = null;
  const total = options.scalings.length * grid.length;
  try {
    for (const [i, scaling] of options.scalings.entries()) {
      const scaled = scaleRows(set.rows, set.width, scaling);
      const problem = new LogisticProblem(scaled.rows, set.width, set.labels, set.classes);
      kept ??= { scaled, problem };
      try {
        if (tested.length === 0) break;
        const path = new FoldPath(set, judge, problem, options);
        const before = best.trial;
        const patience = given === null ? PATIENCE : Infinity;
        await path.follow(scaling, grid, patience, best, (done) =>
          options.onProgress?.(i * grid.length + done, total),
        );
        if (best.trial !== before) {
          if (given === null) await path.refine(scaling, grid, best);
          if (kept.problem !== problem) kept.problem.dispose();
          kept = { scaled, problem };
        }
      } finally {
        if (kept.problem !== problem) problem.dispose();
      }
    }
    options.onProgress?.(total, total);
  } catch (error) {
    kept?.problem.dispose();
    throw error;
  }
  const { scaled, problem } = kept!;
  return {
    ...{ trials: best.trials, tested, logits: best.logits ?? new Float64Array(0), scaled, problem },
    scaling: scaled.scaling,
    c: best.trial?.value ?? nearestToUsual(grid),
  };
}

/** The folds' fits of one scaling, each beginning where the one with the C before ended. */
class FoldPath {
  readonly #fits: LogisticFit[] = [];
  readonly #weights: Float64Array[];

  constructor(
    readonly set: TrainingSet,
    readonly judge: Judge,
    readonly problem: LogisticProblem,
    readonly options: SearchOptions,
  ) {
    const folds = [...new Set(judge.fold)].filter((fold) => fold >= 0).sort((a, b) => a - b);
    this.#weights = folds.map((fold) => {
      const rows = [...judge.fold.keys()].filter((row) => judge.fold[row] !== fold);
      const labels = rows.map((row) => set.labels[row]!);
      const ofClass = classWeights(labels, set.classes, options.classWeight);
      const weights = new Float64Array(set.labels.length);
      for (const row of rows) weights[row] = ofClass[set.labels[row]!]!;
      return weights;
    });
  }

  async #try(scaling: Scaling, c: number, best: Best): Promise<Trial> {
    const { judge, problem, options } = this;
    const { classes } = this.set;
    const all = new Float64Array(this.set.labels.length * classes);
    for (const [i, weights] of this.#weights.entries()) {
      await breathe();
      options.signal?.throwIfAborted();
      const start = this.#fits[i];
      const fit = problem.fit({ c, weights, tolerance: ROUGH, ...(start === undefined ? {} : { start }) });
      this.#fits[i] = fit;
      const logits = problem.logits(fit);
      weights.forEach((weight, row) => {
        if (weight === 0) all.set(logits.subarray(row * classes, (row + 1) * classes), row * classes);
      });
    }
    const logits = judge.pick(all);
    const trial = { scaling, value: c, ...judge.score(logits) };
    best.add(trial, logits);
    return trial;
  }

  async follow(
    scaling: Scaling,
    grid: readonly number[],
    patience: number,
    best: Best,
    onTried: (done: number) => void,
  ): Promise<void> {
    let [accuracy, logLoss, inVain] = [-Infinity, Infinity, 0];
    for (const [i, c] of grid.entries()) {
      const trial = await this.#try(scaling, c, best);
      onTried(i + 1);
      inVain = trial.accuracy > accuracy || trial.logLoss < logLoss ? 0 : inVain + 1;
      accuracy = Math.max(accuracy, trial.accuracy);
      logLoss = Math.min(logLoss, trial.logLoss);
      if (inVain === patience) return;
    }
  }

  /** Tries C between the best and its neighbours in the grid. */
  async refine(scaling: Scaling, grid: readonly number[], best: Best): Promise<void> {
    const at = grid.indexOf(best.trial!.value);
    for (const [a, b] of [
      [at - 1, at],
      [at, at + 1],
    ]) {
      const [low, high] = [grid[a!], grid[b!]];
      if (low !== undefined && high !== undefined) await this.#try(scaling, Math.sqrt(low * high), best);
    }
  }
}

export interface NeighbourSearch extends OutOfFold {
  trials: Trial[];
  scaling: Exclude<Scaling, 'standardize'>;
  k: number;
  /** What a fold leaves to vote, images; and the numbers of neighbours that were not tried, as they are more than that. */
  voters: number;
  notTried: number[];
}

/** Chooses scaling and k. @param grid - Numbers of neighbours, in rising order. @throws The signal's reason when aborted. */
export async function searchNeighbours(
  set: TrainingSet,
  grid: readonly number[],
  options: Omit<SearchOptions, 'scalings'> & { scalings: readonly NeighbourSearch['scaling'][] },
): Promise<NeighbourSearch> {
  const judge = new Judge(set, options);
  const best = new Best();
  const { tested, fold } = judge;
  const { rows, width, labels, classes } = set;
  const sizes = countsOf(
    [...fold].filter((one) => one >= 0),
    options.folds,
  );
  const least = labels.length - Math.max(0, ...sizes);
  const possible = grid.filter((k, i) => i === 0 || k <= least);
  for (const [i, scaling] of options.scalings.entries()) {
    if (tested.length === 0) break;
    await breathe();
    options.signal?.throwIfAborted();
    const { rows: features } = unitRowsFor(rows, width, scaling);
    const voteWeights = classWeights(labels, classes, options.classWeight);
    const folds = { ofBank: fold, ofRows: fold.map((one) => (one < 0 ? -2 : one)) };
    const found = neighbourLogits({ features, labels, voteWeights, folds }, features, width, possible);
    possible.forEach((k, n) => {
      const logits = judge.pick(found[n]!);
      best.add({ scaling, value: k, ...judge.score(logits) }, logits);
    });
    options.onProgress?.(i + 1, options.scalings.length);
  }
  return {
    ...{ trials: best.trials, tested, logits: best.logits ?? new Float64Array(0) },
    scaling: (best.trial?.scaling as NeighbourSearch['scaling'] | undefined) ?? options.scalings[0]!,
    k: best.trial?.value ?? possible[0]!,
    ...{ voters: least, notTried: grid.filter((k) => !possible.includes(k)) },
  };
}
