/**
 * The demo's result in plain words: what got better, what did not, and what remains better than the model. Every sentence
 * follows from figures, whichever way they go; a change that chance could explain is called that.
 */
import { bestReading, type Reading, type Readings } from '../eval/readings.js';
import type { DemoFigures } from './figures.js';

export const READING_WORDS: Readonly<Record<Reading, string>> = {
  plain: 'as it is',
  centred: 'centred',
  whitened: 'whitened',
};

export interface Summary {
  /** One sentence for the top of the page. */
  headline: string;
  improved: string[];
  notImproved: string[];
}

/**
 * Points by which two percentages over `images` images may differ by chance: twice the standard error of one at 50%, which
 * is the largest.
 */
export function chancePoints(images: number): number {
  return (2 * 50) / Math.sqrt(images);
}

const percent = (value: number): string => `${value.toFixed(1)}%`;
const points = (value: number): string => `${Math.abs(value).toFixed(1)} points`;

export function summarize(figures: DemoFigures): Summary {
  const { knn, jaccard, curves } = figures;
  const improved: string[] = [];
  const notImproved: string[] = [];

  const best = {
    before: knn.before[bestReading(knn.before)],
    after: knn.after[bestReading(knn.after)],
  };
  const knnGain = best.after - best.before;
  const margin = chancePoints(knn.valImages);
  const knnWords =
    `k-nearest-neighbour accuracy on the class token (k = ${knn.k}, ${knn.classes} kinds of object, ` +
    `${percent(100 / knn.classes)} by guessing)`;
  if (knnGain > margin) {
    improved.push(
      `${knnWords} rose from ${percent(best.before)} to ${percent(best.after)}: images of the same kind have come ` +
        `closer together by ${points(knnGain)}, and no label was used.`,
    );
  } else {
    const change = knnGain < -margin ? `fell from` : `went from`;
    notImproved.push(
      `${knnWords} ${change} ${percent(best.before)} to ${percent(best.after)}` +
        (knnGain < -margin ? '.' : `, within the ${points(margin)} that chance alone could explain.`),
    );
  }
  const baselines: readonly (readonly [string, Readings])[] = [
    ['Comparing pixels', knn.pixels],
    ['Comparing histograms of oriented gradients (HOG)', knn.hog],
  ];
  for (const [what, readings] of baselines) {
    const reading = bestReading(readings);
    const value = readings[reading];
    const lead = best.after - value;
    const words = `${what}, without any network, gives ${percent(value)} at best (${READING_WORDS[reading]})`;
    if (lead > 0) improved.push(`${words}: the trained features are ${points(lead)} better than that.`);
    else notImproved.push(`${words}, ${points(lead)} more than the trained features.`);
  }

  const gain = jaccard.after.bestPerImage - jaccard.before.bestPerImage;
  const overlap =
    `The attention's overlap with the object (Jaccard, best head, masks of ${Math.round(100 * jaccard.threshold)}% of ` +
    'the attention)';
  const values = `${jaccard.before.bestPerImage.toFixed(1)} to ${jaccard.after.bestPerImage.toFixed(1)} of 100`;
  // images differ by about 15 points, so two standard errors of their mean are 2 * 15 / sqrt(n)
  if (gain > 30 / Math.sqrt(jaccard.after.images)) {
    improved.push(
      `${overlap} rose from ${values}: the model has learned to attend to the object, without ever seeing an outline.`,
    );
  } else {
    notImproved.push(
      `${overlap} went from ${values}: the model does not attend to the object more than before.`,
    );
  }

  const lnK = Math.log(curves.outDim);
  const entropy = curves.entropy.at(-1) ?? lnK;
  const kl = curves.kl.at(-1) ?? 0;
  if (kl < 0.02 * lnK) {
    notImproved.push(
      `The teacher's outputs hardly differ between images (KL ${kl.toFixed(2)} nats, entropy ${entropy.toFixed(2)} of ` +
        `${lnK.toFixed(2)}): that is close to collapse.`,
    );
  } else {
    improved.push(
      `There was no collapse: at the end the teacher's outputs differ from image to image by ${kl.toFixed(2)} nats (KL; 0 ` +
        `would be a constant or uniform output), with an entropy of ${entropy.toFixed(2)} nats of at most ${lnK.toFixed(2)}.`,
    );
  }

  const headline =
    knnGain > margin
      ? `${knn.trainImages.toLocaleString('en-US')} unlabelled images and ${minutes(figures.seconds.train)} of training: ` +
        `the nearest neighbours name the right kind for ${percent(best.after)} of new scenes, up from ${percent(best.before)}.`
      : `${minutes(figures.seconds.train)} of training on ${knn.trainImages.toLocaleString('en-US')} unlabelled images did ` +
        'not bring images of the same kind closer together this time.';
  return { headline, improved, notImproved };
}

/** "6 minutes 5 seconds". */
export function minutes(seconds: number): string {
  const whole = Math.round(seconds);
  const [m, s] = [Math.floor(whole / 60), whole % 60];
  const part = (count: number, unit: string) => `${count} ${unit}${count === 1 ? '' : 's'}`;
  if (m === 0) return part(s, 'second');
  return s === 0 ? part(m, 'minute') : `${part(m, 'minute')} ${part(s, 'second')}`;
}
