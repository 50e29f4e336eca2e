/**
 * From an image file to RGB bytes, through sharp (libvips) or, for what it doesn't read, readers of our own. The result is that of Pillow's Image.open(...).convert("RGB"):
 * colour profiles are ignored, alpha is dropped (not blended), gray is repeated, palettes are looked up, CMYK is converted
 * by plain arithmetic.
 *
 * Departures from Pillow, on purpose:
 * - Orientation is applied (EXIF's, or XMP's where EXIF has none, as Pillow's exif_transpose does): a photograph is upright.
 * - Images of 12 or 16 bits keep the highest 8 of each value. Pillow does so for 16-bit colour, but clips gray at 255,
 *   which turns such an image white.
 * - Transparent pixels of a GIF are black (the decoder does not keep their colour).
 * - Of an animation the first frame is used (as by Pillow), of a multi-page TIFF the first page.
 */
import sharp, { type Sharp, type SharpOptions } from 'sharp';
import { DataError } from '../../errors.js';
import { printable } from '../../plain/printable.js';
import { cmykToRgb, resizeImage, toRgb, type PixelImage } from '../crops/crops.js';
import { type EncodedImage, viewOf } from './encoded-image.js';
import { type ImageFormat, maxPixels } from './image-format.js';
import { openBytes, type OpenedImage } from './open-image.js';
import { turned } from './orientation.js';
import { readImageFile } from './read-image-file.js';

/** A decoded image; smaller than the file's when it was decoded at reduced size. */
export interface DecodedImage extends PixelImage {
  /** Size of the whole image, after orientation. */
  originalWidth: number;
  originalHeight: number;
  /** Whether its decoder can make smaller images: with `reduce`, {@link decodedSize} decides how small. */
  isReducible: boolean;
}

/** How much smaller an image of this size may be decoded: 1 for full size, 4 for a quarter of the sides. */
export type Reduce = (width: number, height: number) => number;

export interface DecodeOptions {
  /** Used only for JPEG and WebP, whose decoders make small images in a fraction of the time. */
  reduce?: Reduce;
}

/** In pixels. */
export interface Size {
  width: number;
  height: number;
}

/** Whether the bytes that end a complete file are missing. */
function isCutOff(format: ImageFormat, bytes: Uint8Array): boolean {
  // other bytes may follow in a good file, so a marker anywhere in the last part is enough
  const tail = Buffer.from(bytes.subarray(-65536)).toString('latin1');
  if (format === 'JPEG') return !tail.includes('\xff\xd9');
  if (format === 'PNG') return !tail.includes('IEND');
  if (format === 'WebP' && bytes.length >= 12) return Buffer.from(bytes).readUInt32LE(4) + 8 > bytes.length;
  return false;
}

/**
 * Why decoding failed, in one line. The messages of libvips are not used: all threads share one buffer of them, so that the
 * reason would depend on timing.
 */
export function asReason(error: unknown, format: ImageFormat, bytes: Uint8Array): DataError {
  if (error instanceof DataError) return error;
  if ((error as Error).message.includes('pixel limit')) {
    const reason = `${format} of more than ${maxPixels(format)} pixels, refused before decoding (pixel limit)`;
    return new DataError(reason, { cause: error });
  }
  const kind = format === 'JPEG' ? unreadJpeg(bytes) : null;
  if (kind !== null) return new DataError(`${kind}, which is not read`, { cause: error });
  const isCut = isCutOff(format, bytes);
  return new DataError(`damaged ${format}${isCut ? ': the end of the file is missing' : ''}`, {
    cause: error,
  });
}

export const optionsFor = (format: ImageFormat): SharpOptions => ({
  // warnings (an odd EXIF block, bytes after the end) are common in good files; truncated data is an error
  failOn: 'error',
  limitInputPixels: maxPixels(format),
  ignoreIcc: true,
  autoOrient: true,
});

interface RawImage {
  data: Uint8Array;
  info: { width: number; height: number; channels: 1 | 2 | 3 | 4 };
}

async function rawPixels(pipeline: Sharp): Promise<RawImage> {
  const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
  return { data, info };
}

/** CMYK files need a pipeline of their own: sharp would convert them with a colour profile. */
async function decodeCmyk(bytes: Uint8Array, format: ImageFormat): Promise<DecodedImage> {
  const pipeline = sharp(bytes, optionsFor(format)).pipelineColourspace('cmyk').toColourspace('cmyk');
  const { data, info } = await rawPixels(pipeline);
  const { width, height } = info;
  const rgb = cmykToRgb(data, width, height);
  const size = { width, height, originalWidth: width, originalHeight: height };
  return { data: rgb, channels: 3, ...size, isReducible: false };
}

interface JpegFrame {
  width: number;
  height: number;
  components: number;
  /** Bits of a sample. */
  precision: number;
  /** The kind of frame: 0xc0 to 0xcf are JPEG's, 0xf7 is that of JPEG-LS. */
  marker: number;
}

