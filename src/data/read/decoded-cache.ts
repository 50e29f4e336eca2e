/**
 * A cache of decoded images in memory that all threads of a loader share: later epochs neither read nor decode them. It
 * keeps the bytes that the decoder returned, and uses them only where the decoder would return the same ones again: with
 * and without a cache, batches are equal to the bit.
 *
 * Images are cached in arrival order until it is full; nothing is evicted. Each epoch is another permutation of all images,
 * so that an image that was used long ago is as likely to come next as any other: evicting it for a newer one would cost a
 * copy and gain nothing (evicting the least recently used is for data that is soon used again).
 *
 * A large photograph is decoded as small as an epoch's crops allow, at one of a few sizes (decodedSize() in decode.ts). Each
 * size is an entry of its own.
 */
import { ConfigError } from '../../errors.js';
import { decodedSize, type DecodedImage, type Reduce, type Size } from './decode.js';

/** A decoded image as the cache has it: its bytes, whatever they mean. */
export interface CachedImage extends Omit<DecodedImage, 'channels'> {
  /** Bytes of a pixel. */
  channels: number;
}

/** What another thread opens the cache from: its buffers are shared, not copied. */
export interface SharedCache {
  /** The entries, none of which straddles two segments. The system allocates a page when it is first written to. */
  segments: SharedArrayBuffer[];
  /** For each image, uint32: the unit where its newest entry begins; 0 for none. */
  heads: SharedArrayBuffer;
  /** uint32: the number of units in use, and of images that have an entry. */
  counters: SharedArrayBuffer;
}

/** Entries begin at multiples of so many bytes: 32-bit numbers then reach up to 1 TiB. */
const UNIT = 256;
/** Bytes of a segment: Node 20 can't hold more than 4 GiB in one array. */
const SEGMENT = 2 ** 30;
const UNITS_PER_SEGMENT = SEGMENT / UNIT;
const MAX_UNITS = 2 ** 32 - 1;

/**
 * Bytes before an entry's pixels. As uint32: the unit of the image's next entry; width and height; width and height of the
 * whole image; bytes of a pixel; whether its decoder can make smaller images.
 */
const HEADER = 32;

/** Indices of the counters. */
const TAKEN = 0;
const IMAGES = 1;

export class DecodedCache {
  readonly shared: SharedCache;
  readonly #words: Uint32Array[];
  readonly #bytes: Uint8Array[];
  readonly #heads: Uint32Array;
  readonly #counters: Uint32Array;
  readonly #units: number;

  constructor(shared: SharedCache) {
    this.shared = shared;
    this.#words = shared.segments.map((segment) => new Uint32Array(segment));
    this.#bytes = shared.segments.map((segment) => new Uint8Array(segment));
    this.#heads = new Uint32Array(shared.heads);
    this.#counters = new Uint32Array(shared.counters);
    this.#units = shared.segments.reduce((sum, { byteLength }) => sum + byteLength, 0) / UNIT;
  }

  /**
   * @param limit - Bytes in all.
   * @param images - The number of images in the list.
   * @throws ConfigError when the memory can't be allocated
   */
  static create(limit: number, images: number): DecodedCache {
    const heads = 4 * images;
    const units = Math.min(Math.max(0, Math.floor((limit - heads) / UNIT)), MAX_UNITS);
    const segments: SharedArrayBuffer[] = [];
    try {
      for (let left = units; left > 0; left -= UNITS_PER_SEGMENT)
        segments.push(new SharedArrayBuffer(UNIT * Math.min(left, UNITS_PER_SEGMENT)));
    } catch (error) {
      throw new ConfigError(
        `decodedCache is ${limit} bytes, but the system allocated only ${segments.length} GiB ` +
          `(${(error as Error).message}): use less`,
      );
    }
    const counters = new SharedArrayBuffer(8);
    new Uint32Array(counters)[TAKEN] = 1; // unit 0 means none
    return new DecodedCache({ segments, heads: new SharedArrayBuffer(heads), counters });
  }

  /** How many images have an entry, and the bytes that all entries take. */
  get held(): { images: number; bytes: number } {
    const taken = Atomics.load(this.#counters, TAKEN);
    return { images: Atomics.load(this.#counters, IMAGES), bytes: UNIT * (taken - 1) };
  }

  /** The image as the decoder would return it, its pixels a view of the cache; null when it is not cached. */
  find(index: number, reduce: Reduce | undefined): CachedImage | null {
    return this.#search(index, ({ originalWidth, originalHeight, isReducible }) =>
      isReducible && reduce !== undefined
        ? decodedSize(originalWidth, originalHeight, reduce)
        : { width: originalWidth, height: originalHeight },
    );
  }

  /** The first entry of an image that has the wanted size. */
  #search(index: number, wanted: (image: CachedImage) => Size): CachedImage | null {
    let unit = Atomics.load(this.#heads, index);
    while (unit !== 0) {
      const { next, image } = this.#entry(unit);
      const { width, height } = wanted(image);
      if (width === image.width && height === image.height) return image;
      unit = next;
    }
    return null;
  }

  /** Keeps a copy of an image, if there is room. */
  keep(index: number, image: CachedImage): void {
    const { width, height, channels, originalWidth, originalHeight, isReducible } = image;
    // another thread may have decoded it at the same time, when the end of an epoch meets the start of the next one
    if (this.#search(index, () => image) !== null) return;
    const size = width * height * channels;
    const unit = this.#take(Math.ceil((HEADER + size) / UNIT));
    if (unit === null) return;
    const segment = Math.floor(unit / UNITS_PER_SEGMENT);
    const at = (unit % UNITS_PER_SEGMENT) * UNIT;
    this.#bytes[segment]!.set(image.data.subarray(0, size), at + HEADER);
    const words = this.#words[segment]!;
    words.set([0, width, height, originalWidth, originalHeight, channels, isReducible ? 1 : 0], at / 4);
    for (;;) {
      const head = Atomics.load(this.#heads, index);
      words[at / 4] = head;
      // from here on other threads see the entry, which is complete
      if (Atomics.compareExchange(this.#heads, index, head, unit) !== head) continue;
      if (head === 0) Atomics.add(this.#counters, IMAGES, 1);
      return;
    }
  }

  #entry(unit: number): { next: number; image: CachedImage } {
    const segment = Math.floor(unit / UNITS_PER_SEGMENT);
    const at = (unit % UNITS_PER_SEGMENT) * UNIT;
    const words = this.#words[segment]!;
    const word = (i: number) => words[at / 4 + i]!;
    const [width, height, channels] = [word(1), word(2), word(5)];
    const from = at + HEADER;
    const data = this.#bytes[segment]!.subarray(from, from + width * height * channels);
    const original = { originalWidth: word(3), originalHeight: word(4) };
    return {
      next: word(0),
      image: { data, width, height, channels, ...original, isReducible: word(6) === 1 },
    };
  }

  /** Takes consecutive units; the first of them, or null when there are not enough left. */
  #take(units: number): number | null {
    for (;;) {
      const taken = Atomics.load(this.#counters, TAKEN);
      const room = UNITS_PER_SEGMENT - (taken % UNITS_PER_SEGMENT);
      const first = units <= room ? taken : taken + room;
      // a smaller image may still fit
      if (units > UNITS_PER_SEGMENT || first + units > this.#units) return null;
      if (Atomics.compareExchange(this.#counters, TAKEN, taken, first + units) === taken) return first;
    }
  }
}
