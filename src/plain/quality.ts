/** The measures of features without labels: their names, and how a value is shown. docs/evaluations.md explains them. */

export const MEASURE_NAMES = ['otherView', 'otherViewRank', 'rankMe', 'lidar', 'alphaReq'] as const;
export type MeasureName = (typeof MEASURE_NAMES)[number];

/** The measure that judges: it keeps checkpoints and compares runs. */
export const JUDGE_MEASURE = 'otherView' satisfies MeasureName;

/** Whether its values are shares of images, 0 to 1. */
export const isShareOfImages = (name: MeasureName): boolean =>
  name === 'otherView' || name === 'otherViewRank';

/** A measure's value turned so that higher is better; NaN where there is none. */
export const scoreOf = (name: MeasureName, value: number | null): number =>
  value === null ? NaN : name === 'alphaReq' ? -Math.abs(value - 1) : value;

/** A measure's value, or its score, as it is shown. */
export function showMeasure(name: MeasureName, value: number | null): string {
  if (value === null) return '-';
  return isShareOfImages(name) ? `${(100 * value).toFixed(1)}%` : value.toFixed(2);
}
