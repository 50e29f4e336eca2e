/**
 * Video object segmentation without training (paper, section 4.2.2, table 5; reference: eval_video_segmentation.py): the
 * first frame's mask is propagated through the video by the similarity of frozen patch features, and written as indexed
 * PNGs. Beyond the reference, J and F are measured here too (davis-measures.ts).
 *
 * Departures: everything is checked before the first sequence starts; labels that don't occur take no memory (for
 * DAVIS-2016's 255 there would be 256 of them); the first frame's mask is written under the frame's own number, which the
 * reference assumes to be 00000; square videos work (the reference shrinks frame and mask in different directions); the
 * channels' standard deviation 0.228 is kept.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  optionsOf,
  signal as abortSignal,
  words,
  yesOrNo,
} from '../plain/check-options.js';
import { decodeImage } from '../data/index.js';
import { readLabelImage, writeLabelImage, type LabelImage } from './indexed-png.js';
import { resizeLinear, resizeNearest, type Size } from './resample.js';
import { ConfigError, DataError } from '../errors.js';
import { checkPutFolder } from '../files/new-places.js';
import { notWhole } from '../plain/eval-geometry.js';
import {
  hasTokens,
  noPatchFeatures,
  IMAGENET,
  imageTensor,
  type Normalization,
  normalizeUnit,
  patchTokens,
  type TokenBackbone,
} from '../models/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { listDavis, type DavisSequence } from './davis-dataset.js';
import {
  contourAccuracy,
  regionSimilarity,
  sequenceStatistics,
  type SequenceStatistics,
} from './davis-measures.js';
import { LabelPropagation, labelsOfPixels } from './label-propagation.js';

/** The reference's for ImageNet's, with 0.228 where that has 0.229. */
const REFERENCE: Normalization = { ...IMAGENET, std: [0.228, 0.224, 0.225] };
/** The reference cuts the longer side to a multiple of this, which whole patches of most models fill. */
const SIDE_MULTIPLE = 64;
const SIZE = 480;

/** What the sides of frames are multiples of. */
const sideMultiple = (patchSize: number): number =>
  SIDE_MULTIPLE % patchSize === 0 ? SIDE_MULTIPLE : patchSize;

/** The size that frames have by default: the reference's 480, in whole patches. */
export const defaultFrameSize = (patchSize: number): number =>
  SIDE_MULTIPLE % patchSize === 0 ? SIZE : Math.round(SIZE / patchSize) * patchSize;
/** The label of pixels that DAVIS ignores; in DAVIS-2016's masks of 0 and 255 it is the object. */
const VOID = 255;

export interface VideoSegmentationOptions {
  /** DAVIS: a folder with JPEGImages/480p/NAME/*.jpg and Annotations/480p/NAME/*.png. */
  data: string;
  /** Where masks are written, OUTPUT/NAME/00000.png and so on, and the tables of J and F (global_results-val.csv, ...). */
  output: string;
  /** Names of sequences. Default: those of ImageSets/2017/val.txt, or every folder without that file. */
  sequences?: readonly string[];
  /** Shorter side of the frames in pixels; default 480, or near it where patches don't fill that. */
  size?: number;
  /** Default 7. */
  nLastFrames?: number;
  /** In patches; default 12. 0 for no limit. */
  sizeMaskNeighborhood?: number;
  /** Default 5. */
  topk?: number;
  /** Measure J and F where there are masks for all frames; default true. */
  measure?: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { sequence: string; done: number; total: number }) => void;
  onWarning?: (message: string) => void;
}

export interface ObjectScore {
  /** The object's label in the masks. */
  label: number;
  J: SequenceStatistics;
  F: SequenceStatistics;
}

export interface SequenceScore {
  name: string;
  frames: number;
  folder: string;
  /** Null without masks to measure against. */
  objects: ObjectScore[] | null;
}

export interface VideoSegmentationResult {
  sequences: SequenceScore[];
  /** Means over all objects of all sequences, 0 to 1; null when nothing was measured. `JF` is the mean of J and F. */
  scores: { JF: number; J: SequenceStatistics; F: SequenceStatistics; objects: number } | null;
}

/** The size that frames are resized to: `size` on the shorter side, the longer one cut to a multiple of 64, or of patches. */
export function propagationSize({ width, height }: Size, size: number, patchSize = 1): Size {
  const multiple = sideMultiple(patchSize);
  const long = (short: number, other: number): number =>
    Math.floor((size * other) / short / multiple) * multiple;
  return height > width
    ? { width: size, height: long(width, height) }
    : { height: size, width: long(height, width) };
}

function checkOptions(model: LoadedModel, options: VideoSegmentationOptions): TokenBackbone {
  const problems: string[] = [];
  const { backbone } = model;
  if (!hasTokens(backbone)) {
    problems.push(noPatchFeatures('video segmentation', model.architecture.arch));
  } else {
    const { patchSize } = backbone;
    const { size = defaultFrameSize(patchSize) } = options;
    if (size % patchSize !== 0) problems.push(`size ${size}; ${notWhole(size, patchSize)}`);
  }
  if (problems.length > 0 || !hasTokens(backbone)) throw new ConfigError(problems);
  return backbone;
}

