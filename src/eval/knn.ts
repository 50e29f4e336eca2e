/**
 * Weighted k-nearest-neighbour classification on frozen features (paper, section 4.1; reference: eval_knn.py,
 * knn_classifier). Departures: this works with fewer than 100 test images (where the reference's chunk size becomes 0), k
 * above the number of training images is clipped with a warning, classes are matched by name, and one search at the
 * largest k serves the smaller ones, block by block, so that memory is bounded for any number of training images.
 *
 * Beside the reference's scores stand those of the same features with the mean of the training features subtracted, and
 * whitened (fit-transform.ts): they show what a few directions of large variance hide.
 */
import { z } from 'zod';
import { imagesOrList } from '../data/arguments.js';
import { anyModelArgument } from '../models/model-argument.js';
import {
  being,
  callback,
  checkCall,
  count,
  filePath,
  finite,
  instanceOf,
  oneOf,
  optionsOf,
  signal as abortSignal,
  text,
} from '../plain/check-options.js';
import { type ImageList, type ListNotes, notesOf, skippedPlace } from '../data/index.js';
import { assertWritableFolder } from '../files/output.js';
import { DataError } from '../errors.js';
import { type Backbone, unitLength } from '../models/index.js';
import { World } from '../processes/world.js';
import { fromTypedArray, full, inferenceMode, ops, scope, Tensor, zeros } from '../torch/index.js';
import { type EvalSizes, evalSizes } from '../plain/eval-geometry.js';
import { PRECISION_CHOICES, type PrecisionChoice } from '../plain/precisions.js';
import type { ChosenPrecision } from './feature-precision.js';
import { featureTable } from './features.js';
import { checkFinite } from './finite-features.js';
import { fitTransform, MOST_WHITENED, tensorTransform } from './fit-transform.js';
import { readKnnFeatures, writeKnnFeatures } from './knn-features.js';
import { labelledPair } from './labelled.js';

/** The reference's neighbours and temperature, and the least number of classes over which votes are counted. */
export const KNN_DEFAULTS = {
  k: [10, 20, 100, 200] as readonly number[],
  temperature: 0.07,
  minClasses: 1000,
};

export interface KnnScore {
  /** Percent of the test images whose class got the most votes. */
  top1: number;
  /** Percent whose class is among the five with the most votes. */
  top5: number;
}

export interface LabelledFeatures {
  /** (N, D) float32; scaled to length 1 here, unless `normalized` says that they are. */
  features: Tensor;
  /** (N) class numbers. */
  labels: readonly number[];
  normalized?: boolean;
}

/** Features whose blocks are transformed when they are compared, so that no second copy of them is held. */
interface ReadFeatures extends LabelledFeatures {
  /** (B, D) to (B, D), of length 1; in place of scaling to length 1. */
  transform?: (rows: Tensor) => Tensor;
}

const unitRowsOf = ({ normalized, transform }: ReadFeatures, rows: Tensor): Tensor =>
  transform !== undefined ? transform(rows) : normalized === true ? rows : unitLength(rows);

/** Training features that are compared at a time: with QUERIES test images, 64 MiB of similarities. */
const BLOCK = 2 ** 15;
const QUERIES = 512;

interface Neighbours {
  /** (M, K) similarities, nearest first. */
  near: Tensor;
  /** (M, K) their classes. */
  classes: Tensor;
}

/**
 * The nearest training images of every test image. The training features come block by block, each compared with all
 * test images, whose best so far are kept: no more than (QUERIES, BLOCK) similarities exist at a time, and (M, K) of the
 * best.
 */
function nearest(train: ReadFeatures, test: ReadFeatures, k: number, block: number): Neighbours {
  const { device } = train.features;
  const [trainCount, testCount] = [train.labels.length, test.labels.length];
  const near = full([testCount, k], -Infinity, { device });
  const classes = zeros([testCount, k], { dtype: 'int64', device });
  for (let start = 0; start < trainCount; start += block) {
    const size = Math.min(block, trainCount - start);
    scope(() => {
      const part = train.features.narrow(0, start, size);
      const bank = unitRowsOf(train, part).t(); // (D, N)
      const numbers = BigInt64Array.from(train.labels.slice(start, start + size), BigInt);
      const labels = fromTypedArray(numbers, [size]).to(device);
      for (let begin = 0; begin < testCount; begin += QUERIES) {
        const count = Math.min(QUERIES, testCount - begin);
        scope(() => {
          const some = test.features.narrow(0, begin, count);
          const queries = unitRowsOf(test, some); // (B, D)
          const [values, indices] = queries.matmul(bank).topk(Math.min(k, size)); // (B, K) each, nearest first
          const found = labels.take(indices); // (B, K)
          const best = near.narrow(0, begin, count);
          const bestClasses = classes.narrow(0, begin, count);
          if (start === 0 && values.size(1) === k) {
            best.copy_(values);
            bestClasses.copy_(found);
            return;
          }
          // what was found before comes first, and the sort is stable: of equals the earlier image stays
          const [merged, order] = ops.cat([best, values], 1).sort({ stable: true, descending: true }); // (B, K + K)
          const candidates = ops.cat([bestClasses, found], 1);
          best.copy_(merged.narrow(1, 0, k));
          bestClasses.copy_(candidates.gather(1, order.narrow(1, 0, k)));
        });
      }
    });
  }
  return { near, classes };
}

