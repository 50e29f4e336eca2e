/**
 * Search by images: the images most similar to the mean of some and, with a smaller weight, dissimilar to others (Rocchio
 * 1971, "Relevance feedback in information retrieval"), or similar to a region of one.
 *
 * A region's feature is computed as the index's features were. For class tokens the region is cut out and goes through
 * the network by itself: DINO's loss pulls the class token of a local crop to that of the whole image, which is what such
 * a search needs. For means of patches it is the mean of the patch tokens that the region covers in the whole image.
 */
import { existsSync } from 'node:fs';
import { shellPath } from '../plain/shell.js';
import { imagesOrRows } from '../data/arguments.js';
import { indexArgument, nearestFields, nearestOf } from './arguments.js';
import { being, callback, checkCall, count, filePath, optionsOf, text } from '../plain/check-options.js';
import { type Box, decodeImage, type EncodedImage } from '../data/index.js';
import { encodedItems } from '../eval/embed.js';
import { featureBatches } from '../eval/features.js';
import { ConfigError, DataError } from '../errors.js';
import { prepareImage } from '../explain/attention.js';
import { onlyRgb } from '../models/model-argument.js';
import {
  hasTokens,
  imageTensor,
  isOfSatellites,
  noPatchFeatures,
  normalizeImages,
  patchTokens,
} from '../models/index.js';
import { fromTypedArray, inferenceMode, scope } from '../torch/index.js';
import { loadModel, type LoadModelOptions, Model } from '../model.js';
import { locateWeights } from '../weights/locate.js';
import type { ImageIndex, Match, NearestOptions } from './image-index.js';
import { sha256Files } from '../files/checksum.js';
import { unitRows } from '../plain/maps.js';

/** Weight of the unwanted images' mean, where the wanted have 1: more than Rocchio's 0.25, since few are given. */
const MINUS_WEIGHT = 0.5;

/** Left, top, width and height: pixels of the upright image, or shares of its sides when none is above 1. */
export type Region = readonly [x: number, y: number, width: number, height: number];

export interface SearchOptions extends NearestOptions {
  /** Files, rows of the index, or the bytes of image files. */
  plus: readonly (EncodedImage | number)[];
  minus?: readonly (EncodedImage | number)[];
  /** Looks for this part of the image; only with a single image. */
  region?: Region;
  /** How many are found, default 20; the query images themselves are left out. */
  top?: number;
  /** For images that are not in the index; default: the one that the index was made with. */
  model?: Model | (() => Model);
}

const indexModelOptions = optionsOf<NonNullable<Parameters<typeof loadIndexModel>[1]>>(
  {},
  { device: text, weights: filePath, onWarning: callback },
);

/**
 * The model that an index was made with.
 * @throws DataError when the weights are missing or have changed.
 */
export function loadIndexModel(
  index: ImageIndex,
  options: Pick<LoadModelOptions, 'device' | 'onWarning'> & { weights?: string } = {},
): Model {
  checkCall('loadIndexModel()', indexArgument(index), ['options', indexModelOptions, options]);
  const { weights, images } = index.manifest;
  const file = options.weights ?? weights.file;
  const again = `Give the weights with --weights, or make the index again: dino index WEIGHTS ${shellPath(images.source)} --output ${shellPath(index.folder)}`;
  if (!existsSync(file))
    throw new DataError(`${file}, the weights of ${index.folder}, does not exist any more. ${again}`);
  const model = loadModel(file, {
    // an older index may name the teacher for the student's file
    checkpointKey: locateWeights(file).key ?? weights.checkpointKey,
    ...(weights.numHeads === null ? {} : { numHeads: weights.numHeads }),
    ...(isOfSatellites(weights.arch) ? { normalization: 'sat493m' as const } : {}),
    ...(options.device === undefined ? {} : { device: options.device }),
    ...(options.onWarning === undefined ? {} : { onWarning: options.onWarning }),
  });
  if (sha256Files(model.origin.files) !== weights.sha256) {
    model.dispose();
    throw new DataError(
      `${model.file} is not what ${index.folder} was made with: its checksum does not match. ${again}`,
    );
  }
  return model;
}

