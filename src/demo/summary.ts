/**
 * The demo's result in plain words: what got better, what did not, and what remains better than the model. Every sentence
 * follows from figures, whichever way they go; a change that chance could explain is called that.
 */
import type { DemoFigures } from './figures.js';

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

  const knnGain = knn.after - knn.before;
  const margin = chancePoints(knn.valImages);
  const knnWords =
    `k-nearest-neighbour accuracy on the class token (k = ${knn.k}, ${knn.classes} kinds of object, ` +
    `${percent(100 / knn.classes)} by guessing)`;
  if (knnGain > margin) {
    improved.push(
      `${knnWords} rose from ${percent(knn.before)} to ${percent(knn.after)}: images of the same object have come ` +
        `closer together by ${points(knnGain)}, and no label was used.`,
    );
  } else {
    const change = knnGain < -margin ? `fell from` : `went from`;
    notImproved.push(
      `${knnWords} ${change} ${percent(knn.before)} to ${percent(knn.after)}` +
        (knnGain < -margin ? '.' : `, within the ${points(margin)} that chance alone could explain.`),
    );
  }
  const pixels: readonly (readonly [string, number])[] = [
    ['Comparing pixels directly, without any network,', knn.rawPixels],
    ['Comparing pixels after subtracting the mean image', knn.rawPixelsCentred],
  ];
  for (const [what, value] of pixels) {
    const lead = knn.after - value;
    if (lead > 0) {
      improved.push(
        `${what} gives ${percent(value)}: the trained features are ${points(lead)} better than that.`,
      );
    } else {
      notImproved.push(
        `${what} gives ${percent(value)}, ${points(lead)} more than the trained features: on small, tidy scenes plain ` +
          'pixels are a strong baseline.',
      );
    }
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
        `the nearest neighbours agree in kind ${percent(knn.after)} of the time, up from ${percent(knn.before)}.`
      : `${minutes(figures.seconds.train)} of training on ${knn.trainImages.toLocaleString('en-US')} unlabelled images did ` +
        'not bring images of the same object closer together this time.';
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
