/** Features of a folder of images, in memory or batch by batch. */
import { embeddable } from '../data/arguments.js';
import { hasTokens } from '../models/index.js';
import { anyModelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  instanceOf,
  oneOf,
  optionsOf,
  signal as abortSignal,
} from '../plain/check-options.js';
import {
  type EncodedImage,
  firstSkipped,
  type ImageBytes,
  type ImageItem,
  type ImageList,
  isImageBytes,
  listImages,
  type ListNotes,
  notesOf,
  skippedPlace,
  viewOf,
} from '../data/index.js';
import { gibibytes } from '../plain/units.js';
import { ConfigError, DataError } from '../errors.js';
import { World } from '../processes/world.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { type EvalSizes, evalSizes } from '../plain/eval-geometry.js';
import { PRECISION_CHOICES, type PrecisionChoice } from '../plain/precisions.js';
import type { ChosenPrecision } from './feature-precision.js';
import { FEATURE_KINDS, featureBatches, type FeatureKind } from './features.js';
import { checkFinite } from './finite-features.js';

/**
 * A folder or a text file of paths; the bytes of one image file; a list of paths and bytes in any mixture; or a list
 * made by listImages().
 */
export type ImageSource = string | ImageBytes | readonly EncodedImage[] | ImageList;

export interface EmbedOptions extends Partial<EvalSizes> {
  /** `cls` (default): the class token. `patch-mean`: the mean of the patch tokens. `patches`: each patch token. */
  features?: FeatureKind;
  /** How many of the last blocks are concatenated, 1 (default) to the model's depth. */
  layers?: number;
  /**
   * Default fp32. `auto` takes the fastest in which features of a sample have a cosine of at least 0.9999 to fp32's, where there
   * are many images.
   */
  precision?: PrecisionChoice;
  /** Called with what `auto` chose, before the first batch. */
  onPrecision?: (choice: ChosenPrecision) => void;
  /** Default 64. */
  batchSize?: number;
  /** Loader workers; default 1, or none for up to 16 images, which are done before a worker has started. */
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Processes that share the work; all get all features. Default: only this one. */
  world?: World;
  /** Called after every batch. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface EmbedBatch {
  /** Of the images that could be read; those given as bytes are `bytes[3]`, by their index in the list. */
  paths: string[];
  /** Class numbers; null without class folders. */
  labels: (number | null)[];
  /** float32, row-major. */
  features: Float32Array;
  /** (B, D), or (B, patches, D) for `patches`. */
  shape: number[];
  skipped: { path: string; reason: string }[];
}

export interface Embeddings extends Omit<EmbedBatch, 'shape'>, ListNotes {
  /** (N, D), or (N, patches, D). */
  shape: number[];
  /** Names of the class folders; null without. */
  classes: string[] | null;
  features: Float32Array;
}

/** Largest result that embed() holds in memory; embedBatches() has no limit. */
const MAX_VALUES = 2 ** 30;

/** @throws DataError when there are no images. */
export async function imagesOf(
  source: ImageSource,
): Promise<
  Pick<ImageList, 'items' | 'classes'> & Partial<Pick<ImageList, 'unreadable' | 'leftOut' | 'remarks'>>
> {
  if (typeof source === 'string') return listImages(source);
  if (isImageBytes(source)) return imagesOf([source]);
  if ('items' in source) return source;
  if (source.length === 0) throw new DataError('the list of images is empty');
  return { items: encodedItems(source), classes: null };
}

/** A caller's images as items for a loader. @param nameOf - Names the bytes at an index. */
export const encodedItems = (
  images: readonly EncodedImage[],
  nameOf = (place: number): string => `bytes[${place}]`,
): ImageItem[] =>
  images.map((image, i) =>
    typeof image === 'string'
      ? { path: image, label: null }
      : { path: nameOf(i), label: null, bytes: viewOf(image) },
  );

const embedOptions = optionsOf<EmbedOptions>(
  {},
  {
    ...{ features: oneOf(FEATURE_KINDS), layers: count(1), resize: count(1), crop: count(1) },
    ...{ batchSize: count(1), numWorkers: count(), signal: abortSignal, onProgress: callback },
    ...{ precision: oneOf(PRECISION_CHOICES), onPrecision: callback },
    world: instanceOf(World, 'a world, from joinWorld()'),
  },
);

