/** Images with masks, checked before anything is computed: sizes, values, and what is missing. */
import { firstSkipped, imageHeader, type ListNotes, notesOf } from '../data/index.js';
import { DataError } from '../errors.js';
import { labelImageSize, readLabelImage } from '../eval/indexed-png.js';
import { type MaskPair, maskPairs } from '../eval/mask-pairs.js';
import { printable } from '../plain/printable.js';

/** Problems that one message names. */
const NAMED = 10;
/** The value of pixels that don't count, in masks of Pascal VOC, DAVIS, Cityscapes and ADE20K alike. */
export const USUAL_IGNORE = 255;

export interface MaskedImages extends ListNotes {
  pairs: MaskPair[];
  /** Paths of images without a mask, and of masks without an image. */
  withoutMask: string[];
  withoutImage: string[];
  /** Images that can't be read, and why. */
  skipped: { path: string; reason: string }[];
}

/**
 * Lists pairs of images and masks.
 * @throws DataError when no image has a mask, none can be read, or masks have other sizes than their images or can't be read:
 *   then it names them, with both sizes.
 */
export async function listMasked(images: string, masks: string, signal?: AbortSignal): Promise<MaskedImages> {
  const { found, withoutMask, withoutImage, unreadable, ...notes } = await maskPairs(images, masks);
  const pairs: MaskPair[] = [];
  const skipped = [...unreadable];
  const problems: string[] = [];
  for (const pair of found) {
    signal?.throwIfAborted();
    const { path } = pair.image;
    let size: { width: number; height: number };
    try {
      size = await imageHeader(path);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      skipped.push({ path, reason: error.message });
      continue;
    }
    try {
      const { width, height } = await labelImageSize(pair.mask);
      if (width !== size.width || height !== size.height)
        problems.push(
          `${printable(pair.mask)} has ${width} x ${height} pixels, its image ${printable(path)} ${size.width} x ${size.height}`,
        );
      else pairs.push(pair);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) {
    const more = problems.length > NAMED ? [`and ${problems.length - NAMED} more`] : [];
    throw new DataError([...problems.slice(0, NAMED), ...more].join('\n'));
  }
  if (pairs.length === 0)
    throw new DataError(`none of the ${found.length} images with masks can be read${firstSkipped(skipped)}`);
  return { pairs, withoutMask, withoutImage, skipped, ...notesOf(notes) };
}

/**
 * The values that occur in masks, in rising order.
 * @param ignore - The value that doesn't count; undefined for 255, unless masks hold nothing but 0 and 255, where it is the object
 *   (DAVIS-2016); null for none.
 */
export async function valuesOf(
  pairs: readonly MaskPair[],
  ignore: number | null | undefined,
  signal?: AbortSignal,
): Promise<{ values: number[]; ignored: number | null }> {
  const seen = new Set<number>();
  for (const { mask } of pairs) {
    signal?.throwIfAborted();
    const { labels } = await readLabelImage(mask);
    for (const label of labels) seen.add(label);
  }
  const isBinary = seen.size === 2 && seen.has(0) && seen.has(USUAL_IGNORE);
  const ignored = ignore === undefined ? (isBinary ? null : USUAL_IGNORE) : ignore;
  if (ignored !== null) seen.delete(ignored);
  return { values: [...seen].sort((a, b) => a - b), ignored };
}
