/**
 * Patch features as colours: their first three principal components as red, green and blue (the picture of DINOv2, Oquab et
 * al. 2023, figure 1). The rules are here, for src/explain/patch-pca.ts and for pages in a browser; so is a decomposition that
 * needs no libtorch, for the pages.
 */

export const COMPONENTS = 3;
/** This share of the values is clipped at each end: single odd patches would use up the range. */
const CLIPPED = 0.01;
const HISTOGRAM_BINS = 256;

/** The threshold that separates values into the two most distinct groups (Otsu 1979); null when all are equal. */
function otsuThreshold(values: Float32Array): number | null {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(high > low)) return null;
  const counts = new Float64Array(HISTOGRAM_BINS);
  const width = (high - low) / HISTOGRAM_BINS;
  for (const value of values) counts[Math.min(HISTOGRAM_BINS - 1, Math.floor((value - low) / width))]!++;
  const total = values.length;
  const all = counts.reduce((sum, count, bin) => sum + count * bin, 0);
  let below = 0;
  let sumBelow = 0;
  let best = { between: -1, bin: 0 };
  for (let bin = 0; bin < HISTOGRAM_BINS - 1; bin++) {
    below += counts[bin]!;
    sumBelow += counts[bin]! * bin;
    if (below === 0 || below === total) continue;
    const difference = sumBelow / below - (all - sumBelow) / (total - below);
    const between = below * (total - below) * difference ** 2;
    if (between > best.between) best = { between, bin };
  }
  return low + width * (best.bin + 1);
}

/**
 * Splits values in two at Otsu's threshold; the side whose patches have more of the attention, on average, is 1. All are 1
 * when they can't be split.
 */
export function splitForeground(values: Float32Array, attention: Float32Array): Uint8Array<ArrayBuffer> {
  const threshold = otsuThreshold(values);
  if (threshold === null) return new Uint8Array(values.length).fill(1);
  const sums = [0, 0];
  const counts = [0, 0];
  values.forEach((value, i) => {
    const side = value > threshold ? 1 : 0;
    sums[side]! += attention[i]!;
    counts[side]!++;
  });
  if (counts[0] === 0 || counts[1] === 0) return new Uint8Array(values.length).fill(1);
  const front = sums[1]! / counts[1]! >= sums[0]! / counts[0]! ? 1 : 0;
  return Uint8Array.from(values, (value) => ((value > threshold ? 1 : 0) === front ? 1 : 0));
}

/** Components (n, 3) as bytes (n, 3): each component over the whole range. */
export function scoreColours(scores: Float32Array): Uint8Array<ArrayBuffer> {
  const count = scores.length / COMPONENTS;
  const colours = new Uint8Array(scores.length);
  for (let c = 0; c < COMPONENTS; c++) {
    const channel = Float32Array.from({ length: count }, (_, i) => scores[i * COMPONENTS + c]!);
    const sorted = channel.slice().sort();
    const low = sorted[Math.floor((count - 1) * CLIPPED)]!;
    const high = sorted[Math.ceil((count - 1) * (1 - CLIPPED))]!;
    channel.forEach((value, i) => {
      // equal values get the middle of the range
      const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
      colours[i * COMPONENTS + c] = Math.round(255 * share);
    });
  }
  return colours;
}

/** More axes than are wanted are followed: the wanted ones then settle in a few rounds. */
const FOLLOWED = 8;
const MOST_ROUNDS = 200;
/** A round that changes the variances by less than this share of them is the last. */
const SETTLED = 1e-10;

interface Axes {
  /** (width) */
  mean: Float64Array;
  /** Three axes (width) of length 1, each one's largest entry positive; zeros where the rows have fewer. */
  axes: Float64Array[];
  /** Shares of the variance along them, 0 to 1. */
  explained: number[];
}

/** (width, width), up to a factor, and the mean of the rows (n, width). */
function covarianceOf(rows: Float32Array, width: number): { covariance: Float64Array; mean: Float64Array } {
  const count = rows.length / width;
  const mean = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]!;
  for (let d = 0; d < width; d++) mean[d]! /= count;
  const covariance = new Float64Array(width * width);
  const row = new Float64Array(width);
  for (let start = 0; start < rows.length; start += width) {
    for (let d = 0; d < width; d++) row[d] = rows[start + d]! - mean[d]!;
    for (let a = 0; a < width; a++) {
      const [value, at] = [row[a]!, a * width];
      for (let b = a; b < width; b++) covariance[at + b]! += value * row[b]!;
    }
  }
  for (let a = 0; a < width; a++)
    for (let b = 0; b < a; b++) covariance[a * width + b] = covariance[b * width + a]!;
  return { covariance, mean };
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/** Makes vectors orthogonal and of length 1, one after the other; those that depend on earlier ones become zeros. */
function orthonormalize(vectors: Float64Array[]): void {
  vectors.forEach((vector, i) => {
    const before = Math.sqrt(dot(vector, vector));
    for (let pass = 0; pass < 2; pass++)
      // one pass leaves rounding errors
      for (const other of vectors.slice(0, i)) {
        const along = dot(vector, other);
        for (let d = 0; d < vector.length; d++) vector[d]! -= along * other[d]!;
      }
    const length = Math.sqrt(dot(vector, vector));
    const scale = length > 1e-10 * before ? 1 / length : 0;
    for (let d = 0; d < vector.length; d++) vector[d]! *= scale;
  });
}

