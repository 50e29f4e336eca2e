/**
 * Decoding as loaders do it, thousands of images in a row: in the calling thread and into memory that is reused, for images
 * where that is fastest (native/crops/decode.cc says what it saves), else through decode.ts. The pixels are the same either
 * way, to the bit.
 */
import sharp from 'sharp';
import { decodePlain, openDecoder, type PlainEncoding } from '../crops/crops.js';
import { decodeBytes, jpegFrame, LEAST_REDUCTION, type DecodedImage, type DecodeOptions } from './decode.js';
import { MAX_PIXELS, sniffFormat } from './image-format.js';
import { hiddenOrientation } from './orientation.js';

/** The names under which sharp's own libvips, or the system's, may be loaded. */
function libraryNames(): string[] {
  const version = sharp.versions.vips;
  return process.platform === 'darwin'
    ? [`@rpath/libvips-cpp.${version}.dylib`, 'libvips.42.dylib']
    : [`libvips-cpp.so.${version}`, 'libvips.so.42'];
}

let canDecodeHere: boolean | undefined;

/** Holds the pixels of the image in use; grows with the largest image, up to 10 megapixels. */
let memory = new Uint8Array(0);
const MAX_KEPT = 30 * 2 ** 20;

/** Whether an image is so large that it should be decoded at reduced size, which only sharp does. */
function wantsReduction(
  bytes: Uint8Array,
  encoding: PlainEncoding,
  reduce: DecodeOptions['reduce'],
): boolean {
  if (reduce === undefined || encoding === 'PNG') return false;
  const size =
    encoding === 'JPEG' ? jpegFrame(bytes) : decodePlain(bytes, encoding, MAX_PIXELS, new Uint8Array(0));
  return size === null || reduce(size.width, size.height) >= LEAST_REDUCTION;
}

/** Decodes into memory that the next call reuses; null for an image that is left to sharp. */
export function decodeHere(bytes: Uint8Array, { reduce }: DecodeOptions): DecodedImage | null {
  canDecodeHere ??= libraryNames().some(openDecoder);
  const encoding = sniffFormat(bytes);
  if (!canDecodeHere || (encoding !== 'JPEG' && encoding !== 'PNG' && encoding !== 'WebP')) return null;
  if (hiddenOrientation(bytes, encoding) !== 1 || wantsReduction(bytes, encoding, reduce)) return null;
  let data = memory;
  let size = decodePlain(bytes, encoding, MAX_PIXELS, data);
  if (size?.written === false) {
    data = new Uint8Array(size.width * size.height * size.channels);
    if (data.length <= MAX_KEPT) memory = data;
    size = decodePlain(bytes, encoding, MAX_PIXELS, data);
  }
  if (size?.written !== true) return null;
  const { width, height, channels } = size;
  const original = { originalWidth: width, originalHeight: height };
  return { data, width, height, channels, ...original, isReducible: encoding !== 'PNG' };
}

/**
 * Decodes a file's bytes and calls `use` with the image; the pixels are valid only during that call, which is synchronous.
 * @throws DataError with only the reason
 */
export async function useImage<T>(
  bytes: Uint8Array,
  options: DecodeOptions,
  use: (image: DecodedImage) => T,
): Promise<T> {
  return use(decodeHere(bytes, options) ?? (await decodeBytes(bytes, options)));
}
