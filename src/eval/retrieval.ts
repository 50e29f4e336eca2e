/**
 * Image retrieval on Revisited Oxford and Paris (paper, section 4.2; reference: eval_image_retrieval.py): class features
 * of whole images in their own shape, longer side `imsize`, compared by cosine.
 *
 * Departures: the easy protocol is measured too; images of equal shape go through the network together (the reference
 * takes one at a time), which moves features in the seventh digit; `cropQueries` follows Revisited's own protocol, which
 * cuts out the query's box first, where the reference takes the whole image.
 */
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  instanceOf,
  optionsOf,
  signal as abortSignal,
  text,
  yesOrNo,
} from '../plain/check-options.js';
import { ConfigError, DataError } from '../errors.js';
import type { Box } from '../data/index.js';
import { type Backbone, unitLength, wholePatchesOf } from '../models/index.js';
import { World } from '../processes/world.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { featureTable } from './features.js';
import { computeMap } from './retrieval-scores.js';
import { PROTOCOLS, type Protocol, readRevisited, truthOf } from './revisited.js';

/** The k of mP@k. */
const KS = [1, 5, 10] as const;

export interface RetrievalOptions {
  /** The folder with the data sets' folders. */
  dataPath: string;
  /** `roxford5k` (default), `rparis6k`, or another data set of the same layout. */
  dataset?: string;
  /** Longer side of the images in pixels, default 224; smaller ones stay as they are. */
  imsize?: number;
  /** Mean features over three scales: 1, 1 / sqrt(2), 1 / 2. Default false. */
  multiscale?: boolean;
  /** Cut the query's box out of its image. Default false, as in the reference. */
  cropQueries?: boolean;
  /** Images that are loaded at a time, default 16. */
  batchSize?: number;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Processes that share the work; all get the result. Default: only this one. */
  world?: World | undefined;
  /** Called after every batch. */
  onProgress?: (progress: { part: 'images' | 'queries'; done: number; total: number }) => void;
}

export interface RetrievalScores {
  /** Mean average precision, percent; null when no query has true results. */
  map: number | null;
  /** Mean precision among the first 1, 5 and 10, percent. */
  mp: Record<'1' | '5' | '10', number | null>;
}

export interface RetrievalResult extends Record<Protocol, RetrievalScores> {
  dataset: string;
  imsize: number;
  multiscale: boolean;
  cropQueries: boolean;
  images: number;
  queries: number;
}

/** The scales of the reference's multi_scale(). */
const SCALES = [1, 1 / 2 ** (1 / 2), 1 / 2] as const;

/** Mean features over scales of the images, of length 1 (utils.py multi_scale, which takes one image at a time). */
export function multiScaleFeatures(backbone: Backbone, images: Tensor): Tensor {
  const [height, width] = [images.size(2), images.size(3)];
  const each = SCALES.map((scale) => {
    const size = [Math.floor(height * scale), Math.floor(width * scale)] as const;
    const scaled = scale === 1 ? images : ops.upsampleBilinear2d(images, size, false, scale, scale);
    return backbone.forward(wholePatchesOf(backbone, scaled));
  }); // 3 of (B, D)
  const mean = each.reduce((sum, features) => sum.add(features)).div(SCALES.length);
  return unitLength(mean);
}

/** Class features of images, (N, D) row-major. @throws DataError that names every unreadable one. */
export async function features(
  model: LoadedModel,
  files: readonly string[],
  part: 'images' | 'queries',
  options: RetrievalOptions & { imsize: number },
  boxes?: readonly Box[],
): Promise<{ rows: Float32Array; width: number }> {
  const { backbone, device } = model;
  const { imsize, batchSize = 16, numWorkers = 1, signal, onProgress } = options;
  const items = files.map((path) => ({ path, label: null }));
  const table = await featureTable(backbone, items, {
    ...{ crop: imsize, fit: 'inside', batchSize, numWorkers, device, signal, world: options.world },
    ...(boxes === undefined ? {} : { boxes }),
    ...(options.multiscale ? { compute: (images) => multiScaleFeatures(backbone, images) } : {}),
    onProgress: (done, total) => onProgress?.({ part, done, total }),
  });
  if (table.skipped.length > 0) {
    const lines = table.skipped.map(({ path, reason }) => `\n  ${path}: ${reason}`);
    throw new DataError(`${table.skipped.length} ${part} can't be read:${lines.join('')}`);
  }
  return { rows: table.features, width: table.width };
}

