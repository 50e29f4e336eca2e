/**
 * The curves of the runs that are shown together: which part of the axis is in view, which part has been fetched, and when
 * more is. Three times the view is fetched, so that moving it needs no answer from the server.
 */
import { computed, type Signal, signal } from '@preact/signals';
import type { RunNow, RunSummary, SeriesTail } from '../api.ts';
import { onMetrics, settle } from '../live.ts';
import { appended, type Axis, fetchSeries, positions, type RunSeries, toServer } from './series.ts';

/** Columns that the page has a chart for; others that a run has are drawn below them. */
export const KNOWN_COLUMNS: readonly string[] = [
  'loss',
  'teacherEntropy',
  'kl',
  'lr',
  'wd',
  'momentum',
  'teacherTemp',
  'centerNorm',
  'imagesPerSecond',
  'dataWaitPercent',
  'memoryMiB',
];

/** Points across a chart. */
const WIDTH = 1000;
/** A part is fetched as wide as this many views. */
const PART_VIEWS = 3;
/** New lines are fetched at most this often. */
const LIVE_MS = 400;
/** A view is fetched once it has not moved for this long. */
const REST_MS = 120;

export interface View {
  from: number;
  to: number;
}

/** A run's curves that were fetched, with the part of the axis that was requested. */
export interface Loaded {
  run: RunSummary;
  series: RunSeries;
  x: Float64Array;
  /** null: all. */
  part: View | null;
  axis: Axis;
}

/** Points to request; up to twice as many lines arrive as they are, not as buckets. */
const widthOf = (part: View | null): number => (part === null ? WIDTH : PART_VIEWS * WIDTH);

/** Where a step is on the axis; times between two points of the curve are taken from the one after. */
export function placeOf(step: number, axis: Axis, run: RunSummary, loaded: Loaded | undefined): number {
  if (axis === 'step') return step;
  if (axis === 'epoch') return step / (run.stepsPerEpoch ?? 1);
  const steps = loaded?.series.step ?? new Float64Array();
  const after = steps.findIndex((one) => one >= step);
  return loaded?.series.seconds[after === -1 ? steps.length - 1 : after] ?? NaN;
}

/** Where a run's curves end on the axis. */
function endOf({ last, seconds }: RunNow, axis: Axis, run: RunSummary): number {
  if (axis === 'time') return seconds;
  return (last?.step ?? 0) / (axis === 'epoch' ? (run.stepsPerEpoch ?? 1) : 1);
}

export class Curves {
  readonly axis: Signal<Axis>;
  /** null: all there is, and what comes. */
  readonly view: Signal<View | null>;
  readonly loaded = signal<ReadonlyMap<string, Loaded>>(new Map());
  /** The state of the runs: newer than their curves where newer curves would look the same. */
  readonly nows = signal<ReadonlyMap<string, RunNow>>(new Map());
  readonly failures = signal<ReadonlyMap<string, unknown>>(new Map());
  /** A step that every chart marks; null for none. */
  readonly marker = signal<number | null>(null);
  /** Where it is on the axis, by the first run. */
  readonly markerX = computed<number | null>(() => {
    const step = this.marker.value;
    const first = this.loaded.value.values().next().value;
    return step === null || first === undefined ? null : placeOf(step, this.axis.value, first.run, first);
  });
  /** From the first to the last point of all runs, on the axis. */
  readonly all = computed<View>(() => {
    let to = 0;
    for (const { run, series, axis } of this.loaded.value.values())
      to = Math.max(to, endOf(series.header, axis, run));
    return { from: 0, to };
  });
  #runs: readonly RunSummary[] = [];
  #columns: readonly string[] = KNOWN_COLUMNS;
  readonly #busy = new Map<string, AbortController>();
  /** Events about a run that arrived while it was being fetched. */
  readonly #told = new Map<string, SeriesTail | null>();
  readonly #stale = new Set<string>();
  #timer: number | undefined;
  #fetched = -Infinity;
  readonly #end: () => void;

  /** @param view - The part of the axis that is shown first; null: all. */
  constructor(axis: Axis, view: View | null = null) {
    this.axis = signal(axis);
    this.view = signal(view);
    this.#end = onMetrics(({ run, tail }) => {
      if (!this.#runs.some(({ id }) => id === run)) return;
      if (this.#busy.has(run)) this.#told.set(run, tail);
      else this.#take(run, tail);
    });
  }

