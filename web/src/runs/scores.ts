/** What a run knows of how good its features are: the newest and best of its evaluations, and what they compare with. */
import type { RunDetails } from '../api.ts';
import { MEASURE_NAMES, type MeasureName, showMeasure } from '../../../src/plain/quality.ts';
import { count } from '../ui/format.ts';
import { bestOf, entriesOf } from './traces.ts';

export interface Quality {
  /** What was measured. */
  title: string;
  value: string;
  /** What it compares with, and the best there was; each a few words. */
  notes: string[];
}

const percentOf = (value: number): string => `${value.toFixed(1)} %`;
const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null);

function knnQuality(details: RunDetails): Quality | null {
  const lines = details.scores.flatMap(({ step, values }) => {
    const score = bestOf(values);
    return score === null ? [] : [{ step, score, values }];
  });
  const kept = details.evaluations.find(({ name }) => name === 'knn')?.content ?? null;
  const last = lines.at(-1);
  const value = last?.score ?? (kept === null ? null : bestOf(kept));
  if (value === null) return null;
  const best = lines.reduce((a, b) => (b.score > a.score ? b : a), lines[0] ?? { step: 0, score: value });
  const told = { ...kept, ...last?.values };
  const classes = numberOf(told['classes']);
  const [pixels, untrained] = [numberOf(told['pixels']), numberOf(told['untrained'])];
  return {
    title: 'k-NN accuracy',
    value: percentOf(value),
    notes: [
      ...(classes === null || classes < 2 ? [] : [`chance ${percentOf(100 / classes)}`]),
      ...(pixels === null ? [] : [`raw pixels ${percentOf(pixels)}`]),
      ...(untrained === null ? [] : [`before training ${percentOf(untrained)}`]),
      ...(last !== undefined && best.score > value
        ? [`best ${percentOf(best.score)} after step ${count(best.step)}`]
        : []),
    ],
  };
}

/** What the judges of this version and of older ones measure, in words. */
const TITLES: Partial<Record<MeasureName, string>> = {
  neighbours: 'Neighbours kept in another view',
  otherView: 'Finds the other view of an image',
};

function judgeQuality(details: RunDetails): Quality | null {
  const judged = details.scores.flatMap(({ values }) => {
    const judge = Object.fromEntries(entriesOf(values['judge']));
    return typeof judge['score'] === 'number' ? [judge] : [];
  });
  const last = judged.at(-1);
  if (last === undefined) return null;
  const measure: MeasureName = MEASURE_NAMES.find((name) => name === last['measure']) ?? MEASURE_NAMES[0];
  const show = (value: unknown): string | null =>
    typeof value === 'number' ? showMeasure(measure, value) : null;
  const [pixels, untrained] = [show(last['pixels']), show(last['untrained'])];
  return {
    title: TITLES[measure] ?? 'Quality without labels',
    value: show(last['score']) ?? '–',
    notes: [
      ...(pixels === null ? [] : [`raw pixels ${pixels}`]),
      ...(untrained === null ? [] : [`before training ${untrained}`]),
    ],
  };
}

/** k-NN with labels where there is one, else the judge without labels; null where neither has measured. */
export const qualityOf = (details: RunDetails): Quality | null =>
  knnQuality(details) ?? judgeQuality(details);
