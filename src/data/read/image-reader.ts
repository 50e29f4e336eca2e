/** The bytes of an image, wherever it lies: a file of its own, or a place within a shard. */
import type { PackedImages } from '../list/packed-images.js';
import { IN_SHARD } from './shard-path.js';
import { PlaceReader } from './place-reader.js';
import { readQuickly } from './quick-read.js';
import { readImageFile } from './read-image-file.js';
import { readProblem } from './read-problem.js';

/** Reads the images of a list, one at a time or several at once. Memory: the images in flight, and pages of Parquet. */
export class ImageReader {
  readonly #places = new PlaceReader();

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
      // a copy: decoders are not made for memory that threads share
      if (part.memory !== undefined) return new Uint8Array(part.memory, offset, length).slice();
      if (part.file !== null) return await this.#places.read(part, offset, length);
      const path = this.images.path(index);
      return IN_SHARD.test(path) ? await readImageFile(path) : await readQuickly(path);
    } catch (error) {
      throw readProblem(error);
    }
  }

  /** Closes the shards, those that are being read afterwards. */
  close(): void {
    this.#places.close();
  }
}
