/**
 * Measures a network on the demo's scenes, in the same way before and after training: k-NN on the class token in three
 * readings (src/eval/readings.ts), as for pixels and HOG, which need no network; nearest neighbours; a map; and how well the
 * attention outlines the objects (src/eval/jaccard.ts).
 */
import { join } from 'node:path';
import { decodeImage, EvalLoader, type ImageItems, type ImageList, listImages } from '../data/index.js';
import { hogFeatures, pixelFeatures } from '../eval/baselines.js';
import { featureTable, type FeatureTable } from '../eval/features.js';
import { headJaccards, jaccardScore, type JaccardScore } from '../eval/jaccard.js';
import { bestReading, reader, type Reading, type Readings, readThreeWays } from '../eval/readings.js';
import { resizeNearest } from '../eval/resample.js';
import { DataError } from '../errors.js';
import { massMasks } from '../explain/attention.js';
import { type AttentiveBackbone, normalizeImages, unitLength } from '../models/index.js';
import { fromTypedArray, inferenceMode, scope, type Tensor } from '../torch/index.js';
import { mapOf } from './map.js';
import type { SceneSet } from './scenes.js';

/** The reference's best k for k-NN, and the share of attention kept by the paper's masks. */
export const K = 20;
export const THRESHOLD = 0.6;

/** Side at which features are computed, of networks, pixels and HOG alike; and side at which attention is shown. */
export const FEATURE_SIZE = 64;
export const ATTENTION_SIZE = 128;

/** Images per batch: few enough to stop quickly. */
const BATCH = 250;

/** A set of scenes with its lists of images and its masks. */
export interface LoadedScenes {
  size: number;
  classes: readonly string[];
  train: ImageList;
  val: ImageList;
  trainLabels: number[];
  valLabels: number[];
  /** One for each image of val: (size, size), nonzero on the object. */
  masks: Uint8Array[];
}

/** @throws DataError when an image of the set can't be read. */
export async function loadScenes(set: SceneSet): Promise<LoadedScenes> {
  const [train, val] = [await listImages(set.train), await listImages(set.val)];
  const labels = (list: ImageList): number[] => list.items.map(({ label }) => label ?? -1);
  const masks: Uint8Array[] = [];
  for (const { path } of val.items) {
    const { data } = await decodeImage(join(set.masks, ...path.split(/[\\/]/).slice(-2)));
    masks.push(Uint8Array.from({ length: data.length / 3 }, (_, i) => data[3 * i]!)); // (size, size)
  }
  return {
    size: set.size,
    classes: set.classes,
    train,
    val,
    trainLabels: labels(train),
    valLabels: labels(val),
    masks,
  };
}

export interface Evaluation {
  /** Top-1 accuracies in percent. */
  knn: Readings;
  /** The best of them, in which neighbours and map are made. */
  reading: Reading;
  /** For the requested images of val: indices of the nearest images of train, nearest first. */
  neighbours: number[][];
  /** (images of val, 2), 0 to 1. */
  map: Float32Array;
  jaccard: JaccardScore;
  /** For the requested images of val. */
  attention: AttentionMaps[];
}

/** The class token's attention in the last block. */
export interface AttentionMaps {
  heads: number;
  /** (heads, side, side) */
  maps: Float32Array;
  /** Similarity of each head's mask with the object, 0 to 1. */
  jaccards: number[];
}

export interface EvaluateOptions {
  device: string;
  /** Images of val for which to return neighbours and attention maps. */
  neighboursOf: readonly number[];
  neighbours: number;
  attentionOf: readonly number[];
  seed: number;
  signal?: AbortSignal | undefined;
}

/** @param backbone - In eval mode. */
export async function evaluateNetwork(
  backbone: AttentiveBackbone,
  scenes: LoadedScenes,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { device, signal } = options;
  const { jaccards, chosen } = await evaluateAttention(backbone, scenes, options);
  const features = async (items: ImageItems): Promise<Tensor> =>
    wholeTable(
      await featureTable(backbone, items, {
        ...{ resize: FEATURE_SIZE, crop: FEATURE_SIZE, batchSize: BATCH, device, signal },
      }),
    );
  const train = await features(scenes.train.items);
  const val = await features(scenes.val.items);
  const knn = readAll(train, val, scenes);
  const reading = bestReading(knn);
  const rows = scope(() => {
    const read = reader(train);
    return { train: read(train, reading), val: read(val, reading) };
  });
  try {
    return {
      ...{ knn, reading },
      neighbours: nearest(rows.train, rows.val, options.neighboursOf, options.neighbours),
      map: await mapOf(rows.val, options.seed, signal),
      jaccard: jaccardScore(jaccards.map((heads) => [heads])),
      attention: chosen,
    };
  } finally {
    for (const tensor of [train, val, rows.train, rows.val]) tensor.dispose();
  }
}

