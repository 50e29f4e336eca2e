/**
 * What a run's scores without labels say about it: which step was the best so far, whether it has stopped getting better, and
 * whether it is worse than the untrained network or raw pixels. Nothing here computes a score (src/eval/quality.ts does).
 */
import { type Verdict, verdictOn } from '../plain/quality.js';

export interface JudgeOptions {
  /** Judgements without a gain after which the run has stopped getting better; default 5. */
  patience?: number;
  /** By how much a score must exceed the best one before it to be a gain; default 0.002. Any higher score is the new best. */
  leastGain?: number;
}

/** A score of the run so far. */
export interface Observed {
  /** Whether it is higher than that of the best before it, whose place it may take. Of equal scores the earliest is the best. */
  isBest: boolean;
  /** Whether the last `patience` judgements brought no gain: the run has stopped getting better. */
  stalled: boolean;
}

/** Why a run is not worth its time, for messages; null while it is. */
export type JudgeFailing = 'untrained' | 'pixels' | null;

export const JUDGE_PATIENCE = 5;
/** Five neighbours of the two and a half thousand that are compared. */
export const LEAST_GAIN = 0.002;

export class Judge {
  readonly #patience: number;
  readonly #leastGain: number;
  #best: { step: number; score: number } | null = null;
  /** The score that the next gain is measured from: many small steps add up to one. */
  #reference = -Infinity;
  #withoutGain = 0;

  constructor({ patience = JUDGE_PATIENCE, leastGain = LEAST_GAIN }: JudgeOptions = {}) {
    this.#patience = patience;
    this.#leastGain = leastGain;
  }

  /** The best score so far and the step that reached it; null before the first. */
  get best(): { readonly step: number; readonly score: number } | null {
    return this.#best;
  }

  /** Whether the last `patience` judgements brought no gain. It may become false again. */
  get stoppedGettingBetter(): boolean {
    return this.#withoutGain >= this.#patience;
  }

  /**
   * Takes the score after `step` steps: first that of step 0, the untrained network, then in the order of the steps. A run
   * that continues begins by observing the scores that it had before.
   * @param score - Higher is better; NaN counts as lower than any other.
   * @param mayBeBest - Whether these weights may take the place of the best, if their score is higher.
   */
  observe(step: number, score: number, mayBeBest = true): Observed {
    const isFirst = this.#best === null;
    const isBest =
      this.#best === null || (mayBeBest && (score > this.#best.score || Number.isNaN(this.#best.score)));
    if (isBest) this.#best = { step, score };
    if (isFirst || score >= this.#reference + this.#leastGain) {
      this.#reference = Number.isNaN(score) ? -Infinity : score;
      this.#withoutGain = 0;
    } else this.#withoutGain++;
    return { isBest, stalled: this.stoppedGettingBetter };
  }
}

/**
 * What a score falls short of: the untrained network if it is no higher than that, else raw pixels if it is lower than
 * theirs; null if it exceeds both.
 */
export function fallsShortOf(
  score: number,
  baselines: { readonly untrained: number; readonly pixels: number },
): JudgeFailing {
  if (!(score > baselines.untrained)) return 'untrained';
  return score > baselines.pixels ? null : 'pixels';
}

/** In a judgement's `shared`, the place of an image that could not be read. */
export const UNREAD = '-';

/**
 * What one judgement's `shared` (src/train/events.ts) says compared with another's of the same run, image by image. Images that
 * could not be read for one of them are left out; null where too few are left.
 */
export function verdictBetween(one: string, other: string): Verdict | null {
  if (one.length !== other.length) return null; // the run's images have changed
  const both = [...one].flatMap((digit, i) => (digit === UNREAD || other[i] === UNREAD ? [] : [i]));
  return verdictOn(
    both.map((i) => Number(one[i])),
    both.map((i) => Number(other[i])),
  );
}
