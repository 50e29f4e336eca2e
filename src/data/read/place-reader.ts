/** Bytes at a place within a shard. */
import { closeSync } from 'node:fs';
import { DataError } from '../../errors.js';
import type { ImagePart } from '../list/packed-images.js';
import { ParquetPages } from './parquet-pages.js';
import { checkImageBytes } from './image-format.js';
import { openShardFile, readPlaceQuickly } from './quick-read.js';

/** Shards that a reader holds open: with 8 workers a quarter of the 1,024 files that a process may have by default. */
const MAX_OPEN = 32;

interface OpenShard {
  descriptor: number;
  /** Reads in flight. */
  users: number;
}

/** Reads images of shards, one at a time or several at once. Memory: the images in flight, and pages of Parquet. */
export class PlaceReader {
  /** The open shards, the one that was used last at the end. Descriptors that a worker leaves open end with it. */
  readonly #open = new Map<ImagePart, OpenShard>();
  readonly #pages = new ParquetPages();
  #isClosed = false;

  /** @throws DataError with a one-line reason, or the system's error */
  async read(part: ImagePart, offset: number, length: number): Promise<Uint8Array> {
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