const neighbourCounts = z.array(z.int().min(1)).min(1);
const temperatureOfVotes = finite.gt(0);

const labelledFeatures = being('features with a label each', (value) => {
  const { features, labels } = Object(value) as Partial<LabelledFeatures>;
  const isLabel = (label: unknown): boolean => Number.isSafeInteger(label) && Number(label) >= 0;
  return (
    features instanceof Tensor &&
    Array.isArray(labels) &&
    labels.length > 0 &&
    labels.every(isLabel) &&
    features.shape.length === 2 &&
    features.size(0) === labels.length
  );
});

const classifyOptions = optionsOf<NonNullable<Parameters<typeof knnClassify>[2]>>(
  {},
  { k: neighbourCounts, temperature: temperatureOfVotes, block: count(1) },
);

/**
 * Scores for each k.
 * @param options - `block` is how many training features are compared at a time, default 32,768.
 * @returns By k as asked for, in the order of `ks`.
 * @throws DataError for features that are not finite.
 */
export function knnClassify(
  train: LabelledFeatures,
  test: LabelledFeatures,
  options: { k?: readonly number[]; temperature?: number; block?: number } = {},
): Map<number, KnnScore> {
  checkCall(
    'knnClassify()',
    ['train', labelledFeatures, train],
    ['test', labelledFeatures, test],
    ['options', classifyOptions, options],
  );
  for (const [name, { features }] of [
    ['train', train],
    ['test', test],
  ] as const)
    assertFinite(features, (row) => `row ${row} of ${name}`);
  return classify(train, test, options);
}

/** @throws DataError that names the first row with NaN or infinite values. */
function assertFinite(features: Tensor, nameOf: (row: number) => string): void {
  const [count, width] = [features.size(0), features.size(1)];
  for (let start = 0; start < count; start += BLOCK) {
    const some = scope(() =>
      features
        .narrow(0, start, Math.min(BLOCK, count - start))
        .to('cpu')
        .to('float32'),
    );
    const rows = some.toTypedArray() as Float32Array;
    some.dispose();
    checkFinite(rows, width, (row) => nameOf(start + row));
  }
}

function classify(
  train: ReadFeatures,
  test: ReadFeatures,
  options: { k?: readonly number[]; temperature?: number; block?: number },
): Map<number, KnnScore> {
  const ks = options.k ?? KNN_DEFAULTS.k;
  const temperature = options.temperature ?? KNN_DEFAULTS.temperature;
  const testCount = test.labels.length;
  const largest = Math.min(train.labels.length, Math.max(...ks));
  // Classes without a vote tie at 0 and are ranked by number, so their count is the reference's.
  const classes = train.labels.reduce((most, label) => Math.max(most, label + 1), KNN_DEFAULTS.minClasses);
  const hits = new Map(ks.map((k) => [k, { top1: 0, top5: 0 }]));
  inferenceMode(() =>
    scope(() => {
      const { device } = train.features;
      const neighbours = nearest(train, test, largest, options.block ?? BLOCK);
      for (let begin = 0; begin < testCount; begin += QUERIES) {
        const count = Math.min(QUERIES, testCount - begin);
        scope(() => {
          const labels = neighbours.classes.narrow(0, begin, count); // (B, K)
          const weights = neighbours.near.narrow(0, begin, count).div(temperature).exp(); // (B, K)
          const targets = BigInt64Array.from(test.labels.slice(begin, begin + count), BigInt);
          const target = fromTypedArray(targets, [count, 1]).to(device); // (B, 1)
          for (const [k, hit] of hits) {
            const used = Math.min(k, largest);
            const votes = zeros([count, classes], { device }).scatterAdd_(
              1,
              labels.narrow(1, 0, used),
              weights.narrow(1, 0, used),
            ); // (B, C)
            const ranked = votes.sort(-1, true)[1]; // (B, C) classes, most votes first
            const correct = ranked.narrow(1, 0, Math.min(5, classes)).eq(target); // (B, 5)
            hit.top1 += correct.narrow(1, 0, 1).sum().item();
            // with fewer than five neighbours the reference looks no further than k places
            hit.top5 += correct.narrow(1, 0, Math.min(5, k)).sum().item();
          }
        });
      }
    }),
  );
  return new Map(
    [...hits].map(([k, { top1, top5 }]) => [
      k,
      { top1: (100 * top1) / testCount, top5: (100 * top5) / testCount },
    ]),
  );
}

