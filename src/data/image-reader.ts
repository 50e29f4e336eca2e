/** The bytes of an image, wherever it lies: a file of its own, or a place within a shard. */
import { readFile } from 'node:fs/promises';
import { DataError } from '../errors.js';
import type { PackedImages } from './packed-images.js';
import { readQuickly } from './quick-read.js';

/** Why a file can't be read, in one short line. */
export function readProblem(error: unknown): DataError {
  const code = (error as NodeJS.ErrnoException).code;
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'is a folder, not a file',
    ELOOP: 'symbolic links go in a circle',
  };
  return new DataError(reasons[code ?? ''] ?? (error as Error).message, { cause: error });
}

/** Reads a file. @throws DataError with the reason alone */
export async function readImageFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw readProblem(error);
  }
}

/** Reads the images of a list, one at a time or several at once. */
export class ImageReader {
  constructor(readonly images: PackedImages) {}

  get count(): number {
    return this.images.length;
  }

  path(index: number): string {
    return this.images.path(index);
  }

  /** @throws DataError with a one-line reason, without the path */
  async read(index: number): Promise<Buffer> {
    try {
      return await readQuickly(this.images.path(index));
    } catch (error) {
      throw readProblem(error);
    }
  }
}
