/**
 * Decoding as loaders do it, thousands of images in a row: in the calling thread and into memory that is used again,
 * where that is quickest (native/crops/decode.cc says what it saves), else by way of decode.ts. The pixels are the same
 * either way, to the bit.
 */
import sharp from 'sharp';
import { decodePlain, openDecoder, type PlainEncoding } from '../crops/crops.js';
import { decodeBytes, jpegFrame, LEAST_REDUCTION, type DecodedImage, type DecodeOptions } from './decode.js';
import { MAX_PIXELS, sniffFormat } from './image-format.js';

/** The names under which sharp's own libvips, or the system's, may be loaded. */
function libraryNames(): string[] {
  const version = sharp.versions.vips;
  return process.platform === 'darwin'
    ? [`@rpath/libvips-cpp.${version}.dylib`, 'libvips.42.dylib']
    : [`libvips-cpp.so.${version}`, 'libvips.so.42'];
}

let canDecodeHere: boolean | undefined;

/** Where the pixels of the image in use are; it grows with the largest one, up to 10 megapixels. */
let memory = new Uint8Array(0);
const MOST_KEPT = 30 * 2 ** 20;

/** Whether this much of an image's size would rather be decoded smaller, which is sharp's work. */
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

/** Decodes into memory that the next call uses again; null for what sharp has to do. */
export function decodeHere(bytes: Uint8Array, { reduce }: DecodeOptions): DecodedImage | null {
  canDecodeHere ??= libraryNames().some(openDecoder);
  const encoding = sniffFormat(bytes);
  if (!canDecodeHere || (encoding !== 'JPEG' && encoding !== 'PNG' && encoding !== 'WebP')) return null;
  if (wantsReduction(bytes, encoding, reduce)) return null;
  let data = memory;
  let size = decodePlain(bytes, encoding, MAX_PIXELS, data);
  if (size?.written === false) {
    data = new Uint8Array(size.width * size.height * size.channels);
    if (data.length <= MOST_KEPT) memory = data;
    size = decodePlain(bytes, encoding, MAX_PIXELS, data);
  }
  if (size?.written !== true) return null;
  const { width, height, channels } = size;
  const original = { originalWidth: width, originalHeight: height };
  return { data, width, height, channels, ...original, isReducible: encoding !== 'PNG' };
}

/**
 * Decodes a file's bytes and gives the image to `use`, at once: its pixels are valid in there alone.
 * @throws DataError with the reason alone
 */
export async function useImage<T>(
  bytes: Uint8Array,
  options: DecodeOptions,
  use: (image: DecodedImage) => T,
): Promise<T> {
  return use(decodeHere(bytes, options) ?? (await decodeBytes(bytes, options)));
}