/** The region in pixels of an image of this size. @throws ConfigError when it is empty or outside. */
export function regionBox(region: Region, size: { width: number; height: number }): Box {
  const shares = region.every((value) => value <= 1);
  const [sx, sy] = shares ? [size.width, size.height] : [1, 1];
  const [x, y, width, height] = [region[0] * sx, region[1] * sy, region[2] * sx, region[3] * sy];
  const box: Box = [
    Math.max(0, x),
    Math.max(0, y),
    Math.min(size.width, x + width),
    Math.min(size.height, y + height),
  ];
  if (
    !region.every(Number.isFinite) ||
    width <= 0 ||
    height <= 0 ||
    box[2] - box[0] < 1 ||
    box[3] - box[1] < 1
  ) {
    throw new ConfigError(
      `region ${region.join(',')}; expected x,y,width,height within the image of ${size.width} x ${size.height}, in pixels ` +
        'or, all at most 1, as shares of its sides',
    );
  }
  return box;
}

/** The smallest square around a box that fits the image: nothing of the region is cut off or stretched. */
function squareAround([left, top, right, bottom]: Box, size: { width: number; height: number }): Box {
  const side = Math.max(right - left, bottom - top);
  const along = (from: number, to: number, most: number): [number, number] => {
    const length = Math.min(side, most);
    const start = Math.min(Math.max((from + to - length) / 2, 0), most - length);
    return [start, start + length];
  };
  const [x0, x1] = along(left, right, size.width);
  const [y0, y1] = along(top, bottom, size.height);
  return [x0, y0, x1, y1];
}

/** Size of an image after its orientation is applied. */
async function uprightSize(file: EncodedImage): Promise<{ width: number; height: number }> {
  const { width, height } = await decodeImage(file);
  return { width, height };
}

/** Mean of the patch tokens that a box covers, each weighted by the share of it that lies inside. */
async function regionOfPatches(
  model: Model,
  file: EncodedImage,
  region: Region,
  crop: number,
): Promise<Float32Array> {
  const { backbone } = model;
  if (!hasTokens(backbone))
    throw new ConfigError(noPatchFeatures('a region of patches', model.architecture.arch));
  const { image, width, height, rows, columns, patchSize, ...prepared } = await prepareImage(
    model,
    file,
    crop,
  );
  const size = { width: prepared.originalWidth, height: prepared.originalHeight };
  const box = regionBox(region, size);
  // shares of the sides carry over to the resized image, of which at most a part of a patch is cut off
  const [left, right] = [(box[0] * width) / size.width, (box[2] * width) / size.width];
  const [top, bottom] = [(box[1] * height) / size.height, (box[3] * height) / size.height];
  const covered = (from: number, to: number, patch: number): number =>
    Math.max(0, Math.min(to, (patch + 1) * patchSize) - Math.max(from, patch * patchSize));
  const weights = Float32Array.from(
    { length: rows * columns },
    (_, i) => covered(left, right, i % columns) * covered(top, bottom, Math.floor(i / columns)),
  );
  return scope(() =>
    inferenceMode(() => {
      const pixels = imageTensor(image, { width, height }, model.device); // (1, 3, H, W)
      const tokens = backbone.forwardTokens(normalizeImages(pixels, backbone.normalization)); // (1, prefix + N, D)
      const patches = patchTokens(backbone, tokens).select(0, 0).to('cpu'); // (N, D)
      const mean = fromTypedArray(weights, [1, rows * columns]).matmul(patches.to('float32')); // (1, D)
      return mean.toTypedArray() as Float32Array;
    }),
  );
}

/** Features of files that are not in the index, (files, width), rows of length 1. */
async function embedFiles(
  index: ImageIndex,
  model: Model,
  asked: readonly { image: EncodedImage; name: string }[],
  region: Region | undefined,
): Promise<Float32Array> {
  if (region !== undefined) onlyRgb(model); // it is cut out of an image as it is shown
  const files = asked.map(({ image }) => image);
  const { features: kind, resize, crop } = index.manifest.settings;
  const { width } = index;
  if (region !== undefined && kind === 'patch-mean')
    return unitRows(await regionOfPatches(model, files[0]!, region, crop), width);
  let cut = {};
  if (region !== undefined) {
    const size = await uprightSize(files[0]!);
    // the square is the query: all of it is used, without the margin that evaluation cuts off
    cut = { boxes: [squareAround(regionBox(region, size), size)], resize: crop };
  }
  const rows = new Float32Array(files.length * width);
  const items = encodedItems(files, (place) => asked[place]!.name);
  const problems: string[] = [];
  for await (const batch of featureBatches(model.backbone, items, {
    ...{ kind, resize, crop, batchSize: 16, numWorkers: 0, device: model.device },
    ...cut,
  })) {
    for (const { path: file, reason } of batch.skipped) problems.push(`${file}: ${reason}`);
    if (batch.indices.length > 0 && batch.shape[1] !== width) {
      throw new DataError(
        `the features of ${index.folder} have ${width} values, its weights ${model.file} give ${batch.shape[1]}`,
      );
    }
    batch.indices.forEach((item, i) =>
      rows.set(batch.features.subarray(i * width, (i + 1) * width), item * width),
    );
  }
  if (problems.length > 0) throw new DataError(problems.join('\n'));
  return unitRows(rows, width);
}