export interface KnnOptions extends Partial<EvalSizes> {
  /** Labelled images among which neighbours are found: a folder with class folders, or a list. */
  train: string | ImageList;
  /** Labelled images to classify. */
  val: string | ImageList;
  /** Numbers of neighbours; default 10, 20, 100, 200. */
  k?: readonly number[];
  /** Temperature of the votes; default 0.07. */
  temperature?: number;
  /** A folder to write the normalized features to, for evaluateKnnFeatures(). */
  dumpFeatures?: string;
  /** As in EmbedOptions; `auto` chooses by the training images. */
  precision?: PrecisionChoice;
  /** Called with what `auto` chose. */
  onPrecision?: (choice: ChosenPrecision) => void;
  batchSize?: number;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Processes that share the work; all get the result. Default: only this one. */
  world?: World;
  /** Called after every batch. */
  onProgress?: (progress: { part: 'train' | 'val'; done: number; total: number }) => void;
  onWarning?: (message: string) => void;
}

/** Percent, by number of neighbours. */
export interface KnnScores {
  top1: Record<string, number>;
  top5: Record<string, number>;
}

export interface KnnResult extends ListNotes, KnnScores {
  /** The same after the mean of the training features is subtracted; null when they are all alike. */
  center: KnnScores | null;
  /** The same after the features are whitened as well, fitted to the training features; null when they can't be. */
  pca: KnnScores | null;
  trainImages: number;
  valImages: number;
  classes: number;
  resize: number;
  crop: number;
  skipped: { path: string; reason: string }[];
}

interface Extracted extends LabelledFeatures {
  skipped: { path: string; reason: string }[];
}

async function extract(
  backbone: Backbone,
  list: ImageList,
  part: 'train' | 'val',
  options: KnnOptions & EvalSizes & { device: string },
): Promise<Extracted> {
  const { resize, crop, device, signal, world, batchSize = 128, numWorkers = 1, onProgress } = options;
  const table = await featureTable(backbone, list.items, {
    ...{ resize, crop, device, signal, world, batchSize, numWorkers },
    ...{ precision: options.precision, onPrecision: options.onPrecision },
    onProgress: (done, total) => onProgress?.({ part, done, total }),
  });
  const { indices, features: rows, width, skipped } = table;
  if (indices.length === 0)
    throw new DataError(`${list.root}: none of its ${list.items.length} images can be read`);
  const labels = indices.map((index) => list.items.at(index)!.label!);
  const features = scope(() => {
    const all = fromTypedArray(rows, [indices.length, width]).to(device);
    for (let start = 0; start < indices.length; start += BLOCK) {
      const some = all.narrow(0, start, Math.min(BLOCK, indices.length - start));
      scope(() => some.copy_(unitLength(some)));
    }
    return all;
  });
  return { features, labels, skipped: [...list.unreadable.map(skippedPlace), ...skipped], normalized: true };
}

const knnOptions = optionsOf<KnnOptions>(
  { train: imagesOrList, val: imagesOrList },
  {
    ...{ k: neighbourCounts, temperature: temperatureOfVotes, dumpFeatures: filePath },
    ...{ resize: count(1), crop: count(1), batchSize: count(1), numWorkers: count(), signal: abortSignal },
    ...{ world: instanceOf(World, 'a world, from joinWorld()'), onProgress: callback, onWarning: callback },
    ...{ precision: oneOf(PRECISION_CHOICES), onPrecision: callback },
  },
);

/**
 * k-NN accuracy of a model, or of a backbone in training (whose images are then read at the given sizes).
 *
 * @throws DataError when a folder has no labels or no readable images, val has classes that train lacks,
 *   or features are not finite (it names an image); ConfigError for numbers out of range.
 */