/** Reads size and components from a JPEG's frame header, a few microseconds; null when it is not found. */
export function jpegFrame(bytes: Uint8Array): JpegFrame | null {
  let at = 2;
  while (at + 9 < bytes.length) {
    if (bytes[at] !== 0xff) return null;
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at++; // fill byte
      continue;
    }
    // SOF0..SOF15, but for DHT, JPG and DAC; SOF55
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame || marker === 0xf7) {
      return {
        ...{ marker, precision: bytes[at + 4]! },
        height: (bytes[at + 5]! << 8) | bytes[at + 6]!,
        width: (bytes[at + 7]! << 8) | bytes[at + 8]!,
        components: bytes[at + 9]!,
      };
    }
    if (marker === 0xda || marker === 0xd9) return null;
    at += 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
  }
  return null;
}

/** What a JPEG is that no decoder here reads; null for one that could be read if it were whole. */
function unreadJpeg(bytes: Uint8Array): string | null {
  const frame = jpegFrame(bytes);
  if (frame === null) return null;
  const { marker, precision, components } = frame;
  if (marker === 0xf7) return 'JPEG-LS';
  if (precision !== 8) return `JPEG of ${precision} bits per sample`;
  if (marker >= 0xc5 && marker !== 0xc9 && marker !== 0xca) return 'hierarchical or arithmetic lossless JPEG';
  return [1, 3, 4].includes(components) ? null : `JPEG of ${components} components`;
}

/**
 * Decodes the bytes of a file to interleaved pixels of 1 to 4 channels; alpha is to be ignored.
 * @throws DataError with a one-line reason
 */
export async function decodeBytes(bytes: Uint8Array, options: DecodeOptions = {}): Promise<DecodedImage> {
  const opened = openBytes(bytes);
  const { format, own, turn } = opened;
  try {
    // what is turned here is decoded at full size: few files are, and sides need not be swapped twice
    if (own !== null) return whole(turned(own.read(), turn));
    if (turn !== 1) return whole(turned(await decodeWithLibvips(opened, {}), turn));
    return await decodeWithLibvips(opened, options);
  } catch (error) {
    throw asReason(error, format, bytes);
  }
}

const whole = ({ data, width, height, channels }: PixelImage): DecodedImage => ({
  ...{ data, width, height, channels },
  ...{ originalWidth: width, originalHeight: height, isReducible: false },
});

async function decodeWithLibvips(opened: OpenedImage, options: DecodeOptions): Promise<DecodedImage> {
  const { format, bytes } = opened;
  if (opened.isCmyk) return decodeCmyk(bytes, format);
  if (format === 'JPEG' && jpegFrame(bytes)?.components === 4) {
    const { space } = await sharp(bytes, optionsFor(format)).metadata();
    if (space === 'cmyk') return decodeCmyk(bytes, format);
  }
  const pipeline = sharp(bytes, optionsFor(format));
  const isReducible = format === 'JPEG' || format === 'WebP';
  let original: Size | null = null;
  if (options.reduce !== undefined && isReducible) {
    original = await reduceSize(pipeline, format, bytes, options.reduce);
  }
  const { data, info } = await rawPixels(pipeline.toColourspace('srgb'));
  const { width, height, channels } = info;
  if (!(channels <= 4)) throw new DataError(`${format} of ${channels} bands, which is not read`);
  return {
    ...{ data, width, height, channels },
    ...{ originalWidth: original?.width ?? width, originalHeight: original?.height ?? height },
    isReducible,
  };
}

/** Below this factor, reading the size first costs more than a smaller image saves. */
export const LEAST_REDUCTION = 3;
/**
 * Above this factor, libjpeg would decode at an eighth, that is keep one value of each 8 x 8 block: without an antialiasing
 * filter, which is visible.
 */
const MOST_REDUCTION = 8;

/**
 * The size that a reducible image is decoded at, which alone determines its pixels. Factors are whole numbers, 3 to 8, so
 * that an image has few sizes over the epochs, which can be cached (decoded-cache.ts). Sizes are rounded down: sharp has
 * libjpeg decode at full size when an image is 2.99 times too large, and at half when it is 4.99 times.
 */
export function decodedSize(width: number, height: number, reduce: Reduce): Size {
  const factor = Math.floor(Math.min(reduce(width, height), MOST_REDUCTION));
  if (factor < LEAST_REDUCTION) return { width, height };
  const smaller = (side: number) => Math.max(1, Math.floor(side / factor));
  return { width: smaller(width), height: smaller(height) };
}

/**
 * Sets a pipeline to make a smaller image where that is allowed and pays off: from a third on, libjpeg decodes at half or a
 * quarter, and libvips scales the rest with the bicubic kernel that is also used for the crops.
 * @returns the full size after orientation, when the image is reduced; else null
 */
async function reduceSize(
  pipeline: Sharp,
  format: ImageFormat,
  bytes: Uint8Array,
  reduce: Reduce,
): Promise<Size | null> {
  if (format === 'JPEG') {
    const frame = jpegFrame(bytes);
    // orientation may swap the sides: it goes on if the image is large enough either way
    if (frame === null) return null;
    const { width, height } = frame;
    if (Math.max(reduce(width, height), reduce(height, width)) < LEAST_REDUCTION) return null;
  }
  const { autoOrient } = await pipeline.metadata();
  const { width, height } = decodedSize(autoOrient.width, autoOrient.height, reduce);
  if (width === autoOrient.width && height === autoOrient.height) return null;
  pipeline.resize(width, height, { fit: 'fill', kernel: 'cubic', fastShrinkOnLoad: true });
  return autoOrient;
}

