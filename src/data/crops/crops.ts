/**
 * The TypeScript side of native/crops: all crops of one decoded image, rendered in one call straight into the caller's
 * buffer; resizing; decoding. The addon makes no decisions: parameters come from here and from augmentation.ts, and every
 * pixel operation equals Pillow's, to the bit. Loaded by the main thread and by each worker.
 */
import { createRequire } from 'node:module';
import { EngineError } from '../../errors.js';
import {
  compileCommand,
  findAddon,
  isVectorProblem,
  missingAddonMessage,
  unloadableAddonAdvice,
  type VectorReport,
} from '../../native-addons.js';
import type { Rectangle } from '../../plain/eval-geometry.js';
import type { CropParams } from './augmentation.js';

interface CropsAddon {
  renderCrops(
    image: Uint8Array,
    width: number,
    height: number,
    channels: number,
    parameters: Float64Array,
    out: Uint8Array,
  ): void;
  renderDeepCrops(
    image: Uint8Array,
    width: number,
    height: number,
    channels: number,
    parameters: Float64Array,
    out: Uint8Array,
  ): void;
  resize(
    image: Uint8Array,
    width: number,
    height: number,
    channels: number,
    numbers: Float64Array,
    out: Uint8Array,
  ): void;
  toRgb(
    image: Uint8Array,
    width: number,
    height: number,
    channels: number,
    cmyk: boolean,
    out: Uint8Array,
  ): void;
  openDecoder(library: string): boolean;
  decode(
    bytes: Uint8Array,
    encoding: number,
    maxPixels: number,
    out: Uint8Array,
    size: Int32Array,
  ): 0 | 1 | 2;
  readonly parameterCount: number;
  readonly vectors: VectorReport;
}

/** Interleaved 8-bit pixels, row by row. */
export interface PixelImage {
  data: Uint8Array;
  width: number;
  height: number;
  /** 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha. Alpha is ignored. */
  channels: 1 | 2 | 3 | 4;
}

/** Interleaved 16-bit values, row by row: an image whose channels are taken as they are. */
export interface DeepImage {
  data: Uint16Array;
  width: number;
  height: number;
  /** 1 to MOST_CHANNELS. */
  channels: number;
}

/** How many numbers renderCrops takes for each crop: the fields in native/crops/addon.cc, in their order. */
const FIELDS = 25;
/** Which of them is the first of the box that is scaled. */
const BOX_FIELD = 20;

let loaded: CropsAddon | undefined;

function addon(): CropsAddon {
  if (loaded !== undefined) return loaded;
  const place = findAddon('crops');
  if ('tried' in place) throw new EngineError(missingAddonMessage('crops', place.tried));
  const { file } = place;
  let opened: CropsAddon;
  try {
    opened = createRequire(import.meta.url)(file) as CropsAddon;
  } catch (error) {
    if (isVectorProblem(error)) throw new EngineError(error.message, { cause: error });
    const reason = (error as Error).message;
    throw new EngineError(
      `the crops addon can't be loaded from ${file}: ${reason}. ${unloadableAddonAdvice(place, reason)}`,
      { cause: error },
    );
  }
  if (opened.parameterCount !== FIELDS) {
    throw new EngineError(
      `the crops addon ${file} is of a different version (${opened.parameterCount} numbers a crop, expected ${FIELDS}). ` +
        `Compile it again: ${compileCommand}.`,
    );
  }
  loaded = opened;
  return opened;
}

/** Loads the addon now, so that a missing build is reported before the work starts. */
export function loadCropsAddon(): void {
  addon();
}

/** The level of vector instructions that the addon's loops use, and the levels that the machine has. */
export function cropsVectors(): VectorReport {
  return addon().vectors;
}

/** Pillow's filters, antialiased, by the addon's numbers. */
const FILTERS = { bilinear: 0, bicubic: 1, lanczos: 2 } as const;
export type ResizeFilter = keyof typeof FILTERS;

