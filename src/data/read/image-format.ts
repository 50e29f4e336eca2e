/**
 * Decides what is accepted as an image before any decoder sees it: by its first bytes, never by its name, and within limits.
 * A decoder that is left to guess opens far more than images (libvips passes SVG to a library that follows references).
 */
import { DataError } from '../../errors.js';
import { mayReadHere } from '../../files/read-below.js';
import { foreignFormat } from './foreign-formats.js';

/**
 * Images with more pixels than this are refused by their header, before any memory is allocated for them: a small file
 * can claim to be 60,000 x 60,000. Pillow raises its DecompressionBombError at the same number. It applies wherever an
 * image or a frame of a video is decoded.
 */
export const MAX_PIXELS = 178_956_970;

/**
 * Files with more bytes than this are not read: the size of MAX_PIXELS uncompressed in RGB, and 64 MiB for metadata. (A
 * sparse file of any size takes no room on a disk.)
 */
export const MAX_IMAGE_BYTES = 3 * MAX_PIXELS + 2 ** 26;

/** How many of a file's first bytes decide what it is. */
export const SNIFFED_BYTES = 132;

/** PNM: PBM, PGM and PPM. */
export type ImageFormat = 'JPEG' | 'PNG' | 'WebP' | 'AVIF' | 'TIFF' | 'GIF' | 'BMP' | 'PNM';

/**
 * Most pixels of an image of this format. The decoder of AVIF takes 18 bytes a pixel (libheif with libaom, measured), others
 * up to 7, and a file of a few hundred bytes may have any size: with these limits each is decoded in some 1.3 GB.
 */
export const maxPixels = (format: ImageFormat): number =>
  format === 'AVIF' ? Math.floor(0.4 * MAX_PIXELS) : MAX_PIXELS;

/** @throws DataError with only the reason, when an image has more pixels than are read */
export function checkPixels(format: ImageFormat, width: number, height: number): void {
  if (width * height > maxPixels(format))
    throw new DataError(
      `${format} of more than ${maxPixels(format)} pixels, refused before decoding (pixel limit)`,
    );
}

/** The format of a file by its first bytes; null when it is none of those that are read. */
export function sniffFormat(bytes: Uint8Array): ImageFormat | null {
  const ascii = (from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to));
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return 'JPEG';
  if (ascii(0, 8) === '\x89PNG\r\n\x1a\n') return 'PNG';
  if (ascii(0, 4) === 'RIFF' && ascii(8, 12) === 'WEBP') return 'WebP';
  if (ascii(0, 6) === 'GIF87a' || ascii(0, 6) === 'GIF89a') return 'GIF';
  if (['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(ascii(0, 4))) return 'TIFF';
  if (ascii(4, 8) === 'ftyp' && /avi[fs]/.test(ascii(8, Math.min(bytes.length, 64)))) return 'AVIF';
  if (ascii(0, 2) === 'BM' && isBmpHeader(bytes)) return 'BMP';
  if (/^P[1-6][\t-\r #]/.test(ascii(0, 3))) return 'PNM';
  return null;
}

/** "BM" alone may begin a text: the header's size, of those that exist, follows at byte 14. */
const isBmpHeader = (bytes: Uint8Array): boolean =>
  bytes.length < 18 || (bytes[14]! <= 124 && bytes[15] === 0 && bytes[16] === 0 && bytes[17] === 0);

/** What the bytes are instead. Quoted only where the caller may read any file: the studio's replies must not quote one. */
function describeContent(bytes: Uint8Array): string {
  const name = foreignFormat(bytes);
  if (name !== null) return `, but ${name}`;
  if (mayReadHere() !== null) return ': it is something else';
  const start = Buffer.from(bytes.subarray(0, 64)).toString('latin1');
  if (/^[\t\n\r\x20-\x7e\x80-\xff]+$/.test(start)) {
    return `: it starts with the text ${JSON.stringify(start.slice(0, 24))}`;
  }
  return `: it starts with the bytes ${Buffer.from(bytes.subarray(0, 8)).toString('hex')}`;
}

/** The format of an image's bytes, of which the first SNIFFED_BYTES are enough. @throws DataError with only the reason */
export function imageFormat(bytes: Uint8Array): ImageFormat {
  if (bytes.length === 0) throw new DataError('the file is empty');
  const format = sniffFormat(bytes);
  if (format === null)
    throw new DataError(
      `not a JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, PPM or PGM image${describeContent(bytes)}`,
    );
  return format;
}

/** @throws DataError with only the reason, when an image has more bytes than are read */
export function checkImageBytes(bytes: number): void {
  if (bytes > MAX_IMAGE_BYTES)
    throw new DataError(`${bytes} bytes, more than the ${MAX_IMAGE_BYTES} that an image may have`);
}
