/** Cosines of many features with many others, in bounded memory. */
import { unitLength } from '../models/index.js';
import { inferenceMode, scope, type Tensor } from '../torch/index.js';

/** Similarities computed at a time are (QUERIES, N). */
const QUERIES = 512;

/**
 * Calls `visit` with the cosines of a block of rows with all of a gallery, block by block.
 *
 * @param rows - (M, D) float32. @param gallery - (N, D).
 * @param visit - Gets (B, N), which are gone after the call, and the row that the block begins with.
 */
export function eachBlockOfCosines(
  rows: Tensor,
  gallery: Tensor,
  visit: (similar: Tensor, start: number) => void,
): void {
  inferenceMode(() =>
    scope(() => {
      const columns = unitLength(gallery).t(); // (D, N)
      const count = rows.size(0);
      for (let start = 0; start < count; start += QUERIES)
        scope(() => {
          const block = rows.narrow(0, start, Math.min(QUERIES, count - start));
          visit(unitLength(block).matmul(columns), start);
        });
    }),
  );
}
