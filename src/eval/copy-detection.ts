/**
 * Copy detection on Copydays (paper, section 4.2; reference: eval_copy_detection.py): the class token and the patch
 * tokens pooled by generalised mean describe an image; copies are searched for among the originals and distractors,
 * after whitening learned on another set of images.
 *
 * Departures: micro-AP is measured too; copies are paired with originals by name; .JPG and .jpeg are taken besides .jpg, and what else lies in the folders is counted;
 * missing blocks are left out and named; folders of distractors and of whitening images are read with their subfolders, in
 * order.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  instanceOf,
  optionsOf,
  signal as abortSignal,
} from '../plain/check-options.js';
import {
  type ImageItems,
  type ImageList,
  kindsOf,
  LeftOutCounter,
  leftOutLines,
  listImages,
  type ListNotes,
  notesOf,
  skippedPlace,
} from '../data/index.js';
import { compareCodePoints } from '../plain/code-points.js';
import { ConfigError, DataError } from '../errors.js';
import { notWhole } from '../plain/eval-geometry.js';
import { fewNames } from '../plain/few-names.js';
import { printable } from '../plain/printable.js';
import {
  type Backbone,
  hasTokens,
  noPatchFeatures,
  patchTokens,
  type TokenBackbone,
  unitLength,
} from '../models/index.js';
import { World } from '../processes/world.js';
import { fromTypedArray, inferenceMode, ops, scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { type FeatureTable, featureTable } from './features.js';
import { averagePrecision } from './retrieval-scores.js';
import { learnWhitening, whiten } from './whitening.js';

/** Copydays' folders. Each except `strong` holds one copy of every original, by the same name. */
export const COPYDAYS_BLOCKS: readonly string[] = [
  'original',
  'strong',
  ...[3, 5, 8, 10, 15, 20, 30, 50, 75].map((quality) => `jpegqual/${quality}`),
  ...[10, 15, 20, 30, 40, 50, 60, 70, 80].map((share) => `crops/${share}`),
];

/** Results considered for each query. */
const TOP = 20;
/** Exponent of the generalised mean, and the least value before it. */
const GEM_POWER = 4;
const GEM_LEAST = 1e-6;
/** A strong copy's name begins with this many characters of its original's. */
const PREFIX = 4;
/** Folders that a line names. */
const NAMED = 5;

export interface CopyDetectionOptions {
  /** Copydays: folders original, strong, jpegqual/N, crops/N of .jpg or .jpeg files. */
  dataPath: string;
  /** Images to learn the whitening on; the paper uses 20,000 of YFCC100M. Default: no whitening. */
  whiteningPath?: string;
  /** Images to search besides the originals; the paper uses 10,000. Default: none. */
  distractorsPath?: string;
  /** Side in pixels of the square that every image is stretched to, default 320. */
  imsize?: number;
  /** Default 16. */
  batchSize?: number;
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  /** Processes that share the work; all get the result. Default: only this one. */
  world?: World | undefined;
  /** Called after every batch. */
  onProgress?: (progress: { part: string; done: number; total: number }) => void;
  onWarning?: (message: string) => void;
}

export interface CopyScores {
  /** Mean average precision, percent. */
  map: number;
  /** Average precision over the results of all queries in one ranking by similarity, percent. */
  microAp: number;
  queries: number;
}

export interface CopyDetectionResult extends ListNotes {
  /** By folder: original, strong, jpegqual/3, ... */
  blocks: Record<string, CopyScores>;
  /** All queries except the originals themselves; null when there is no other folder. */
  copies: CopyScores | null;
  imsize: number;
  originals: number;
  distractors: number;
  /** Images that the whitening was learned on; 0 without. */
  whitening: number;
  /** Distractors and whitening images that could not be read. */
  skipped: { path: string; reason: string }[];
}

/**
 * Class token and GeM-pooled patch tokens.
 * @param images - (B, 3, H, W) float32, normalized.
 * @returns (B, 2 D).
 */
export function copyFeatures(backbone: TokenBackbone, images: Tensor): Tensor {
  const tokens = backbone.forwardTokens(images); // (B, prefix + N, D)
  const patches = patchTokens(backbone, tokens); // (B, N, D)
  const pooled = patches
    .clampMin(GEM_LEAST)
    .pow(GEM_POWER)
    .mean([1])
    .pow(1 / GEM_POWER); // (B, D)
  return ops.cat([tokens.select(1, 0), pooled], 1);
}

