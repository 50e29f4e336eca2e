/**
 * An index's features on disk: a safetensors file with one tensor, `features` (N, D) float32, whose rows have length 1.
 * Single rows are read in place: a search needs a few dozen of a million.
 */
import { createHash } from 'node:crypto';
import { DataError } from '../errors.js';
import type { FileBytes } from '../files/file-bytes.js';
import { filePrefix, readSafetensorsHeader } from '../weights/safetensors.js';
import { writeWhole } from '../files/atomic-file.js';
import { damaged, type IndexFile, openIndexFile } from './index-format.js';

/** The most bytes before the numbers; usually a hundred. */
const MAX_PREFIX = 4096;
/** Bytes that are read and checked at a time. */
const PIECE = 2 ** 22;
/** How far a row's squared length may be from 1; float32 rounding is a thousand times smaller. */
const LENGTH_TOLERANCE = 1e-3;

/** Whether values [start, start + width) are a row of length 1. */
export function isUnit(values: Float32Array, start: number, width: number): boolean {
  let sum = 0;
  for (let d = start; d < start + width; d++) sum += values[d]! * values[d]!;
  return Math.abs(sum - 1) < LENGTH_TOLERANCE; // false for NaN
}

/** Writes rows that come in parts as one (rows, width) tensor. @param within - The index folder. */
export function writeFloatRows(
  file: string,
  name: FloatRowsName,
  width: number,
  parts: readonly Float32Array[],
  within: string,
): void {
  const values = parts.reduce((sum, part) => sum + part.length, 0);
  const entry = { dtype: 'F32', shape: [values / width, width], data_offsets: [0, 4 * values] };
  const fill = (write: (bytes: Uint8Array) => void): void => {
    write(filePrefix(new Map([[name, entry]])));
    for (const part of parts) write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  };
  writeWhole(file, fill, { within });
}

/** Features have length 1; positions are any finite numbers. */
export type FloatRowsName = 'features' | 'positions';

/** Rows of an open file. Close it. */
export class FloatRows implements Disposable {
  readonly #bytes: FileBytes;
  readonly #start: number;

  /** @throws DataError when the file holds anything but `name` (count, width) float32. */
  constructor(
    readonly folder: string,
    private readonly file: IndexFile,
    private readonly name: FloatRowsName,
    readonly count: number,
    readonly width: number,
  ) {
    this.#bytes = openIndexFile(folder, file);
    try {
      this.#start = this.#checkHeader();
    } catch (error) {
      this.#bytes.close();
      throw error;
    }
  }

  /** @returns Where the numbers begin. */
  #checkHeader(): number {
    const { count, width, name } = this;
    const { size } = this.#bytes;
    const start = size - 4 * count * width;
    // before anything is read: the size fits the count in index.json, and the header is short
    const isLong = start >= 8 && start <= MAX_PREFIX;
    if (isLong && this.#bytes.read(0, 8).readBigUInt64LE() === BigInt(start - 8)) {
      const [entry, ...more] = readSafetensorsHeader(this.#bytes).entries;
      const shape = [count, width].join();
      if (
        entry?.name === name &&
        entry.dtype === 'float32' &&
        entry.shape.join() === shape &&
        more.length === 0
      )
        return start;
    }
    throw damaged(
      this.#bytes.file,
      `it does not hold only ${name}, float32 [${count}, ${width}]`,
      this.folder,
    );
  }

  #check(rows: Float32Array, first: number): void {
    const { width, name } = this;
    for (let start = 0; start < rows.length; start += width) {
      const isRight =
        name === 'features'
          ? isUnit(rows, start, width)
          : rows.subarray(start, start + width).every(Number.isFinite);
      if (isRight) continue;
      const what = name === 'features' ? 'its length is not 1' : 'it is not a position';
      throw damaged(this.#bytes.file, `row ${first + start / width}: ${what}`, this.folder);
    }
  }

  /** @throws DataError when the row is damaged. */
  row(index: number): Float32Array {
    const values = this.#read(index, 1);
    this.#check(values, index);
    return values;
  }

  /** All rows. @throws DataError when one is damaged, the file's checksum does not match, or memory is short. */
  all(): Float32Array {
    const { count, width, file, folder } = this;
    const hash = createHash('sha256').update(this.#bytes.read(0, this.#start));
    let rows: Float32Array;
    try {
      rows = new Float32Array(count * width);
    } catch (error) {
      throw new DataError(`${this.#bytes.file}: ${4 * count * width} bytes do not fit into memory`, { cause: error }); // prettier-ignore
    }
    const block = Math.max(1, Math.floor(PIECE / (4 * width)));
    for (let first = 0; first < count; first += block) {
      const some = this.#read(first, Math.min(block, count - first));
      this.#check(some, first);
      hash.update(new Uint8Array(some.buffer));
      rows.set(some, first * width);
    }
    if (hash.digest('hex') !== file.sha256)
      throw damaged(this.#bytes.file, 'its checksum does not match', folder);
    return rows;
  }

  #read(index: number, rows: number): Float32Array {
    const { buffer } = this.#bytes.read(this.#start + 4 * index * this.width, 4 * rows * this.width);
    return new Float32Array(buffer);
  }

  close(): void {
    this.#bytes.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
