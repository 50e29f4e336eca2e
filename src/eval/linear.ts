/**
 * Linear classification on frozen features, from folders of images to accuracy (paper, section 4.1; reference:
 * eval_linear.py). The classifier is trained on randomly resized and flipped crops, so features are computed again each
 * epoch; it is validated on central crops.
 *
 * Departures: the number of classes is that of the training folder by default; classes are matched by name, those of a given
 * classifier too; unreadable images are left out and named; an interrupted evaluation resumes bit for bit after its last whole epoch, and
 * refuses a checkpoint that was made with other settings.
 */
import path from 'node:path';
import { imagesOrList } from '../data/arguments.js';
import { anyModelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  finite,
  optionsOf,
  signal as abortSignal,
  yesOrNo,
} from '../plain/check-options.js';
import {
  EvalLoader,
  type EvalBatch,
  type ImageList,
  type ListNotes,
  notesOf,
  ResizedCropLoader,
  skippedPlace,
} from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { type Backbone, hasTokens, normalizeImages, pixelTensor } from '../models/index.js';
import { noGrad, scope } from '../torch/index.js';
import { makeFolder } from '../files/guarded.js';
import { isBelow } from '../files/read-below.js';
import { appendLine, keepLines } from '../files/json-lines.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { type EvalSizes, evalSizes } from '../plain/eval-geometry.js';
import { fewNames } from '../plain/few-names.js';
import { type LabelledList, labelledPair, NAMED, numbersIn } from './labelled.js';
import {
  classifierOutputs,
  fingerprintFiles,
  fingerprintWeights,
  readClassifier,
  readLinearCheckpoint,
  writeLinearCheckpoint,
  type LinearSettings,
} from './linear-checkpoint.js';
import { checkFinite } from './finite-features.js';
import { runOfWeights } from './save-evaluation.js';
import { LinearProbe, linearLr, type ProbeFeatures, probeFeatures, probeWidth } from './linear-probe.js';

/** The reference's settings. */
export const LINEAR_DEFAULTS = {
  nLastBlocks: 4,
  epochs: 100,
  lr: 0.001,
  batchSize: 128,
  valFreq: 1,
} as const;

export interface LinearOptions extends Partial<EvalSizes>, Partial<ProbeFeatures> {
  /** Labelled images to train the classifier on: a folder with class folders, or a list. */
  train: string | ImageList;
  /** Labelled images to measure it on. */
  val: string | ImageList;
  /** Default 100. */
  epochs?: number;
  /** Learning rate for a batch of 256, default 0.001; scaled by batchSize / 256, cosine to 0. */
  lr?: number;
  /** Default 128. */
  batchSize?: number;
  /** Validate every so many epochs, and after the last; default 1. */
  valFreq?: number;
  /** Outputs of the classifier; default: the classes of `train`. */
  numLabels?: number;
  /** Of the initial weights, the order and the crops; default 0. */
  seed?: number;
  /** Folder for the checkpoint and the log; when it holds them already, the evaluation resumes. Default: nothing is kept. */
  output?: string;
  /**
   * A file with linear.weight and linear.bias: a classifier to measure without training. An evaluation's checkpoint says which
   * classes its outputs are; those of other files are taken to be the classes of `train`, in order.
   */
  linearWeights?: string;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Called after every batch; epochs count from 0. */
  onProgress?: (progress: { part: 'train' | 'val'; epoch: number; done: number; total: number }) => void;
  /** Called after every epoch. */
  onEpoch?: (stats: LinearEpoch) => void;
  onWarning?: (message: string) => void;
}

/** A line of the log. */
export interface LinearEpoch {
  epoch: number;
  lr: number;
  /** Mean training loss over the batches. */
  trainLoss: number;
  /** Of the epochs that were validated: percent, and mean loss over the batches. */
  top1?: number;
  top5?: number | null;
  valLoss?: number;
}

