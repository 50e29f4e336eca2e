/** The charts of one or more runs, and what all of them share: axis, smoothing, scale, view. */
import { useComputed, useSignal, type Signal } from '@preact/signals';
import { useEffect, useId, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { type RunDetails, type RunSummary, valueOf } from '../api.ts';
import { type Curves, KNOWN_COLUMNS, type Loaded } from '../charts/curves.ts';
import { type Drawing, Plot, type Trace, xLabel } from '../charts/plot.ts';
import { type Axis, smooth } from '../charts/series.ts';
import { setQuery } from '../router.ts';
import { Failure } from '../ui/parts.tsx';
import { short } from './format.ts';

interface ChartKind {
  column: string;
  title: string;
  unit: string;
  note: string;
  /** ln K belongs in it. */
  hasLevel?: boolean;
}

const KINDS: readonly ChartKind[] = [
  {
    column: 'loss',
    title: 'Loss',
    unit: 'nats',
    note: 'Cross-entropy of teacher and student on two views. A loss that stays at ln K says that nothing is learnt.',
    hasLevel: true,
  },
  {
    column: 'teacherEntropy',
    title: 'Teacher entropy',
    unit: 'nats',
    note: 'At ln K all outputs are alike, at 0 a single one is left; health is in between.',
    hasLevel: true,
  },
  {
    column: 'kl',
    title: 'KL to the batch mean',
    unit: 'nats',
    note: 'How much the teacher’s answer depends on the image; 0 is collapse of either kind.',
    hasLevel: true,
  },
  { column: 'lr', title: 'Learning rate', unit: '', note: 'Warm-up, then a cosine.' },
  { column: 'wd', title: 'Weight decay', unit: '', note: 'A cosine upwards.' },
  {
    column: 'momentum',
    title: 'Teacher momentum',
    unit: '',
    note: 'The teacher’s moving average; 1 is standstill.',
  },
  { column: 'teacherTemp', title: 'Teacher temperature', unit: '', note: 'Lower is sharper.' },
  {
    column: 'centerNorm',
    title: 'Norm of the centre',
    unit: '',
    note: 'What is taken off the teacher’s outputs.',
  },
  { column: 'imagesPerSecond', title: 'Images a second', unit: '', note: 'Of all processes.' },
  {
    column: 'dataWaitPercent',
    title: 'Waiting for data',
    unit: '%',
    note: 'More than a few says: more loader workers.',
  },
  { column: 'memoryMiB', title: 'Memory', unit: 'MiB', note: 'Resident memory of the process.' },
];

/** A run that is drawn, with what is known of it beside its curves. */
export interface ShownRun {
  run: RunSummary;
  details: RunDetails | null;
}

/** Scores of evaluations during training: `top1` by k. */
function scoreTraces(shown: readonly ShownRun[], axis: Axis, loaded: ReadonlyMap<string, Loaded>): Trace[] {
  return shown.flatMap(({ run, details }, index) => {
    const byName = new Map<string, { x: number[]; y: number[] }>();
    for (const { step, values } of details?.scores ?? []) {
      const top1 = values['top1'];
      if (typeof top1 !== 'object' || top1 === null) continue;
      for (const [k, score] of Object.entries(top1)) {
        if (typeof score !== 'number') continue;
        const name = shown.length > 1 ? `${run.name}, k = ${k}` : `k = ${k}`;
        const points = byName.get(name) ?? { x: [], y: [] };
        points.x.push(placeOf(step, axis, run, loaded.get(run.id)));
        points.y.push(score);
        byName.set(name, points);
      }
    }
    return [...byName].map(([label, { x, y }], i) => ({
      label,
      colour: shown.length > 1 ? index : i,
      x,
      y,
      band: null,
      raw: null,
      hasPoints: true,
    }));
  });
}

/** Where a step is on the axis; times between two points of the curve are taken from the one after. */
function placeOf(step: number, axis: Axis, run: RunSummary, loaded: Loaded | undefined): number {
  if (axis === 'step') return step;
  if (axis === 'epoch') return step / (run.stepsPerEpoch ?? 1);
  const steps = loaded?.series.step ?? new Float64Array();
  const after = steps.findIndex((one) => one >= step);
  return loaded?.series.seconds[after === -1 ? steps.length - 1 : after] ?? NaN;
}

function curveTraces(
  shown: readonly ShownRun[],
  column: string,
  smoothing: number,
  loaded: ReadonlyMap<string, Loaded>,
): Trace[] {
  return shown.flatMap(({ run }, colour) => {
    const found = loaded.get(run.id);
    const values = found?.series.columns.get(column);
    if (found === undefined || values === undefined) return [];
    const { mean, min, max } = values;
    return [
      {
        label: run.name,
        colour,
        x: found.x,
        y: smooth(mean, smoothing),
        band: min !== null && max !== null ? { min, max } : null,
        raw: smoothing > 0 && min === null ? mean : null,
        hasPoints: mean.length === 1,
      },
    ];
  });
}

/** What a chart shows, for those who don't see it. */
function words(title: string, drawing: Drawing): string {
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

const ROWS = 12;

function DataTable({ drawing, title }: { drawing: Drawing; title: string }) {
  const isOpen = useSignal(false);
  return (
    <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary class="note">As a table</summary>
      {isOpen.value &&
        drawing.traces.map((trace) => {
          const last = trace.x.length - 1;
          const rows = Math.min(ROWS, trace.x.length);
          const picked = Array.from({ length: rows }, (_, i) =>
            rows === 1 ? 0 : Math.round((i * last) / (rows - 1)),
          );
          return (
            <table key={trace.label}>
              <caption class="hidden">
                {title}, {trace.label}
              </caption>
              <thead>
                <tr>
                  <th scope="col">{drawing.axis}</th>
                  <th scope="col">{trace.label}</th>
                </tr>
              </thead>
              <tbody>
                {picked.map((i) => (
                  <tr key={i}>
                    <td>{xLabel(trace.x[i]!, drawing.axis)}</td>
                    <td>{Number.isNaN(trace.y[i]!) ? '–' : drawing.format(trace.y[i]!)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          );
        })}
    </details>
  );
}

interface ChartProps {
  curves: Curves;
  title: string;
  unit: string;
  note: string;
  drawing: Drawing;
  /** The newest value of each run, exact. */
  newest: { label: string; colour: number; value: number }[];
  column: string;
}

function ChartFigure({ curves, title, unit, note, drawing, newest, column }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const id = useId();
  useLayoutEffect(() => {
    plot.current = new Plot(box.current!, curves);
    return () => plot.current?.dispose();
  }, [curves]);
  // before the frame, not after it: words and curves change in one
  useLayoutEffect(() => plot.current?.set(drawing), [drawing]);
  return (
    <figure class="chart" data-column={column}>
      <figcaption id={id}>
        <strong>
          {title}
          {unit !== '' && <span class="note"> ({unit})</span>}
        </strong>
        <span class="newest">
          {newest.map(({ label, colour, value }) => (
            <span key={label} class={`key series-${colour % 6}`}>
              <span class="hidden">{label}: </span>
              {drawing.format(value)}
            </span>
          ))}
        </span>
        <span class="readout note" />
        <span class="note about">{note}</span>
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={words(title, drawing)} />
      <DataTable drawing={drawing} title={title} />
    </figure>
  );
}

interface Controls {
  axis: Signal<Axis>;
  smoothing: Signal<number>;
  isLog: Signal<boolean>;
}

function Toolbar({ curves, axis, smoothing, isLog }: Controls & { curves: Curves }) {
  const { from, to } = curves.view.value ?? curves.all.value;
  const isAll = curves.view.value === null;
  return (
    <div class="toolbar" role="group" aria-label="How the charts are drawn">
      <label>
        Over{' '}
        <select
          value={axis.value}
          onChange={(event) => {
            curves.setAxis(event.currentTarget.value as Axis);
            setQuery('x', curves.axis.value === 'step' ? null : curves.axis.value);
          }}
        >
          <option value="step">steps</option>
          <option value="epoch">epochs</option>
          <option value="time">time of training</option>
        </select>
      </label>
      <label>
        Smoothing{' '}
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing.value}
          onInput={(event) => (smoothing.value = Number(event.currentTarget.value))}
        />{' '}
        <output>{smoothing.value.toFixed(2)}</output>
      </label>
      <label>
        <input
          type="checkbox"
          checked={isLog.value}
          onChange={(event) => (isLog.value = event.currentTarget.checked)}
        />{' '}
        Logarithmic
      </label>
      <span class="row view" role="group" aria-label="Part that is shown">
        <button type="button" aria-label="Move left" disabled={isAll} onClick={() => curves.move(-0.25)}>
          ←
        </button>
        <button type="button" aria-label="Move right" disabled={isAll} onClick={() => curves.move(0.25)}>
          →
        </button>
        <button type="button" aria-label="Zoom in" onClick={() => curves.move(0, 0.5)}>
          +
        </button>
        <button type="button" aria-label="Zoom out" disabled={isAll} onClick={() => curves.move(0, 2)}>
          −
        </button>
        <button type="button" disabled={isAll} onClick={() => curves.look(null)}>
          Show all
        </button>
        <span class="note range" aria-live="polite">
          {xLabel(from, axis.value)} to {xLabel(to, axis.value)}
        </span>
      </span>
    </div>
  );
}

export function RunCharts({ shown, curves }: { shown: readonly ShownRun[]; curves: Curves }) {
  const smoothing = useSignal(0);
  const isLog = useSignal(false);
  const extra = [...new Set(shown.flatMap(({ details }) => details?.columns ?? []))].filter(
    (name) => !KNOWN_COLUMNS.includes(name) && name !== 'epoch',
  );
  useEffect(
    () =>
      curves.show(
        shown.map(({ run }) => run),
        extra,
      ),
    [shown.map(({ run }) => run.id).join(), extra.join()],
  );
  const loaded = useComputed(() => {
    const axis = curves.axis.value;
    return new Map([...curves.loaded.value].filter(([, one]) => one.axis === axis));
  }).value;
  const axis = curves.axis.value;
  const lnK = shown.map(({ details }) => details?.lnK ?? null).find((value) => value !== null) ?? null;
  const kinds = [...KINDS, ...extra.map((column) => ({ column, title: column, unit: '', note: '' }))];
  const drawings = useMemo(
    () =>
      kinds
        .map((kind: ChartKind) => ({
          ...kind,
          drawing: {
            traces: curveTraces(shown, kind.column, smoothing.value, loaded),
            axis,
            isLog: isLog.value,
            level: kind.hasLevel && lnK !== null ? { value: lnK, label: `ln K = ${lnK.toFixed(2)}` } : null,
            format: short,
          } satisfies Drawing,
        }))
        .filter(({ drawing }) => drawing.traces.length > 0),
    [loaded, smoothing.value, isLog.value, axis, lnK, shown, extra.join()],
  );
  const scores = useMemo(
    (): Drawing => ({
      traces: scoreTraces(shown, axis, loaded),
      axis,
      isLog: false,
      level: null,
      format: (value) => `${value.toFixed(1)} %`,
    }),
    [shown, axis, loaded],
  );
  const newestOf = (column: string): ChartProps['newest'] =>
    shown.flatMap(({ run }, colour) => {
      const value = valueOf(curves.now(run.id)?.last?.values ?? {}, column);
      return value === undefined ? [] : [{ label: run.name, colour, value }];
    });
  const failures = [...curves.failures.value.values()];
  return (
    <section class="card" aria-labelledby="curves">
      <h2 id="curves">Curves</h2>
      <Toolbar curves={curves} axis={curves.axis} smoothing={smoothing} isLog={isLog} />
      <p class="note">
        Drag to look closer, Shift and drag (or scroll sideways) to move, Ctrl and scroll to zoom, double
        click to see all. A pale band spans least and greatest where one pixel stands for many lines.
      </p>
      {failures.map((error, i) => (
        <Failure key={i} error={error} />
      ))}
      <div
        class="charts"
        tabIndex={0}
        role="group"
        aria-label="Charts: arrow keys move, plus and minus zoom, zero shows all"
        onKeyDown={(event) => {
          const steps: Record<string, () => void> = {
            ArrowLeft: () => curves.move(-0.1),
            ArrowRight: () => curves.move(0.1),
            '+': () => curves.move(0, 0.7),
            '-': () => curves.move(0, 1 / 0.7),
            '0': () => curves.look(null),
          };
          const act = event.target === event.currentTarget ? steps[event.key] : undefined;
          if (act === undefined) return;
          event.preventDefault();
          act();
        }}
      >
        {drawings.slice(0, 3).map(({ column, title, unit, note, drawing }) => (
          <ChartFigure
            key={column}
            {...{ curves, title, unit, note, drawing, column }}
            newest={newestOf(column)}
          />
        ))}
        {scores.traces.length > 0 && (
          <ChartFigure
            curves={curves}
            column="knn"
            title="k-NN accuracy"
            unit="%, top 1"
            note="Measured during training with the teacher’s frozen features."
            drawing={scores}
            newest={scores.traces.map(({ label, colour, y }) => ({ label, colour, value: y[y.length - 1]! }))}
          />
        )}
        {drawings.slice(3).map(({ column, title, unit, note, drawing }) => (
          <ChartFigure
            key={column}
            {...{ curves, title, unit, note, drawing, column }}
            newest={newestOf(column)}
          />
        ))}
      </div>
    </section>
  );
}
