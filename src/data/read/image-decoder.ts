/** Decoded images of a list for a thread of a loader: from the cache, or else from their files. */
import type { DecodedCache } from './decoded-cache.js';
import type { DecodedImage, DecodeOptions } from './decode.js';
import type { ImageReader } from './image-reader.js';
import { useImage } from './use-image.js';

export class ImageDecoder {
  constructor(
    readonly reader: ImageReader,
    readonly cache: DecodedCache | null = null,
  ) {}

  /**
   * Calls `use` with the decoded image; the pixels are valid only during that call, which is synchronous.
   * @throws DataError with a one-line reason, without the path
   */
  async use<T>(index: number, options: DecodeOptions, use: (image: DecodedImage) => T): Promise<T> {
    const kept = this.cache?.find(index, options.reduce) ?? null;
    if (kept !== null) return use(kept);
    return useImage(await this.reader.read(index), options, (image) => {
      this.cache?.keep(index, image);
      return use(image);
    });
  }
}
