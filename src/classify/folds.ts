/** Stratified folds for cross-validation: every class is spread over them as evenly as its images allow. */
import { PhiloxStream, Purpose } from '../data/index.js';

/**
 * Assigns each image to a fold. The images of a class are shuffled and dealt out in turn, each class beginning where the one
 * before ended, so that folds differ by few images, and every class that is tested in a fold has images outside it too.
 *
 * @param labels - (N) class numbers.
 * @returns (N): 0 to folds - 1; -1 for the only image of its class, which is never tested: without it, nothing of its
 *   class would be left to learn from.
 */
export function stratifiedFolds(
  labels: readonly number[],
  classes: number,
  folds: number,
  seed: number,
): Int32Array {
  const fold = new Int32Array(labels.length).fill(-1);
  const byClass = Array.from({ length: classes }, (): number[] => []);
  labels.forEach((label, i) => byClass[label]!.push(i));
  let next = 0;
  for (const [label, images] of byClass.entries()) {
    if (images.length < 2) continue;
    for (const image of new PhiloxStream(seed, Purpose.sample, label).shuffle(images)) {
      fold[image] = next;
      next = (next + 1) % folds;
    }
  }
  return fold;
}

/** Images by class. @returns (classes) */
export function countsOf(labels: readonly number[], classes: number): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels) counts[label]!++;
  return counts;
}

/** What an image of each class counts: 1, or with `balanced` in inverse proportion to the class's images (scikit-learn's). */
export function classWeights(
  labels: readonly number[],
  classes: number,
  classWeight: 'none' | 'balanced',
): Float64Array {
  const counts = countsOf(labels, classes);
  return Float64Array.from(counts, (count) =>
    classWeight === 'none' || count === 0 ? 1 : labels.length / (classes * count),
  );
}
