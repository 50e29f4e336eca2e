/**
 * What `precision: auto` chooses for features: the fastest precision in which the features of a sample of the images are, to
 * four digits, those of fp32. fp32 is the default, because features are kept and compared: with it they don't depend on the
 * machine's instructions.
 */
import type { ImageItem, ImageItems } from '../data/index.js';
import { type Precision, PRECISIONS } from '../plain/precisions.js';
import { showSeconds } from '../plain/units.js';
import { precisionProblem } from '../torch/index.js';

export interface ChosenPrecision {
  precision: Precision;
  /** The times that decided and what they cost in accuracy, or why nothing was tried. */
  reason: string;
}

/** Images that are tried. */
const SAMPLE = 16;
/** With fewer images than this, trying takes longer than it can save. */
const FEWEST = 1500;
/** Least cosine between features and those of fp32, over all images of the sample. */
export const LEAST_COSINE = 0.9999;
/** A precision must be faster than fp32 by this share. */
const GAIN = 0.1;

/** Images to try precisions on, spread over the list; or why there is nothing to try. */
export function precisionSample(items: ImageItems, device: string): ImageItem[] | string {
  const problem = precisionProblem('bf16', device);
  if (problem !== null) return problem;
  if (items.length < FEWEST) return `${items.length} images are too few to gain from another precision`;
  return Array.from({ length: SAMPLE }, (_, i) => items.at(Math.floor((i * items.length) / SAMPLE))!);
}

/** Least cosine between rows of the same image. */
function leastCosine(a: Float32Array, b: Float32Array, rows: number): number {
  const width = a.length / rows;
  let least = 1;
  for (let row = 0; row < rows; row++) {
    let [dot, ofA, ofB] = [0, 0, 0];
    for (let i = row * width; i < (row + 1) * width; i++) {
      dot += a[i]! * b[i]!;
      ofA += a[i]! ** 2;
      ofB += b[i]! ** 2;
    }
    const cosine = dot / Math.sqrt(ofA * ofB);
    least = cosine >= least ? least : cosine; // NaN counts as the least
  }
  return least;
}

/** @param run - Computes the features of `rows` images. */
export function fastestPrecision(
  device: string,
  rows: number,
  run: (precision: Precision) => Float32Array,
): ChosenPrecision {
  const timed = (precision: Precision): number => {
    const began = performance.now();
    run(precision);
    return (performance.now() - began) / 1000;
  };
  const exact = run('fp32');
  const inFp32 = timed('fp32');
  const tried = PRECISIONS.filter((one) => one !== 'fp32' && precisionProblem(one, device) === null).map(
    (precision) => {
      const cosine = leastCosine(run(precision), exact, rows);
      const isClose = cosine >= LEAST_COSINE;
      return { precision, cosine, isClose, seconds: isClose ? timed(precision) : Infinity };
    },
  );
  const asItIs: { precision: Precision; seconds: number } = {
    precision: 'fp32',
    seconds: (1 - GAIN) * inFp32,
  };
  const best = tried.reduce((a, b) => (b.seconds < a.seconds ? b : a), asItIs);
  const found = tried.map(({ precision, cosine, isClose, seconds }) =>
    isClose
      ? `${precision} ${showSeconds(seconds)} (cosine to fp32 at least ${cosine.toFixed(6)})`
      : `${precision} differs (cosine to fp32 ${cosine.toFixed(6)}, less than ${LEAST_COSINE})`,
  );
  return {
    precision: best.precision,
    reason: `${rows} images take fp32 ${showSeconds(inFp32)}, ${found.join(', ')}`,
  };
}