/** Eigenvectors of a small symmetric matrix (Jacobi's rotations), as rows, the largest eigenvalue first. */
function smallAxes(matrix: number[][]): number[][] {
  const size = matrix.length;
  const vectors = matrix.map((_, i) => matrix.map((__, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        const off = matrix[p]![q]!;
        if (off === 0) continue;
        const angle = 0.5 * Math.atan2(2 * off, matrix[q]![q]! - matrix[p]![p]!);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        const turn = (a: number[], b: number[], i: number, j: number): void => {
          const [x, y] = [a[i]!, b[j]!];
          a[i] = c * x - s * y;
          b[j] = s * x + c * y;
        };
        for (const row of matrix) turn(row, row, p, q);
        for (let k = 0; k < size; k++) turn(matrix[p]!, matrix[q]!, k, k);
        for (let k = 0; k < size; k++) turn(vectors[p]!, vectors[q]!, k, k);
      }
  }
  return vectors
    .map((vector, i) => ({ vector, value: matrix[i]![i]! }))
    .sort((a, b) => b.value - a.value)
    .map(({ vector }) => vector);
}

/** The axes of largest variance of rows (n, width), by subspace iteration. */
function principalAxes(rows: Float32Array, width: number): Axes {
  const { covariance, mean } = covarianceOf(rows, width);
  const times = (vector: Float64Array): Float64Array =>
    Float64Array.from({ length: width }, (_, a) =>
      dot(covariance.subarray(a * width, (a + 1) * width), vector),
    );
  // any start that is not orthogonal to the axes; the same each time
  let block: Float64Array[] = Array.from({ length: Math.min(FOLLOWED, width) }, (_, k) =>
    Float64Array.from({ length: width }, (__, d) => Math.sin(1 + d * (k + 1) * 1.7 + k)),
  );
  orthonormalize(block);
  let variances: number[] = [];
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const images = block.map(times);
    const turned = smallAxes(block.map((one) => images.map((image) => dot(one, image))));
    const mixed = (vectors: readonly Float64Array[]): Float64Array[] =>
      turned.map((weights) =>
        Float64Array.from({ length: width }, (_, d) =>
          weights.reduce((sum, weight, k) => sum + weight * vectors[k]![d]!, 0),
        ),
      );
    const [ritz, next] = [mixed(block), mixed(images)];
    const now = ritz.slice(0, COMPONENTS).map((one, k) => dot(one, next[k]!));
    const isSettled = now.every((value, k) => Math.abs(value - (variances[k] ?? NaN)) <= SETTLED * now[0]!);
    variances = now;
    block = isSettled || round + 1 === MOST_ROUNDS ? ritz : next;
    if (isSettled) break;
    if (round + 1 < MOST_ROUNDS) orthonormalize(block);
  }
  let total = 0;
  for (let d = 0; d < width; d++) total += covariance[d * width + d]!;
  const axes = block.slice(0, COMPONENTS);
  for (const axis of axes) {
    const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    if (largest < 0) axis.forEach((value, d) => (axis[d] = -value));
  }
  const explained = variances.map((value) => Math.max(0, value) / Math.max(total, Number.MIN_VALUE));
  return { mean, axes, explained };
}

function project(rows: Float32Array, width: number, { mean, axes }: Axes): Float32Array {
  const scores = new Float32Array((rows.length / width) * COMPONENTS);
  const row = new Float64Array(width);
  for (let start = 0, at = 0; start < rows.length; start += width) {
    for (let d = 0; d < width; d++) row[d] = rows[start + d]! - mean[d]!;
    for (const axis of axes) scores[at++] = dot(row, axis);
  }
  return scores;
}

export interface PatchColours {
  /** (n, 3) bytes: principal components of the foreground, black in the background. */
  colours: Uint8Array<ArrayBuffer>;
  /** (n, 3) bytes: principal components of all patches. */
  allColours: Uint8Array<ArrayBuffer>;
  /** Shares of the variance of all patches in the three components, 0 to 1. */
  explained: number[];
}

/**
 * What colourPatches() in src/explain/patch-pca.ts gives for one image, without libtorch.
 * @param features - (n, width) as the model gives them, width at least 3.
 * @param attention - (n): the class token's, mean over heads.
 */
export function patchColours(features: Float32Array, width: number, attention: Float32Array): PatchColours {
  const count = features.length / width;
  const axes = principalAxes(features, width);
  const scores = project(features, width, axes); // (n, 3)
  const leading = Float32Array.from({ length: count }, (_, i) => scores[i * COMPONENTS]!);
  const inFront = [...splitForeground(leading, attention).entries()].flatMap(([i, side]) =>
    side === 1 ? [i] : [],
  );
  const front = new Float32Array(inFront.length * width);
  inFront.forEach((patch, i) => front.set(features.subarray(patch * width, (patch + 1) * width), i * width));
  const painted = scoreColours(project(front, width, principalAxes(front, width)));
  const colours = new Uint8Array(count * COMPONENTS);
  inFront.forEach((patch, i) => colours.set(painted.subarray(i * 3, i * 3 + 3), patch * COMPONENTS));
  return { colours, allColours: scoreColours(scores), explained: axes.explained };
}
