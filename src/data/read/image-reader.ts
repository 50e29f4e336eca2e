/** The bytes of an image of a list, wherever it lies: a file of its own, memory, or a place in a shard. */
import type { PackedImages } from '../list/packed-images.js';
import { PlaceReader } from './place-reader.js';
import { readImageFile } from './read-image-file.js';
import { readProblem } from './read-problem.js';

/** Reads the images of a list, one at a time or several at once. Memory: the images in flight, and some Parquet pages. */
export class ImageReader {
  readonly #places = new PlaceReader();

  constructor(readonly images: PackedImages) {}

  get count(): number {
    return this.images.length;
  }

  path(index: number): string {
    return this.images.path(index);
  }

  /** An image's path and, for one in a shard, where it or its page begins in bytes: for lists of skipped images. */
  where(index: number): { path: string; offset?: number } {
    const place = this.images.place(index);
    const path = this.path(index);
    if (place.kind === 'tar') return { path, offset: place.offset };
    return place.kind === 'parquet' ? { path, offset: place.page } : { path };
  }

  /** @throws DataError with a one-line reason, without the path */
  async read(index: number): Promise<Uint8Array> {
    try {
      const place = this.images.place(index);
      // a copy: decoders don't expect memory that threads share
      if (place.kind === 'memory') return place.bytes.slice();
      if (place.kind !== 'file') return await this.#places.read(place);
      const path = this.images.path(index);
      return await readImageFile(path);
    } catch (error) {
      throw readProblem(error);
    }
  }

  /** Closes the shards; those that are being read are closed when that is done. */
  close(): void {
    this.#places.close();
  }
}
