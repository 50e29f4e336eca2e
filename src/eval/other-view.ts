/**
 * Whether features recognize an image in another view of it: a random crop, perhaps mirrored, in slightly different colours.
 * This needs no labels. It is instance retrieval, the task of Wu et al. 2018 ("Unsupervised Feature Learning via
 * Non-Parametric Instance Discrimination"), measured on frozen features instead of trained on.
 */
import { type ImageItem, type ImageItems, PhiloxStream, Purpose } from '../data/index.js';
import { DataError, ShapeError } from '../errors.js';
import { Backbone } from '../models/index.js';
import type { EvalSizes } from '../plain/eval-geometry.js';
import { mean } from '../plain/mean.js';
import { printable } from '../plain/printable.js';
import { fromTypedArray, type Tensor } from '../torch/index.js';
import { eachBlockOfCosines } from './cosines.js';
import { featureTable, type FeatureTableOptions } from './features.js';

const numbers = (counts: Tensor): number[] => [...(counts.to('int32').toTypedArray() as Int32Array)];

/** What each image finds among the views of all images. */
export interface Found {
  /** Whether the most similar view is its own: 1 or 0. A view of another image that is as similar counts against it. */
  hits: number[];
  /** 1 / the rank of its own view. Of views that are equally similar, the own one is in the middle. */
  reciprocalRanks: number[];
}

/**
 * Looks for each image's own view by cosine.
 *
 * @param features - (N, D) float32, finite.
 * @param views - (N, D): row i is another view of the image of row i of `features`.
 * @throws ShapeError when the shapes differ.
 */
export function findOtherViews(features: Tensor, views: Tensor): Found {
  const [count = 0, width] = features.shape;
  if (features.shape.length !== 2 || views.size(0) !== count || views.size(1) !== width || count === 0)
    throw new ShapeError(
      `expected features and views of one shape (N, D), got (${features.shape.join(', ')}) and (${views.shape.join(', ')})`,
    );
  const found: Found = { hits: [], reciprocalRanks: [] };
  eachBlockOfCosines(features, views, (similar, start) => {
    const own = similar.diagonal(start).unsqueeze(1); // (B, 1)
    const closer = numbers(similar.gt(own).sum([1]));
    const equal = numbers(similar.eq(own).sum([1])); // itself too
    closer.forEach((more, i) => {
      const others = equal[i]! - 1;
      found.hits.push(more + others === 0 ? 1 : 0);
      found.reciprocalRanks.push(1 / (1 + more + others / 2));
    });
  });
  return found;
}

/** Share of the images that find their own view first, 0 to 1: 0 for features that are all alike, 1 / N by chance. */
export const otherViewRetrieval = (features: Tensor, views: Tensor): number =>
  mean(findOtherViews(features, views).hits);

/**
 * How views differ from the image: milder than in training (no blur, no gray, no solarization), so that what they have in
 * common is what a person would say that they show.
 */
export const VIEW_AUGMENTATION = {
  globalCropsScale: [0.3, 1],
  cropAspectRatio: [3 / 4, 4 / 3],
  flipProbability: 0.5,
  colorJitterProbability: 0.8,
  brightness: 0.2,
  contrast: 0.2,
  saturation: 0.2,
  hue: 0.05,
  grayscaleProbability: 0,
  globalBlurProbability1: 0,
} as const;

/** Images that are compared, at most: more make the measure slower, and its task harder, but hardly more precise. */
export const MOST_IMAGES = 1024;

/**
 * Positions of at most `most` items, spread evenly over the list: one at random of each of `most` equal parts of it, so that
 * lists that are sorted by class give all classes their share.
 */
export function sampleEvenly(count: number, most: number, seed: number): number[] {
  if (count <= most) return Array.from({ length: count }, (_, i) => i);
  const stream = new PhiloxStream(seed, Purpose.sample, 0);
  return Array.from({ length: most }, (_, i) => {
    const start = Math.floor((i * count) / most);
    return start + stream.integer(Math.floor(((i + 1) * count) / most) - start);
  });
}

