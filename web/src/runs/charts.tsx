/** The charts of one or more runs, and their common settings: axis, smoothing, scale, view. */
import { type Signal, useComputed, useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { valueOf } from '../api.ts';
import type { Curves, View } from '../charts/curves.ts';
import { type Drawing, keyClass, Plot, xLabel } from '../charts/plot.ts';
import type { Axis } from '../charts/series.ts';
import { addressWith, navigate, route, setQuery } from '../router.ts';
import { Icon } from '../ui/icon.tsx';
import { Failure } from '../ui/parts.tsx';
import { Slider } from '../ui/slider.tsx';
import {
  type ChartKind,
  columnCharts,
  extraColumns,
  GROUPS,
  scoreCharts,
  type ShownRun,
  words,
} from './traces.ts';

const ROWS = 12;
/** Height of a plot, CSS pixels. */
const [LARGE, SMALL] = [290, 210];

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

interface Newest {
  label: string;
  color: number;
  value: number;
}

interface ChartProps {
  curves: Curves;
  chart: ChartKind & { drawing: Drawing };
  /** The newest value of each run, exact. */
  newest: readonly Newest[];
  /** What the lines are called is shown, not only said. */
  isNamed?: boolean;
}

function ChartFigure({ curves, chart, newest, isNamed = false }: ChartProps) {
  const { column, group, title, unit, note, question, drawing } = chart;
  const height = group === 'main' ? LARGE : SMALL;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const id = useId();
  useLayoutEffect(() => {
    plot.current = new Plot(box.current!, curves, height);
    return () => plot.current?.dispose();
  }, [curves]);
  // before the frame is drawn, so that words and curves change together
  useLayoutEffect(() => plot.current?.set(drawing), [drawing]);
  return (
    <figure class={`chart ${group}`} data-column={column}>
      <figcaption id={id}>
        <strong>
          {title}
          {unit !== '' && <span class="note"> ({unit})</span>}
        </strong>
        <span class="newest">
          {newest.map(({ label, color, value }) => (
            <span key={label} class={keyClass(color)}>
              {isNamed ? <span class="note">{label} </span> : <span class="hidden">{label}: </span>}
              {drawing.format(value)}
            </span>
          ))}
        </span>
        <span class="readout note" />
        <span class="note about">{note}</span>
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={words(title, drawing)} />
      {question !== undefined && (
        <details>
          <summary class="note">{question.asked}</summary>
          <p>{question.answer}</p>
        </details>
      )}
      <DataTable drawing={drawing} title={title} />
    </figure>
  );
}

/** Something that is drawn once it is opened. */
function Fold({ title, children }: { title: string; children: () => ComponentChildren }) {
  const isOpen = useSignal(false);
  return (
    <details class="fold" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>{title}</summary>
      {isOpen.value && children()}
    </details>
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
        X axis{' '}
        <select
          value={axis.value}
          onChange={(event) => {
            curves.setAxis(event.currentTarget.value as Axis);
            setQuery('x', curves.axis.value === 'step' ? null : curves.axis.value);
          }}
        >
          <option value="step">steps</option>
          <option value="epoch">epochs</option>
          <option value="time">training time</option>
        </select>
      </label>
      <Slider
        label="Smoothing"
        min={0}
        max={0.99}
        step={0.01}
        value={smoothing.value}
        text={smoothing.value.toFixed(2)}
        onChange={(value) => {
          smoothing.value = value;
          setQuery('smooth', value === 0 ? null : String(value));
        }}
      />
      <label>
        <input
          type="checkbox"
          checked={isLog.value}
          onChange={(event) => {
            isLog.value = event.currentTarget.checked;
            setQuery('log', isLog.value ? '1' : null);
          }}
        />{' '}
        Logarithmic
      </label>
      <span class="row view" role="group" aria-label="Range shown">
        <button type="button" aria-label="Move left" disabled={isAll} onClick={() => curves.move(-0.25)}>
          <Icon name="left" />
        </button>
        <button type="button" aria-label="Move right" disabled={isAll} onClick={() => curves.move(0.25)}>
          <Icon name="right" />
        </button>
        <button type="button" aria-label="Zoom in" onClick={() => curves.move(0, 0.5)}>
          <Icon name="plus" />
        </button>
        <button type="button" aria-label="Zoom out" disabled={isAll} onClick={() => curves.move(0, 2)}>
          <Icon name="minus" />
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

/** Numbers of the axis as they are written in the address: far finer than a pixel. */
const DIGITS = 10;
const textOf = (value: number): string => String(Number(value.toPrecision(DIGITS)));

/** Milliseconds that it must not have moved: a change of the address draws the page again, which a drag has no time for. */
const REST_MS = 150;

/** Keeps the part of the curves that is shown in the address. */
function keepView(view: View | null): void {
  const changed = addressWith({
    from: view === null ? null : textOf(view.from),
    to: view === null ? null : textOf(view.to),
  });
  if (changed !== addressWith({})) navigate(changed, { replace: true });
}

export function RunCharts({ shown, curves }: { shown: readonly ShownRun[]; curves: Curves }) {
  const { query } = route.peek();
  const smoothing = useSignal(Math.min(0.99, Math.max(0, Number(query.get('smooth')) || 0)));
  const isLog = useSignal(query.get('log') === '1');
  const extra = extraColumns(shown);
  useEffect(
    () =>
      curves.show(
        shown.map(({ run }) => run),
        extra,
      ),
    [shown.map(({ run }) => run.id).join(), extra.join()],
  );
  useEffect(() => {
    let resting: number | undefined;
    const end = curves.view.subscribe((view) => {
      clearTimeout(resting);
      resting = window.setTimeout(() => keepView(view), REST_MS);
    });
    return () => {
      clearTimeout(resting);
      end();
    };
  }, [curves]);
  const loaded = useComputed(() => {
    const axis = curves.axis.value;
    return new Map([...curves.loaded.value].filter(([, one]) => one.axis === axis));
  }).value;
  const axis = curves.axis.value;
  const charts = useMemo(
    () => columnCharts(shown, loaded, { axis, isLog: isLog.value, smoothing: smoothing.value }),
    [shown, loaded, axis, isLog.value, smoothing.value],
  );
  const scores = useMemo(() => scoreCharts(shown, loaded, axis), [shown, loaded, axis]);
  const newestOf = (column: string): Newest[] =>
    shown.flatMap(({ run, color }) => {
      const value = valueOf(curves.now(run.id)?.last?.values ?? {}, column);
      return value === undefined ? [] : [{ label: run.name, color, value }];
    });
  const figuresOf = (group: ChartKind['group']) =>
    charts
      .filter((chart) => chart.group === group)
      .map((chart) => (
        <ChartFigure key={chart.column} {...{ curves, chart }} newest={newestOf(chart.column)} />
      ));
  const failures = [...curves.failures.value.values()];
  return (
    <section class="card" aria-labelledby="curves">
      <h2 id="curves">Curves</h2>
      <Toolbar curves={curves} axis={curves.axis} smoothing={smoothing} isLog={isLog} />
      <p class="note">
        Drag to zoom in, Shift+drag (or scroll sideways) to move, Ctrl+scroll to zoom, double-click to show
        everything. Pale bands span the lowest and highest values where many lines share a pixel.
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
        {figuresOf('main')}
        {scores.map((chart) => (
          <ChartFigure
            key={chart.column}
            {...{ curves, chart }}
            isNamed={chart.drawing.traces.length > 1}
            newest={chart.drawing.traces.map(({ label, color, y }) => ({
              ...{ label, color, value: y[y.length - 1]! },
            }))}
          />
        ))}
      </div>
      {(['schedules', 'speed'] as const).map((group) => (
        <Fold key={group} title={GROUPS[group]}>
          {() => <div class="charts">{figuresOf(group)}</div>}
        </Fold>
      ))}
    </section>
  );
}
