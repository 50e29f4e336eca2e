/** What the judge of a training says about it, in words. Nothing here measures (src/train/judge-during-training.ts does). */
import { JUDGE_IMAGES, JUDGE_MEASURE, showMeasure } from '../plain/quality.js';
import type { JudgementLine } from './events.js';
import { verdictBetween } from './judge.js';

export interface RunJudged {
  /** The judgement at step 0; null where the run was first judged later. */
  first: JudgementLine | null;
  best: JudgementLine;
  last: JudgementLine;
  /** Whether step 0 had the weights that `--init` gave, and not random ones. */
  beganWithGiven: boolean;
  /** Whether the best weights are on the disk. */
  isKept?: boolean;
}

/** 'kept in checkpoints/best', of weights that are. */
const where = (isKept: boolean): string =>
  isKept ? 'kept in checkpoints/best' : 'which could not be written to checkpoints/best';
/** 'yours are kept in checkpoints/best', if they are. */
export const whichAre = (which: string, isKept: boolean): string =>
  isKept ? `${which} are kept in checkpoints/best` : `${which} could not be written to checkpoints/best`;

const show = ({ judge }: JudgementLine): string => showMeasure(JUDGE_MEASURE, judge.score);

const isWorse = (one: JudgementLine, other: JudgementLine): boolean =>
  verdictBetween(one.judge.shared, other.judge.shared) === 'worse';

/** What to make of the difference between two judgements, where it is not plain. */
function remarkOn(one: JudgementLine, other: JudgementLine): string {
  const verdict = verdictBetween(one.judge.shared, other.judge.shared);
  if (verdict === null)
    return `, of which fewer than ${JUDGE_IMAGES} images can be compared, too few to tell`;
  return verdict === 'alike' ? `, a difference that may be chance with ${one.judge.images} images` : '';
}

/** For the line of one judgement while the run goes on. */
export function judgementInWords({ step, judge }: JudgementLine): string {
  const { measure, score, untrained, pixels, isBest, bestStep } = judge;
  const percent = (value: number): string => showMeasure(measure, value);
  const when = step === 0 ? 'before training' : `after step ${step}`;
  // weights that were given stay the best while a higher score may be chance
  const stays = bestStep === 0 ? 'no clear gain over step 0' : `best at step ${bestStep}`;
  return (
    `judge ${when}: ${percent(score)} (untrained ${percent(untrained)}, pixels ${percent(pixels)}), ` +
    (isBest ? 'the best so far' : stays)
  );
}

/** For a run that has had no gain for a while. */
export function stalledInWords({ first, best, last, beganWithGiven }: RunJudged): string {
  const since =
    first === null || best.step > 0
      ? 'Its weights are kept as the best'
      : `Training has ${isWorse(last, first) ? 'made the features worse for its whole length' : 'not made the features better so far'}; ` +
        `the ${beganWithGiven ? 'weights that you gave' : 'first weights'} are kept as the best`;
  return (
    `the judge sees no gain any more: ${show(best)} at step ${best.step} is still the best. ${since} (checkpoints/best). ` +
    'More of the same training will hardly help'
  );
}

/** For the end of a run: that it was not worth it, or where its best weights are. Null when the last are the best. */
export function endInWords({ first, best, last, beganWithGiven, isKept = true }: RunJudged): string | null {
  const parts: string[] = [];
  const { judge, step } = last;
  const given = beganWithGiven ? first : null;
  if (
    given !== null &&
    step > 0 &&
    best.step === 0 &&
    verdictBetween(judge.shared, given.judge.shared) === null
  )
    parts.push(
      `fewer than ${JUDGE_IMAGES} images can be compared, too few to tell whether these weights are better than those that you ` +
        `gave (${show(given)}, ${show(last)} at the end); ${whichAre('yours', isKept)}`,
    );
  else if (given !== null && step > 0 && best.step === 0)
    parts.push(
      `no better: ${show(given)} with the weights that you gave, ${show(last)} at the end${remarkOn(last, given)}; ` +
        whichAre('yours', isKept),
    );
  else if (given !== null && step > 0)
    parts.push(
      `better than the weights that you gave: ${show(given)} to ${show(best)}` +
        (best.step === step ? '' : ` at step ${best.step}, ${where(isKept)} (${show(last)} at the end)`),
    );
  else if (best.step === 0 && step > 0)
    parts.push(
      `training has ${isWorse(last, best) ? 'only made the features worse' : 'not made the features better'}: ${show(last)} at ` +
        `the end, ${show(best)} untrained${remarkOn(last, best)}; ${whichAre('the first weights', isKept)}`,
    );
  else if (best.step !== step)
    parts.push(
      `the best weights are those of step ${best.step} (${show(best)}, ${show(last)} at the end), ${where(isKept)}`,
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