/** What the header of an image says. */
export interface ImageHeader extends Size {
  format: ImageFormat;
  /** Size of the file. */
  bytes: number;
  /** How the stored pixels are turned to be upright, by EXIF's numbers: 1 for not at all. */
  orientation: number;
}

/** The bytes of an image: those given, or those of a file or of an image in a shard. */
const bytesOf = async (input: string | Uint8Array): Promise<Uint8Array> =>
  typeof input === 'string' ? readImageFile(input) : input;

/**
 * Format and size (after orientation) of an image; its pixels are not decoded.
 * @throws DataError with a one-line reason
 */
export async function imageHeader(input: string | Uint8Array): Promise<ImageHeader> {
  const file = await bytesOf(input);
  const { format, bytes, own, turn } = openBytes(file);
  try {
    const metadata = own === null ? await sharp(bytes, optionsFor(format)).metadata() : null;
    const { width, height } = metadata?.autoOrient ?? own!;
    const size = turn >= 5 ? { width: height, height: width } : { width, height };
    const orientation = turn === 1 ? (metadata?.orientation ?? 1) : turn;
    return { format, bytes: file.length, ...size, orientation };
  } catch (error) {
    throw asReason(error, format, file);
  }
}

export interface Picture extends Size {
  /** A WebP. */
  data: Uint8Array<ArrayBuffer>;
}

async function asWebp(pipeline: Sharp, side: number, quality: number): Promise<Picture> {
  const { data, info } = await pipeline
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality })
    .toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), width: info.width, height: info.height };
}

function rgbOf(decoded: DecodedImage): Sharp {
  const { width, height } = decoded;
  return sharp(toRgb(decoded), { raw: { width, height, channels: 3 } });
}

/**
 * A thumbnail of an image, upright: a WebP of at most `side` x `side` pixels.
 * @throws DataError with a one-line reason
 */
export async function imageThumbnail(
  input: string | Uint8Array,
  side: number,
  quality: number,
): Promise<Picture> {
  const file = await bytesOf(input);
  const { format, bytes, own, turn } = openBytes(file);
  try {
    const isPlain = own === null && turn === 1;
    // it is for people, so the colour profile is applied
    const pipeline = isPlain
      ? sharp(bytes, { ...optionsFor(format), ignoreIcc: false })
      : rgbOf(await decodeBytes(file));
    return await asWebp(pipeline, side, quality);
  } catch (error) {
    throw asReason(error, format, file);
  }
}

/**
 * The same for a model to look at: of the pixels that its features are made of, so without transparency, below which a WebP
 * keeps no colours, and without applying a colour profile.
 * @throws DataError with a one-line reason
 */
export async function modelPicture(
  input: string | Uint8Array,
  side: number,
  quality: number,
): Promise<Picture> {
  const reduce = (width: number, height: number) => Math.max(width, height) / side / 2;
  return asWebp(rgbOf(await decodeBytes(await bytesOf(input), { reduce })), side, quality);
}

/** Reads and decodes a file; see {@link decodeBytes}. Errors have only the reason, without the path. */
export async function decodeFile(path: string, options: DecodeOptions = {}): Promise<DecodedImage> {
  return decodeBytes(await readImageFile(path), options);
}

export interface DecodeImageOptions {
  /** Longest that the longer side may be, in pixels; the aspect ratio is kept. */
  maxSide?: number;
}

/** An RGB image: (height, width, 3) bytes. */
export interface RgbImage extends PixelImage {
  channels: 3;
}

/**
 * Decodes an image to RGB as Pillow's `convert("RGB")` would (departures: see the top of this file).
 * @param input - A path, or the bytes of a file.
 * @throws DataError that names the file and the reason
 */
export async function decodeImage(input: EncodedImage, options: DecodeImageOptions = {}): Promise<RgbImage> {
  const { maxSide = Infinity } = options;
  // decoded about twice as large as wanted, because the last step is Pillow's resize
  const reduce = (width: number, height: number) => Math.max(width, height) / maxSide / 2;
  let decoded: DecodedImage;
  try {
    decoded =
      typeof input === 'string'
        ? await decodeFile(input, { reduce })
        : await decodeBytes(viewOf(input), { reduce });
  } catch (error) {
    const name = typeof input === 'string' ? input : `of ${input.byteLength} bytes`;
    throw new DataError(`Can't read the image ${printable(name)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const { width, height, originalWidth, originalHeight } = decoded;
  const scale = maxSide / Math.max(originalWidth, originalHeight);
  if (scale >= 1) return { data: toRgb(decoded), width, height, channels: 3 };
  const small = {
    width: Math.max(1, Math.round(originalWidth * scale)),
    height: Math.max(1, Math.round(originalHeight * scale)),
  };
  return { data: resizeImage(decoded, small), ...small, channels: 3 };
}
