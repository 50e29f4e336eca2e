/**
 * Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks"): logits are divided by the one number that
 * makes predictions of images that the classifier was not fitted to most likely.
 */
import { probabilitiesOf } from '../plain/classifier-head.js';

/** The temperature's range, and how closely it is found. */
const [LEAST, MOST, PRECISION] = [1e-3, 1e3, 1e-9];
const MOST_STEPS = 100;
/** Bins of the expected calibration error: the paper's. */
const BINS = 15;

/**
 * The temperature of the least log loss. As in Platt's scaling, one image more than there are is taken to be wrong among two
 * more: with few images that are all right, probabilities would otherwise become 1.
 *
 * @param logits - (N, classes), of images that the classifier was not fitted to.
 * @param labels - (N) class numbers.
 * @returns 1 without images.
 */
export function fitTemperature(logits: Float64Array, labels: readonly number[], classes: number): number {
  const count = labels.length;
  if (count === 0) return 1;
  const wrong = 1 / (count + 2);
  let [low, high] = [1 / MOST, 1 / LEAST];
  let inverse = 1;
  // the loss is convex in the inverse: Newton's steps, or bisection where one leads out of what is left
  for (let step = 0; step < MOST_STEPS; step++) {
    let [slope, curvature] = [0, 0];
    for (const [i, label] of labels.entries()) {
      const row = logits.subarray(i * classes, (i + 1) * classes);
      const p = probabilitiesOf(row, 1 / inverse);
      let [mean, square, sum] = [0, 0, 0];
      for (let c = 0; c < classes; c++) {
        mean += p[c]! * row[c]!;
        square += p[c]! * row[c]! ** 2;
        sum += row[c]!;
      }
      const target = (1 - wrong) * row[label]! + (wrong / (classes - 1)) * (sum - row[label]!);
      slope += mean - target;
      curvature += square - mean * mean;
    }
    if (slope > 0) high = inverse;
    else low = inverse;
    const newton = inverse - slope / curvature;
    const next = newton > low && newton < high ? newton : Math.sqrt(low * high);
    if (Math.abs(next - inverse) <= PRECISION * inverse) break;
    inverse = next;
  }
  return 1 / inverse;
}

/** Predictions whose probability lies in a range. */
export interface CalibrationBin {
  /** Above `from` (or 0), up to `to`. */
  from: number;
  to: number;
  images: number;
  /** Mean probability of the predictions, and the share of them that is right; 0 without images. */
  confidence: number;
  accuracy: number;
}

/**
 * Expected calibration error: how far the probabilities of predictions are from how often these are right, on average over
 * 15 bins of equal width.
 */
export function calibrationError(predictions: readonly { probability: number; isRight: boolean }[]): {
  ece: number;
  bins: CalibrationBin[];
} {
  const bins = Array.from({ length: BINS }, (_, i) => ({
    ...{ from: i / BINS, to: (i + 1) / BINS, images: 0, confidence: 0, accuracy: 0 },
  }));
  for (const { probability, isRight } of predictions) {
    const bin = bins[Math.min(BINS - 1, Math.max(0, Math.ceil(probability * BINS) - 1))]!;
    bin.images++;
    bin.confidence += probability;
    bin.accuracy += isRight ? 1 : 0;
  }
  let ece = 0;
  for (const bin of bins) {
    if (bin.images === 0) continue;
    ece += Math.abs(bin.confidence - bin.accuracy) / predictions.length;
    bin.confidence /= bin.images;
    bin.accuracy /= bin.images;
  }
  return { ece, bins };
}
