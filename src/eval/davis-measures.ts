/**
 * The two measures of DAVIS (Perazzi et al. 2016): region similarity J, the intersection over the union of two masks, and
 * contour accuracy F, the harmonic mean of precision and recall of their outlines within a tolerance of 0.8% of the
 * picture's diagonal; and their statistics over a sequence. Numbers as the davis2017-evaluation package has them.
 */
import { being, checkCall, count, instanceOf } from '../plain/check-options.js';
import { ShapeError } from '../errors.js';
import { mean } from '../plain/mean.js';

/** The share of the diagonal within which two outlines count as the same. */
const BOUNDARY_TOLERANCE = 0.008;

/** A mask is (height, width), not 0 on the object. */
export type Mask = Uint8Array;

function checkSizes(truth: Mask, mask: Mask): void {
  if (truth.length !== mask.length) {
    throw new ShapeError(
      `masks of ${truth.length} and of ${mask.length} pixels; expected two of the same size`,
    );
  }
}

const maskArray = instanceOf(Uint8Array, 'a Uint8Array');

/** Region similarity J, 0 to 1; 1 when both masks are empty. @throws ShapeError when the sizes differ. */
export function regionSimilarity(truth: Mask, mask: Mask): number {
  checkCall('regionSimilarity()', ['truth', maskArray, truth], ['mask', maskArray, mask]);
  checkSizes(truth, mask);
  let intersection = 0;
  let union = 0;
  for (let i = 0; i < truth.length; i++) {
    const a = truth[i] !== 0;
    const b = mask[i] !== 0;
    if (a && b) intersection++;
    if (a || b) union++;
  }
  return union === 0 ? 1 : intersection / union;
}

/**
 * The outline of a mask, half a pixel towards the origin: pixels that differ from their right, lower or lower right
 * neighbour. In the last row only the right neighbour counts, in the last column only the lower one.
 */
function outline(mask: Mask, width: number, height: number): Uint8Array {
  const edge = new Uint8Array(width * height);
  const at = (y: number, x: number): boolean => mask[y * width + x] !== 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = at(y, x);
      const isLastRow = y === height - 1;
      const isLastColumn = x === width - 1;
      const differs =
        (!isLastColumn && at(y, x + 1) !== here) ||
        (!isLastRow && at(y + 1, x) !== here) ||
        (!isLastColumn && !isLastRow && at(y + 1, x + 1) !== here);
      if (differs) edge[y * width + x] = 1;
    }
  }
  return edge;
}

/** How many pixels of `edge` lie within `radius` of a pixel of `other`, and how many `edge` has. */
function countNear(
  edge: Uint8Array,
  other: Uint8Array,
  width: number,
  height: number,
  radius: number,
): { near: number; total: number } {
  // `other` grown by a disk, as starts (+1) and ends (-1) of runs in each row
  const stride = width + 1;
  const runs = new Int32Array(stride * height);
  const half = Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.floor(Math.sqrt(radius * radius - (i - radius) ** 2)),
  );
  for (let i = 0; i < other.length; i++) {
    if (other[i] === 0) continue;
    const y = Math.floor(i / width);
    const x = i % width;
    for (let d = -radius; d <= radius; d++) {
      const row = y + d;
      if (row < 0 || row >= height) continue;
      const reach = half[d + radius]!;
      runs[row * stride + Math.max(0, x - reach)]!++;
      runs[row * stride + Math.min(width, x + reach + 1)]!--;
    }
  }
  let near = 0;
  let total = 0;
  for (let y = 0; y < height; y++) {
    let open = 0;
    for (let x = 0; x < width; x++) {
      open += runs[y * stride + x]!;
      if (edge[y * width + x] === 0) continue;
      total++;
      if (open > 0) near++;
    }
  }
  return { near, total };
}

/** Contour accuracy F, 0 to 1; 1 when neither mask has an outline. @throws ShapeError when the sizes differ. */
export function contourAccuracy(truth: Mask, mask: Mask, width: number, height: number): number {
  checkCall(
    'contourAccuracy()',
    ['truth', maskArray, truth],
    ['mask', maskArray, mask],
    ['width', count(1), width],
    ['height', count(1), height],
  );
  checkSizes(truth, mask);
  if (truth.length !== width * height) {
    throw new ShapeError(`masks: expected ${height} x ${width} pixels, got ${truth.length}`);
  }
  const radius = Math.ceil(BOUNDARY_TOLERANCE * Math.hypot(height, width));
  const truthEdge = outline(truth, width, height);
  const maskEdge = outline(mask, width, height);
  const found = countNear(maskEdge, truthEdge, width, height, radius);
  const covered = countNear(truthEdge, maskEdge, width, height, radius);
  if (found.total === 0 && covered.total === 0) return 1;
  // only one mask has an outline: precision or recall is 0, and so is F
  if (found.total === 0 || covered.total === 0) return 0;
  const precision = found.near / found.total;
  const recall = covered.near / covered.total;
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

export interface SequenceStatistics {
  /** Mean over frames. */
  mean: number;
  /** Share of the frames above 0.5. */
  recall: number;
  /** Mean of the first quarter of the frames less that of the last: the decay. */
  decay: number;
}

const numbers = being('a list of numbers', (value) => Array.isArray(value) && value.every(Number.isFinite));

/**
 * Statistics over the frames of one object. The quarters overlap by a frame, as in the package; its frame numbers wrap
 * at 256, these do not.
 *
 * @throws ShapeError without a frame.
 */
export function sequenceStatistics(perFrame: readonly number[]): SequenceStatistics {
  checkCall('sequenceStatistics()', ['perFrame', numbers, perFrame]);
  const count = perFrame.length;
  if (count === 0) throw new ShapeError('sequenceStatistics: expected at least one frame, got none');
  // the end of each quarter, counted from 0; the small addend rounds halves up
  const bound = (quarter: number): number => Math.round(1 + ((count - 1) * quarter) / 4 + 1e-10) - 1;
  const first = perFrame.slice(bound(0), bound(1) + 1);
  const last = perFrame.slice(bound(3), bound(4) + 1);
  return {
    mean: mean(perFrame),
    recall: mean(perFrame.map((value) => (value > 0.5 ? 1 : 0))),
    decay: mean(first) - mean(last),
  };
}
