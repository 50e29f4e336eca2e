/** Decoded images of a list for a thread of a loader: from the cache, or else from their files. */
import type { DeepImage } from '../crops/crops.js';
import { decodeDeep } from './decode-deep.js';
import type { DecodedCache } from './decoded-cache.js';
import type { DecodedImage, DecodeOptions } from './decode.js';
import type { ImageReader } from './image-reader.js';
import { useImage } from './use-image.js';

/** Bytes of a 16-bit value. */
const DEEP_BYTES = 2;

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
    if (kept !== null) return use(kept as DecodedImage); // of a list whose images are all decoded so
    return useImage(await this.reader.read(index), options, (image) => {
      this.cache?.keep(index, image);
      return use(image);
    });
  }

  /** The same for an image whose channels are taken as they are. */
  async useDeep<T>(index: number, channels: number, use: (image: DeepImage) => T): Promise<T> {
    const kept = this.cache?.find(index, undefined) ?? null;
    if (kept !== null) {
      const { data, width, height } = kept;
      const values = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / DEEP_BYTES);
      return use({ data: values, width, height, channels });
    }
    const image = await decodeDeep(await this.reader.read(index), channels);
    const { data, width, height } = image;
    this.cache?.keep(index, {
      data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      ...{ width, height, originalWidth: width, originalHeight: height },
      ...{ channels: DEEP_BYTES * channels, isReducible: false },
    });
    return use(image);
  }
}