const segmentationOptions = optionsOf<VideoSegmentationOptions>(
  { data: filePath, output: filePath },
  {
    ...{
      sequences: words,
      size: count(SIDE_MULTIPLE),
      nLastFrames: count(),
      sizeMaskNeighborhood: count(),
      topk: count(1),
    },
    ...{ measure: yesOrNo, signal: abortSignal, onProgress: callback, onWarning: callback },
  },
);

/**
 * Segments videos by their first frame's mask, writes a mask for each frame, and measures J and F.
 *
 * @throws ConfigError for options out of range or a video's folder of masks that is not empty (it may be that of the true
 *   ones, which a measure reads); DataError for an incomplete data set (every problem of every
 *   sequence is named before anything is computed), a frame that can't be read or a folder that can't be written; the
 *   signal's reason when aborted.
 */
export async function evaluateVideoSegmentation(
  model: LoadedModel,
  options: VideoSegmentationOptions,
): Promise<VideoSegmentationResult> {
  checkCall('evaluateVideoSegmentation()', modelArgument(model), ['options', segmentationOptions, options]);
  const backbone = checkOptions(model, options);
  const { onWarning = () => undefined } = options;
  const sequences = await listDavis(options.data, options.sequences);
  for (const { name } of sequences) checkPutFolder(path.join(options.output, name), options.output);
  const scores: SequenceScore[] = [];
  for (const sequence of sequences) {
    scores.push(await segmentSequence(model, backbone, sequence, { ...options, onWarning }));
  }
  const objects = scores.flatMap((score) => score.objects ?? []);
  const result = { sequences: scores, scores: objects.length === 0 ? null : overall(objects) };
  writeTables(result, options.output);
  return result;
}

