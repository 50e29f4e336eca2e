/**
 * Fits a segmenter to few images with masks: the backbone stays frozen, the features of its patches are computed once, and a
 * linear layer is fitted to them (linear-layer.ts) and measured by intersections over unions.
 */
import { z } from 'zod';
import { decodeImage, firstSkipped, type ListNotes, notesOf, PhiloxStream, Purpose } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { readLabelImage } from '../eval/indexed-png.js';
import type { MaskPair } from '../eval/mask-pairs.js';
import { checkFinite } from '../eval/finite-features.js';
import { resizeNearest, type Size } from '../eval/resample.js';
import { modelArgument } from '../models/model-argument.js';
import { hasTokens, noPatchFeatures } from '../models/index.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  finite,
  optionsOf,
  signal as abortSignal,
  words,
} from '../plain/check-options.js';
import { printable } from '../plain/printable.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import {
  fitSegmentLayer,
  type LabelledGrid,
  layerLogits,
  NO_LABEL,
  POSITIONS,
  type SegmentLayer,
} from './linear-layer.js';
import { listMasked, type MaskedImages, valuesOf } from './masked-images.js';
import { labelPixels, patchGrid, usualSide } from './patch-grid.js';
import { PixelCounts, type SegmentReport } from './scores.js';
import { type SegmentClass, Segmenter } from './segmenter.js';

/** The most feature values that are held in memory: 4 GiB. */
const MAX_VALUES = 2 ** 30;
const MAX_SIDE = 8192;

export interface FitSegmenterOptions {
  /** A folder of images, at any depth, or a text file of paths. */
  images: string;
  /** A folder of PNGs with the images' names: palette indices or gray values, each value a class. */
  masks: string;
  /** Images and masks to measure the segmenter on; both or neither. Default: only cross-validation. */
  validationImages?: string;
  validationMasks?: string;
  /** Names of the classes, in rising order of their values. Default: the values. */
  classes?: readonly string[];
  /**
   * The value of pixels that don't count, 0 to 255, or null for none. Default: 255, except where masks hold only 0 and 255.
   */
  ignore?: number | null;
  /** Shorter side that images are computed at, pixels; default: 480/224 of the model's own. */
  size?: number;
  /** How many of the last blocks are concatenated, 1 (default) to the model's depth. */
  layers?: number;
  /** Half of it times the squared weights is added to the mean loss of a pixel; default 1e-4. More smooths the layer. */
  penalty?: number;
  /** Parts that the images are divided into for cross-validation, at least 2, or 0 for none; default 5. */
  folds?: number;
  /** Of the division into folds; default 0. */
  seed?: number;
  /** Iterations of L-BFGS; default 200. */
  maxIterations?: number;
  signal?: AbortSignal | undefined;
  /** Called after every image, and after every iteration of a fit. */
  onProgress?: (progress: { part: 'images' | 'validation' | 'fit'; done: number; total: number }) => void;
  onWarning?: (message: string) => void;
}

export interface FitSegmenterResult extends ListNotes {
  /** Uses the model that was given. */
  segmenter: Segmenter;
  /** Images that it was fitted to. */
  images: number;
  /** With the share of the pixels that count, 0 to 1. */
  classes: (SegmentClass & { share: number })[];
  /** The value that doesn't count; null for none. */
  ignore: number | null;
  /** Null for one image, or without folds. */
  crossValidation: SegmentReport | null;
  /** Null without validation images. */
  validation: SegmentReport | null;
  /** Paths of images without a mask, and of masks without an image. */
  withoutMask: string[];
  withoutImage: string[];
  /** Images that could not be read, and why. */
  skipped: { path: string; reason: string }[];
}

const fitOptions = optionsOf<FitSegmenterOptions>(
  { images: filePath, masks: filePath },
  {
    ...{ validationImages: filePath, validationMasks: filePath, classes: words },
    ...{ ignore: z.int().min(0).max(255).nullable(), size: z.int().min(1).max(MAX_SIDE), layers: count(1) },
    ...{ penalty: finite.gt(0), folds: count(), seed: count(), maxIterations: count(1) },
    ...{ signal: abortSignal, onProgress: callback, onWarning: callback },
  },
);