export interface LinearResult extends EvalSizes, ProbeFeatures, ListNotes {
  /** Percent of the validation images whose class is the classifier's first, after the last epoch. */
  top1: number;
  /** Percent whose class is among its first five; null with fewer than five classes. */
  top5: number | null;
  /** Mean validation loss. */
  loss: number;
  /** Highest top-1 of all validated epochs. */
  bestTop1: number;
  /** Null with `linearWeights`, as `lr` and `trainImages`: nothing was trained. */
  epochs: number | null;
  lr: number | null;
  batchSize: number;
  /** Those that could be read. */
  trainImages: number | null;
  /** Those that could be read. */
  valImages: number;
  classes: number;
  /** The classifier's file; null when none was written. */
  checkpoint: string | null;
  skipped: { path: string; reason: string }[];
}

/** Everything that the parts of an evaluation share. */
interface Job {
  model: LoadedModel;
  probe: LinearProbe;
  features: ProbeFeatures;
  options: LinearOptions & { batchSize: number };
  sizes: EvalSizes;
  /** Bad images by path, with the reason. */
  skipped: Record<'train' | 'val', Map<string, string>>;
}

/**
 * Features of a batch; its memory is returned to the loader. Null when none of its images can be read.
 * @throws DataError when they are not finite.
 */
function batchFeatures(
  { model, features, sizes, skipped, options }: Job,
  part: 'train' | 'val',
  { items }: ImageList,
  batch: EvalBatch,
) {
  options.signal?.throwIfAborted();
  for (const { path: file, reason } of batch.skipped) skipped[part].set(file, reason);
  const { indices, labels, images } = batch;
  const rows =
    indices.length === 0
      ? null
      : scope(() =>
          noGrad(() => {
            const { backbone, device } = model;
            const raw = pixelTensor(images, backbone, { width: sizes.crop, height: sizes.crop }, device); // (B, C, H, W)
            return probeFeatures(backbone, normalizeImages(raw, backbone.normalization), features); // (B, D)
          }),
        );
  batch.release();
  if (rows === null) return null;
  try {
    const values = rows.toTypedArray() as Float32Array;
    checkFinite(values, rows.size(1), (row) => items.at(indices[row]!)!.path);
  } catch (error) {
    rows.dispose();
    throw error;
  }
  return { rows, labels: labels as number[] };
}

async function trainEpoch(job: Job, list: ImageList, epoch: number, lr: number): Promise<number> {
  const { items } = list;
  const { batchSize, numWorkers = 1, seed = 0, signal, onProgress } = job.options;
  const loader = new ResizedCropLoader({
    ...{ items, crop: job.sizes.crop, batchSize, seed, epoch, numWorkers },
    channels: job.model.backbone.channels ?? undefined,
    ...(signal === undefined ? {} : { signal }),
  });
  let [sum, batches, done] = [0, 0, 0];
  for await (const batch of loader) {
    done += batch.indices.length + batch.skipped.length;
    const made = batchFeatures(job, 'train', list, batch);
    if (made !== null) {
      const loss = job.probe.trainStep(made.rows, made.labels, lr);
      made.rows.dispose();
      if (!Number.isFinite(loss)) {
        throw new ConfigError(
          `the loss is ${loss} in epoch ${epoch + 1}: try a lower lr than ${job.options.lr ?? LINEAR_DEFAULTS.lr}`,
        );
      }
      sum += loss;
      batches++;
    }
    onProgress?.({ part: 'train', epoch, done, total: items.length });
  }
  if (batches === 0) throw new DataError(`${list.root}: none of its ${items.length} images can be read`);
  return sum / batches;
}

interface Validation {
  top1: number;
  top5: number | null;
  loss: number;
  images: number;
}

async function validate(
  job: Job,
  list: ImageList,
  numbers: readonly number[],
  epoch: number,
): Promise<Validation> {
  const { items } = list;
  const { batchSize, numWorkers = 1, signal, onProgress } = job.options;
  const loader = new EvalLoader({
    ...{ items, batchSize, numWorkers, ...job.sizes },
    channels: job.model.backbone.channels ?? undefined,
    ...(signal === undefined ? {} : { signal }),
  });
  let [images, top1, top5, loss, batches, done] = [0, 0, 0, 0, 0, 0];
  let hasFive = true;
  for await (const batch of loader) {
    done += batch.indices.length + batch.skipped.length;
    const made = batchFeatures(job, 'val', list, batch);
    if (made !== null) {
      const labels = made.labels.map((label) => numbers[label]!);
      const score = job.probe.score(made.rows, labels);
      made.rows.dispose();
      images += labels.length;
      top1 += score.top1;
      top5 += score.top5 ?? 0;
      hasFive = score.top5 !== null;
      loss += score.loss;
      batches++;
    }
    onProgress?.({ part: 'val', epoch, done, total: items.length });
  }
  if (images === 0) throw new DataError(`${list.root}: none of its ${items.length} images can be read`);
  return {
    top1: (100 * top1) / images,
    top5: hasFive ? (100 * top5) / images : null,
    loss: loss / batches, // a mean of the batches' means, as the reference's
    images,
  };
}

