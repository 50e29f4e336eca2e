/**
 * Fits a classifier to few labelled images: the backbone stays frozen, its features are computed once, and a logistic regression
 * or the nearest neighbours are chosen and measured by cross-validation.
 */
import { z } from 'zod';
import { imagesOrList } from '../data/arguments.js';
import { type ImageList, type ListNotes, notesOf } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { embed } from '../eval/embed.js';
import { checkFinite } from '../eval/finite-features.js';
import { MOST_WHITENED } from '../eval/fit-transform.js';
import { type LabelledList, labelledList, labelledPair } from '../eval/labelled.js';
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  finite,
  oneOf,
  optionsOf,
  signal as abortSignal,
} from '../plain/check-options.js';
import type { ClassifierHead } from '../plain/classifier-head.js';
import { type EvalSizes, evalSizes } from '../plain/eval-geometry.js';
import { fewNames } from '../plain/few-names.js';
import { printable } from '../plain/printable.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { fitTemperature } from './calibration.js';
import { Classifier, type HeadFeatures, headLogits } from './classifier.js';
import {
  C_GRID,
  K_GRID,
  type OutOfFold,
  searchLogistic,
  searchNeighbours,
  type SearchOptions,
  type TrainingSet,
  type Trial,
} from './cross-validate.js';
import { classWeights, countsOf } from './folds.js';
import { type ClassifierReport, makeReport } from './report.js';
import { candidates, SCALINGS, type Scaling, unitRowsFor } from './scaling.js';

export const METHODS = ['logistic', 'knn'] as const;
export type ClassifierMethod = (typeof METHODS)[number];
export const HEAD_FEATURES = ['cls', 'patch-mean'] as const;
export const CLASS_WEIGHTS = ['none', 'balanced'] as const;

export interface FitClassifierOptions extends Partial<EvalSizes> {
  /** Labelled images: a folder with one folder per class, shards with labels, or a list made by listImages(). */
  images: string | ImageList;
  /** Labelled images to measure the classifier on, whose classes are among those of `images`. Default: only cross-validation. */
  validation?: string | ImageList;
  /** `logistic` (default): multinomial logistic regression. `knn`: k nearest neighbours. */
  method?: ClassifierMethod;
  /** How features are scaled first (`standardize`: not with `knn`); `auto` (default): chosen by cross-validation. */
  scaling?: Scaling | 'auto';
  /** Values of C to choose from, above 0; default: 1e-5 to 1e4. Only with `logistic`. */
  c?: readonly number[];
  /** Numbers of neighbours to choose from, at least 1; default: 1 to 200. Only with `knn`. */
  k?: readonly number[];
  /** `none` (default): each image counts the same. `balanced`: each class does. */
  classWeight?: 'none' | 'balanced';
  /** Parts that the images are divided into for cross-validation, at least 2; default 5. */
  folds?: number;
  /** Of the division into folds; default 0. */
  seed?: number;
  /** `cls` (default): the class token. `patch-mean`: the mean of the patch tokens. */
  features?: HeadFeatures['features'];
  /** How many of the last blocks are concatenated, 1 (default) to the model's depth. */
  layers?: number;
  /** Default 64. */
  batchSize?: number;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Called after every batch of images, and after every setting that was tried. */
  onProgress?: (progress: { part: 'images' | 'validation' | 'fit'; done: number; total: number }) => void;
  onWarning?: (message: string) => void;
}

export interface FitClassifierResult extends ListNotes {
  /** Uses the model that was given. */
  classifier: Classifier;
  method: ClassifierMethod;
  /** Images that it was fitted to. */
  images: number;
  classes: { name: string; images: number }[];
  scaling: Scaling;
  /** The chosen C or k. */
  value: number;
  temperature: number;
  /** Settings that were compared; empty where nothing could be cross-validated. */
  trials: Trial[];
  /** Null where every class has a single image. */
  crossValidation: ClassifierReport | null;
  /** Null without validation images. */
  validation: ClassifierReport | null;
  /** Images that could not be read, and why. */
  skipped: { path: string; reason: string }[];
}

