/** Where a loader's thread has its images from: the cache, or their files. */
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
   * Gives the decoded image to `use`, at once: its pixels are valid in there alone.
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
