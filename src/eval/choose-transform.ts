/**
 * Chooses how features are transformed, without labels: by which transform an image's features find those of another view of
 * it among the views of other images (src/eval/other-view.ts). Each transform is fitted to other images than those that are
 * looked for, since a whitening tells the very images apart that it was fitted to.
 *
 * Good features find the other view as they are; there whitening has little to gain, but may blow up what a network has
 * learned to ignore. So a transform has to be better than a simpler one by a margin.
 */
import type { ImageItem } from '../data/index.js';
import type { Backbone } from '../models/index.js';
import type { FeatureTransform, TransformMode } from '../plain/feature-transform.js';
import { fromTypedArray, inferenceMode, scope, type Tensor } from '../torch/index.js';
import { type FeatureStreamOptions, featureTable } from './features.js';
import { fitTransform, MOST_WHITENED, spectrumOf, tensorTransform } from './fit-transform.js';
import { otherViewRetrieval, sampleEvenly, VIEW_AUGMENTATION } from './other-view.js';

/** Images that are looked for, at most. */
const SAMPLE = 512;
/** With fewer images, too few are looked for to say anything. */
const LEAST_IMAGES = 64;
/** Images that the transforms under trial are fitted to, at most. */
const MOST_FITTED = 2 ** 14;
/** How much better than a simpler transform one must be: share of the images that are found. */
const MARGIN = 0.05;

export interface TransformChoice {
  mode: TransformMode;
  /** Why, in words for people. */
  reason: string;
  /** Share of the other views that each transform finds; null when it was not tried. */
  retrieval: Partial<Record<TransformMode, number>> | null;
}

const percent = (value: number): string => `${(100 * value).toFixed(0)}%`;

/** The first that no later one beats by the margin. */
function bestByMargin(found: readonly (readonly [TransformMode, number])[]): TransformMode {
  let [best] = found as [(typeof found)[number]];
  for (const each of found) if (each[1] > best[1] + MARGIN) best = each;
  return best[0];
}

/** Chooses by how well each transform finds other views. @param rest - (M, D) features of other images to fit to. */
export function chooseByViews(features: Tensor, views: Tensor, rest: Tensor): TransformChoice {
  const modes = ['none', 'center', ...(rest.size(1) > MOST_WHITENED ? [] : (['pca'] as const))] as const;
  const found = modes.map((mode) => {
    const { transform } = fitTransform(rest, mode);
    return [mode, retrievalWith(transform, features, views)] as const;
  });
  const mode = bestByMargin(found);
  const shares = found.map(([name, share]) => `${name} ${percent(share)}`).join(', ');
  return {
    mode,
    reason: `another view of an image is found among those of ${features.size(0)}: ${shares}`,
    retrieval: Object.fromEntries(found),
  };
}

const retrievalWith = (transform: FeatureTransform, features: Tensor, views: Tensor): number =>
  scope(() =>
    inferenceMode(() => {
      const apply = tensorTransform(transform, features.device);
      return otherViewRetrieval(apply(features), apply(views));
    }),
  );

/** Rows of a table as a tensor. */
function rowsAt(rows: Float32Array, width: number, places: readonly number[]): Tensor {
  const some = new Float32Array(places.length * width);
  places.forEach((place, i) => some.set(rows.subarray(place * width, (place + 1) * width), i * width));
  return fromTypedArray(some, [places.length, width]);
}

export interface ChooseOptions extends Pick<
  FeatureStreamOptions,
  'kind' | 'layers' | 'resize' | 'crop' | 'batchSize' | 'numWorkers' | 'device' | 'signal'
> {
  /** Of the sample and its views; default 0. */
  seed?: number;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Chooses a transform for the features of images, embedding another view of at most 512 of them.
 *
 * @param backbone - In eval mode.
 * @param rows - (N, width) float32, finite.
 * @param itemOf - The image of a row.
 * @throws DataError when the features of a view are not finite; the signal's reason when aborted.
 */
export async function chooseTransform(
  backbone: Backbone,
  rows: Float32Array,
  width: number,
  itemOf: (row: number) => ImageItem,
  options: ChooseOptions,
): Promise<TransformChoice> {
  const count = rows.length / width;
  if (count < LEAST_IMAGES)
    return {
      mode: 'none',
      reason: `${count} images are too few to judge by (${LEAST_IMAGES} or more are needed)`,
      retrieval: null,
    };
  const { seed = 0, onProgress, ...loading } = options;
  const sample = sampleEvenly(count, Math.min(SAMPLE, count >> 1), seed);
  const items = sample.map(itemOf);
  const table = await featureTable(backbone, items, {
    ...loading,
    view: { seed, view: 0, augmentation: VIEW_AUGMENTATION },
    onProgress,
  });
  if (table.indices.length < LEAST_IMAGES / 2)
    return {
      mode: 'none',
      reason: `only ${table.indices.length} of ${sample.length} images can still be read, too few to judge by`,
      retrieval: null,
    };
  const isSampled = new Set(sample);
  const others = Array.from({ length: count }, (_, row) => row).filter((row) => !isSampled.has(row));
  const fitted = sampleEvenly(others.length, MOST_FITTED, seed).map((place) => others[place]!);
  return scope(() =>
    chooseByViews(
      rowsAt(
        rows,
        width,
        table.indices.map((i) => sample[i]!),
      ),
      fromTypedArray(table.features, [table.indices.length, width]),
      rowsAt(rows, width, fitted),
    ),
  );
}

/** Mean cosine between two images above which a common direction is worth subtracting. */
const CROWDED = 0.5;
/** Features whose variance fills fewer directions than this, after centring, are drowned by these few. */
const FEW_DIRECTIONS = 5;

/**
 * Chooses without a model, for features that come from elsewhere. Good features point in many directions: where the
 * effective rank of their covariance (Roy and Vetterli 2007) is below 5, they are whitened; else, where the mean cosine
 * between two images is above 0.5, centred.
 *
 * @param rows - (N, D) float32, finite.
 */
export function chooseBySpectrum(rows: Tensor): TransformChoice {
  const [count, width] = [rows.size(0), rows.size(1)];
  if (count < LEAST_IMAGES)
    return {
      mode: 'none',
      reason: `${count} images are too few to judge by (${LEAST_IMAGES} or more are needed)`,
      retrieval: null,
    };
  const { cosine, rank } = spectrumOf(rows);
  const canWhiten = width >= 2 * FEW_DIRECTIONS && width <= MOST_WHITENED;
  const mode = rank < FEW_DIRECTIONS && canWhiten ? 'pca' : cosine > CROWDED ? 'center' : 'none';
  return {
    mode,
    reason: `the mean cosine between two images is ${cosine.toFixed(2)}, the effective rank ${rank.toFixed(1)} of ${width}`,
    retrieval: null,
  };
}
