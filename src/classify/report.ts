/** How good a classifier's predictions are, on images whose classes are known. */
import { probabilitiesOf } from '../plain/classifier-head.js';
import { type CalibrationBin, calibrationError } from './calibration.js';

/** A share, 0 to 1, with its 95% confidence interval (Wilson 1927). */
export interface ShareEstimate {
  value: number;
  low: number;
  high: number;
}

export interface ClassScore {
  name: string;
  /** Images that the classifier was fitted to. */
  trainImages: number;
  /** Images of this class that were predicted, and images that were predicted to be of this class. */
  images: number;
  predicted: number;
  /** Share of those predicted to be of this class that are; null when there are none. */
  precision: number | null;
  /** Share of the images of this class that were predicted to be; null when there are none. */
  recall: number | null;
}

export interface Mistake {
  path: string;
  /** The class that it has, and the one that was predicted. */
  label: string;
  predicted: string;
  /** Of the predicted class, and of its own. */
  probability: number;
  ownProbability: number;
}

export interface ClassifierReport {
  /**
   * `cross-validation`: each image was predicted by a classifier that was fitted to the other folds; `validation`: by the
   * classifier itself, on images that it was not fitted to.
   */
  from: 'cross-validation' | 'validation';
  images: number;
  accuracy: ShareEstimate;
  /** Mean of the classes' recalls, 0 to 1: it doesn't matter how many images each has. */
  balancedAccuracy: number;
  /** Mean of -log(probability of the right class), nats. */
  logLoss: number;
  /** Expected calibration error, 0 to 1, and what it was before the temperature. */
  ece: number;
  eceUncalibrated: number;
  bins: CalibrationBin[];
  classes: ClassScore[];
  /** Images by class (rows) and predicted class (columns). */
  confusion: number[][];
  /** All of them, those whose wrong class has the highest probability first. */
  mistakes: Mistake[];
}

/** The 97.5th percentile of the normal distribution. */
const Z = 1.959963984540054;

/** Wilson's interval of a share. @param count - At least 1. */
export function shareEstimate(right: number, count: number): ShareEstimate {
  const value = right / count;
  const scale = 1 + Z ** 2 / count;
  const middle = (value + Z ** 2 / (2 * count)) / scale;
  const reach = (Z / scale) * Math.sqrt((value * (1 - value)) / count + Z ** 2 / (4 * count ** 2));
  return { value, low: Math.max(0, middle - reach), high: Math.min(1, middle + reach) };
}

/** The class of the highest value; of equals the first. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let c = 1; c < values.length; c++) if (values[c]! > values[best]!) best = c;
  return best;
}

export interface Predicted {
  /** (N, classes) */
  logits: Float64Array;
  /** (N) class numbers. */
  labels: readonly number[];
  paths: readonly string[];
}

/**
 * @param predicted - At least one image.
 * @param classes - Names.
 * @param trainCounts - (classes): images that the classifier was fitted to.
 */
export function makeReport(
  from: ClassifierReport['from'],
  { logits, labels, paths }: Predicted,
  classes: readonly string[],
  trainCounts: readonly number[],
  temperature: number,
): ClassifierReport {
  const size = classes.length;
  const confusion = classes.map(() => new Array<number>(size).fill(0));
  const mistakes: Mistake[] = [];
  const [calibrated, plain] = [temperature, 1].map((t) =>
    labels.map((label, i) => {
      const p = probabilitiesOf(logits.subarray(i * size, (i + 1) * size), t);
      const best = argmax(p);
      return { best, probability: p[best]!, own: p[label]!, isRight: best === label };
    }),
  ) as [Judged[], Judged[]];
  let logLoss = 0;
  labels.forEach((label, i) => {
    const { best, probability, own } = calibrated[i]!;
    confusion[label]![best]!++;
    logLoss -= Math.log(Math.max(own, Number.MIN_VALUE)) / labels.length;
    if (best !== label)
      mistakes.push({
        ...{ path: paths[i]!, label: classes[label]!, predicted: classes[best]! },
        ...{ probability, ownProbability: own },
      });
  });
  mistakes.sort((a, b) => b.probability - a.probability || (a.path < b.path ? -1 : 1));
  const scores = classes.map((name, c): ClassScore => {
    const images = confusion[c]!.reduce((sum, n) => sum + n, 0);
    const predicted = confusion.reduce((sum, row) => sum + row[c]!, 0);
    const right = confusion[c]![c]!;
    return {
      ...{ name, trainImages: trainCounts[c]!, images, predicted },
      precision: predicted === 0 ? null : right / predicted,
      recall: images === 0 ? null : right / images,
    };
  });
  const recalls = scores.flatMap(({ recall }) => (recall === null ? [] : [recall]));
  const { ece, bins } = calibrationError(calibrated);
  return {
    from,
    images: labels.length,
    accuracy: shareEstimate(labels.length - mistakes.length, labels.length),
    balancedAccuracy: recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length,
    ...{
      logLoss,
      ece,
      eceUncalibrated: calibrationError(plain).ece,
      bins,
      classes: scores,
      confusion,
      mistakes,
    },
  };
}

interface Judged {
  best: number;
  probability: number;
  own: number;
  isRight: boolean;
}
