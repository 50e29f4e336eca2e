/** Maps over patches as plain arrays: what pages in a browser compute from a model's outputs, without libtorch. */

/**
 * Selects the largest values that together make up `threshold` of the sum: massMasks() in attention.ts, for one map.
 * @returns 1 for those, else 0.
 */
export function massMask(map: Float32Array, threshold: number): Uint8Array<ArrayBuffer> {
  const order = Uint32Array.from(map.keys()).sort((a, b) => map[a]! - map[b]!); // smallest first
  const total = map.reduce((sum, value) => sum + value, 0);
  const mask = new Uint8Array(map.length);
  let sum = 0;
  for (const place of order) {
    sum += map[place]!;
    mask[place] = sum / total > 1 - threshold ? 1 : 0;
  }
  return mask;
}

/** Mean over heads, (heads, patches) to (patches). */
export function meanMap(maps: Float32Array, heads: number): Float32Array<ArrayBuffer> {
  const mean = new Float32Array(maps.length / heads);
  maps.forEach((value, i) => (mean[i % mean.length]! += value / heads));
  return mean;
}

/** Rows (n, width) scaled to length 1, so that their products are cosines; a row of zeros stays as it is. */
export function unitRows(rows: Float32Array, width: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += width) {
    let square = 0;
    for (let i = start; i < start + width; i++) square += rows[i]! * rows[i]!;
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let i = start; i < start + width; i++) out[i] = rows[i]! * scale;
  }
  return out;
}

/**
 * Cosine similarity of a query with every row.
 * @param query - Of length 1, (width).
 * @param rows - Each of length 1, (n, width).
 * @returns (n), -1 to 1.
 */
export function likeness(query: Float32Array, rows: Float32Array): Float32Array<ArrayBuffer> {
  const width = query.length;
  const out = new Float32Array(rows.length / width);
  for (let row = 0; row < out.length; row++) {
    let sum = 0;
    for (let i = 0, at = row * width; i < width; i++, at++) sum += query[i]! * rows[at]!;
    out[row] = sum;
  }
  return out;
}

/** Indices of the `count` largest values, largest first; of equal values the earlier one comes first. */
export function largest(values: Float32Array, count: number): number[] {
  return [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b).slice(0, count);
}