  dispose(): void {
    this.#end();
    clearTimeout(this.#timer);
    for (const controller of this.#busy.values()) controller.abort();
  }

  show(runs: readonly RunSummary[], extraColumns: readonly string[] = []): void {
    const columns = [...KNOWN_COLUMNS, ...extraColumns.filter((name) => !KNOWN_COLUMNS.includes(name))];
    const isSame = columns.join() === this.#columns.join();
    const before = new Set(this.#runs.map(({ id }) => id));
    this.#runs = runs;
    this.#columns = columns;
    const kept = new Map([...this.loaded.value].filter(([id]) => runs.some((run) => run.id === id)));
    if (kept.size !== this.loaded.value.size) this.loaded.value = kept;
    for (const { id } of runs) if (!isSame || !before.has(id)) void this.#fetch(id);
  }

  setAxis(axis: Axis): void {
    if (axis === this.axis.value) return;
    this.view.value = null;
    this.axis.value = axis;
    for (const { id } of this.#runs) void this.#fetch(id);
  }

  /** The state of a run, as of its curves; undefined before they have arrived. */
  now(id: string): RunNow | undefined {
    return this.nows.value.get(id);
  }

  /** Moves the view; null shows all. */
  look(view: View | null): void {
    if (view !== null) {
      const { from, to } = this.all.value;
      // no emptier than half, no narrower than a few lines of a long run
      const span = Math.min(Math.max(view.to - view.from, (to - from) / 1e7 || 1e-9), to - from);
      const start = Math.min(Math.max(view.from, from - span / 2), to - span / 2);
      view = span >= to - from ? null : { from: start, to: start + span };
    }
    this.view.value = view;
    for (const { id } of this.#runs) if (!this.#suffices(id)) this.#fetchLater(id, REST_MS);
  }

  /** `by` is in widths of the view; `factor` below 1 zooms in, around `at` (0 left edge, 1 right edge). */
  move(by: number, factor = 1, at = 0.5): void {
    const { from, to } = this.view.value ?? this.all.value;
    const span = to - from;
    const start = from + by * span + at * span * (1 - factor);
    this.look({ from: start, to: start + span * factor });
  }

  /** Whether the fetched curves show the view as finely as possible. */
  #suffices(id: string): boolean {
    const loaded = this.loaded.value.get(id);
    const view = this.view.value;
    if (loaded === undefined || loaded.axis !== this.axis.value) return false;
    const { part, series } = loaded;
    if (view === null) return part === null;
    const held = part ?? this.all.value;
    const isInside =
      part === null || (held.from <= view.from && held.to >= Math.min(view.to, this.all.value.to));
    const isFine = series.header.isExact || held.to - held.from <= 4 * (view.to - view.from);
    return isInside && isFine;
  }

  /** Takes new lines from an event, or fetches them. */
  #take(id: string, tail: SeriesTail | null): void {
    if (tail !== null && this.#append(id, tail)) return;
    this.#fetchLater(id, Math.max(0, LIVE_MS - (performance.now() - this.#fetched)));
  }

  /** Appends new lines. @returns Whether a fetch would add nothing. */
  #append(id: string, { now, points }: SeriesTail): boolean {
    const loaded = this.loaded.value.get(id);
    if (loaded === undefined || this.#stale.has(id)) return false;
    const { series, part, run, axis } = loaded;
    const { header } = series;
    const missing = now.lines - header.lines;
    if (now.generation !== header.generation || missing < 0) return false;
    const [end, newEnd] = [endOf(header, axis, run), endOf(now, axis, run)];
    const isBeyond = part !== null && part.to < end;
    const span = part === null ? newEnd : (part.to - part.from) / PART_VIEWS;
    const isHidden = !header.isExact && 2 * WIDTH * (newEnd - end) < span; // half a pixel
    if (isBeyond || isHidden) {
      settle(() => (this.nows.value = new Map(this.nows.value).set(id, now)));
      return true;
    }
    const added = points.slice(points.length - missing);
    const names = added.flatMap(({ values }) => Object.keys(values));
    const isKnown = names.every((name) => series.columns.has(name) || !this.#columns.includes(name));
    const isExact = header.isExact && header.count + missing <= 2 * widthOf(part);
    if (!isExact || !isKnown || missing > points.length) return false;
    const longer = appended(series, { now, points: added });
    this.#show(id, { ...loaded, series: longer, x: positions(longer, axis, run) });
    return true;
  }

  #show(id: string, loaded: Loaded): void {
    settle(() => {
      this.loaded.value = new Map(this.loaded.value).set(id, loaded);
      this.nows.value = new Map(this.nows.value).set(id, loaded.series.header);
      this.#setFailure(id, null);
    });
    // an address may name a part that is not there, or not any more
    const [view, { to }] = [this.view.peek(), this.all.peek()];
    const isRead = this.#runs.every((run) => {
      const header = this.loaded.peek().get(run.id)?.series.header;
      return header !== undefined && header.bytes >= header.size;
    });
    if (view !== null && view.from >= to && isRead) this.look(null);
  }

  #fetchLater(id: string, delay: number): void {
    this.#stale.add(id);
    this.#timer ??= window.setTimeout(() => {
      this.#timer = undefined;
      const stale = [...this.#stale];
      this.#stale.clear();
      for (const one of stale) void this.#fetch(one);
    }, delay);
  }

  async #fetch(id: string): Promise<void> {
    const run = this.#runs.find((one) => one.id === id);
    if (run === undefined) return;
    this.#fetched = performance.now();
    this.#busy.get(id)?.abort();
    const controller = new AbortController();
    this.#busy.set(id, controller);
    const [axis, view] = [this.axis.value, this.view.value];
    const span = view === null ? 0 : view.to - view.from;
    const around = (span * (PART_VIEWS - 1)) / 2;
    const part = view === null ? null : { from: view.from - around, to: view.to + around };
    const limits =
      part === null ? {} : { from: toServer(part.from, axis, run), to: toServer(part.to, axis, run) };
    try {
      const series = await fetchSeries(
        id,
        {
          axis: axis === 'time' ? 'time' : 'step',
          ...limits,
          width: widthOf(part),
          columns: [...this.#columns],
        },
        controller.signal,
      );
      const x = positions(series, axis, run);
      this.#show(id, { run, series, x, part, axis });
    } catch (error) {
      if (!controller.signal.aborted) this.#setFailure(id, error);
    } finally {
      if (this.#busy.get(id) === controller) {
        this.#busy.delete(id);
        const told = this.#told.get(id);
        if (this.#told.delete(id)) this.#take(id, told ?? null);
      }
    }
  }

  #setFailure(id: string, error: unknown): void {
    if (error === null && !this.failures.value.has(id)) return;
    const failures = new Map(this.failures.value);
    if (error === null) failures.delete(id);
    else failures.set(id, error);
    this.failures.value = failures;
  }
}
