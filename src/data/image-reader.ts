/** The bytes of an image, wherever it lies: a file of its own, or a place within a shard. */
import { closeSync } from 'node:fs';
import { DataError } from '../errors.js';
import { checkImageBytes } from './image-format.js';
import type { ImagePart, PackedImages } from './packed-images.js';
import { openShardFile, readPlaceQuickly, readQuickly } from './quick-read.js';
import { ParquetPages } from './shards/parquet-pages.js';

/** Why a file can't be read, in one short line. */
export function readProblem(error: unknown): DataError {
  if (error instanceof DataError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'is a folder, not a file',
    ELOOP: 'symbolic links go in a circle',
    ENXIO: 'is a socket or a device, not a regular file',
    ENODEV: 'is a device, not a regular file',
  };
  return new DataError(reasons[code ?? ''] ?? (error as Error).message, { cause: error });
}

/** A path that listImages() gives for an image of a shard: `shard.tar::name`. */
const IN_SHARD = /^(.+?\.(?:tar|parquet))::(.*)$/is;

/** The shard that such a path names; null for a file's own path. */
export const shardOf = (path: string): string | null => IN_SHARD.exec(path)?.[1] ?? null;

/**
 * Reads an image file, or an image of a shard by its path `shard.tar::name` (for one now and then: the shard is looked
 * through first; ImageReader knows its places).
 * @throws DataError with the reason alone
 */
export async function readImageFile(path: string): Promise<Buffer> {
  try {
    const [, shard, name] = IN_SHARD.exec(path) ?? [];
    if (shard === undefined || name === undefined) return await readQuickly(path);
    const { readFromShard } = await import('./shards/read-from-shard.js');
    return await readFromShard(shard, name);
  } catch (error) {
    throw readProblem(error);
  }
}

/** Shards that a reader holds open: with 8 workers a quarter of the 1,024 files that a process may have by default. */
const MAX_OPEN = 32;

interface OpenShard {
  descriptor: number;
  /** Reads in flight. */
  users: number;
}

/** Reads the images of a list, one at a time or several at once. Memory: the images in flight, and pages of Parquet. */
export class ImageReader {
  /** The open shards, the one that was used last at the end. Descriptors that a worker leaves open end with it. */
  readonly #open = new Map<ImagePart, OpenShard>();
  readonly #pages = new ParquetPages();
  #isClosed = false;

  constructor(readonly images: PackedImages) {}

  get count(): number {
    return this.images.length;
  }

  path(index: number): string {
    return this.images.path(index);
  }

  /** What tells an image in a list of the skipped. */
  where(index: number): { path: string; offset?: number } {
    const { part, offset } = this.images.place(index);
    return { path: this.path(index), ...(part.file === null ? {} : { offset }) };
  }

  /** @throws DataError with a one-line reason, without the path */
  async read(index: number): Promise<Uint8Array> {
    try {
      const { part, offset, length } = this.images.place(index);
      if (part.file !== null) return await this.#readFromShard(part, offset, length);
      const path = this.images.path(index);
      return IN_SHARD.test(path) ? await readImageFile(path) : await readQuickly(path);
    } catch (error) {
      throw readProblem(error);
    }
  }

  async #readFromShard(part: ImagePart, offset: number, length: number): Promise<Uint8Array> {
    const shard = this.#open.get(part) ?? { descriptor: openShard(part), users: 0 };
    this.#open.delete(part);
    this.#open.set(part, shard);
    shard.users++;
    try {
      if (part.parquet === undefined) {
        // an index beside the shard may say anything
        if (!(offset >= 0 && offset + length <= part.size))
          throw new DataError('its place lies beyond the end of the shard');
        checkImageBytes(length);
        return await readPlaceQuickly(shard.descriptor, offset, length);
      }
      const readAt = (from: number, bytes: number) => readPlaceQuickly(shard.descriptor, from, bytes);
      return await this.#pages.read(part, part.parquet, offset, length, readAt);
    } finally {
      shard.users--;
      for (const [oldest, { users }] of this.#open) {
        if (this.#open.size <= MAX_OPEN && !this.#isClosed) break;
        if (users === 0) this.#close(oldest);
      }
    }
  }

  #close(part: ImagePart): void {
    closeSync(this.#open.get(part)!.descriptor);
    this.#open.delete(part);
  }

  /** Closes the shards, those that are being read afterwards. */
  close(): void {
    this.#isClosed = true;
    for (const [part, { users }] of this.#open) if (users === 0) this.#close(part);
  }
}

function openShard(part: ImagePart): number {
  const { descriptor, size, mtimeMs } = openShardFile(part.file!);
  if (size === part.size && mtimeMs === part.mtimeMs) return descriptor;
  closeSync(descriptor);
  throw new DataError('the shard has changed since its index was made; start again to have it made anew');
}
