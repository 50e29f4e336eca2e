/** Features that are not numbers: no measure of them means anything, so they are an error that names an image. */
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';

/** Features of one network, where rows hold those of several side by side. */
export interface Columns {
  from: number;
  width: number;
  /** What made them, in words: which weights to blame. */
  by: string;
}

/**
 * @param rows - (N, width) row-major.
 * @param nameOf - The image of a row.
 * @param columns - Default: all, by the only network that there is.
 * @throws DataError that names the first image with NaN or infinite features, and says how many there are.
 */
export function checkFinite(
  rows: Float32Array,
  width: number,
  nameOf: (row: number) => string,
  columns?: Columns,
): void {
  const { from, width: count } = columns ?? { from: 0, width };
  const isBad = (row: number): boolean => {
    const start = row * width + from;
    for (let i = start; i < start + count; i++) if (!Number.isFinite(rows[i])) return true;
    return false;
  };
  const bad: number[] = [];
  for (let row = 0; row * width < rows.length; row++) if (isBad(row)) bad.push(row);
  const [first] = bad;
  if (first === undefined) return;
  const others =
    bad.length === 1 ? '' : ` (and those of ${bad.length - 1} other images of ${rows.length / width})`;
  const by = columns === undefined ? '' : ` by ${printable(columns.by)}`;
  throw new DataError(
    `${printable(nameOf(first))}: its features${by} contain NaN or infinite values${others}. The weights are damaged, or the ` +
      'training that made them diverged: take an earlier checkpoint.',
  );
}