/** k-NN without a network, in the same readings. */
export async function evaluateBaselines(
  scenes: LoadedScenes,
  signal?: AbortSignal,
): Promise<{ pixels: Readings; hog: Readings }> {
  const options = { size: FEATURE_SIZE, batchSize: BATCH, signal };
  const read = async (features: typeof pixelFeatures): Promise<Readings> => {
    const train = wholeTable(await features(scenes.train.items, options));
    const val = wholeTable(await features(scenes.val.items, options));
    const readings = readAll(train, val, scenes);
    train.dispose();
    val.dispose();
    signal?.throwIfAborted();
    return readings;
  };
  return { pixels: await read(pixelFeatures), hog: await read(hogFeatures) };
}

/** (images, D). @throws DataError when an image could not be read. */
function wholeTable({ features, width, indices, skipped }: FeatureTable): Tensor {
  const [first] = skipped;
  if (first !== undefined) throw new DataError(`${first.path}: ${first.reason}`);
  return fromTypedArray(features, [indices.length, width]);
}

function readAll(train: Tensor, val: Tensor, { trainLabels, valLabels }: LoadedScenes): Readings {
  return readThreeWays(
    { features: train, labels: trainLabels },
    { features: val, labels: valLabels },
    { k: K },
  );
}

function nearest(train: Tensor, val: Tensor, queries: readonly number[], count: number): number[][] {
  return inferenceMode(() =>
    scope(() => {
      const bank = unitLength(train).t(); // (D, N)
      return queries.map((query) => {
        const [, found] = unitLength(val.narrow(0, query, 1))
          .matmul(bank)
          .topk(count); // (1, count)
        return [...found.toArray()].map(Number);
      });
    }),
  );
}

async function evaluateAttention(
  backbone: AttentiveBackbone,
  scenes: LoadedScenes,
  { device, attentionOf, signal }: EvaluateOptions,
): Promise<{ jaccards: number[][]; chosen: AttentionMaps[] }> {
  const size = ATTENTION_SIZE;
  const truths = scenes.masks.map((mask) => atSize(mask, scenes.size, size));
  const { patchSize } = backbone;
  const rows = size / patchSize;
  const patches = rows * rows;
  const jaccards: number[][] = [];
  const chosen = new Map<number, AttentionMaps>();
  const loading = signal === undefined ? {} : { signal };
  const loader = new EvalLoader({
    ...{ items: scenes.val.items, resize: size, crop: size, batchSize: BATCH, numWorkers: 1 },
    ...loading,
  });
  for await (const batch of loader) {
    signal?.throwIfAborted();
    const { indices } = batch;
    const { heads, maps, kept } = scope(() =>
      inferenceMode(() => {
        const raw = fromTypedArray(batch.images, [indices.length, 3, size, size]).to(device);
        const images = normalizeImages(raw); // (B, 3, H, W)
        const weights = backbone.getLastClassAttention(images); // (B, heads, 1, 1 + N)
        const heads = weights.size(1);
        const maps = weights.select(2, 0).narrow(2, 1, patches).reshape([-1, patches]); // (B * heads, N)
        const kept = massMasks(maps, THRESHOLD).to('uint8'); // (B * heads, N)
        return {
          heads,
          maps: maps.to('float32').toTypedArray() as Float32Array,
          kept: kept.toTypedArray() as Uint8Array,
        };
      }),
    );
    batch.release();
    indices.forEach((index, i) => {
      const part = [i * heads * patches, (i + 1) * heads * patches] as const;
      const masks = kept.slice(...part); // (heads, N)
      const layout = { heads, rows, columns: rows, patchSize, masks };
      jaccards[index] = headJaccards(layout, truths[index]!);
      if (attentionOf.includes(index)) {
        chosen.set(index, { heads, maps: maps.slice(...part), jaccards: jaccards[index] });
      }
    });
  }
  return { jaccards, chosen: attentionOf.map((index) => chosen.get(index)!) };
}

/** (from, from) to (to, to) pixels. */
function atSize(mask: Uint8Array, from: number, to: number): Uint8Array {
  return resizeNearest(mask, { width: from, height: from }, { width: to, height: to });
}