/** Where a crop's planes go: (3, height, width) bytes at `offset`. */
export interface CropTarget {
  width: number;
  height: number;
  offset: number;
}

/**
 * Renders crops of one image, each as (3, height, width) planes at its target's offset in `out`.
 * @param image - The decoded image. If it was decoded at reduced size, it is smaller than the one that the parameters were
 *   sampled for by `scaleX` and `scaleY` (image size / original size).
 */
export function renderCrops(
  image: PixelImage,
  crops: readonly CropParams[],
  targets: readonly CropTarget[],
  out: Uint8Array,
  scaleX = 1,
  scaleY = 1,
  filter: ResizeFilter = 'bicubic',
): void {
  const numbers = cropNumbers(image, crops, targets, scaleX, scaleY, filter);
  addon().renderCrops(image.data, image.width, image.height, image.channels, numbers, out);
}

/** The bytes of 16-bit values. */
const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/**
 * Renders crops of an image of any channels, each as (channels, height, width) 16-bit planes at its target's offset, in
 * bytes, in `out`. Of the jitters only brightness and contrast are possible, each channel by itself.
 * @param out - Begins at an even address.
 */
export function renderDeepCrops(
  image: DeepImage,
  crops: readonly CropParams[],
  targets: readonly CropTarget[],
  out: Uint8Array,
  filter: ResizeFilter = 'bicubic',
): void {
  const numbers = cropNumbers(image, crops, targets, 1, 1, filter);
  addon().renderDeepCrops(bytesOf(image.data), image.width, image.height, image.channels, numbers, out);
}

/** Scales `box` of an image of any channels, in pixels that may have fractions, to planes as renderDeepCrops() writes them. */
export function resizeDeepImage(image: DeepImage, box: Rectangle, target: CropTarget, out: Uint8Array): void {
  const { width, height } = image;
  const whole = { x: 0, y: 0, width, height, flip: false, grayscale: false };
  const crop: CropParams = { ...whole, jitter: null, blurRadius: 0, solarizeThreshold: null };
  const numbers = cropNumbers(image, [crop], [target], 1, 1, 'bicubic');
  const edge = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
  numbers.set(
    [
      ...[edge(box.x, width), edge(box.y, height)],
      ...[edge(box.x + box.width, width), edge(box.y + box.height, height)],
    ],
    BOX_FIELD,
  );
  addon().renderDeepCrops(bytesOf(image.data), width, height, image.channels, numbers, out);
}

/** The fields of native/crops/addon.cc for each crop. */
function cropNumbers(
  image: { width: number; height: number },
  crops: readonly CropParams[],
  targets: readonly CropTarget[],
  scaleX: number,
  scaleY: number,
  filter: ResizeFilter,
): Float64Array {
  const numbers = new Float64Array(FIELDS * crops.length);
  for (let i = 0; i < crops.length; i++) {
    const crop = crops[i]!;
    const target = targets[i]!;
    // The rectangle that the resampling may read (whole pixels), and the part of it that is scaled. At full size they are
    // the same, as in torchvision: img.crop(...).resize(...).
    const x0 = Math.max(Math.floor(crop.x * scaleX + 1e-6), 0);
    const y0 = Math.max(Math.floor(crop.y * scaleY + 1e-6), 0);
    const x1 = Math.min(Math.ceil((crop.x + crop.width) * scaleX - 1e-6), image.width);
    const y1 = Math.min(Math.ceil((crop.y + crop.height) * scaleY - 1e-6), image.height);
    const jitter = crop.jitter;
    numbers.set(
      [
        ...[x0, y0, x1 - x0, y1 - y0, target.width, target.height, target.offset, crop.flip ? 1 : 0],
        ...(jitter === null ? [0, 0, 0, 0, 0] : [jitter.order.length, ...jitter.order]),
      ],
      i * FIELDS,
    );
    numbers.set(
      [
        ...(jitter === null
          ? [1, 1, 1, 0]
          : [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue]),
        ...[crop.grayscale ? 1 : 0, crop.blurRadius, crop.solarizeThreshold ?? -1],
        ...[Math.max(crop.x * scaleX - x0, 0), Math.max(crop.y * scaleY - y0, 0)],
        Math.min((crop.x + crop.width) * scaleX - x0, x1 - x0),
        Math.min((crop.y + crop.height) * scaleY - y0, y1 - y0),
        FILTERS[filter],
      ],
      i * FIELDS + 13,
    );
  }
  return numbers;
}

