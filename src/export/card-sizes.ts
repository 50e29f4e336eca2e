/** What a model card says of the images that a file takes: for an export, what was written, not what the model began as. */
import { defaultEvalSizes, evenMargin } from '../plain/eval-geometry.js';
import type { Architecture } from '../weights/architecture.js';

export const CARD_FORMATS = ['run', 'safetensors', 'pth', 'onnx', 'transformers'] as const;
/** What the model is beside: a run or weights as they are, or an export. */
export type CardFormat = (typeof CARD_FORMATS)[number];

/** As they were given to the export. */
export interface CardSizeOptions {
  /** Side in pixels, or [height, width] of an ONNX file. Default: the model's own. */
  imageSize?: number | readonly [height: number, width: number];
  /** transformers: the shorter side that images are resized to. */
  resize?: number;
  /** onnx, transformers: the file takes images of any size. */
  dynamicSize?: boolean;
}

export interface CardSizes {
  height: number;
  width: number;
  /** What is done to an image, behind "images are". */
  text: string;
  /** Which other sizes the file takes. */
  others: string;
}

export function cardSizes(
  format: CardFormat,
  { imgSize, positionsSize, wholePatches }: Architecture,
  {
    imageSize,
    resize: wanted,
    dynamicSize = false,
  }: { [K in keyof CardSizeOptions]: CardSizeOptions[K] | undefined },
): CardSizes {
  const isFixed = (format === 'onnx' || format === 'transformers') && !dynamicSize;
  // positions of a size of their own are moved without the size that images are evaluated at
  const keepsSize = format === 'run' || (!isFixed && !dynamicSize && positionsSize !== undefined);
  const given = keepsSize ? imgSize : (imageSize ?? imgSize);
  const [height, width] = typeof given === 'number' ? [given, given] : given;
  const others = isFixed
    ? 'the file takes no other size'
    : `other sizes${wholePatches === true ? ' of whole patches' : ''} work too`;
  if (height !== width) {
    const size = `${height} x ${width} (height x width)`;
    return {
      height,
      width,
      others,
      text: `resized to cover ${size}, and cut to the central part of that size`,
    };
  }
  const resize = format === 'transformers' ? (wanted ?? evenMargin(height)) : defaultEvalSizes(height).resize;
  const text = `resized to a shorter side of ${resize}, and cut to the central ${height} x ${height}`;
  return { height, width, others, text };
}
