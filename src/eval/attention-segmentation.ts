/**
 * How well self-attention cuts out objects, on any images with masks: the table in the paper's figure 4, for which the
 * reference has no script. Each head's attention of the class token in the last block is thresholded to keep 60% of its
 * mass and compared with the masks of the objects (jaccard.ts). The paper uses Pascal VOC 2012, whose masks (indexed PNGs,
 * 0 background, 255 void) are read as they are.
 */
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  filePath,
  finite,
  oneOf,
  optionsOf,
  pixels,
  signal as abortSignal,
} from '../plain/check-options.js';
import { readLabelImage, type LabelImage } from './indexed-png.js';
import { firstSkipped, imageHeader, type ListNotes } from '../data/index.js';
import { printable } from '../plain/printable.js';
import { resizeNearest } from './resample.js';
import { ConfigError, DataError } from '../errors.js';
import { attention, type AttentionOptions, type AttentionResult } from '../explain/attention.js';
import { attentionSize } from '../plain/attention-size.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { maskPairs } from './mask-pairs.js';
import { objectLabels } from './video-segmentation.js';
import { headJaccards, jaccardScore, type JaccardScore } from './jaccard.js';

export interface AttentionSegmentationOptions extends Pick<AttentionOptions, 'imageSize'> {
  /** A folder of images, at any depth, or a text file of paths. */
  images: string;
  /** A folder of PNGs with the images' names; images without a mask are skipped. */
  masks: string;
  /** Share of a head's attention that its mask keeps, above 0 and at most 1; default 0.6. */
  threshold?: number;
  /**
   * `each` (default): every label of a mask except 0 and 255 is an object; in a mask of only 0 and 255, 255 is one.
   * `foreground`: all labels together are one object.
   */
  objects?: 'each' | 'foreground';
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
  /** Called once, when photographs are turned by their orientation in a way that the size of a mask can't tell. */
  onWarning?: (message: string) => void;
}

export interface AttentionSegmentationResult extends JaccardScore, ListNotes {
  /** Objects of all images that count. */
  objects: number;
  /** Objects that don't: without a pixel at the model's size, or in the strip at an edge that is no whole patch. */
  tooSmall: number;
  threshold: number;
  /** Images that have no mask. */
  withoutMask: number;
  /** Paths of masks that have no image. */
  withoutImage: string[];
  /** Pairs that could not be used: unreadable, of different sizes, or without objects. Folders that can't be read. */
  skipped: { path: string; reason: string }[];
}

const segmentationOptions = optionsOf<AttentionSegmentationOptions>(
  { images: filePath, masks: filePath },
  {
    ...{ threshold: finite, objects: oneOf(['each', 'foreground']), imageSize: pixels },
    ...{ signal: abortSignal, onProgress: callback, onWarning: callback },
  },
);

/**
 * Jaccard similarity of attention masks and objects.
 *
 * @throws ConfigError for options out of range; DataError when no image has a mask or none can be used; the
 *   signal's reason when aborted.
 */
export async function evaluateAttentionSegmentation(
  model: LoadedModel,
  options: AttentionSegmentationOptions,
): Promise<AttentionSegmentationResult> {
  checkCall('evaluateAttentionSegmentation()', modelArgument(model), [
    'options',
    segmentationOptions,
    options,
  ]);
  const { threshold = 0.6, objects = 'each', imageSize, signal, onProgress, onWarning } = options;
  if (!(threshold > 0 && threshold <= 1)) {
    throw new ConfigError(`threshold ${threshold}; expected a share of the attention, above 0 and at most 1`);
  }
  const sizing = imageSize === undefined ? {} : { imageSize };
  const { found, unreadable, ...listed } = await maskPairs(options.images, options.masks);
  const scores: number[][][] = [];
  const skipped: AttentionSegmentationResult['skipped'] = [...unreadable];
  const turned: Turned[] = [];
  let tooSmall = 0;
  for (const [i, { image, mask }] of found.entries()) {
    signal?.throwIfAborted();
    try {
      const truth = await readLabelImage(mask);
      const result = await attention(model, image.path, { ...sizing, threshold });
      checkSize(result, truth, mask);
      const labels = labelsAtModelSize(
        truth,
        result,
        attentionSize(truth.width, truth.height, model, imageSize),
      );
      const present = new Set(truth.labels);
      const chosen = objectLabels(truth.labels).filter((label) => present.has(label));
      if (chosen.length === 0) throw new DataError('the mask has no object');
      const groups = objects === 'foreground' ? [chosen] : chosen.map((label) => [label]);
      // an object too small for a pixel at the model's size can't be found
      const visible = groups
        .map((group) => labels.map((label) => (group.includes(label) ? 1 : 0)))
        .filter((object) => object.includes(1));
      tooSmall += groups.length - visible.length;
      if (visible.length === 0) throw new DataError(allTooSmall(groups.length, result));
      scores.push(visible.map((object) => headJaccards({ ...result, masks: result.masks! }, object)));
      const { orientation } = await imageHeader(image.path);
      const isSquare = truth.width === truth.height;
      // a quarter turn is told by the sides
      if (orientation > 4 ? isSquare : orientation > 1) turned.push({ path: image.path, orientation });
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      skipped.push({ path: image.path, reason: error.message });
    }
    onProgress?.({ done: i + 1, total: found.length });
  }
  if (turned.length > 0) onWarning?.(turnedWarning(turned));
  if (scores.length === 0) {
    throw new DataError(`none of the ${found.length} images can be used${firstSkipped(skipped)}`);
  }
  const count = scores.reduce((sum, image) => sum + image.length, 0);
  return {
    ...jaccardScore(scores),
    ...{ objects: count, tooSmall, threshold, withoutMask: listed.withoutMask.length },
    ...{ withoutImage: listed.withoutImage, skipped, leftOut: listed.leftOut, remarks: listed.remarks },
  };
}

function allTooSmall(objects: number, { width, height }: AttentionResult): string {
  const what = objects === 1 ? 'its object is' : `its ${objects} objects are`;
  return (
    `${what} too small for a pixel at ${width}x${height}, or in the strip at the right or bottom edge that is no whole patch; ` +
    'try a larger --image-size'
  );
}

interface Turned {
  path: string;
  orientation: number;
}

function turnedWarning(turned: readonly Turned[]): string {
  const { path: first, orientation } = turned[0]!;
  const others = turned.length === 1 ? '' : `, and that of ${turned.length - 1} more`;
  return (
    `${printable(first)}: its orientation (EXIF ${orientation}) turns it${others}: the image is used upright, and its mask as it ` +
    'is stored. If the mask was drawn on the stored pixels, the score is wrong: turn it, or remove the orientation'
  );
}

function checkSize(result: AttentionResult, truth: LabelImage, mask: string): void {
  const { originalWidth, originalHeight } = result;
  if (truth.width === originalWidth && truth.height === originalHeight) return;
  throw new DataError(
    `${mask} has ${truth.width} x ${truth.height} pixels, its image ${originalWidth} x ${originalHeight}`,
  );
}

/** The labels, resized and cut to whole patches as the image was. */
function labelsAtModelSize(
  truth: LabelImage,
  result: AttentionResult,
  size: { width: number; height: number },
): Uint8Array {
  const large = resizeNearest(truth.labels, truth, size);
  const { width, height } = result;
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++)
    labels.set(large.subarray(y * size.width, y * size.width + width), y * width);
  return labels;
}