function checkFit(model: LoadedModel, options: FitSegmenterOptions): void {
  const { backbone, architecture } = model;
  const { layers = 1, size, folds = 5, validationImages, validationMasks } = options;
  const problems: string[] = [];
  if (!hasTokens(backbone)) problems.push(noPatchFeatures('segmentation', architecture.arch));
  else if (layers > backbone.depth)
    problems.push(
      `layers ${layers}; expected 1 to ${backbone.depth}, the layers whose features the model gives`,
    );
  if (size !== undefined && size < architecture.patchSize)
    problems.push(`size ${size}; expected at least ${architecture.patchSize}, one patch`);
  if (folds === 1) problems.push('folds 1; expected at least 2, or 0 for no cross-validation');
  if ((validationImages === undefined) !== (validationMasks === undefined))
    problems.push('validationImages and validationMasks: give both or neither');
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Names of the classes by their values. @throws ConfigError when there are not as many names. */
function named(values: readonly number[], names: readonly string[] | undefined): SegmentClass[] {
  if (values.length < 2)
    throw new DataError(
      `the masks hold ${values.length === 0 ? 'no value' : `only the value ${values[0]}`}; a segmenter needs at least 2 classes`,
    );
  if (values.length === 256) throw new DataError('the masks hold 256 values; at most 255 can be classes');
  if (names !== undefined && names.length !== values.length)
    throw new ConfigError(
      `${names.length} names of classes (${names.map(printable).join(', ')}), but the masks hold ${values.length} values: ${values.join(', ')}`,
    );
  if (names !== undefined && new Set(names).size < names.length)
    throw new ConfigError('two classes have the same name');
  return values.map((value, c) => ({ value, name: names?.[c] ?? String(value) }));
}

/** A mask with class numbers in place of values. */
interface Truth extends Size {
  numbers: Uint8Array;
}

interface Prepared {
  grid: LabelledGrid;
  pair: MaskPair;
}

/** What is known of all masks: class numbers by value, NO_LABEL for those that don't count. */
class Reader {
  readonly #numbers = new Uint8Array(256).fill(NO_LABEL);
  readonly counts: Float64Array;

  constructor(readonly classes: readonly SegmentClass[]) {
    classes.forEach(({ value }, c) => (this.#numbers[value] = c));
    this.counts = new Float64Array(classes.length);
  }

  async truth(mask: string): Promise<Truth> {
    const { width, height, labels } = await readLabelImage(mask);
    return { width, height, numbers: labels.map((value) => this.#numbers[value]!) };
  }

  /** Features and labels of all images. */
  async prepare(
    model: LoadedModel,
    { pairs, skipped }: MaskedImages,
    { side, layers }: { side: number; layers: number },
    signal: AbortSignal | undefined,
    onDone: (done: number) => void,
  ): Promise<Prepared[]> {
    const prepared: Prepared[] = [];
    let values = 0;
    for (const [i, pair] of pairs.entries()) {
      signal?.throwIfAborted();
      const { path } = pair.image;
      const image = await decodeImage(path).catch((error: unknown) => {
        if (!(error instanceof DataError)) throw error;
        skipped.push({ path, reason: error.message });
        return null;
      });
      if (image !== null) {
        const grid = patchGrid(model, image, side, layers);
        checkFinite(grid.features, grid.width, () => path);
        values += grid.features.length;
        if (values > MAX_VALUES)
          throw new DataError(
            `the patch features of ${i + 1} images are more than 4 GiB: take fewer images, or a smaller size than ${side}`,
          );
        const truth = await this.truth(pair.mask);
        for (const number of truth.numbers) if (number !== NO_LABEL) this.counts[number]!++;
        const positions = { width: grid.columns * POSITIONS, height: grid.rows * POSITIONS };
        prepared.push({ grid: { ...grid, labels: resizeNearest(truth.numbers, truth, positions) }, pair });
      }
      onDone(i + 1);
    }
    return prepared;
  }

  /** Adds an image to the counts of a report. */
  async measure(counts: PixelCounts, layer: SegmentLayer, { grid, pair }: Prepared): Promise<void> {
    const truth = await this.truth(pair.mask);
    counts.add(truth.numbers, labelPixels(layerLogits(layer, grid), grid, this.classes.length, truth));
  }

  report(counts: PixelCounts, from: SegmentReport['from']): SegmentReport {
    return counts.report(
      from,
      this.classes.map(({ value }) => value),
      this.classes.map(({ name }) => name),
    );
  }
}

/** Fold of each image; images are shuffled and dealt out in turn. */
function foldsOf(images: number, folds: number, seed: number): number[] {
  const order = Array.from({ length: images }, (_, i) => i);
  const fold = new Array<number>(images);
  new PhiloxStream(seed, Purpose.sample, 0).shuffle(order).forEach((image, i) => (fold[image] = i % folds));
  return fold;
}

/**
 * Fits a segmenter to a model's frozen patch features, and measures it.
 *
 * @throws ConfigError for options out of range, a backbone without patch features, or as many names as there are no classes
 *   for; DataError when no image has a mask, a mask has another size than its image (it names both), masks hold a single value,
 *   or features are not finite; the signal's reason when aborted.
 */
export async function fitSegmenter(
  model: LoadedModel,
  options: FitSegmenterOptions,
): Promise<FitSegmenterResult> {
  checkCall('fitSegmenter()', modelArgument(model), ['options', fitOptions, options]);
  checkFit(model, options);
  const { layers = 1, penalty = 1e-4, folds = 5, seed = 0, maxIterations = 200, signal } = options;
  const { onProgress, onWarning = () => undefined, validationImages, validationMasks } = options;
  const side = options.size ?? usualSide(model.architecture.imgSize);
  const train = await listMasked(options.images, options.masks, signal);
  const held =
    validationImages === undefined || validationMasks === undefined
      ? null
      : await listMasked(validationImages, validationMasks, signal);
  const { values, ignored } = await valuesOf(train.pairs, options.ignore, signal);
  const classes = named(values, options.classes);
  if (held !== null) await warnOfOthers(held, values, ignored, onWarning, signal);
  const reader = new Reader(classes);
  const computing = { side, layers };
  const prepared = await reader.prepare(model, train, computing, signal, (done) =>
    onProgress?.({ part: 'images', done, total: train.pairs.length }),
  );
  if (prepared.length === 0)
    throw new DataError(`none of the ${train.pairs.length} images can be read${firstSkipped(train.skipped)}`);
  warnOfTooSmall(classes, reader.counts, prepared, side, onWarning);
  const pixels = reader.counts.reduce((sum, n) => sum + n, 0);
  const shares = [...reader.counts].map((n) => n / pixels);

  const parts = Math.min(folds, prepared.length);
  const fits = parts < 2 ? 1 : parts + 1;
  let fitted = 0;
  const fit = async (some: readonly Prepared[]): Promise<SegmentLayer> => {
    let iteration = 0;
    const layer = await fitSegmentLayer(
      some.map(({ grid }) => grid),
      classes.length,
      {
        ...{ penalty, maxIterations, signal },
        onIteration: () => {
          const share = Math.min(maxIterations, ++iteration);
          onProgress?.({ part: 'fit', done: fitted * maxIterations + share, total: fits * maxIterations });
        },
      },
    );
    fitted++;
    return layer;
  };
  let crossValidation: SegmentReport | null = null;
  if (parts >= 2) {
    const fold = foldsOf(prepared.length, parts, seed);
    const counts = new PixelCounts(classes.length);
    for (let part = 0; part < parts; part++) {
      const layer = await fit(prepared.filter((_, i) => fold[i] !== part));
      for (const [i, one] of prepared.entries())
        if (fold[i] === part) await reader.measure(counts, layer, one);
    }
    crossValidation = reader.report(counts, 'cross-validation');
  } else if (folds > 0) onWarning('a single image: nothing can be cross-validated');
  const layer = await fit(prepared);
  onProgress?.({ part: 'fit', done: fits * maxIterations, total: fits * maxIterations });
  const validation =
    held === null
      ? null
      : await validated(model, reader, layer, held, computing, signal, (done) =>
          onProgress?.({ part: 'validation', done, total: held.pairs.length }),
        );
  const head = { ...{ classes, size: side, layers }, weight: layer.weight, bias: layer.bias };
  return {
    segmenter: new Segmenter(model, head),
    images: prepared.length,
    classes: classes.map((one, c) => ({ ...one, share: shares[c]! })),
    ...{ ignore: ignored, crossValidation, validation },
    withoutMask: [...train.withoutMask, ...(held?.withoutMask ?? [])],
    withoutImage: [...train.withoutImage, ...(held?.withoutImage ?? [])],
    skipped: [...train.skipped, ...(held?.skipped ?? [])],
    ...notesOf(train, ...(held === null ? [] : [held])),
  };
}

/** Warns of classes that the layer is fitted to nothing of: their pixels all lie between the positions of the patches. */
function warnOfTooSmall(
  classes: readonly SegmentClass[],
  counts: Float64Array,
  prepared: readonly Prepared[],
  side: number,
  warn: (message: string) => void,
): void {
  const lost = classes.flatMap(({ name }, c) =>
    prepared.some(({ grid }) => grid.labels.includes(c))
      ? []
      : [`${printable(name)} (${counts[c] === 1 ? '1 pixel' : `${counts[c]} pixels`})`],
  );
  if (lost.length > 0)
    warn(
      `classes that will not be found: ${lost.join(', ')}: none of their pixels is at one of the ${POSITIONS} by ${POSITIONS} ` +
        `positions of a patch that the layer is fitted to; try a larger --size than ${side}`,
    );
}

/** Warns of values that only validation masks hold: the pixels don't count. */
async function warnOfOthers(
  held: MaskedImages,
  values: readonly number[],
  ignored: number | null,
  warn: (message: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const found = await valuesOf(held.pairs, ignored, signal);
  const others = found.values.filter((value) => !values.includes(value));
  if (others.length > 0)
    warn(
      `validation masks hold values that no other mask has (${others.join(', ')}): their pixels are not counted`,
    );
}

async function validated(
  model: LoadedModel,
  reader: Reader,
  layer: SegmentLayer,
  held: MaskedImages,
  computing: { side: number; layers: number },
  signal: AbortSignal | undefined,
  onDone: (done: number) => void,
): Promise<SegmentReport | null> {
  const counts = new PixelCounts(reader.classes.length);
  for (const [i, pair] of held.pairs.entries()) {
    const one = { ...held, pairs: [pair] };
    // one at a time: their features need not be in memory together
    const prepared = await new Reader(reader.classes).prepare(model, one, computing, signal, () => undefined);
    for (const each of prepared) await reader.measure(counts, layer, each);
    onDone(i + 1);
  }
  return counts.images === 0 ? null : reader.report(counts, 'validation');
}