export async function evaluateKnn(
  model: { backbone: Backbone; architecture: { imgSize: number; patchSize: number }; device: string },
  options: KnnOptions,
): Promise<KnnResult> {
  checkCall('evaluateKnn()', anyModelArgument(model), ['options', knnOptions, options]);
  const { architecture, backbone, device } = model;
  const { world = World.alone() } = options;
  const ks = options.k ?? KNN_DEFAULTS.k;
  const temperature = options.temperature ?? KNN_DEFAULTS.temperature;
  const { resize, crop } = evalSizes(options, architecture);
  if (options.dumpFeatures !== undefined && world.isFirst) assertWritableFolder(options.dumpFeatures);
  const { train, val, inTrain, leftOut, remarks } = await labelledPair(options.train, options.val);
  const sized = { ...options, resize, crop, device };
  let { precision } = options;
  const onPrecision = (choice: ChosenPrecision): void => {
    ({ precision } = choice);
    options.onPrecision?.(choice);
  };
  const bank = await extract(backbone, train, 'train', { ...sized, onPrecision });
  const queries = await extract(backbone, val, 'val', {
    ...sized,
    ...(precision === undefined ? {} : { precision }),
  });
  try {
    const test = { ...queries, labels: queries.labels.map((label) => inTrain[label]!) };
    // all processes have all features: one computes the scores
    return await world.shared('the scores', () => {
      if (options.dumpFeatures !== undefined) {
        const metadata = { classes: train.classes, resize, crop };
        writeKnnFeatures(options.dumpFeatures, bank, test, metadata);
      }
      return {
        ...score(bank, test, { ...options, k: ks, temperature }),
        trainImages: bank.labels.length,
        valImages: test.labels.length,
        classes: train.classes.length,
        resize,
        crop,
        skipped: [...bank.skipped, ...queries.skipped],
        ...{ leftOut, remarks },
      };
    });
  } finally {
    bank.features.dispose();
    queries.features.dispose();
  }
}

function score(
  bank: LabelledFeatures,
  test: LabelledFeatures,
  options: {
    k: readonly number[];
    temperature: number;
    onWarning?: ((message: string) => void) | undefined;
  },
): Pick<KnnResult, 'top1' | 'top5' | 'center' | 'pca'> {
  const { onWarning, k, temperature } = options;
  const tooMany = k.filter((each) => each > bank.labels.length);
  if (tooMany.length > 0)
    onWarning?.(
      `k ${tooMany.join(', ')} is more than the ${bank.labels.length} training images: all of them vote`,
    );
  const scores = (train: ReadFeatures, queries: ReadFeatures): KnnScores => {
    const found = classify(train, queries, { k, temperature });
    const by = (name: keyof KnnScore) =>
      Object.fromEntries([...found].map(([each, values]) => [String(each), values[name]]));
    return { top1: by('top1'), top5: by('top5') };
  };
  const transformed = (mode: 'center' | 'pca'): KnnScores | null => {
    if (mode === 'pca' && bank.features.size(1) > MOST_WHITENED) {
      onWarning?.(
        `features of ${bank.features.size(1)} values are not whitened: at most ${MOST_WHITENED} are`,
      );
      return null;
    }
    const { transform: fitted, remark } = fitTransform(bank.features, mode);
    if (remark !== null) onWarning?.(remark);
    if (fitted.mode !== mode) return null;
    return inferenceMode(() =>
      scope(() => {
        const transform = tensorTransform(fitted, bank.features.device);
        return scores({ ...bank, transform }, { ...test, transform });
      }),
    );
  };
  return { ...scores(bank, test), center: transformed('center'), pca: transformed('pca') };
}

const storedOptions = optionsOf<NonNullable<Parameters<typeof evaluateKnnFeatures>[1]>>(
  {},
  { k: neighbourCounts, temperature: temperatureOfVotes, onWarning: callback, device: text },
);

/**
 * k-NN accuracy from features in a folder, without a model: those that evaluateKnn() wrote (`dumpFeatures`), or the
 * reference (trainfeat.pth and so on), which do not say `resize` and `crop`: these are then 0.
 *
 * @throws CheckpointError when the files are missing, damaged or don't fit each other; DataError for features that are not
 *   finite; ConfigError for numbers out of range.
 */
export function evaluateKnnFeatures(
  folder: string,
  options: Pick<KnnOptions, 'k' | 'temperature' | 'onWarning'> & { device?: string } = {},
): KnnResult {
  checkCall('evaluateKnnFeatures()', ['folder', filePath, folder], ['options', storedOptions, options]);
  const k = options.k ?? KNN_DEFAULTS.k;
  const temperature = options.temperature ?? KNN_DEFAULTS.temperature;
  const { train, test, classes, resize, crop } = readKnnFeatures(folder, options.device ?? 'cpu');
  try {
    assertFinite(train.features, (row) => `row ${row} of the training features in ${folder}`);
    assertFinite(test.features, (row) => `row ${row} of the test features in ${folder}`);
    return {
      ...score(train, test, { ...options, k, temperature }),
      trainImages: train.labels.length,
      valImages: test.labels.length,
      classes: classes.length > 0 ? classes.length : new Set(train.labels).size,
      resize,
      crop,
      skipped: [],
      ...notesOf(),
    };
  } finally {
    train.features.dispose();
    test.features.dispose();
  }
}
