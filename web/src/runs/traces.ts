/** Which charts a run has, and the lines in them. */
import type { RunDetails, RunSummary } from '../api.ts';
import { KNOWN_COLUMNS, type Loaded, placeOf } from '../charts/curves.ts';
import { type Drawing, type Trace, xLabel } from '../charts/plot.ts';
import { type Axis, smooth } from '../charts/series.ts';
import { short } from '../ui/format.ts';
import {
  isShare,
  JUDGE_MEASURE,
  MEASURE_NAMES,
  type MeasureName,
  showMeasure,
} from '../../../src/plain/quality.ts';

/** Which charts stand together: `main` ones are large and always open. */
export const GROUPS = {
  main: 'Curves',
  schedules: 'Teacher and schedules',
  speed: 'Speed, memory and other columns',
} as const;

export interface ChartKind {
  column: string;
  group: keyof typeof GROUPS;
  title: string;
  unit: string;
  note: string;
  /** What people ask when they see it. */
  question?: { asked: string; answer: string };
  /** ln K belongs in it. */
  hasLevel?: boolean;
  /** It has no noise: smoothing would only bend it. */
  isExact?: boolean;
}

const KINDS: readonly ChartKind[] = [
  {
    column: 'loss',
    group: 'main',
    title: 'Loss',
    unit: 'nats',
    note: 'How well the student predicts the teacher’s answer to another view. If it stays at ln K, nothing is learned.',
    question: {
      asked: 'Why does the loss rise at first?',
      answer:
        'At first all answers are alike, and easy to predict. When the teacher begins to tell images apart, its answers become ' +
        'sharper and harder to predict, and the loss rises before it falls. k-NN is a better measure of how much is learned.',
    },
    hasLevel: true,
  },
  {
    column: 'kl',
    group: 'main',
    title: 'Health: how much answers differ from image to image',
    unit: 'KL to the batch mean, nats',
    note: 'Above 0, different images get different answers; 0 means collapse.',
    hasLevel: true,
  },
  {
    column: 'teacherEntropy',
    group: 'schedules',
    title: 'Teacher entropy',
    unit: 'nats',
    note: 'At ln K all outputs are equally likely, at 0 only one is left; a healthy run is in between.',
    hasLevel: true,
  },
  {
    column: 'lr',
    group: 'schedules',
    title: 'Learning rate',
    unit: '',
    note: 'Warms up, then falls along a cosine.',
    isExact: true,
  },
  {
    column: 'wd',
    group: 'schedules',
    title: 'Weight decay',
    unit: '',
    note: 'Rises along a cosine.',
    isExact: true,
  },
  {
    column: 'momentum',
    group: 'schedules',
    title: 'Teacher momentum',
    unit: '',
    note: 'Of the teacher’s moving average; at 1 the teacher no longer changes.',
    isExact: true,
  },
  {
    column: 'teacherTemp',
    group: 'schedules',
    title: 'Teacher temperature',
    unit: '',
    note: 'Lower is sharper.',
    isExact: true,
  },
  {
    column: 'centerNorm',
    group: 'schedules',
    title: 'Norm of the centre',
    unit: '',
    note: 'The centre is subtracted from the teacher’s outputs.',
  },
  {
    column: 'imagesPerSecond',
    group: 'speed',
    title: 'Images per second',
    unit: '',
    note: 'All processes together.',
  },
  {
    column: 'dataWaitPercent',
    group: 'speed',
    title: 'Waiting for data',
    unit: '%',
    note: 'If this is more than a few percent, use more loader workers.',
  },
  {
    column: 'memoryMiB',
    group: 'speed',
    title: 'Memory',
    unit: 'MiB',
    note: 'Resident memory of the process.',
  },
];

/** A run that is drawn, with what is known of it beside its curves. */
export interface ShownRun {
  run: RunSummary;
  details: RunDetails | null;
  /** Number of its colour, which it keeps while others come and go. */
  color: number;
}

/** What an evaluation's line says: scores by name. A name of null is the run itself. */
type ReadScores = (values: Record<string, unknown>) => [name: string | null, score: unknown][];

export const entriesOf = (value: unknown): [string, unknown][] =>
  typeof value === 'object' && value !== null ? Object.entries(value) : [];

/** k-NN: `top1` by k, of the features as they are and of whitened ones. */
const knnScores: ReadScores = ({ top1, pca }) => [
  ...entriesOf(top1).map(([k, score]): [string, unknown] => [`k = ${k}`, score]),
  ...entriesOf(Object.fromEntries(entriesOf(pca))['top1']).map(([k, score]): [string, unknown] => [
    `k = ${k}, whitened`,
    score,
  ]),
];

/** The best accuracy of an evaluation by k-NN, over k and over features as they are or whitened; null without one. */
export function bestOf(values: Record<string, unknown>): number | null {
  const scores = knnScores(values).flatMap(([, score]) => (typeof score === 'number' ? [score] : []));
  return scores.length === 0 ? null : Math.max(...scores);
}

/** Of several runs, a line each. */
const bestScore: ReadScores = (values) => [[null, bestOf(values)]];

/** The judge: its score, and those of what it compares with. */
const judgeScores: ReadScores = ({ judge }) => {
  const { score, untrained, pixels } = Object.fromEntries(entriesOf(judge));
  return [
    [null, score],
    ['untrained network', untrained],
    ['raw pixels', pixels],
  ];
};