/** The row of a query image; null when it is not in the index. */
const rowIn = (index: ImageIndex, asked: EncodedImage | number): number | null =>
  typeof asked === 'number' ? asked : typeof asked === 'string' ? index.rowOf(asked) : null;

/** The feature to search for: (width), of length 1. */
export async function queryFeature(index: ImageIndex, options: SearchOptions): Promise<Float32Array> {
  const { plus, minus = [], region } = options;
  const { width } = index;
  if (plus.length === 0) throw new ConfigError('a search needs an image to look for');
  if (region !== undefined && (plus.length !== 1 || minus.length > 0))
    throw new ConfigError(`a region is part of one image; ${plus.length + minus.length} were given`);
  const asked = [...plus, ...minus];
  const known = asked.map((each) => {
    const row = rowIn(index, each);
    if (row !== null && !(Number.isInteger(row) && row >= 0 && row < index.count))
      throw new ConfigError(`row ${row}; the index has ${index.count} images`);
    return row;
  });
  const files = asked.flatMap((each, i) => {
    if (region === undefined && known[i] !== null) return [];
    const name = i < plus.length ? `plus[${i}]` : `minus[${i - plus.length}]`;
    return [{ image: typeof each === 'number' ? index.fileOf(each) : each, name }];
  });
  let embedded: Float32Array = new Float32Array(0);
  if (files.length > 0) {
    const given = options.model;
    const model = given instanceof Model ? given : (given ?? (() => loadIndexModel(index)))();
    try {
      embedded = index.transformed(await embedFiles(index, model, files, region));
    } finally {
      if (!(given instanceof Model)) model.dispose();
    }
  }
  const query = new Float32Array(width);
  let next = 0;
  asked.forEach((_, i) => {
    const row = known[i];
    const isKnown = region === undefined && row !== null && row !== undefined;
    const feature = isKnown ? index.feature(row) : embedded.subarray(next * width, ++next * width);
    const weight = i < plus.length ? 1 / plus.length : -MINUS_WEIGHT / minus.length;
    for (let d = 0; d < width; d++) query[d]! += weight * feature[d]!;
  });
  return unitRows(query, width);
}

const searchOptions = optionsOf<SearchOptions>(
  { plus: imagesOrRows },
  {
    ...nearestFields,
    minus: imagesOrRows,
    region: being(
      'x, y, width and height',
      (value) => Array.isArray(value) && value.length === 4 && value.every(Number.isFinite),
    ),
    top: count(1),
    model: being(
      'a model, from loadModel(), or a function that returns one',
      (value) => value instanceof Model || typeof value === 'function',
    ),
  },
);

/**
 * The images of an index most similar to those given.
 * @throws ConfigError for a region that is not in its image, or with several images; DataError for an unreadable image, and
 *   when the index's weights do not exist any more.
 */
export async function searchIndex(index: ImageIndex, options: SearchOptions): Promise<Match[]> {
  checkCall('searchIndex()', indexArgument(index), ['options', searchOptions, options]);
  const { plus, minus = [], top = 20, region } = options;
  const query = await queryFeature(index, options);
  const asked = new Set([...plus, ...minus].flatMap((each) => rowIn(index, each) ?? []));
  const matches = await index.search(
    query,
    top + (region === undefined ? asked.size : 0),
    nearestOf(options),
  );
  return matches.filter(({ row }) => region !== undefined || !asked.has(row)).slice(0, top);
}