/** Images (B, 3, H, W), normalized, to features (B, D). */
export type Compute = (images: Tensor) => Tensor;

export interface EmbedViewsOptions
  extends
    EvalSizes,
    Pick<
      FeatureTableOptions,
      'batchSize' | 'numWorkers' | 'device' | 'signal' | 'input' | 'networks' | 'onProgress'
    > {
  /** Other views of each image; default 1. */
  views?: number;
  /** Images that are used at most, sampled evenly; default MOST_IMAGES. */
  most?: number;
  /** Of the sample and of the views; default 0. */
  seed?: number;
}

/** Features of images and of other views of them. The tensors are the caller's to dispose of. */
export interface EmbeddedViews {
  /** (N, D) float32 on the CPU: the images as evaluations read them (resize, centre crop). */
  features: Tensor;
  /** `views` tensors of (N, D), their rows in the order of `features`. */
  views: Tensor[];
  /** (N) positions in the items, ascending. */
  indices: number[];
  /** N; `used` + `leftOut` + `skipped.length` is the length of the list. */
  used: number;
  /** Images that were not sampled. */
  leftOut: number;
  /** Images that can't be read. */
  skipped: { path: string; reason: string }[];
}

/**
 * Embeds a sample of images, and `views` other views of each. The same arguments give the same sample and the same views,
 * whatever the number of workers. No default random generator is used.
 *
 * @param network - A backbone in eval mode, used on `options.device`; or any function of images.
 * @throws DataError when fewer than two images can be read, or features are not finite (it names an image); ConfigError for
 *   sizes out of range; the signal's reason when it is aborted.
 */
export async function embedViews(
  network: Backbone | Compute,
  items: ImageItems,
  options: EmbedViewsOptions,
): Promise<EmbeddedViews> {
  const { views: count = 1, most = MOST_IMAGES, seed = 0, networks, onProgress, ...loading } = options;
  const sample = sampleEvenly(items.length, most, seed);
  const chosen: ImageItem[] = sample.map((index) => items.at(index)!);
  const total = chosen.length * (1 + count);
  const isBackbone = network instanceof Backbone;
  const compute = isBackbone ? (images: Tensor) => network.forward(images) : network;
  const input = loading.input ?? (isBackbone ? network : undefined);
  const tables = [];
  for (let view = -1; view < count; view++) {
    const table = await featureTable(null, chosen, {
      ...loading,
      ...{ compute, input, networks },
      ...(view < 0 ? {} : { view: { seed, view, augmentation: VIEW_AUGMENTATION } }),
      onProgress: (done) => onProgress?.((view + 1) * chosen.length + done, total),
    });
    tables.push(table);
  }
  const [first] = tables as [(typeof tables)[number]];
  // an image may become unreadable between two passes
  const good = tables.reduce(
    (rows, { indices }) => {
      const here = new Set(indices);
      return rows.filter((index) => here.has(index));
    },
    [...first.indices],
  );
  if (good.length < 2) {
    const [bad] = first.skipped;
    throw new DataError(
      `${good.length} of ${chosen.length} images can be read, but other views can only be told apart from at least 2` +
        (bad === undefined ? '' : `. The first that can't: ${printable(bad.path)}: ${bad.reason}`),
    );
  }
  const [features, ...views] = tables.map((table) => {
    const rows = new Map(table.indices.map((index, row) => [index, row]));
    const { width } = table;
    const data = new Float32Array(good.length * width);
    good.forEach((index, i) => {
      const row = rows.get(index)!;
      data.set(table.features.subarray(row * width, (row + 1) * width), i * width);
    });
    return fromTypedArray(data, [good.length, width]);
  });
  const unread = new Map(tables.flatMap(({ skipped }) => skipped).map((bad) => [bad.path, bad]));
  return {
    features: features!,
    views,
    indices: good.map((index) => sample[index]!),
    used: good.length,
    leftOut: items.length - chosen.length,
    skipped: [...unread.values()],
  };
}