/** Results of one query: their similarity, best first, and whether each is a true one. */
export interface CopyRanking {
  similarities: readonly number[];
  hits: readonly boolean[];
  /** True results that exist, at least 1. */
  total: number;
}

/** Mean AP by query, and AP of all results in one ranking: what a single threshold for all queries would give. */
export function scoreCopies(rankings: readonly CopyRanking[]): CopyScores {
  const aps = rankings.map(({ hits, total }) =>
    averagePrecision(
      hits.flatMap((hit, rank) => (hit ? [rank] : [])),
      total,
    ),
  );
  const pairs = rankings.flatMap(({ similarities, hits }) =>
    similarities.map((similarity, i) => ({ similarity, hit: hits[i]! })),
  );
  pairs.sort((a, b) => b.similarity - a.similarity);
  const total = rankings.reduce((sum, ranking) => sum + ranking.total, 0);
  let [found, micro] = [0, 0];
  pairs.forEach(({ hit }, i) => {
    if (hit) micro += ++found / (i + 1) / total;
  });
  const mean = aps.reduce((sum, ap) => sum + ap, 0) / aps.length;
  return { map: 100 * mean, microAp: 100 * micro, queries: rankings.length };
}

interface Block {
  name: string;
  files: string[];
  /** Numbers of each file's originals. */
  truths: number[][];
}

const baseName = (file: string): string => path.basename(file);
const stemOf = (file: string): string => path.parse(file).name;
const isFolder = (place: string): boolean => existsSync(place) && statSync(place).isDirectory();
const isJpeg = (name: string): boolean => /\.jpe?g$/i.test(name);

/**
 * The original of each copy: the one with the same name but for its ending. Where no names are the same it is the one at the same
 * place in the order of names, as in the reference.
 * @returns Numbers of originals, or what doesn't fit.
 */
function pairCopies(
  copies: readonly string[],
  originals: readonly string[],
): { numbers: number[]; isByName: boolean } | string {
  const counts = `${copies.length} JPEG files for ${originals.length} originals, expected one of each`;
  const numberOf = new Map(originals.map((file, i) => [stemOf(file), i]));
  const numbers = copies.map((file) => numberOf.get(stemOf(file)));
  const isNamed = numberOf.size === originals.length && numbers.some((number) => number !== undefined);
  if (!isNamed)
    return copies.length === originals.length ? { numbers: [...originals.keys()], isByName: false } : counts;
  const strange = copies.filter((_, i) => numbers[i] === undefined);
  const found = new Set(numbers);
  const lacking = originals.filter((_, i) => !found.has(i));
  if (strange.length === 0 && lacking.length === 0 && copies.length === originals.length)
    return { numbers: numbers as number[], isByName: true };
  const named = (what: string, files: readonly string[]): string =>
    files.length === 0 ? '' : `; ${what}: ${fewNames(files.map(baseName), NAMED)}`;
  return `${counts}${named('copies of no original', strange)}${named('originals without a copy', lacking)}`;
}