/** Scores of evaluations during training. */
function scoreTraces(
  shown: readonly ShownRun[],
  { axis, loaded, read }: { axis: Axis; loaded: ReadonlyMap<string, Loaded>; read: ReadScores },
): Trace[] {
  return shown.flatMap(({ run, details, color }) => {
    const byName = new Map<string, { x: number[]; y: number[] }>();
    for (const { step, values } of details?.scores ?? []) {
      for (const [what, score] of read(values)) {
        if (typeof score !== 'number') continue;
        const name = what === null ? run.name : shown.length > 1 ? `${run.name}, ${what}` : what;
        const points = byName.get(name) ?? { x: [], y: [] };
        points.x.push(placeOf(step, axis, run, loaded.get(run.id)));
        points.y.push(score);
        byName.set(name, points);
      }
    }
    return [...byName].map(([label, { x, y }], i) => ({
      label,
      color: shown.length > 1 ? color : i,
      x,
      y,
      band: null,
      raw: null,
      hasPoints: true,
    }));
  });
}

function curveTraces(
  shown: readonly ShownRun[],
  column: string,
  smoothing: number,
  loaded: ReadonlyMap<string, Loaded>,
): Trace[] {
  return shown.flatMap(({ run, color }) => {
    const found = loaded.get(run.id);
    const values = found?.series.columns.get(column);
    // a column that another line has named may have no value
    if (found === undefined || values === undefined || values.mean.every(Number.isNaN)) return [];
    const { mean, min, max } = values;
    return [
      {
        label: run.name,
        color,
        x: found.x,
        y: smooth(mean, smoothing),
        band: min !== null && max !== null ? { min, max } : null,
        raw: smoothing > 0 && min === null ? mean : null,
        hasPoints: mean.length === 1,
      },
    ];
  });
}

/** Columns of the runs that have no chart of their own. */
export const extraColumns = (shown: readonly ShownRun[]): string[] =>
  [...new Set(shown.flatMap(({ details }) => details?.columns ?? []))].filter(
    (name) => !KNOWN_COLUMNS.includes(name) && name !== 'epoch',
  );

/** How all charts are drawn. */
export interface Style {
  axis: Axis;
  isLog: boolean;
  /** 0 draws the lines as they are, 0.99 smoothest. */
  smoothing: number;
}

/** A chart of each column that the runs have. */
export function columnCharts(
  shown: readonly ShownRun[],
  loaded: ReadonlyMap<string, Loaded>,
  { axis, isLog, smoothing }: Style,
): (ChartKind & { drawing: Drawing })[] {
  const lnK = shown.map(({ details }) => details?.lnK ?? null).find((value) => value !== null) ?? null;
  const extra = extraColumns(shown).map((column): ChartKind => ({
    column,
    group: 'speed',
    title: column,
    unit: '',
    note: '',
  }));
  return [...KINDS, ...extra]
    .map((kind: ChartKind) => ({
      ...kind,
      drawing: {
        traces: curveTraces(shown, kind.column, kind.isExact === true ? 0 : smoothing, loaded),
        ...{ axis, isLog, format: short },
        level: kind.hasLevel && lnK !== null ? { value: lnK, label: `ln K = ${lnK.toFixed(2)}` } : null,
      },
    }))
    .filter(({ drawing }) => drawing.traces.length > 0);
}

/** The measure by which a run's judge scores; null without judgements. */
function judgeMeasure(shown: readonly ShownRun[]): MeasureName | null {
  const lines = shown.flatMap(({ details }) => details?.scores ?? []);
  const names = lines.map(({ values }) => Object.fromEntries(entriesOf(values['judge']))['measure']);
  return MEASURE_NAMES.find((name) => names.includes(name)) ?? null;
}

/** The charts of the evaluations during training; none where there are none. */
export function scoreCharts(
  shown: readonly ShownRun[],
  loaded: ReadonlyMap<string, Loaded>,
  axis: Axis,
): (ChartKind & { drawing: Drawing })[] {
  const measure = judgeMeasure(shown) ?? JUDGE_MEASURE;
  const kinds: (ChartKind & { read: ReadScores; format: (value: number) => string })[] = [
    {
      column: 'knn',
      group: 'main',
      title: 'k-NN accuracy',
      unit: '%, top 1',
      note:
        'How many labelled images get their label right by a vote of their nearest neighbours. Nothing is trained for it.' +
        (shown.length > 1 ? ' Of each run the best k, of its features as they are or whitened.' : ''),
      read: shown.length > 1 ? bestScore : knnScores,
      format: (value: number) => `${value.toFixed(1)} %`,
    },
    {
      column: 'judge',
      group: 'main',
      title: 'Quality without labels',
      unit: isShare(measure) ? 'share' : '',
      note: 'How many of an image’s nearest images stay the same when it is seen another way; the best weights are kept.',
      read: judgeScores,
      format: (value: number) => showMeasure(measure, value),
    },
  ];
  return kinds
    .map(({ read, format, ...kind }) => ({
      ...kind,
      drawing: {
        traces: scoreTraces(shown, { axis, loaded, read }),
        ...{ axis, isLog: false, level: null, format },
      },
    }))
    .filter(({ drawing }) => drawing.traces.length > 0);
}

/** What a chart shows, for those who don't see it. */
export function words(title: string, drawing: Drawing): string {
  return drawing.traces
    .map(({ label, x, y }) => {
      const values = Array.from(y).filter((value) => !Number.isNaN(value));
      if (values.length === 0) return `${label}: no values`;
      const { format, axis } = drawing;
      const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
      return (
        `${title}, ${label}: ${format(values[0]!)} at ${axis} ${xLabel(x[0]!, axis)}, ${format(values.at(-1)!)} at ` +
        `${xLabel(x[x.length - 1]!, axis)}, lowest ${format(low)}, highest ${format(high)}`
      );
    })
    .join('; ');
}
