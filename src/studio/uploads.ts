/** Images that the page was given by hand: kept in memory, the last few, never written to a disk. */
import { randomUUID } from 'node:crypto';
import sharp from 'sharp';
import { sniffFormat } from '../data/decode.js';
import { StudioError } from './files.js';
import { PIXEL_LIMIT } from './thumbnails.js';

const KEPT = 24;
/** All together. */
const KEPT_BYTES = 2 ** 28;

const uploads = new Map<string, Uint8Array>();

/**
 * @returns Its name for later requests, and its size in pixels.
 * @throws StudioError 422 for what is no image, or has too many pixels.
 */
export async function keepUpload(bytes: Uint8Array): Promise<{ id: string; width: number; height: number }> {
  let size: { width: number; height: number };
  if (sniffFormat(bytes) === null)
    throw new StudioError(422, 'This is no JPEG, PNG, WebP, AVIF, TIFF or GIF image.', 'DATA');
  try {
    // the header alone is read: the limit is checked below, in words
    const { autoOrient } = await sharp(bytes, { limitInputPixels: false }).metadata();
    size = autoOrient;
  } catch {
    throw new StudioError(422, 'This is no image that can be decoded.', 'DATA');
  }
  const { width, height } = size;
  if (width * height > PIXEL_LIMIT)
    throw new StudioError(
      422,
      `The image has ${width} x ${height} pixels, more than ${PIXEL_LIMIT}.`,
      'DATA',
    );
  const id = randomUUID();
  uploads.set(id, bytes);
  let total = 0;
  for (const [place, [name, kept]] of [...uploads].reverse().entries()) {
    total += kept.length;
    if (place > 0 && (place >= KEPT || total > KEPT_BYTES)) uploads.delete(name); // the oldest go
  }
  return { id, width, height };
}

/** @throws StudioError 404 when it was forgotten. */
export function uploadOf(id: string): Uint8Array {
  const bytes = uploads.get(id);
  if (bytes === undefined)
    throw new StudioError(404, 'The studio has forgotten this image: give it again.', 'GONE');
  return bytes;
}
