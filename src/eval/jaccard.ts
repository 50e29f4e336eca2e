/**
 * How well attention maps outline objects: the measure of the paper's figure 4. A head's map is thresholded to keep 60%
 * of its mass (massMasks in explain/attention.ts), every patch is enlarged to its pixels, and the Jaccard similarity
 * (intersection over union, in pixels) with the ground truth is taken. For each object the head that fits it best counts;
 * the score is the mean over an image's objects, then over images. That choice by object is how the paper's first author
 * describes its table (discussion 54 of the reference's repository); the score of the one head that is best over all
 * images, which is never higher, is reported with it.
 */
import { z } from 'zod';
import { being, checkCall, count, instanceOf } from '../plain/check-options.js';
import { ShapeError } from '../errors.js';
import { mean } from '../plain/mean.js';

export interface HeadMasks {
  heads: number;
  /** Patches down and across. */
  rows: number;
  columns: number;
  /** Side of a patch, pixels. */
  patchSize: number;
  /** (heads, rows, columns): not 0 where a head's thresholded map is. */
  masks: Uint8Array;
}

const pixelMask = instanceOf(Uint8Array, 'a Uint8Array');
const headMasks = z.looseObject({
  ...{ heads: count(1), rows: count(1), columns: count(1), patchSize: count(1), masks: pixelMask },
});

/**
 * Jaccard similarity of every head's mask with one image's object, 0 to 1.
 *
 * @param truth - (rows * patchSize, columns * patchSize): not 0 on the object.
 * @returns One number per head; all 0 when neither mask nor object has a pixel.
 * @throws ShapeError when `truth` or `masks` has another size.
 */
export function headJaccards(attention: HeadMasks, truth: Uint8Array): number[] {
  checkCall('headJaccards()', ['attention', headMasks, attention], ['truth', pixelMask, truth]);
  const { heads, rows, columns, patchSize, masks } = attention;
  const width = columns * patchSize;
  if (truth.length !== rows * patchSize * width) {
    throw new ShapeError(
      `truth: expected ${rows * patchSize} x ${width} pixels for ${rows} x ${columns} patches of ${patchSize}, got ` +
        `${truth.length} values`,
    );
  }
  const patches = rows * columns;
  if (masks.length !== heads * patches) {
    throw new ShapeError(
      `masks: expected ${heads} heads of ${rows} x ${columns}, got ${masks.length} values`,
    );
  }
  // object pixels in each patch: a patch is in a mask with all of its pixels or with none
  const covered = new Float64Array(patches); // (rows * columns)
  let object = 0;
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === 0) continue;
    const row = Math.floor(i / width / patchSize);
    const column = Math.floor((i % width) / patchSize);
    covered[row * columns + column]!++;
    object++;
  }
  return Array.from({ length: heads }, (_, head) => {
    let intersection = 0;
    let kept = 0;
    for (let patch = 0; patch < patches; patch++) {
      if (masks[head * patches + patch] === 0) continue;
      intersection += covered[patch]!;
      kept += patchSize * patchSize;
    }
    const union = object + kept - intersection;
    return union === 0 ? 0 : intersection / union;
  });
}

/** Scores over a set of images, 0 to 100. */
export interface JaccardScore {
  /** Mean over images of the mean over objects of the best head's similarity, chosen for each object: the paper's. */
  bestPerImage: number;
  /** The similarity of the one head that is best over the set. */
  bestHead: number;
  /** Mean over images, for each head. */
  heads: number[];
  images: number;
}

const isList = (value: unknown, is: (entry: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(is);
const similarities = being("for each image a list of its objects' similarities, one per head", (value) =>
  isList(value, (objects) => isList(objects, (object) => isList(object, Number.isFinite))),
);

/**
 * @param perImage - For every image, headJaccards() of each of its objects.
 * @throws ShapeError without images, for an image without objects, or when the numbers of heads differ.
 */
export function jaccardScore(perImage: readonly (readonly (readonly number[])[])[]): JaccardScore {
  checkCall('jaccardScore()', ['perImage', similarities, perImage]);
  const heads = perImage[0]?.[0]?.length ?? 0;
  const counts = [...new Set(perImage.flatMap((objects) => objects.map((object) => object.length)))];
  if (heads === 0 || counts.length > 1 || perImage.some((objects) => objects.length === 0)) {
    throw new ShapeError(
      `expected images of at least one object with one similarity per head, got ${perImage.length} images with ` +
        `${counts.join(' and ') || 'no'} heads`,
    );
  }
  const percent = (score: (objects: readonly (readonly number[])[]) => number): number =>
    100 * mean(perImage.map(score));
  const means = Array.from({ length: heads }, (_, head) =>
    percent((objects) => mean(objects.map((object) => object[head]!))),
  );
  return {
    bestPerImage: percent((objects) => mean(objects.map((object) => Math.max(...object)))),
    bestHead: Math.max(...means),
    heads: means,
    images: perImage.length,
  };
}
