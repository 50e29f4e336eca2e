/** Runs of the same recipe, data and length, together: means and ranges over the seeds. */
import { bestOf } from './results.mjs';

export const READINGS = ['asIs', 'centred', 'whitened'];
export const READING_NAMES = { asIs: 'as is', centred: 'centred', whitened: 'whitened' };

/** The share of the cores that others may take without a word. */
const LOADED = 0.05;

/** Whether others took so much of the cores during a run that its seconds were not its own. */
export const isLoaded = (run) => (run.busyOthers ?? run.busyBefore ?? 0) > LOADED;

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** Mean, least and most; null when a value is missing. */
export function spread(values) {
  if (values.length === 0 || values.some((value) => typeof value !== 'number')) return null;
  return { mean: mean(values), least: Math.min(...values), most: Math.max(...values), count: values.length };
}

export const budgetKey = ({ seconds, views }) => (views === undefined ? `${seconds}s` : `${views}v`);

/** The newest run of each data set, recipe, length and seed. */
function newest(runs) {
  const byKey = new Map();
  for (const run of runs)
    byKey.set([run.dataset, run.recipe, budgetKey(run.budget), run.seed].join('|'), run);
  return [...byKey.values()];
}

/** At each point that all seeds have, by their order, and at the end of each: where it is and what was read there. */
function curveOf(runs, reading) {
  const length = Math.min(...runs.map(({ curve }) => curve.length));
  return Array.from({ length }, (_, i) => {
    const points = runs.map(({ curve }) => (i === length - 1 ? curve.at(-1) : curve[i]));
    return {
      seconds: mean(points.map(({ seconds }) => seconds)),
      views: mean(points.map(({ views }) => views)),
      top1: spread(points.map((point) => point[reading])),
    };
  }).filter(({ top1 }) => top1 !== null);
}

function groupOf(runs) {
  const [first] = runs;
  const final = Object.fromEntries(
    READINGS.map((name) => [name, spread(runs.map((run) => run.final[name]))]),
  );
  const untrained = Object.fromEntries(
    READINGS.map((name) => [name, spread(runs.map((run) => run.untrained?.[name]))]),
  );
  // one reading for all seeds: the best of each would flatter
  const reading = READINGS.filter((name) => final[name] !== null).sort(
    (a, b) => final[b].mean - final[a].mean,
  )[0];
  const domains = Object.keys(first.final.by ?? {});
  return {
    ...{
      dataset: first.dataset,
      recipe: first.recipe,
      peer: first.peer,
      about: first.about,
      budget: first.budget,
    },
    ...{ seeds: runs.map((run) => run.seed), runs, final, untrained },
    reading: reading ?? null,
    best: reading === undefined ? null : final[reading],
    bestUntrained: bestOf(Object.fromEntries(READINGS.map((name) => [name, untrained[name]?.mean]))),
    curve: reading === undefined ? [] : curveOf(runs, reading),
    domains: Object.fromEntries(
      domains.map((domain) => [
        domain,
        Object.fromEntries(
          READINGS.map((name) => [name, spread(runs.map((run) => run.final.by[domain][name]))]),
        ),
      ]),
    ),
    seconds: spread(runs.map((run) => run.seconds)),
    trainingSeconds: spread(runs.map((run) => run.trainingSeconds)),
    views: spread(runs.map((run) => run.views)),
    isLoaded: runs.some((run) => run.paced !== true && isLoaded(run)),
    isPaced: runs.some((run) => run.paced === true),
    // a row that doesn't say had what the machine has
    cores: Math.min(...runs.map(({ machine }) => machine?.cores ?? Infinity)),
  };
}

/** @param rows - From readResults(). */
export function summarize(rows) {
  const groups = new Map();
  for (const run of newest(rows.filter(({ kind }) => kind === 'run'))) {
    const key = [run.dataset, run.recipe, budgetKey(run.budget)].join('|');
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  const baselines = new Map(rows.filter(({ kind }) => kind === 'baselines').map((row) => [row.dataset, row]));
  return { groups: [...groups.values()].map(groupOf), baselines };
}

/** The best that is known without a network. */
export const bestBaseline = (row) =>
  row === undefined ? null : Math.max(bestOf(row.pixels) ?? 0, bestOf(row.hog) ?? 0);