/** Lists the folders that are there. @throws DataError with everything that doesn't fit. */
function readCopydays(root: string): { blocks: Block[]; absent: string[]; notes: ListNotes } {
  const others = new LeftOutCounter();
  const folders: string[] = [];
  const list = (name: string): string[] | null => {
    const folder = path.join(root, ...name.split('/'));
    if (!existsSync(folder)) return null;
    const files: string[] = [];
    for (const file of readdirSync(folder)) {
      const within = `${name}/${file}`;
      if (file.startsWith('.') || COPYDAYS_BLOCKS.includes(within)) continue;
      else if (COPYDAYS_BLOCKS.includes(name) && isJpeg(file)) files.push(file);
      else if (isFolder(path.join(folder, file))) folders.push(within);
      else others.add(file);
    }
    return files.sort(compareCodePoints).map((file) => path.join(folder, file));
  };
  const originals = list('original') ?? [];
  if (originals.length === 0) {
    const found = others.finish();
    const instead = found.count === 0 ? '' : ` original holds other files instead (${kindsOf(found)}).`;
    throw new DataError(
      `${root} holds no original/*.jpg: expected Copydays' folders original, strong, jpegqual/3, ..., crops/10, ...` +
        instead,
    );
  }
  const problems: string[] = [];
  const absent: string[] = [];
  const blocks: Block[] = [];
  const byPlace: string[] = [];
  for (const name of COPYDAYS_BLOCKS) {
    const files = name === 'original' ? originals : list(name);
    if (files === null) {
      absent.push(name);
      continue;
    }
    if (name === 'strong') {
      const truths = files.map((file) => {
        const prefix = baseName(file).slice(0, PREFIX);
        return originals.flatMap((original, i) => (baseName(original).startsWith(prefix) ? [i] : []));
      });
      truths.forEach((truth, i) => {
        if (truth.length === 0) {
          problems.push(
            `strong/${baseName(files[i]!)}: no original begins with ${baseName(files[i]!).slice(0, PREFIX)}`,
          );
        }
      });
      if (files.length === 0) problems.push('strong: no .jpg or .jpeg files');
      else blocks.push({ name, files, truths });
    } else {
      const pairs = pairCopies(files, originals);
      if (typeof pairs === 'string') {
        problems.push(`${name}: ${pairs}`);
        continue;
      }
      blocks.push({ name, files, truths: pairs.numbers.map((number) => [number]) });
      if (name !== 'original' && !pairs.isByName) byPlace.push(name);
    }
  }
  if (problems.length > 0)
    throw new DataError(`${root} does not have Copydays' layout:\n  ${problems.join('\n  ')}`);
  // what lies beside the blocks
  for (const above of ['jpegqual', 'crops']) if (isFolder(path.join(root, above))) list(above);
  const leftOut = others.finish();
  const remarks = leftOutLines(root, leftOut);
  if (byPlace.length > 0)
    remarks.push(
      `${printable(root)}: the names in ${fewNames(byPlace, NAMED)} are not those of the originals: copies are taken to be in the ` +
        "originals' order",
    );
  if (folders.length > 0)
    remarks.push(
      `${printable(root)}: folders that are none of Copydays' were left out: ${fewNames(folders, NAMED)}`,
    );
  return { blocks, absent, notes: { leftOut, remarks } };
}

/** @throws DataError that names every unreadable image. */
function allReadable(table: FeatureTable, what: string): FeatureTable {
  if (table.skipped.length > 0) {
    const lines = table.skipped.map(({ path: file, reason }) => `\n  ${file}: ${reason}`);
    throw new DataError(`${table.skipped.length} images of ${what} can't be read:${lines.join('')}`);
  }
  return table;
}

function transformer(backbone: Backbone): TokenBackbone {
  if (hasTokens(backbone)) return backbone;
  throw new ConfigError(noPatchFeatures('copy detection'));
}

const copyOptions = optionsOf<CopyDetectionOptions>(
  { dataPath: filePath },
  {
    ...{ whiteningPath: filePath, distractorsPath: filePath, imsize: count(), batchSize: count(1) },
    ...{ numWorkers: count(), signal: abortSignal, onProgress: callback, onWarning: callback },
    world: instanceOf(World, 'a world, from joinWorld()'),
  },
);

/**
 * Copy detection scores of a model with patch features.
 *
 * @throws DataError when folders or images are missing, don't fit or can't be read (all named); ConfigError for sizes
 *   out of range or another kind of backbone.
 */