const linearOptions = optionsOf<LinearOptions>(
  { train: imagesOrList, val: imagesOrList },
  {
    ...{ epochs: count(1), lr: finite.gt(0), batchSize: count(1), valFreq: count(1), seed: count() },
    numLabels: count(),
    ...{ resize: count(1), crop: count(1), nLastBlocks: count(), avgpoolPatchtokens: yesOrNo },
    ...{ output: filePath, linearWeights: filePath, numWorkers: count(), signal: abortSignal },
    ...{ onProgress: callback, onEpoch: callback, onWarning: callback },
  },
);

/**
 * Trains a linear classifier on a model's frozen features and measures it, or measures a given one.
 *
 * @throws ConfigError for settings out of range, or an output folder with another evaluation's checkpoint; DataError when
 *   a folder has no labels or no readable images, val has classes that train or the given classifier lacks, or features are not
 *   finite; the signal's reason when aborted.
 */
export async function evaluateLinear(model: LoadedModel, options: LinearOptions): Promise<LinearResult> {
  checkCall('evaluateLinear()', anyModelArgument(model), ['options', linearOptions, options]);
  const { architecture, backbone } = model;
  const { epochs, lr, batchSize, valFreq } = { ...LINEAR_DEFAULTS, ...withoutUndefined(options) };
  const seed = options.seed ?? 0;
  const features: ProbeFeatures = {
    nLastBlocks: options.nLastBlocks ?? defaultBlocks(backbone),
    avgpoolPatchtokens: options.avgpoolPatchtokens ?? false,
  };
  const width = probeWidth(backbone, features);
  const { resize, crop } = evalSizes(options, architecture);
  const { train, val, inTrain, leftOut, remarks } = await labelledPair(options.train, options.val);
  const { linearWeights } = options;
  const outputs = linearWeights === undefined ? null : classifierOutputs(linearWeights);
  const classes = outputs?.classes ?? train.classes;
  const numLabels = options.numLabels ?? outputs?.numLabels ?? classes.length;
  if (numLabels < classes.length) {
    throw new ConfigError(
      `numLabels ${numLabels}; expected at least ${classes.length}, the classes of ${outputs === null ? train.root : linearWeights}`,
    );
  }
  const probe = new LinearProbe(width, numLabels, { device: model.device, seed });
  const job: Job = {
    ...{ model, probe, features, sizes: { resize, crop } },
    skipped: { train: new Map(), val: new Map() },
    options: { ...options, batchSize },
  };
  const common = { batchSize, resize, crop, ...features };
  try {
    if (linearWeights !== undefined) {
      readClassifier(linearWeights, probe.classifier);
      if (outputs === null)
        options.onWarning?.(
          `${linearWeights} does not say which classes its outputs are: they are taken to be the folders of ` +
            `${train.root}, in order`,
        );
      const numbers = outputs === null ? inTrain : numbersOfOutputs(linearWeights, classes, val);
      const { images, ...scores } = await validate(job, val, numbers, 0);
      return {
        ...{ ...scores, bestTop1: scores.top1, checkpoint: null, valImages: images, ...common },
        ...{ epochs: null, lr: null, trainImages: null, classes: classes.length },
        ...{ skipped: skippedOf(val, job.skipped.val), ...notesOf(val) },
      };
    }
    const settings: LinearSettings = {
      ...{ ...common, epochs, lr },
      ...{ numLabels, seed, train: train.fingerprint, val: fingerprintFiles(val) },
      ...{ weights: fingerprintWeights(backbone), numHeads: architecture.numHeads },
      normalization: JSON.stringify(backbone.normalization),
    };
    const folder = options.output === undefined ? null : path.resolve(options.output);
    const within = folder === null ? '' : outermost(folder, runOfWeights(model.file));
    if (folder !== null) makeFolder(folder, { within });
    const log = folder === null ? null : path.join(folder, 'log.jsonl');
    const checkpoint = folder === null ? null : path.join(folder, 'checkpoint.safetensors');
    const restored = checkpoint === null ? null : readLinearCheckpoint(checkpoint, within, settings, probe);
    let bestTop1 = restored?.bestTop1 ?? 0;
    let last: Validation | null = null;
    if (log !== null) {
      const done = restored?.epoch ?? 0; // the lines of later epochs are written again
      keepLines(log, (line) => Number(line['epoch']) < done, within);
    }
    for (const { path: file, reason } of restored?.skipped ?? []) job.skipped.train.set(file, reason);
    if (restored !== null && restored.epoch > 0) {
      options.onWarning?.(`resuming after epoch ${restored.epoch} of ${epochs}, from ${checkpoint}`);
      if (restored.bestTop1 === null)
        options.onWarning?.(
          `${checkpoint} is an older version's and does not say which images it was validated on: the best top-1 ` +
            'is that of the epochs that are measured from here on',
        );
    }
    for (let epoch = restored?.epoch ?? 0; epoch < epochs; epoch++) {
      const rate = linearLr(lr, batchSize, epoch, epochs);
      const stats: LinearEpoch = { epoch, lr: rate, trainLoss: await trainEpoch(job, train, epoch, rate) };
      if (epoch % valFreq === 0 || epoch === epochs - 1) {
        last = await validate(job, val, inTrain, epoch);
        bestTop1 = Math.max(bestTop1, last.top1);
        Object.assign(stats, { top1: last.top1, top5: last.top5, valLoss: last.loss });
      }
      if (log !== null && checkpoint !== null) {
        appendLine(log, stats, within);
        const skipped = asList(job.skipped.train);
        writeLinearCheckpoint(checkpoint, within, settings, probe, {
          ...{ epoch: epoch + 1, bestTop1, classes, skipped },
        });
      }
      options.onEpoch?.(stats);
    }
    // a finished evaluation that is run again does not train further
    last ??= await validate(job, val, inTrain, epochs - 1);
    bestTop1 = Math.max(bestTop1, last.top1);
    const { images, ...scores } = last;
    return {
      ...{ ...scores, bestTop1, checkpoint, valImages: images, ...common, epochs, lr },
      ...{ trainImages: train.items.length - job.skipped.train.size, classes: classes.length },
      skipped: [...skippedOf(train, job.skipped.train), ...skippedOf(val, job.skipped.val)],
      ...{ leftOut, remarks },
    };
  } finally {
    probe.dispose();
  }
}

