/** The bytes of an image within a shard, by its place. */
import { closeSync } from 'node:fs';
import { DataError } from '../../errors.js';
import { checkImageBytes } from './image-format.js';
import type { ShardFile, ShardPlace } from './image-place.js';
import { ParquetPages } from './parquet-pages.js';
import { openShardFile, readPlaceQuickly } from './quick-read.js';

/** Most shards that a reader holds open: with 8 workers a quarter of the 1,024 files that a process may open by default. */
const MAX_OPEN = 32;

interface OpenShard {
  descriptor: number;
  /** Reads in flight. */
  users: number;
}

/** Reads images of shards, one at a time or several at once. Memory: the images in flight, and some Parquet pages. */
export class PlaceReader {
  /** The open shards, the one that was used last at the end. What a worker leaves open is closed when it exits. */
  readonly #open = new Map<ShardFile, OpenShard>();
  readonly #pages = new ParquetPages();
  #isClosed = false;

  /** @throws DataError with a one-line reason, or the system's error */
  async read(place: ShardPlace): Promise<Uint8Array> {
    const { shard } = place;
    const open = this.#open.get(shard) ?? { descriptor: openShard(shard), users: 0 };
    this.#open.delete(shard);
    this.#open.set(shard, open);
    open.users++;
    try {
      if (place.kind === 'parquet') {
        const readAt = (from: number, bytes: number) => readPlaceQuickly(open.descriptor, from, bytes);
        return await this.#pages.read(place, readAt);
      }
      const { offset, length } = place;
      // an index beside the shard may claim anything
      if (!(offset >= 0 && offset + length <= shard.size))
        throw new DataError('its place lies beyond the end of the shard');
      checkImageBytes(length);
      return await readPlaceQuickly(open.descriptor, offset, length);
    } finally {
      open.users--;
      for (const [oldest, { users }] of this.#open) {
        if (this.#open.size <= MAX_OPEN && !this.#isClosed) break;
        if (users === 0) this.#close(oldest);
      }
    }
  }

  #close(shard: ShardFile): void {
    closeSync(this.#open.get(shard)!.descriptor);
    this.#open.delete(shard);
  }

  /** Closes the shards; those that are being read are closed when that is done. */
  close(): void {
    this.#isClosed = true;
    for (const [shard, { users }] of this.#open) if (users === 0) this.#close(shard);
  }
}

function openShard(shard: ShardFile): number {
  const { descriptor, size, mtimeMs } = openShardFile(shard.file);
  if (size === shard.size && mtimeMs === shard.mtimeMs) return descriptor;
  closeSync(descriptor);
  throw new DataError('the shard has changed since its index was made; start again to have it rebuilt');
}
