/**
 * An index's features on disk: a safetensors file with one tensor, `features` (N, D) float32, whose rows have length 1.
 * Single rows are read where they lie; a search needs a few dozen of a million.
 */
import { DataError } from '../errors.js';
import { FileBytes } from '../files/file-bytes.js';
import { filePrefix, readSafetensorsHeader } from '../weights/safetensors.js';
import { writeWhole } from '../files/atomic-file.js';

/** How far a row's squared length may be from 1; float32 rounding is a thousand times below. */
const LENGTH_TOLERANCE = 1e-3;

/** Scales each row to length 1, in place; rows of zeros stay. @param rows - (N, width). */
export function normaliseRows(rows: Float32Array, width: number): Float32Array {
  for (let start = 0; start < rows.length; start += width) {
    let sum = 0;
    for (let d = start; d < start + width; d++) sum += rows[d]! * rows[d]!;
    const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
    for (let d = start; d < start + width; d++) rows[d]! *= scale;
  }
  return rows;
}

/** Writes rows that come in parts as one (rows, width) tensor. */
export function writeFloatRows(
  file: string,
  name: string,
  width: number,
  parts: readonly Float32Array[],
): void {
  const values = parts.reduce((sum, part) => sum + part.length, 0);
  const entry = { dtype: 'F32', shape: [values / width, width], data_offsets: [0, 4 * values] };
  writeWhole(file, (write) => {
    write(filePrefix(new Map([[name, entry]])));
    for (const part of parts) write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  });
}

/** Rows of an open file. Close it. */
export class FloatRows implements Disposable {
  readonly #bytes: FileBytes;
  readonly #start: number;

  /** @throws DataError when the file holds anything but `name` (count, width) float32. */
  constructor(
    readonly file: string,
    name: string,
    readonly count: number,
    readonly width: number,
  ) {
    const { entries, dataStart } = readSafetensorsHeader(file);
    const [entry] = entries;
    const fits =
      entries.length === 1 &&
      entry?.name === name &&
      entry.dtype === 'float32' &&
      entry.shape.join() === [count, width].join();
    if (!fits) {
      const found = entries.map((each) => `${each.name} ${each.dtype} [${each.shape.join(', ')}]`).join(', ');
      throw new DataError(
        `${file}: expected ${name} float32 [${count}, ${width}], got ${found || 'no tensors'}`,
      );
    }
    this.#bytes = new FileBytes(file);
    this.#start = dataStart;
  }

  /** @throws DataError when the row's length is not 1: it was damaged. */
  row(index: number): Float32Array {
    const values = this.#read(index, 1);
    let sum = 0;
    for (const value of values) sum += value * value;
    if (!(Math.abs(sum - 1) < LENGTH_TOLERANCE))
      throw new DataError(`${this.file}: row ${index} is damaged: its length is not 1`);
    return values;
  }

  /** All rows. */
  all(): Float32Array {
    return this.#read(0, this.count);
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
