/** A classifier of images: a frozen backbone and a head that was fitted to its features. */
import { embeddable } from '../data/arguments.js';
import { embedBatches, type ImageSource, imagesOf } from '../eval/embed.js';
import { tensorTransform } from '../eval/fit-transform.js';
import type { FeatureKind } from '../eval/features.js';
import { firstSkipped, type ListNotes, notesOf, skippedPlace } from '../data/index.js';
import { DataError } from '../errors.js';
import { callback, checkCall, count, optionsOf, signal as abortSignal } from '../plain/check-options.js';
import { type ClassifierHead, type MeasuredAccuracy, probabilitiesOf } from '../plain/classifier-head.js';
import type { EvalSizes } from '../plain/eval-geometry.js';
import { fromTypedArray, inferenceMode, ops, scope } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { neighbourLogits } from './neighbours.js';

/** Which features of an image a head takes. */
export interface HeadFeatures extends EvalSizes {
  features: Exclude<FeatureKind, 'patches'>;
  /** How many of the last blocks are concatenated. */
  layers: number;
}

/** How a classifier was made, in words and numbers for people. */
export interface ClassifierOrigin {
  /** Images that it was fitted to. */
  images: number;
  /** How features were scaled before it was fitted. */
  scaling: string;
  /** C of the logistic regression, or k of the nearest neighbours. */
  value: number;
  classWeight: 'none' | 'balanced';
  folds: number;
  seed: number;
  /** What was measured last: on validation images, or else by cross-validation; null where neither was possible. */
  measured: MeasuredAccuracy | null;
}

export interface PredictOptions {
  /** Default 64. */
  batchSize?: number;
  /** Loader workers; default 1, or none for up to 16 images. */
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Called after every batch. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** One image, classified. */
export interface Prediction {
  /** Of an image that was given as bytes `bytes[3]`, by its index in the list. */
  path: string;
  label: string;
  /** 0 to 1. */
  probability: number;
  /** The class with the second highest probability. */
  runnerUp: string;
  runnerUpProbability: number;
}

export interface PredictResult extends ListNotes {
  /** In the order of the images, skipped ones left out. */
  predictions: Prediction[];
  /** Names of the classes. */
  classes: readonly string[];
  /** Images that could not be read, and why. */
  skipped: { path: string; reason: string }[];
}

const predictOptions = optionsOf<PredictOptions>(
  {},
  { batchSize: count(1), numWorkers: count(), signal: abortSignal, onProgress: callback },
);

/**
 * Logits of features. @param rows - (N, width), as the network gives them.
 * @returns (N, classes)
 */
export function headLogits(head: ClassifierHead, rows: Float32Array, width: number): Float64Array {
  return scope(() =>
    inferenceMode(() => {
      const given = fromTypedArray(rows, [rows.length / width, width]);
      const scaled = head.transform === null ? given : tensorTransform(head.transform, 'cpu')(given); // (N, D)
      if (head.kind === 'knn') {
        const { features, labels, voteWeights, k } = head;
        const units = scaled.toTypedArray() as Float32Array;
        return neighbourLogits({ features, labels, voteWeights }, units, width, [k])[0]!;
      }
      const weight = fromTypedArray(head.weight, [head.classes.length, width]).to('float64');
      const bias = fromTypedArray(head.bias, [head.classes.length]).to('float64');
      return ops.addmm(bias, scaled.to('float64'), weight.t()).toTypedArray() as Float64Array;
    }),
  );
}

/** Dispose of it (or leave it to the garbage collector) when done; fitClassifier()'s model is left alone. */
export class Classifier implements Disposable {
  readonly #ownsModel: boolean;

  /** @internal Made by fitClassifier() and loadClassifier(). */
  constructor(
    readonly model: LoadedModel,
    readonly head: ClassifierHead,
    /** Which features of an image it takes. */
    readonly takes: HeadFeatures,
    readonly origin: ClassifierOrigin,
    ownsModel = false,
  ) {
    this.#ownsModel = ownsModel;
  }

  /** Names of the classes. */
  get classes(): readonly string[] {
    return this.head.classes;
  }

  /**
   * Classifies images: a folder or a list file, the bytes of one image, a list of paths and bytes, or the result of
   * listImages().
   *
   * @throws ConfigError for arguments out of range; DataError when there are no images, none can be read, or the features of
   *   one are not finite; the signal's reason when aborted.
   */
  async predict(images: ImageSource, options: PredictOptions = {}): Promise<PredictResult> {
    checkCall('predict()', ['images', embeddable, images], ['options', predictOptions, options]);
    const list = await imagesOf(images);
    const { items, classes, unreadable = [] } = list;
    const predictions: Prediction[] = [];
    const skipped = unreadable.map(skippedPlace);
    const source = { items, classes } as Parameters<typeof embedBatches>[1];
    for await (const batch of embedBatches(this.model, source, { ...options, ...this.takes })) {
      skipped.push(...batch.skipped);
      if (batch.paths.length === 0) continue;
      const width = batch.shape[1]!;
      const logits = headLogits(this.head, batch.features, width);
      const size = this.classes.length;
      batch.paths.forEach((path, i) =>
        predictions.push(this.#judge(path, logits.subarray(i * size, (i + 1) * size))),
      );
    }
    if (predictions.length === 0)
      throw new DataError(`none of the ${items.length} images can be read${firstSkipped(skipped)}`);
    return { predictions, classes: this.classes, skipped, ...notesOf(list) };
  }

  #judge(path: string, logits: Float64Array): Prediction {
    const p = probabilitiesOf(logits, this.head.temperature);
    let [best, second] = p[1]! > p[0]! ? [1, 0] : [0, 1];
    for (let c = 2; c < p.length; c++) {
      if (p[c]! > p[best]!) [best, second] = [c, best];
      else if (p[c]! > p[second]!) second = c;
    }
    const { classes } = this;
    return {
      ...{ path, label: classes[best]!, probability: p[best]! },
      ...{ runnerUp: classes[second]!, runnerUpProbability: p[second]! },
    };
  }

  dispose(): void {
    if (this.#ownsModel) this.model.backbone.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
