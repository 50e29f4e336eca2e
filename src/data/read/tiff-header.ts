/**
 * The first directory of a TIFF: what its numbers mean, and where they lie. Only tags are read, no pixels. EXIF blocks have
 * the same structure, so the orientation in them is read here too.
 *
 * Source: TIFF 6.0 (Adobe, 1992), sections 2, 8 and 15; BigTIFF as libtiff has it.
 */
import { DataError } from '../../errors.js';

/** Numbers of the tags that are read. */
export const TAG = {
  ...{
    width: 256,
    height: 257,
    bits: 258,
    compression: 259,
    photometric: 262,
    fillOrder: 266,
    stripOffsets: 273,
  },
  ...{ orientation: 274, samples: 277, rowsPerStrip: 278, stripBytes: 279, planar: 284, predictor: 317 },
  ...{
    tileWidth: 322,
    tileHeight: 323,
    tileOffsets: 324,
    tileBytes: 325,
    extraSamples: 338,
    sampleFormat: 339,
  },
  ...{ colorMap: 320, subsampling: 530, referenceBlackWhite: 532, xmp: 700 },
} as const;

/** Bytes of a value of each type; 0 for types that don't exist. */
const TYPE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];
const [BYTE, SHORT, LONG, RATIONAL, LONG8] = [1, 3, 4, 5, 16];

/** Where the values of a tag lie. */
interface Entry {
  type: number;
  count: number;
  at: number;
}

export class TiffDirectory {
  readonly view: DataView;
  readonly isLittleEndian: boolean;
  readonly #entries = new Map<number, Entry>();

  /** @throws DataError when there is no directory where the header says */
  constructor(readonly bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = view;
    const little = bytes[0] === 0x49;
    this.isLittleEndian = little;
    try {
      const isBig = view.getUint16(2, little) === 43;
      const start = isBig ? this.#long8(8) : view.getUint32(4, little);
      const count = isBig ? this.#long8(start) : view.getUint16(start, little);
      const [first, size] = isBig ? [start + 8, 20] : [start + 2, 12];
      if (first + size * count > bytes.length) throw new RangeError('the directory ends after the file');
      for (let at = first; at < first + size * count; at += size) this.#add(at, isBig);
    } catch (error) {
      throw new DataError('damaged TIFF: its first directory lies outside the file', { cause: error });
    }
  }

  #long8(at: number): number {
    return Number(this.view.getBigUint64(at, this.isLittleEndian));
  }

  #add(at: number, isBig: boolean): void {
    const { view, isLittleEndian: little } = this;
    const tag = view.getUint16(at, little);
    const type = view.getUint16(at + 2, little);
    const count = isBig ? this.#long8(at + 4) : view.getUint32(at + 4, little);
    const bytes = count * (TYPE_BYTES[type] ?? 0);
    const [inPlace, room] = isBig ? [at + 12, 8] : [at + 8, 4];
    const where = bytes <= room ? inPlace : isBig ? this.#long8(inPlace) : view.getUint32(inPlace, little);
    // a tag that points outside the file is as good as absent; of two of one number the first counts, as in libtiff
    if (bytes > 0 && where + bytes <= this.bytes.length && !this.#entries.has(tag))
      this.#entries.set(tag, { type, count, at: where });
  }

  /** The values of a tag of numbers, at most `most` of them; none when it is absent or of another type. */
  numbers(tag: number, most = 64): number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    const { view, isLittleEndian: little } = this;
    const read: Record<number, (at: number) => number> = {
      [BYTE]: (at) => view.getUint8(at),
      [SHORT]: (at) => view.getUint16(at, little),
      [LONG]: (at) => view.getUint32(at, little),
      [RATIONAL]: (at) => view.getUint32(at, little) / view.getUint32(at + 4, little),
      [LONG8]: (at) => this.#long8(at),
    };
    const one = read[entry.type];
    if (one === undefined) return [];
    const size = TYPE_BYTES[entry.type]!;
    return Array.from({ length: Math.min(entry.count, most) }, (_, i) => one(entry.at + size * i));
  }

  /** The first value of a tag of numbers. */
  number(tag: number): number | undefined {
    return this.numbers(tag, 1)[0];
  }

  /** The bytes of a tag's values. */
  content(tag: number): Uint8Array | undefined {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return undefined;
    return this.bytes.subarray(entry.at, entry.at + entry.count * TYPE_BYTES[entry.type]!);
  }
}
