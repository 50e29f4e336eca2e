/** What the judge of a training says about it, in words. Nothing here measures (src/train/judge-during-training.ts does). */
import { JUDGE_MEASURE, showMeasure } from '../plain/quality.js';
import type { JudgementLine } from './events.js';
import { verdictBetween } from './judge.js';

export interface RunJudged {
  /** The judgement at step 0; null where the run was first judged later. */
  first: JudgementLine | null;
  best: JudgementLine;
  last: JudgementLine;
  /** Whether step 0 had the weights that `--init` gave, and not random ones. */
  beganWithGiven: boolean;
}

const show = ({ judge }: JudgementLine): string => showMeasure(JUDGE_MEASURE, judge.score);

const isChance = (one: JudgementLine, other: JudgementLine): boolean =>
  verdictBetween(one.judge.shared, other.judge.shared) === 'alike';
const ifChance = (one: JudgementLine, other: JudgementLine): string =>
  isChance(one, other) ? `, a difference that may be chance with ${one.judge.images} images` : '';

/** For a run that has had no gain for a while. */
export function stalledInWords({ first, best, last, beganWithGiven }: RunJudged): string {
  const since =
    first === null || best.step > 0
      ? 'Its weights are kept as the best'
      : `Training has ${isChance(last, first) ? 'not made the features better so far' : 'made the features worse for its whole length'}; ` +
        `the ${beganWithGiven ? 'weights that you gave' : 'first weights'} are kept as the best`;
  return (
    `the judge sees no gain any more: ${show(best)} at step ${best.step} is still the best. ${since} (checkpoints/best). ` +
    'More of the same training will hardly help'
  );
}

/** For the end of a run: that it was not worth it, or where its best weights are. Null when the last are the best. */
export function endInWords({ first, best, last, beganWithGiven }: RunJudged): string | null {
  const parts: string[] = [];
  const { judge, step } = last;
  const given = beganWithGiven ? first : null;
  if (given !== null && step > 0 && best.step === 0)
    parts.push(
      `no better: ${show(given)} with the weights that you gave, ${show(last)} at the end${ifChance(last, given)}; yours are ` +
        'kept in checkpoints/best',
    );
  else if (given !== null && step > 0)
    parts.push(
      `better than the weights that you gave: ${show(given)} to ${show(best)}` +
        (best.step === step
          ? ''
          : ` at step ${best.step}, kept in checkpoints/best (${show(last)} at the end)`),
    );
  else if (best.step === 0 && step > 0)
    parts.push(
      `training has ${isChance(last, best) ? 'not made the features better' : 'only made the features worse'}: ${show(last)} at ` +
        `the end, ${show(best)} untrained${ifChance(last, best)}; the first weights are kept in checkpoints/best`,
    );
  else if (best.step !== step)
    parts.push(
      `the best weights are those of step ${best.step} (${show(best)}, ${show(last)} at the end), kept in checkpoints/best`,
    );
  if (judge.fallsShortOf === 'untrained' && best.step !== 0)
    parts.push(
      `the last weights are no better than the untrained network (${showMeasure(JUDGE_MEASURE, judge.untrained)})`,
    );
  if (judge.fallsShortOf === 'pixels')
    parts.push(
      `the features are worse than raw pixels (${show(last)} against ${showMeasure(JUDGE_MEASURE, judge.pixels)}): train longer, ` +
        'or on more images',
    );
  return parts.length === 0 ? null : `judge: ${parts.join('; ')}`;
}