/**
 * The searched images for each query, best first.
 * @param images - (N, D) float32, row-major. @param queries - (Q, D).
 */
export function rankBySimilarity(
  images: Float32Array,
  queries: Float32Array,
  width: number,
  device: string,
): { rankings: number[][]; similarity: Float32Array } {
  return scope(() =>
    inferenceMode(() => {
      const unit = (rows: Float32Array): Tensor =>
        unitLength(fromTypedArray(rows, [rows.length / width, width]).to(device));
      const [bank, asked] = [unit(images), unit(queries)];
      const similarity = bank.matmul(asked.t()); // (N, Q)
      const order = similarity.t().sort({ stable: true, descending: true })[1]; // (Q, N)
      const flat = order.toArray();
      const count = bank.size(0);
      const rankings = Array.from({ length: asked.size(0) }, (_, query) =>
        flat.slice(query * count, (query + 1) * count),
      );
      return { rankings, similarity: similarity.toTypedArray() as Float32Array };
    }),
  );
}

const retrievalOptions = optionsOf<RetrievalOptions>(
  { dataPath: filePath },
  {
    ...{ dataset: text, imsize: count(), multiscale: yesOrNo, cropQueries: yesOrNo },
    ...{ batchSize: count(1), numWorkers: count(), signal: abortSignal, onProgress: callback },
    world: instanceOf(World, 'a world, from joinWorld()'),
  },
);

/**
 * Retrieval scores of a model.
 *
 * @throws DataError when the ground truth or images that it names are missing or unreadable (all named); ConfigError for
 *   sizes out of range; CheckpointError when the ground truth's pickle holds more than data.
 */
export async function evaluateRetrieval(
  model: LoadedModel,
  options: RetrievalOptions,
): Promise<RetrievalResult> {
  checkCall('evaluateRetrieval()', modelArgument(model), ['options', retrievalOptions, options]);
  const { dataset = 'roxford5k', imsize = 224, multiscale = false, cropQueries = false } = options;
  const { patchSize } = model.architecture;
  const least = patchSize * (multiscale ? 2 : 1);
  if (!(Number.isInteger(imsize) && imsize >= least)) {
    throw new ConfigError(
      `imsize ${imsize}; expected a whole number of pixels, at least ${least} for patches of ${patchSize}` +
        `${multiscale ? ' at half the size' : ''}`,
    );
  }
  const { images, queries, truths } = readRevisited(options.dataPath, dataset);
  const sized = { ...options, imsize };
  const boxes = cropQueries ? truths.map((truth) => truth.box) : undefined;
  const asked = await features(model, queries, 'queries', sized, boxes);
  const bank = await features(model, images, 'images', sized);
  const { rankings } = rankBySimilarity(bank.rows, asked.rows, bank.width, model.device);
  const percent = (value: number | undefined): number | null =>
    value === undefined || Number.isNaN(value) ? null : 100 * value;
  const scores = Object.fromEntries(
    PROTOCOLS.map((protocol): [Protocol, RetrievalScores] => {
      const { map, mp } = computeMap(
        rankings,
        truths.map((truth) => truthOf(truth, protocol)),
        KS,
      );
      return [
        protocol,
        { map: percent(map), mp: { 1: percent(mp[0]), 5: percent(mp[1]), 10: percent(mp[2]) } },
      ];
    }),
  ) as Record<Protocol, RetrievalScores>;
  return {
    ...{ dataset, imsize, multiscale, cropQueries, images: images.length, queries: queries.length },
    ...scores,
  };
}