const fitOptions = optionsOf<FitClassifierOptions>(
  { images: imagesOrList },
  {
    ...{ validation: imagesOrList, method: oneOf(METHODS), scaling: oneOf([...SCALINGS, 'auto']) },
    ...{ c: z.array(finite.gt(0)).min(1), k: z.array(count(1)).min(1), classWeight: oneOf(CLASS_WEIGHTS) },
    ...{ folds: count(2), seed: count(), features: oneOf(HEAD_FEATURES), layers: count(1) },
    ...{ resize: count(1), crop: count(1), batchSize: count(1), numWorkers: count() },
    ...{ signal: abortSignal, onProgress: callback, onWarning: callback },
  },
);

const sorted = (values: readonly number[]): number[] => [...new Set(values)].sort((a, b) => a - b);

/** @throws ConfigError for what doesn't go together. */
function checkMethod({ method = 'logistic', scaling, c, k }: FitClassifierOptions): void {
  const problems: string[] = [];
  if (method === 'knn' && c !== undefined) problems.push('c: only logistic regression has one; k-NN has k');
  if (method === 'logistic' && k !== undefined)
    problems.push('k: only k-NN has one; logistic regression has c');
  if (method === 'knn' && scaling === 'standardize')
    problems.push('scaling standardize: k-NN compares features of length 1; take none, center or pca');
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Features with labels. */
interface Labelled {
  rows: Float32Array;
  width: number;
  labels: number[];
  paths: string[];
  skipped: { path: string; reason: string }[];
}

async function featuresOf(
  model: LoadedModel,
  list: LabelledList,
  part: 'images' | 'validation',
  takes: HeadFeatures,
  { batchSize, numWorkers, signal, onProgress }: FitClassifierOptions,
): Promise<Labelled> {
  const {
    features: rows,
    shape,
    labels,
    paths,
    skipped,
  } = await embed(model, list, {
    ...{ ...takes, signal },
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(numWorkers === undefined ? {} : { numWorkers }),
    onProgress: ({ done, total }) => onProgress?.({ part, done, total }),
  });
  const width = shape[1]!;
  checkFinite(rows, width, (row) => paths[row]!);
  return { rows, width, labels: labels as number[], paths, skipped };
}

/** Leaves out classes none of whose images can be read. @throws DataError when fewer than two are left. */
function presentClasses(
  { labels }: Labelled,
  list: LabelledList,
  warn: (message: string) => void,
): { names: string[]; renumbered: number[] } {
  const counts = countsOf(labels, list.classes.length);
  const missing = list.classes.filter((_, c) => counts[c] === 0);
  if (missing.length > 0)
    warn(
      `${missing.length} of ${list.classes.length} classes ${missing.length === 1 ? 'has no readable image and is' : 'have no readable images and are'} left out: ${few(missing)}`,
    );
  const numbers: number[] = [];
  const names = list.classes.filter((_, c) => counts[c]! > 0);
  list.classes.forEach((_, c) => numbers.push(counts[c] === 0 ? -1 : numbers.filter((n) => n >= 0).length));
  if (names.length < 2)
    throw new DataError(
      `${printable(list.source)} has ${names.length} class${names.length === 1 ? ` (${printable(names[0]!)})` : 'es'} with ` +
        'readable images; a classifier needs at least 2, a folder for each',
    );
  return { names, renumbered: numbers };
}

const few = (names: readonly string[]): string => fewNames(names, 10);

/** Says which classes can't be cross-validated. */
function warnOfLone(
  names: readonly string[],
  counts: readonly number[],
  warn: (message: string) => void,
): void {
  const lone = names.filter((_, c) => counts[c] === 1);
  if (lone.length === names.length)
    warn(
      'every class has a single image: nothing can be cross-validated, so no accuracy is measured, the usual setting is taken ' +
        'and probabilities are not calibrated. Two images of each class are the least, ten are better',
    );
  else if (lone.length > 0)
    warn(
      `${lone.length} of ${names.length} classes ${lone.length === 1 ? 'has' : 'have'} a single image: ${few(lone)}. A lone image is learned from, but can't be ` +
        `cross-validated: the figures say nothing about ${lone.length === 1 ? 'this class' : 'these classes'}`,
    );
}

/**
 * Fits a classifier to a model's frozen features, and measures it.
 *
 * @throws ConfigError for options out of range or that don't go together; DataError when `images` has no labels, fewer than
 *   two classes, or no readable images, when `validation` has classes that `images` lacks, or when features are not
 *   finite; the signal's reason when aborted.
 */
export async function fitClassifier(
  model: LoadedModel,
  options: FitClassifierOptions,
): Promise<FitClassifierResult> {
  checkCall('fitClassifier()', modelArgument(model), ['options', fitOptions, options]);
  checkMethod(options);
  const { method = 'logistic', classWeight = 'none', folds = 5, seed = 0 } = options;
  const { onWarning = () => undefined, onProgress, signal } = options;
  const { features = 'cls', layers = 1 } = options;
  const takes: HeadFeatures = { features, layers, ...evalSizes(options, model.architecture) };
  const names = { train: 'images', val: 'validation' };
  const pair =
    options.validation === undefined ? null : await labelledPair(options.images, options.validation, names);
  const list = pair?.train ?? (await labelledList(options.images, 'images'));
  const train = await featuresOf(model, list, 'images', takes, options);
  const { names: classes, renumbered } = presentClasses(train, list, onWarning);
  const labels = train.labels.map((label) => renumbered[label]!);
  const counts = countsOf(labels, classes.length);
  warnOfLone(classes, counts, onWarning);
  const tested = pair === null ? null : await featuresOf(model, pair.val, 'validation', takes, options);

  const set: TrainingSet = { rows: train.rows, width: train.width, labels, classes: classes.length };
  const search = {
    ...{ classWeight, folds, seed, signal },
    onProgress: (done: number, total: number) => onProgress?.({ part: 'fit', done, total }),
  };
  const fit = method === 'logistic' ? fitLogistic : fitNeighbours;
  const found = await fit(set, classes, options, search, onWarning);
  const testedLabels = found.tested.map((row) => labels[row]!);
  const temperature = fitTemperature(found.logits, testedLabels, classes.length);
  const head = { ...found.head, temperature };

  const crossValidation =
    found.tested.length === 0
      ? null
      : makeReport(
          'cross-validation',
          {
            logits: found.logits,
            labels: testedLabels,
            paths: found.tested.map((row) => train.paths[row]!),
          },
          ...([classes, counts, temperature] as const),
        );
  const validation =
    tested === null
      ? null
      : validated(
          head,
          tested,
          pair!.inTrain.map((label) => renumbered[label]!),
          counts,
          onWarning,
        );
  const report = validation ?? crossValidation;
  const origin = {
    ...{ images: labels.length, scaling: found.scaling, value: found.value, classWeight, folds, seed },
    measured:
      report === null
        ? null
        : {
            ...{ from: report.from, images: report.images, accuracy: report.accuracy.value },
            ...{ low: report.accuracy.low, high: report.accuracy.high, ece: report.ece },
          },
  };
  return {
    classifier: new Classifier(model, head, takes, origin),
    ...{ method, images: labels.length, scaling: found.scaling, value: found.value, temperature },
    classes: classes.map((name, c) => ({ name, images: counts[c]! })),
    ...{ trials: found.trials, crossValidation, validation },
    skipped: [...train.skipped, ...(tested?.skipped ?? [])],
    ...notesOf(pair ?? list),
  };
}

interface Fitted extends OutOfFold {
  head: ClassifierHead;
  scaling: Scaling;
  value: number;
  trials: Trial[];
}

type Shared = Omit<SearchOptions, 'scalings'>;

async function fitLogistic(
  set: TrainingSet,
  classes: readonly string[],
  { scaling = 'auto', c = C_GRID }: FitClassifierOptions,
  shared: Shared,
  warn: (message: string) => void,
): Promise<Fitted> {
  const scalings = scaling === 'auto' ? scalingsFor('logistic', set.width, warn) : [scaling];
  const found = await searchLogistic(set, c === C_GRID ? null : sorted(c), { ...shared, scalings });
  using problem = found.problem;
  if (found.tested.length === 0) warnOfUntried('C', found.c, c, C_GRID, warn);
  const ofClass = classWeights(set.labels, set.classes, shared.classWeight);
  const weights = Float64Array.from(set.labels, (label) => ofClass[label]!);
  const fit = problem.fit({ c: found.c, weights });
  if (!fit.converged)
    warn(
      `the fit ended after ${fit.iterations} iterations without reaching its tolerance; a smaller C helps`,
    );
  if (found.scaled.remark !== null) warn(found.scaled.remark);
  const { weight, bias } = found.scaled.toFeatures(problem.layer(fit));
  return {
    head: {
      ...{ kind: 'logistic', classes, transform: found.scaled.transform, temperature: 1 },
      ...{ weight: Float32Array.from(weight), bias: Float32Array.from(bias) },
    },
    ...{ scaling: found.scaling, value: found.c, trials: found.trials },
    ...{ logits: found.logits, tested: found.tested },
  };
}

async function fitNeighbours(
  set: TrainingSet,
  classes: readonly string[],
  { scaling = 'auto', k = K_GRID }: FitClassifierOptions,
  shared: Shared,
  warn: (message: string) => void,
): Promise<Fitted> {
  const scalings = (scaling === 'auto' ? scalingsFor('knn', set.width, warn) : [scaling]) as Exclude<
    Scaling,
    'standardize'
  >[];
  const found = await searchNeighbours(set, sorted(k), { ...shared, scalings });
  const { voters, notTried } = found;
  if (found.tested.length === 0) warnOfUntried('k', found.k, k, K_GRID, warn);
  // of the usual numbers nobody expects that all are tried
  else if (k !== K_GRID && notTried.length > 0)
    warn(
      `k ${notTried.join(', ')} ${notTried.length === 1 ? 'was' : 'were'} not tried: without a fold, ${voters} images are left to ` +
        `vote; give numbers of at most ${voters}, or more images`,
    );
  if (found.k > voters && found.k <= set.labels.length)
    warn(
      `k ${found.k} is more than the ${voters} images that are left without a fold: in cross-validation all of them voted`,
    );
  const { transform, rows, remark } = unitRowsFor(set.rows, set.width, found.scaling);
  if (remark !== null) warn(remark);
  if (found.k > set.labels.length)
    warn(`k ${found.k} is more than the ${set.labels.length} images: all of them vote`);
  const voteWeights = Float32Array.from(classWeights(set.labels, set.classes, shared.classWeight));
  return {
    head: {
      ...{ kind: 'knn', classes, transform, temperature: 1, k: found.k },
      features: rows,
      ...{ labels: Int32Array.from(set.labels), voteWeights },
    },
    ...{ scaling: found.scaling, value: found.k, trials: found.trials },
    ...{ logits: found.logits, tested: found.tested },
  };
}

/** Where nothing could be cross-validated, one of several given values was taken untried. */
function warnOfUntried(
  name: 'C' | 'k',
  taken: number,
  given: readonly number[],
  usual: readonly number[],
  warn: (message: string) => void,
): void {
  const others = sorted(given).filter((value) => value !== taken);
  if (given === usual || others.length === 0) return;
  const why = name === 'C' ? 'the nearest to 1' : 'the smallest';
  warn(`${name} ${taken} is taken, ${why} of those given, and ${others.join(', ')} not tried`);
}

function scalingsFor(method: ClassifierMethod, width: number, warn: (message: string) => void): Scaling[] {
  if (width > MOST_WHITENED)
    warn(`features of ${width} values are not whitened: at most ${MOST_WHITENED} are`);
  return candidates(method, width);
}

/** The classifier on validation images. @param numbers - Of the classifier's classes, by label; -1 where it was left out. */
function validated(
  head: ClassifierHead,
  { rows, width, labels, paths }: Labelled,
  numbers: readonly number[],
  trainCounts: readonly number[],
  warn: (message: string) => void,
): ClassifierReport | null {
  const known = [...labels.keys()].filter((i) => numbers[labels[i]!]! >= 0);
  if (known.length < labels.length)
    warn(
      `${labels.length - known.length} validation images are of classes without readable training images: they are left out`,
    );
  if (known.length === 0) return null;
  const some = new Float32Array(known.length * width);
  known.forEach((row, i) => some.set(rows.subarray(row * width, (row + 1) * width), i * width));
  return makeReport(
    'validation',
    {
      logits: headLogits(head, some, width),
      labels: known.map((i) => numbers[labels[i]!]!),
      paths: known.map((i) => paths[i]!),
    },
    ...([head.classes, trainCounts, head.temperature] as const),
  );
}
