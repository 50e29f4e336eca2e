/**
 * Measures a network on the demo's scenes, in the same way before and after training: k-NN on the class token
 * (src/eval/knn.ts), nearest neighbours, and how well the attention outlines the objects
 * (src/eval/jaccard.ts).
 */
import { join } from 'node:path';
import { decodeImage, EvalLoader, type ImageItems, type ImageList, listImages } from '../data/index.js';
import { knnClassify } from '../eval/knn.js';
import { featureBatches } from '../eval/features.js';
import { massMasks } from '../explain/attention.js';
import { normalizeImages, type VisionTransformer, unitLength } from '../models/index.js';
import { fromTypedArray, inferenceMode, scope, type Tensor } from '../torch/index.js';
import { headJaccards, jaccardScore, type JaccardScore } from '../eval/jaccard.js';
import type { SceneSet } from './scenes.js';

/** The reference's best k for k-NN, and the share of attention kept by the paper's masks. */
export const K = 20;
export const THRESHOLD = 0.6;

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
  /** Top-1 accuracy in percent. */
  knn: number;
  /** For the requested images of val: indices of the nearest images of train, nearest first. */
  neighbours: number[][];
  jaccard: JaccardScore;
  /** For the requested images of val. */
  attention: { heads: number; maps: Float32Array; masks: Uint8Array; jaccards: number[] }[];
}

export interface EvaluateOptions {
  device: string;
  /** Images of val for which to return neighbours and attention maps. */
  neighboursOf: readonly number[];
  neighbours: number;
  attentionOf: readonly number[];
  signal?: AbortSignal | undefined;
}

/** @param backbone - In eval mode. */
export async function evaluateNetwork(
  backbone: VisionTransformer,
  scenes: LoadedScenes,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { device, signal } = options;
  const { jaccards, chosen } = await evaluateAttention(backbone, scenes, options);
  const train = await features(backbone, scenes.train.items, scenes.size, device, signal);
  const val = await features(backbone, scenes.val.items, scenes.size, device, signal);
  try {
    return {
      knn: vote(train, scenes.trainLabels, val, scenes.valLabels),
      neighbours: nearest(train, val, options.neighboursOf, options.neighbours),
      jaccard: jaccardScore(jaccards.map((heads) => [heads])),
      attention: chosen,
    };
  } finally {
    train.dispose();
    val.dispose();
  }
}

/** (images, D) class tokens. */
async function features(
  backbone: VisionTransformer,
  items: ImageItems,
  size: number,
  device: string,
  signal: AbortSignal | undefined,
): Promise<Tensor> {
  let rows = new Float32Array(0);
  for await (const batch of featureBatches(backbone, items, {
    ...{ resize: size, crop: size, batchSize: BATCH, device, signal },
  })) {
    const width = batch.shape[1]!;
    if (rows.length === 0) rows = new Float32Array(items.length * width);
    batch.indices.forEach((index, i) => {
      rows.set(batch.features.subarray(i * width, (i + 1) * width), index * width);
    });
  }
  return fromTypedArray(rows, [items.length, rows.length / items.length]);
}

function vote(train: Tensor, trainLabels: number[], val: Tensor, valLabels: number[]): number {
  const scores = knnClassify(
    { features: train, labels: trainLabels },
    { features: val, labels: valLabels },
    { k: [K] },
  );
  return scores.get(K)!.top1;
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
  backbone: VisionTransformer,
  scenes: LoadedScenes,
  { device, attentionOf, signal }: EvaluateOptions,
): Promise<{ jaccards: number[][]; chosen: Evaluation['attention'] }> {
  const { size, masks: truths } = scenes;
  const { patchSize } = backbone;
  const rows = Math.floor(size / patchSize);
  const patches = rows * rows;
  const jaccards: number[][] = [];
  const chosen = new Map<number, Evaluation['attention'][number]>();
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
        const weights = backbone.getLastSelfAttention(images, { queries: 'class' }); // (B, heads, 1, 1 + N)
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
        chosen.set(index, { heads, maps: maps.slice(...part), masks, jaccards: jaccards[index] });
      }
    });
  }
  return { jaccards, chosen: attentionOf.map((index) => chosen.get(index)!) };
}

/**
 * k-NN on the pixels themselves, with the same vote: top-1 in per cent. Once on the plain values, and once after subtracting
 * the mean image of train from both, which leaves what differs between scenes.
 */
export async function evaluatePixels(
  scenes: LoadedScenes,
  signal?: AbortSignal,
): Promise<{ plain: number; centred: number }> {
  const read = async (items: ImageItems): Promise<Tensor> => {
    const { size } = scenes;
    const width = 3 * size * size;
    const all = new Float32Array(items.length * width);
    const loading = signal === undefined ? {} : { signal };
    const loader = new EvalLoader({
      ...{ items, resize: size, crop: size, batchSize: BATCH, numWorkers: 1 },
      ...loading,
    });
    for await (const batch of loader) {
      signal?.throwIfAborted();
      batch.indices.forEach((index, i) => {
        all.set(batch.images.subarray(i * width, (i + 1) * width), index * width);
      });
      batch.release();
    }
    return fromTypedArray(all, [items.length, width]); // (images, 3 * size * size)
  };
  const [train, val] = [await read(scenes.train.items), await read(scenes.val.items)];
  const plain = vote(train, scenes.trainLabels, val, scenes.valLabels);
  inferenceMode(() =>
    scope(() => {
      const mean = train.mean([0], true); // (1, 3 * size * size)
      train.sub_(mean);
      val.sub_(mean);
    }),
  );
  const centred = vote(train, scenes.trainLabels, val, scenes.valLabels);
  train.dispose();
  val.dispose();
  return { plain, centred };
}