type Bad = LinearResult['skipped'];

const asList = (skipped: ReadonlyMap<string, string>): Bad =>
  [...skipped].map(([file, reason]) => ({ path: file, reason }));

/** What of a list can't be read: known when it was listed, and met since. */
const skippedOf = (list: ImageList, met: ReadonlyMap<string, string>): Bad => [
  ...list.unreadable.map(skippedPlace),
  ...asList(met),
];

/** The output of a classifier for each class of `val`. @throws DataError for classes that it wasn't trained on. */
const numbersOfOutputs = (file: string, classes: readonly string[], val: LabelledList): number[] =>
  numbersIn(
    classes,
    val.classes,
    (unknown) =>
      `${val.root} has classes that ${file} was not trained on: ${fewNames(unknown, NAMED)}. ` +
      `Its classes are ${fewNames(classes, NAMED)}.`,
  );

/** The reference's four, or all when there are fewer; only transformers use it. */
function defaultBlocks(backbone: Backbone): number {
  const depth = hasTokens(backbone) ? backbone.depth : Infinity;
  return Math.min(LINEAR_DEFAULTS.nLastBlocks, depth);
}

/** So that an option given as undefined doesn't hide its default. */
function withoutUndefined(options: LinearOptions): Partial<Record<keyof typeof LINEAR_DEFAULTS, number>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** The folder below which no link is followed: the run that a folder lies in, else the folder itself. */
function outermost(folder: string, run: string | null): string {
  return run !== null && isBelow(run, folder) ? run : folder;
}
