/** The measures of features without labels: their names, how a value is shown, and when two differ. docs/evaluations.md explains them. */
import { mean } from './mean.js';

export const MEASURE_NAMES = [
  'neighbours',
  'otherView',
  'otherViewRank',
  'rankMe',
  'lidar',
  'alphaReq',
] as const;
export type MeasureName = (typeof MEASURE_NAMES)[number];

/** The measure that judges: it keeps checkpoints and compares runs. */
export const JUDGE_MEASURE = 'neighbours' satisfies MeasureName;

/** With fewer images than this, chance outweighs what a comparison can show. */
export const JUDGE_IMAGES = 64;

/** Whether its values are shares, 0 to 1. */
export const isShare = (name: MeasureName): boolean =>
  name === 'neighbours' || name === 'otherView' || name === 'otherViewRank';

/** A measure's value turned so that higher is better; NaN where there is none. */
export const scoreOf = (name: MeasureName, value: number | null): number =>
  value === null ? NaN : name === 'alphaReq' ? -Math.abs(value - 1) : value;

/** A measure's value, or its score, as it is shown. */
export function showMeasure(name: MeasureName, value: number | null): string {
  if (value === null) return '-';
  return isShare(name) ? `${(100 * value).toFixed(1)}%` : value.toFixed(2);
}

export type Verdict = 'better' | 'worse' | 'alike';

/**
 * What a network's values of the images say compared with another's. They are compared image by image, on the same views: what
 * is hard for one is mostly hard for the other, so this sees differences that the two means alone would leave to chance. A mean
 * difference of less than two standard errors is `alike`; with fewer than JUDGE_IMAGES images there is none.
 */
export function verdictOn(mine: readonly number[], theirs: readonly number[]): Verdict | null {
  const count = mine.length;
  if (count < JUDGE_IMAGES) return null;
  const differences = mine.map((value, i) => value - theirs[i]!);
  const difference = mean(differences);
  const variance = mean(differences.map((value) => (value - difference) ** 2));
  if (Math.abs(difference) <= 2 * Math.sqrt(variance / (count - 1))) return 'alike';
  return difference > 0 ? 'better' : 'worse';
}
