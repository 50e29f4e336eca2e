/**
 * What is known of an image before its pixels are decoded: its format, who reads it, and how it is to be turned. All that
 * decode.ts does with an image begins here, so that embedding, training, the studio and thumbnails read the same files alike.
 */
import type { PixelImage } from '../crops/crops.js';
import { bmpHeader, readBmp } from './bmp.js';
import { type ImageFormat, imageFormat } from './image-format.js';
import { avifOrientation, hiddenOrientation, type Orientation, tiffOrientation } from './orientation.js';
import { pnmHeader, readPnm } from './pnm.js';
import { TiffDirectory } from './tiff-header.js';
import { readTiffPixels } from './tiff-pixels.js';
import { tiffReader, tiffVariant } from './tiff-variant.js';

export interface OpenedImage {
  format: ImageFormat;
  /** What libvips is given. */
  bytes: Uint8Array;
  /** Reads the pixels where libvips does not; null where it does. */
  own: { width: number; height: number; read: () => PixelImage } | null;
  /** What is left to turn once it is decoded. */
  turn: Orientation;
  /** Whether a TIFF has CMYK samples. */
  isCmyk: boolean;
}

/** @throws DataError with only the reason, for files and variants that are not read */
export function openBytes(bytes: Uint8Array): OpenedImage {
  const format = imageFormat(bytes);
  const plain = { format, bytes, own: null, isCmyk: false, turn: 1 } as const;
  switch (format) {
    case 'BMP':
      return { ...plain, own: { ...bmpHeader(bytes), read: () => readBmp(bytes) } };
    case 'PNM':
      return { ...plain, own: { ...pnmHeader(bytes), read: () => readPnm(bytes) } };
    case 'TIFF': {
      const tags = new TiffDirectory(bytes);
      const variant = tiffVariant(tags);
      const isOwn = tiffReader(variant) === 'here';
      const { width, height, colours } = variant;
      return {
        ...{ format, bytes, isCmyk: colours === 'cmyk', turn: tiffOrientation(tags, isOwn) },
        own: isOwn ? { width, height, read: () => readTiffPixels(tags, variant) } : null,
      };
    }
    case 'AVIF':
      return { ...plain, bytes: stillOf(bytes), turn: avifOrientation(bytes) };
    case 'JPEG':
    case 'PNG':
    case 'WebP':
      return { ...plain, turn: hiddenOrientation(bytes, format) };
    case 'GIF':
      return plain;
  }
}

/**
 * An AVIF image sequence begins with a still image, its first frame, for readers that know no sequences. libvips is one of
 * them, but refuses the file by its brand: it is given a copy with that of a still image.
 */
function stillOf(bytes: Uint8Array): Uint8Array {
  if (String.fromCharCode(...bytes.subarray(8, 12)) !== 'avis') return bytes;
  const copy = bytes.slice();
  copy[11] = 'f'.charCodeAt(0);
  return copy;
}