/** The tables of davis2017-evaluation's evaluation_method.py, under its names. */
function writeTables({ sequences, scores }: VideoSegmentationResult, folder: string): void {
  if (scores === null) return;
  const row = (...values: number[]): string => values.map((value) => value.toFixed(3)).join(',');
  const { JF, J, F } = scores;
  const global =
    'J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay\n' +
    `${row(JF, J.mean, J.recall, J.decay, F.mean, F.recall, F.decay)}\n`;
  const lines = sequences.flatMap(({ name, objects }) =>
    (objects ?? []).map((object, i) => `${name}_${i + 1},${row(object.J.mean, object.F.mean)}\n`),
  );
  try {
    writeFileSync(path.join(folder, 'global_results-val.csv'), global);
    writeFileSync(
      path.join(folder, 'per-sequence_results-val.csv'),
      `Sequence,J-Mean,F-Mean\n${lines.join('')}`,
    );
  } catch (error) {
    throw new DataError(`${folder} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

function overall(objects: readonly ObjectScore[]): NonNullable<VideoSegmentationResult['scores']> {
  const mean = (pick: (object: ObjectScore) => number): number =>
    objects.reduce((sum, object) => sum + pick(object), 0) / objects.length;
  const statistics = (measure: 'J' | 'F'): SequenceStatistics => ({
    mean: mean((object) => object[measure].mean),
    recall: mean((object) => object[measure].recall),
    decay: mean((object) => object[measure].decay),
  });
  const J = statistics('J');
  const F = statistics('F');
  return { JF: (J.mean + F.mean) / 2, J, F, objects: objects.length };
}

async function segmentSequence(
  model: LoadedModel,
  backbone: TokenBackbone,
  sequence: DavisSequence,
  options: VideoSegmentationOptions & { onWarning: (message: string) => void },
): Promise<SequenceScore> {
  const { name, frames } = sequence;
  const { patchSize } = backbone;
  const { size = defaultFrameSize(patchSize), nLastFrames = 7 } = options;
  const { sizeMaskNeighborhood = 12, topk = 5, signal } = options;
  const folder = path.join(options.output, name);
  const first = await readLabelImage(sequence.masks[0]!);
  const target = propagationSize(first, size, patchSize);
  const grid = { width: target.width / patchSize, height: target.height / patchSize };
  const small = resizeNearest(first.labels, first, grid); // (rows * columns)
  // the background is always a label, so that it wins where no object is found
  const names = [...new Set([0, ...small])].sort((a, b) => a - b);
  const numbers = small.map((label) => names.indexOf(label));
  const measures = new Measures(sequence, first, options);

  makeFolder(folder);
  writeLabelImage(path.join(folder, `${sequence.ids[0]!}.png`), first);
  options.onProgress?.({ sequence: name, done: 1, total: frames.length });
  const shape = { rows: grid.height, columns: grid.width, classes: names.length };
  let propagation: LabelPropagation | null = null;
  try {
    for (const [i, file] of frames.entries()) {
      signal?.throwIfAborted();
      if (i === 0 && frames.length === 1) break;
      const pixels = await readFrame(file, first, target, name);
      // outside of a scope: what is kept from this frame must outlive it
      const found = inferenceMode(() => {
        using features = scope(() => patchFeatures(backbone, pixels, target, model.device)); // (N, D)
        if (propagation !== null) {
          using shares = propagation.next(features); // (C, rows, columns)
          return labelsOfPixels(shares, patchSize);
        }
        propagation = new LabelPropagation(features, numbers, shape, {
          nLastFrames,
          sizeMaskNeighborhood,
          topk,
        });
        return null;
      });
      if (found === null) continue;
      const labels = resizeNearest(found, target, first).map((number) => names[number]!);
      writeLabelImage(path.join(folder, `${sequence.ids[i]!}.png`), {
        width: first.width,
        height: first.height,
        labels,
      });
      await measures.add(i, labels);
      options.onProgress?.({ sequence: name, done: i + 1, total: frames.length });
    }
  } finally {
    (propagation as LabelPropagation | null)?.dispose();
  }
  return { name, frames: frames.length, folder, objects: measures.result() };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new DataError(`${folder} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

/** (H, W, 3) bytes at the target's size. */
async function readFrame(file: string, size: Size, target: Size, sequence: string): Promise<Uint8Array> {
  const image = await decodeImage(file);
  if (image.width !== size.width || image.height !== size.height) {
    throw new DataError(
      `${sequence}: ${file} has ${image.width} x ${image.height} pixels; expected ${size.width} x ${size.height}, ` +
        "the first frame's mask's size",
    );
  }
  return resizeLinear(image.data, image, target);
}

/** Patch features of one frame, (rows * columns, D). */
function patchFeatures(backbone: TokenBackbone, rgb: Uint8Array, size: Size, device: string): Tensor {
  const pixels = imageTensor(rgb, size, device); // (1, 3, H, W)
  const { normalization } = backbone;
  const unit = pixels.to('float32').div_(255);
  const images = normalizeUnit(unit, normalization === IMAGENET ? REFERENCE : normalization).contiguous();
  const tokens = backbone.getIntermediateLayers(images, 1)[0]!; // (1, prefix + N, D)
  return patchTokens(backbone, tokens).select(0, 0); // (N, D)
}

/** J and F of every object, frame by frame; the first and the last frame are excluded, as in the package. */
class Measures {
  readonly #sequence: DavisSequence;
  readonly #first: LabelImage;
  readonly #objects: { label: number; J: number[]; F: number[] }[] | null;

  constructor(
    sequence: DavisSequence,
    first: LabelImage,
    options: VideoSegmentationOptions & { onWarning: (message: string) => void },
  ) {
    this.#sequence = sequence;
    this.#first = first;
    const { name, frames, masks } = sequence;
    const missing = masks.filter((mask) => mask === null).length;
    let labels = objectLabels(first.labels);
    if (options.measure === false) labels = [];
    else if (frames.length < 3) {
      options.onWarning(
        `${name}: ${frames.length} frames, nothing between the first and the last to measure`,
      );
      labels = [];
    } else if (missing > 0) {
      options.onWarning(
        `${name}: ${missing} of ${frames.length} frames have no mask, J and F are not measured`,
      );
      labels = [];
    } else if (labels.length === 0) options.onWarning(`${name}: the first mask has no object`);
    this.#objects = labels.length === 0 ? null : labels.map((label) => ({ label, J: [], F: [] }));
  }

  async add(index: number, labels: Uint8Array): Promise<void> {
    if (this.#objects === null || index === this.#sequence.frames.length - 1) return;
    const { width, height } = this.#first;
    const truth = await readLabelImage(this.#sequence.masks[index]!);
    for (const object of this.#objects) {
      const pick = (all: Uint8Array): Uint8Array => all.map((label) => (label === object.label ? 1 : 0));
      const wanted = pick(truth.labels);
      const got = pick(labels);
      object.J.push(regionSimilarity(wanted, got));
      object.F.push(contourAccuracy(wanted, got, width, height));
    }
  }

  result(): ObjectScore[] | null {
    if (this.#objects === null) return null;
    return this.#objects.map(({ label, J, F }) => ({
      label,
      J: sequenceStatistics(J),
      F: sequenceStatistics(F),
    }));
  }
}

/** The objects of a first mask: 1 to the highest label, or only 255 in a mask of 0 and 255 (DAVIS-2016). */
export function objectLabels(labels: Uint8Array): number[] {
  let highest = 0;
  let hasVoid = false;
  for (const label of labels) {
    if (label === VOID) hasVoid = true;
    else if (label > highest) highest = label;
  }
  if (highest === 0 && hasVoid) return [VOID];
  return Array.from({ length: highest }, (_, i) => i + 1);
}