export async function evaluateCopyDetection(
  model: LoadedModel,
  options: CopyDetectionOptions,
): Promise<CopyDetectionResult> {
  checkCall('evaluateCopyDetection()', modelArgument(model), ['options', copyOptions, options]);
  const { dataPath, whiteningPath, distractorsPath, batchSize = 16, numWorkers = 1 } = options;
  const backbone = transformer(model.backbone);
  const { patchSize, wholePatches } = backbone;
  // the reference's 320, in whole patches
  const usual = wholePatches === true ? Math.round(320 / patchSize) * patchSize : 320;
  const { imsize = usual } = options;
  const { device } = model;
  if (!(Number.isInteger(imsize) && imsize >= patchSize)) {
    throw new ConfigError(
      `imsize ${imsize}; expected a whole number of pixels, at least ${patchSize}, the model's patches`,
    );
  }
  if (wholePatches === true && imsize % patchSize !== 0)
    throw new ConfigError(`imsize ${imsize}; ${notWhole(imsize, patchSize)}`);
  const { blocks, absent, notes } = readCopydays(dataPath);
  const lists: ImageList[] = [];
  const itemsOf = async (folder: string | undefined): Promise<ImageItems> => {
    if (folder === undefined) return [];
    const list = await listImages(folder);
    lists.push(list);
    return list.items;
  };
  const [others, forWhitening] = [await itemsOf(distractorsPath), await itemsOf(whiteningPath)];
  if (absent.length > 0) options.onWarning?.(`${dataPath} lacks ${absent.join(', ')}: not measured`);
  const extract = (items: ImageItems, part: string): Promise<FeatureTable> =>
    featureTable(backbone, items, {
      ...{
        crop: imsize,
        fit: 'stretch',
        batchSize,
        numWorkers,
        device,
        signal: options.signal,
        world: options.world,
      },
      compute: (images) => copyFeatures(backbone, images),
      onProgress: (done, total) => options.onProgress?.({ part, done, total }),
    });
  const queries = blocks.flatMap((block) => block.files.map((file) => ({ path: file, label: null })));
  const asked = allReadable(await extract(queries, 'copies'), dataPath);
  const distractors = await extract(others, 'distractors');
  const whitening = await extract(forWhitening, 'whitening');
  for (const [table, items, folder] of [
    [distractors, others, distractorsPath],
    [whitening, forWhitening, whiteningPath],
  ] as const) {
    if (items.length > 0 && table.indices.length === 0)
      throw new DataError(`${folder}: none of its ${items.length} images can be read`);
  }
  const originals = blocks[0]!.files.length;
  const { nearest } = search(asked, distractors, whitening, originals, device);

  let start = 0;
  const rankings = blocks.map(({ files, truths }): CopyRanking[] => {
    const some = nearest.slice(start, start + files.length);
    start += files.length;
    return some.map(({ similarities, numbers }, i) => ({
      similarities,
      hits: numbers.map((number) => truths[i]!.includes(number)),
      total: truths[i]!.length,
    }));
  });
  const copies = rankings.slice(1).flat();
  return {
    blocks: Object.fromEntries(blocks.map(({ name }, i) => [name, scoreCopies(rankings[i]!)])),
    copies: copies.length === 0 ? null : scoreCopies(copies),
    ...{ imsize, originals, distractors: distractors.indices.length, whitening: whitening.indices.length },
    skipped: [
      ...lists.flatMap((list) => list.unreadable.map(skippedPlace)),
      ...[...distractors.skipped, ...whitening.skipped],
    ],
    ...notesOf(notes, ...lists),
  };
}

interface Nearest {
  similarities: number[];
  /** Numbers of the found images; originals come first. */
  numbers: number[];
}

/** For every query the nearest originals and distractors. The first queries are the originals. */
export function search(
  asked: FeatureTable,
  distractors: FeatureTable,
  whitening: FeatureTable,
  originals: number,
  device: string,
): { nearest: Nearest[]; similarity: Float32Array } {
  return scope(() =>
    inferenceMode(() => {
      const tensorOf = ({ features, indices, width }: FeatureTable): Tensor =>
        fromTypedArray(features, [indices.length, width]).to(device);
      const learned = whitening.indices.length > 0 ? learnWhitening(tensorOf(whitening)) : null;
      const unit = (rows: Tensor): Tensor => unitLength(learned === null ? rows : whiten(learned, rows));
      const queries = tensorOf(asked); // (Q, D)
      const own = queries.narrow(0, 0, originals);
      const database = distractors.indices.length > 0 ? ops.cat([own, tensorOf(distractors)]) : own; // (N, D)
      const similarity = unit(queries).matmul(unit(database).t()); // (Q, N)
      const top = Math.min(TOP, database.size(0));
      const [values, indices] = similarity.topk(top); // (Q, top), best first
      const [flatValues, flatIndices] = [values.toArray(), indices.toArray()];
      const nearest = Array.from({ length: queries.size(0) }, (_, i) => ({
        similarities: flatValues.slice(i * top, (i + 1) * top),
        numbers: flatIndices.slice(i * top, (i + 1) * top),
      }));
      return { nearest, similarity: similarity.toTypedArray() as Float32Array };
    }),
  );
}
