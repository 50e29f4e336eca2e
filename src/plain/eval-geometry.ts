/** Which pixels of an image an evaluation uses, as in torchvision: Resize, then CenterCrop. */
import { ConfigError } from '../errors.js';
import { roundHalfEven } from './rounding.js';

/** Part of an image, in pixels. */
export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** How images are brought to one size: shorter side to `resize` (bicubic), then the central `crop` x `crop`. */
export interface EvalSizes {
  resize: number;
  crop: number;
}

/**
 * The reference evaluates with Resize(256) and CenterCrop(224), for models trained on crops of 224. For a model of another
 * size the default keeps the same proportion.
 */
export function defaultEvalSizes(imgSize: number): EvalSizes {
  return { crop: imgSize, resize: Math.round((imgSize * 256) / 224) };
}

/**
 * The shorter side in the same proportion, so that the margins are whole pixels: in a page transformers.js crops by drawing,
 * and half a pixel would blur the image.
 */
export const evenMargin = (crop: number): number => crop + 2 * Math.round((crop * (256 / 224 - 1)) / 2);

/** What of a model an evaluation's sizes depend on. */
export interface SizedPatches {
  readonly patchSize: number;
  /** Images must consist of whole patches. */
  readonly wholePatches?: true;
}

/**
 * The sizes for an evaluation: the requested ones, or the model's own by default. A crop without a resize gets the resize
 * in the usual proportion.
 * @throws ConfigError with every problem.
 */
export function evalSizes(
  wanted: { readonly resize?: number | undefined; readonly crop?: number | undefined },
  model: SizedPatches & { readonly imgSize: number },
): EvalSizes {
  const { crop, resize: usual } = defaultEvalSizes(wanted.crop ?? model.imgSize);
  const sizes = { crop, resize: wanted.resize ?? usual };
  checkEvalSizes(sizes, model);
  return sizes;
}

/** What is wrong with a side that isn't a multiple of the patch, where it must be. */
export function notWhole(side: number, patchSize: number): string {
  const below = side - (side % patchSize);
  const choices = below === 0 ? `${patchSize}` : `${below} or ${below + patchSize}`;
  return `expected a multiple of ${patchSize}, the side of the model's patches, such as ${choices}`;
}

/** @throws ConfigError with every problem. */
export function checkEvalSizes({ resize, crop }: EvalSizes, model: SizedPatches): void {
  const { patchSize, wholePatches = false } = model;
  const problems: string[] = [];
  const isSize = (value: number): boolean => Number.isInteger(value) && value > 0;
  if (!isSize(resize)) problems.push(`resize ${resize}; expected a whole number of pixels`);
  if (!isSize(crop)) problems.push(`crop ${crop}; expected a whole number of pixels`);
  else if (crop < patchSize)
    problems.push(`crop ${crop} is smaller than the model's patches of ${patchSize}`);
  else if (crop > resize)
    problems.push(`crop ${crop} is larger than resize ${resize}: it would be padded with black`);
  if (wholePatches && isSize(crop) && crop > patchSize && crop % patchSize !== 0)
    problems.push(`crop ${crop}; ${notWhole(crop, patchSize)}`);
  if (problems.length > 0) throw new ConfigError(problems);
}

/** torchvision's Resize with one number: the shorter side becomes `size`, the longer one is rounded down. */
export function resizedShape(width: number, height: number, size: number): { width: number; height: number } {
  if (width <= height) return { width: size, height: Math.floor((size * height) / width) };
  return { width: Math.floor((size * width) / height), height: size };
}

/** torchvision's CenterCrop. */
export function centerCropWindow(shape: { width: number; height: number }, size: number): Rectangle {
  const start = (length: number) => roundHalfEven((length - size) / 2);
  return { x: start(shape.width), y: start(shape.height), width: size, height: size };
}
