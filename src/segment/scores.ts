/** How well labels of pixels agree with masks: intersection over union of each class (Jaccard), over all pixels of all images. */

export interface SegmentClassScore {
  /** The class's value in masks. */
  value: number;
  name: string;
  /** Pixels of this class, and pixels that were labelled as it. */
  pixels: number;
  predicted: number;
  /** 0 to 1; null where the class is in neither. */
  iou: number | null;
}

export interface SegmentReport {
  /** `cross-validation`: each image was labelled by a layer that was fitted to the other folds; `validation`: by the layer itself. */
  from: 'cross-validation' | 'validation';
  images: number;
  /** Mean of the classes' intersections over unions, 0 to 1. */
  meanIou: number;
  /** Share of the pixels that have the right label, 0 to 1. */
  pixelAccuracy: number;
  classes: SegmentClassScore[];
}

/** Counts pixels by class and predicted class. */
export class PixelCounts {
  readonly #counts: Float64Array;
  images = 0;

  constructor(readonly classes: number) {
    this.#counts = new Float64Array(classes * classes);
  }

  /** @param truth - Class numbers; those of `classes` and above don't count. @param labels - Class numbers. */
  add(truth: Uint8Array, labels: Uint8Array): void {
    const { classes } = this;
    this.images++;
    for (let i = 0; i < truth.length; i++)
      if (truth[i]! < classes) this.#counts[truth[i]! * classes + labels[i]!]!++;
  }

  report(from: SegmentReport['from'], values: readonly number[], names: readonly string[]): SegmentReport {
    const { classes } = this;
    const at = (truth: number, label: number): number => this.#counts[truth * classes + label]!;
    const all = Array.from({ length: classes }, (_, c) => c);
    const scores = all.map((c): SegmentClassScore => {
      const pixels = all.reduce((sum, other) => sum + at(c, other), 0);
      const predicted = all.reduce((sum, other) => sum + at(other, c), 0);
      const union = pixels + predicted - at(c, c);
      const iou = union === 0 ? null : at(c, c) / union;
      return { value: values[c]!, name: names[c]!, pixels, predicted, iou };
    });
    const ious = scores.flatMap(({ iou }) => (iou === null ? [] : [iou]));
    const total = scores.reduce((sum, { pixels }) => sum + pixels, 0);
    return {
      ...{ from, images: this.images, classes: scores },
      meanIou: ious.reduce((sum, iou) => sum + iou, 0) / Math.max(1, ious.length),
      pixelAccuracy: total === 0 ? 0 : all.reduce((sum, c) => sum + at(c, c), 0) / total,
    };
  }
}