/** Checks what depends on the model. */
function checkOptions(
  model: LoadedModel,
  options: EmbedOptions,
): Required<Pick<EmbedOptions, 'features' | 'layers'>> & EvalSizes {
  const { features = 'cls', layers = 1 } = options;
  const depth = hasTokens(model.backbone) ? model.backbone.depth : model.architecture.depth;
  const problems: string[] = [];
  if (layers > depth) {
    problems.push(
      depth === 1
        ? `layers ${layers}; expected 1: of ${model.architecture.arch} only the last stage gives features`
        : `layers ${layers}; expected 1 to ${depth}, the model's blocks`,
    );
  }
  try {
    const sizes = evalSizes(options, model.architecture);
    if (problems.length === 0) return { features, layers, ...sizes };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  throw new ConfigError(problems);
}

/**
 * Features batch by batch, in the order of the images; none is kept.
 * @throws ConfigError for options out of range; DataError when there are no images, or the features of one are not finite; the
 *   signal's reason when aborted.
 */
export async function* embedBatches(
  model: LoadedModel,
  source: ImageSource,
  options: EmbedOptions = {},
): AsyncGenerator<EmbedBatch, void> {
  checkCall(
    'embedBatches()',
    anyModelArgument(model),
    ['images', embeddable, source],
    ['options', embedOptions, options],
  );
  const { features: kind, layers, resize, crop } = checkOptions(model, options);
  const { items } = await imagesOf(source);
  const { batchSize = 64, numWorkers, signal, world, onProgress, precision, onPrecision } = options;
  const stream = {
    ...{ kind, layers, resize, crop, batchSize, numWorkers, signal, world, device: model.device },
    ...{ precision, onPrecision },
  };
  let done = 0;
  for await (const { indices, features, shape, skipped } of featureBatches(model.backbone, items, stream)) {
    done += indices.length + skipped.length;
    onProgress?.({ done, total: items.length });
    const chosen = indices.map((index) => items.at(index)!);
    checkFinite(features, features.length / chosen.length, (row) => chosen[row]!.path);
    yield {
      paths: chosen.map((item) => item.path),
      labels: chosen.map((item) => item.label),
      features,
      shape,
      skipped,
    };
  }
}

/**
 * Features of all images.
 * @throws As embedBatches(), and DataError when none can be read or the result would exceed 4 GiB.
 */
export async function embed(
  model: LoadedModel,
  source: ImageSource,
  options: EmbedOptions = {},
): Promise<Embeddings> {
  checkCall(
    'embed()',
    anyModelArgument(model),
    ['images', embeddable, source],
    ['options', embedOptions, options],
  );
  const list = await imagesOf(source);
  const { items, classes, unreadable = [] } = list;
  const paths: string[] = [];
  const labels: (number | null)[] = [];
  const skipped: EmbedBatch['skipped'] = unreadable.map(skippedPlace);
  let all = new Float32Array(0);
  let row: number[] = [];
  let filled = 0;
  for await (const batch of embedBatches(model, { items, classes } as ImageList, options)) {
    skipped.push(...batch.skipped);
    if (batch.paths.length === 0) continue;
    if (all.length === 0) {
      row = batch.shape.slice(1);
      const values = items.length * row.reduce((product, size) => product * size, 1);
      if (values > MAX_VALUES) {
        throw new DataError(
          `${items.length} images with [${row.join(', ')}] features each are ${gibibytes(4 * values)}, more than 4. ` +
            'Take fewer images at a time, the class token instead of patches, or embedBatches().',
        );
      }
      all = new Float32Array(values);
    }
    paths.push(...batch.paths);
    labels.push(...batch.labels);
    all.set(batch.features, filled);
    filled += batch.features.length;
  }
  if (paths.length === 0)
    throw new DataError(`none of the ${items.length} images can be read${firstSkipped(skipped)}`);
  return {
    paths,
    labels,
    features: all.subarray(0, filled),
    shape: [paths.length, ...row],
    skipped,
    classes,
    ...notesOf(list),
  };
}
