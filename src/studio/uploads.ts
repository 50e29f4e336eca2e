/** Images that were dropped on or pasted into the page: the last few are kept in memory, and never written to a disk. */
import { randomUUID } from 'node:crypto';
import { StudioError } from './files.js';
import type { Pictures } from './thumbnails.js';

const KEPT = 24;
/** All together. */
const KEPT_BYTES = 2 ** 28;

const uploads = new Map<string, Uint8Array>();

/**
 * @returns Its name for later requests, and its size in pixels.
 * @throws DataError for what is not an image, or has too many pixels.
 */
export async function keepUpload(
  pictures: Pictures,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<{ id: string; width: number; height: number }> {
  const { width, height } = await pictures.size(bytes, signal);
  const id = randomUUID();
  uploads.set(id, bytes);
  let total = 0;
  for (const [place, [name, kept]] of [...uploads].reverse().entries()) {
    total += kept.length;
    if (place > 0 && (place >= KEPT || total > KEPT_BYTES)) uploads.delete(name); // the oldest are dropped
  }
  return { id, width, height };
}

/** @throws StudioError 404 when it was forgotten. */
export function uploadOf(id: string): Uint8Array {
  const bytes = uploads.get(id);
  if (bytes === undefined)
    throw new StudioError(404, 'The studio no longer has this image: choose it again.', 'GONE');
  return bytes;
}