export interface ResizeOptions {
  /** Size of the whole resized image, in pixels. */
  width: number;
  height: number;
  /** Pillow's filter, antialiased. Default 'bicubic'. */
  filter?: ResizeFilter;
  /** The part of the image to scale, in pixels of the image; may have fractions. Default: all of it. */
  box?: Rectangle;
  /** The part of the resized image to compute. Default: all of it. */
  window?: Rectangle;
  /** (3, height, width) planes instead of interleaved RGB. Default false. */
  planar?: boolean;
  /** Buffer to write into. Default: a new one. */
  out?: Uint8Array;
  /** Where to begin in `out`, in bytes. Default 0. */
  offset?: number;
}

/**
 * Resizes an image as Pillow's `Image.resize` does (antialiased, bit-equal).
 * @returns RGB bytes, interleaved (height, width, 3) or planar (3, height, width), of the window
 */
export function resizeImage(image: PixelImage, options: ResizeOptions): Uint8Array {
  const { width, height } = options;
  const box = options.box ?? { x: 0, y: 0, width: image.width, height: image.height };
  const window = options.window ?? { x: 0, y: 0, width, height };
  const out = options.out ?? new Uint8Array(window.width * window.height * 3);
  const numbers = Float64Array.of(
    ...[box.x, box.y, box.x + box.width, box.y + box.height, width, height],
    ...[window.x, window.y, window.width, window.height],
    ...[FILTERS[options.filter ?? 'bicubic'], options.planar === true ? 1 : 0, options.offset ?? 0],
  );
  addon().resize(image.data, image.width, image.height, image.channels, numbers, out);
  return out;
}

/** Pixels of any channel count as interleaved RGB; the same bytes when they are RGB already. */
export function toRgb(image: PixelImage): Uint8Array {
  if (image.channels === 3) return image.data;
  const out = new Uint8Array(image.width * image.height * 3);
  addon().toRgb(image.data, image.width, image.height, image.channels, false, out);
  return out;
}

/** Interleaved CMYK as interleaved RGB, without colour management, as Pillow converts. */
export function cmykToRgb(data: Uint8Array, width: number, height: number): Uint8Array {
  const out = new Uint8Array(width * height * 3);
  addon().toRgb(data, width, height, 4, true, out);
  return out;
}

/** Encodings that {@link decodePlain} accepts, by the addon's numbers. */
const ENCODINGS = { JPEG: 0, PNG: 1, WebP: 2 } as const;
export type PlainEncoding = keyof typeof ENCODINGS;

/**
 * Finds the libvips that decodePlain() calls.
 * @param library - The name under which sharp has loaded it.
 * @returns whether decodePlain() can be used
 */
export function openDecoder(library: string): boolean {
  return addon().openDecoder(library);
}

/**
 * Decodes a plain image (8 bits, gray or RGB, alpha or not, upright) in this thread.
 * @param out - Receives the pixels.
 * @returns the size, with `written` false when the pixels do not fit `out`; null for an image that is not plain, has more
 *   than `maxPixels` or can't be decoded
 */
export function decodePlain(
  bytes: Uint8Array,
  encoding: PlainEncoding,
  maxPixels: number,
  out: Uint8Array,
): { written: boolean; width: number; height: number; channels: 1 | 2 | 3 | 4 } | null {
  const size = new Int32Array(3);
  const answer = addon().decode(bytes, ENCODINGS[encoding], maxPixels, out, size);
  if (answer === 0) return null;
  const [width = 0, height = 0, channels] = size;
  return { written: answer === 1, width, height, channels: channels as 1 | 2 | 3 | 4 };
}
