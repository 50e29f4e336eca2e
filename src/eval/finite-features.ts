/** Features that are not numbers: no measure of them means anything, so they are an error that names an image. */
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';

/**
 * @param rows - (N, width) row-major.
 * @param nameOf - The image of a row.
 * @throws DataError that names the first image with NaN or infinite features, and says how many there are.
 */
export function checkFinite(rows: Float32Array, width: number, nameOf: (row: number) => string): void {
  let first = -1;
  let count = 0;
  let last = -1;
  for (let i = 0; i < rows.length; i++) {
    if (Number.isFinite(rows[i])) continue;
    const row = Math.floor(i / width);
    if (row === last) continue;
    if (first < 0) first = row;
    last = row;
    count++;
  }
  if (first < 0) return;
  const others = count === 1 ? '' : ` (and those of ${count - 1} other images of ${rows.length / width})`;
  throw new DataError(
    `${printable(nameOf(first))}: its features contain NaN or infinite values${others}. The weights are damaged, or the ` +
      'training that made them diverged: take an earlier checkpoint.',
  );
}
