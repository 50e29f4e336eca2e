/**
 * What `precision: auto` chooses for features: the fastest precision in which the features of a sample of the images are, to
 * four digits, those of fp32. fp32 is the default, because features are kept and compared: with it they don't depend on the
 * machine's instructions.
 */
import type { ImageItem, ImageItems } from '../data/index.js';
import { type Precision, PRECISIONS } from '../plain/precisions.js';
import { Race } from '../plain/race.js';
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
/** Turns after the first take at most this share of the time that all images take. */
const SHARE = 0.05;

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

/**
 * Of the precisions whose features are close enough, the fastest, or fp32 if it is within 3% of it.
 * @param rows - Images of the sample.
 * @param images - How many there are in all: turns after the first take at most a small share of what these take.
 * @param run - Computes the features of the sample.
 */
export function fastestPrecision(
  device: string,
  rows: number,
  images: number,
  run: (precision: Precision) => Float32Array,
): ChosenPrecision {
  const timed = (precision: Precision): number => {
    const began = performance.now();
    run(precision);
    return (performance.now() - began) / 1000;
  };
  const exact = run('fp32');
  const tried = PRECISIONS.filter((one) => one !== 'fp32' && precisionProblem(one, device) === null).map(
    (precision) => ({ precision, cosine: leastCosine(run(precision), exact, rows) }),
  );
  const isClose = (cosine: number): boolean => cosine >= LEAST_COSINE;
  const close = tried.filter(({ cosine }) => isClose(cosine)).map(({ precision }) => precision);
  const candidates: Precision[] = ['fp32', ...close];
  const race = new Race(candidates);
  const began = performance.now();
  for (let round = 0; round < race.rounds; round++) {
    const spent = (performance.now() - began) / 1000;
    if (round > 0 && spent * (1 + 1 / round) > (SHARE * race.seconds('fp32') * images) / rows) break;
    for (const precision of candidates) race.add(precision, timed(precision));
  }
  const found = tried.map(({ precision, cosine }) =>
    isClose(cosine)
      ? `${precision} ${showSeconds(race.seconds(precision))} (cosine to fp32 at least ${cosine.toFixed(6)})`
      : `${precision} differs (cosine to fp32 ${cosine.toFixed(6)}, less than ${LEAST_COSINE})`,
  );
  return {
    precision: race.winner,
    reason: `${rows} images take fp32 ${showSeconds(race.seconds('fp32'))}, ${found.join(', ')}`,
  };
}
