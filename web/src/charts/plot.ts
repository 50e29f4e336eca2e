/**
 * One chart, drawn by uPlot: a line for each run, its least and greatest values as a pale band when a pixel stands for many
 * lines, and the level at which the training has collapsed. Only what is on the screen is drawn.
 */
import { effect } from '@preact/signals';
import './language.ts';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { color, colorsChanged } from '../theme.ts';
import { duration } from '../ui/format.ts';
import type { Curves } from './curves.ts';
import type { Axis } from './series.ts';

/** One line of a chart. */
export interface Trace {
  label: string;
  /** Number of its colour. */
  color: number;
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  band: { min: ArrayLike<number>; max: ArrayLike<number> } | null;
  /** The line before it was smoothed, pale; null when it was not. */
  raw: ArrayLike<number> | null;
  /** Its points are marked: there are few. */
  hasPoints: boolean;
}

export interface Drawing {
  traces: readonly Trace[];
  axis: Axis;
  isLog: boolean;
  /** A level to compare with, and its name. */
  level: { value: number; label: string } | null;
  format: (value: number) => string;
}

const COLORS = 6;
const SYNC = 'runs';

/** Dashes of the lines that have a colour a second and a third time, CSS pixels; styles.css has them too. */
const DASHES: readonly (number[] | null)[] = [null, [8, 4], [2, 3]];
const dashOf = (index: number): number => Math.floor(index / COLORS) % DASHES.length;

const traceColor = (index: number): string => `series-${index % COLORS}`;

/** Classes of a name beside the sign of its line. */
export const keyClass = (index: number): string =>
  `key ${traceColor(index)}${dashOf(index) === 0 ? '' : ` dash-${dashOf(index)}`}`;

const number = new Intl.NumberFormat('en-US', { maximumFractionDigits: 3 });
export const xLabel = (x: number, axis: Axis): string => (axis === 'time' ? duration(x) : number.format(x));

/** As uPlot takes it: null for missing values, and on a logarithmic axis for those that are not positive. */
function column(values: ArrayLike<number>, isLog: boolean): (number | null)[] {
  const result = new Array<number | null>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    result[i] = Number.isNaN(value) || (isLog && value <= 0) ? null : value;
  }
  return result;
}

const transparent = (rgb: string, alpha: number): string =>
  rgb.replace(
    /^rgba?\(([^)]*)\)$/,
    (_, parts: string) => `rgba(${parts.split(',').slice(0, 3).join(',')}, ${alpha})`,
  );

export class Plot {
  #plot: uPlot | null = null;
  #drawing: Drawing | null = null;
  #shape = '';
  #isVisible = false;
  #isDirty = false;
  readonly #observer: IntersectionObserver;
  readonly #resizer: ResizeObserver;
  readonly #ends: (() => void)[];
  readonly #height: number;
  /** A line at the step that is marked. */
  readonly #marker = document.createElement('div');
  #pan: { x: number; from: number; to: number } | null = null;

  constructor(
    readonly box: HTMLElement,
    readonly curves: Curves,
    height = 230,
  ) {
    this.#height = height;
    this.#marker.className = 'marker';
    this.#observer = new IntersectionObserver(([entry]) => {
      this.#isVisible = entry?.isIntersecting ?? false;
      if (this.#isVisible && this.#isDirty) this.#draw();
    });
    this.#observer.observe(box);
    this.#resizer = new ResizeObserver(() =>
      this.#plot?.setSize({ width: Math.max(50, box.clientWidth), height: this.#height }),
    );
    this.#resizer.observe(box);
    this.#ends = [
      effect(() => {
        void colorsChanged.value;
        this.#shape = '';
        this.#request();
      }),
      effect(() => {
        void this.curves.view.value;
        void this.curves.all.value;
        this.#request();
      }),
      effect(() => {
        void this.curves.markerX.value;
        this.#mark();
      }),
    ];
    box.addEventListener('wheel', this.#onWheel, { passive: false });
    box.addEventListener('pointerdown', this.#onPointerDown, { capture: true });
    box.addEventListener('pointermove', this.#onPointerMove);
    box.addEventListener('pointerup', this.#onPointerUp);
    box.addEventListener('dblclick', () => curves.look(null));
  }

  set(drawing: Drawing): void {
    this.#drawing = drawing;
    this.#data = null;
    this.#request();
  }

  dispose(): void {
    this.#observer.disconnect();
    this.#resizer.disconnect();
    for (const end of this.#ends) end();
    cancelAnimationFrame(this.#frame);
    this.#plot?.destroy();
  }

  #frame = 0;
  #data: uPlot.AlignedData | null = null;

  /** Draws with the next frame, however many reasons there are until then. */
  #request(): void {
    this.#isDirty = true;
    if (!this.#isVisible || this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const drawing = this.#drawing;
    if (drawing === null || !this.#isVisible) return;
    this.#isDirty = false;
    const shape = JSON.stringify([
      drawing.traces.map((trace) => [
        trace.label,
        trace.color,
        trace.band !== null,
        trace.raw !== null,
        trace.hasPoints,
      ]),
      drawing.isLog,
      drawing.axis,
      drawing.level,
    ]);
    const isNewData = this.#data === null;
    this.#data ??= aligned(drawing);
    const { from, to } = this.curves.view.value ?? this.curves.all.value;
    const scale = { min: from, max: to > from ? to : from + 1 };
    if (this.#plot === null || shape !== this.#shape) {
      this.#shape = shape;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(drawing), this.#data, this.box);
      this.#plot.setScale('x', scale);
      return;
    }
    const plot = this.#plot;
    plot.batch(() => {
      if (isNewData) plot.setData(this.#data!, false);
      plot.setScale('x', scale);
    });
  }

  #options(drawing: Drawing): uPlot.Options {
    const { axis, isLog, level, format, traces } = drawing;
    const line = color('line');
    const common: uPlot.Axis = {
      stroke: color('dim'),
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line },
      font: '12px system-ui, sans-serif',
    };
    const series: uPlot.Series[] = [
      {
        label: axis === 'time' ? 'time' : axis,
        value: (_, value) => (value == null ? '–' : xLabel(value, axis)),
      },
    ];
    const bands: uPlot.Band[] = [];
    for (const trace of traces) {
      const stroke = color(traceColor(trace.color));
      const pale = transparent(stroke, 0.32);
      if (trace.band !== null) {
        bands.push({ series: [series.length + 1, series.length], fill: transparent(stroke, 0.22) });
        const edge: uPlot.Series = { stroke: 'transparent', width: 0, points: { show: false } };
        series.push(
          { ...edge, label: `${trace.label}, least` },
          { ...edge, label: `${trace.label}, greatest` },
        );
      }
      if (trace.raw !== null)
        series.push({ label: `${trace.label}, each`, stroke: pale, width: 1, points: { show: false } });
      series.push({
        label: trace.label,
        stroke,
        width: 1.75,
        ...(dashOf(trace.color) === 0 ? {} : { dash: DASHES[dashOf(trace.color)]! }),
        points: { show: trace.hasPoints, size: 6, fill: stroke },
        value: (_, value) => (value == null ? '–' : format(value)),
      });
    }
    return {
      width: Math.max(50, this.box.clientWidth),
      height: this.#height,
      legend: { show: false },
      series,
      bands,
      axes: [
        { ...common, values: (_, ticks) => ticks.map((tick) => xLabel(tick, axis)) },
        {
          ...common,
          size: 62,
          values: (_, ticks) => ticks.map((tick) => (tick == null ? '' : format(tick))),
        },
      ],
      scales: {
        x: { time: false, auto: false },
        y: {
          distr: isLog ? 3 : 1,
          range: (_, low, high) => yRange(low, high, isLog, level?.value ?? null),
        },
      },
      cursor: {
        sync: { key: SYNC, setSeries: false },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7 },
      },
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width < 4) return;
            const from = plot.posToVal(left, 'x');
            const to = plot.posToVal(left + width, 'x');
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            this.curves.look({ from, to });
          },
        ],
        setCursor: [(plot) => this.#tell(plot)],
        ready: [(plot) => plot.over.append(this.#marker)],
        draw: [() => this.#mark()],
        drawAxes: [(plot) => level !== null && drawLevel(plot, level)],
      },
    };
  }

  /** Moves the line at the marked step, without drawing the chart again. */
  #mark(): void {
    const plot = this.#plot;
    const x = this.curves.markerX.peek();
    if (plot === null) return;
    const left = x === null || Number.isNaN(x) ? NaN : plot.valToPos(x, 'x');
    const isInside = left >= 0 && left <= plot.over.clientWidth;
    this.#marker.hidden = !isInside;
    if (isInside) this.#marker.style.transform = `translateX(${left.toFixed(1)}px)`;
    if (plot.cursor.idx == null) this.#tell(plot);
  }

  /** The values under the cursor, or else at the marked step, into the readout beside the chart's title. */
  #tell(plot: uPlot): void {
    const out = this.box.parentElement?.querySelector('.readout');
    const marked = this.curves.markerX.peek();
    const isMarked = marked !== null && !Number.isNaN(marked) && plot.data[0].length > 0;
    const idx = plot.cursor.idx ?? (isMarked ? plot.valToIdx(marked) : null);
    const drawing = this.#drawing;
    if (!out || drawing === null) return;
    if (idx === null) {
      out.textContent = '';
      return;
    }
    const x = plot.data[0][idx];
    const values = plot.series.flatMap(({ label }, i) => {
      const value = plot.data[i]?.[idx];
      const isLine = drawing.traces.some((trace) => trace.label === label);
      if (!isLine || value == null) return [];
      return [
        drawing.traces.length > 1 ? `${label as string} ${drawing.format(value)}` : drawing.format(value),
      ];
    });
    out.textContent = x === undefined ? '' : `${xLabel(x, drawing.axis)}: ${values.join(', ')}`;
  }

  /** The wheel scrolls the page; with Ctrl it zooms, sideways it moves the view. */
  readonly #onWheel = (event: WheelEvent): void => {
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    if (!event.ctrlKey && !event.metaKey && !isSideways) return;
    event.preventDefault();
    const { left, width } = this.#plot?.over.getBoundingClientRect() ?? { left: 0, width: 1 };
    if (event.ctrlKey || event.metaKey)
      this.curves.move(0, Math.exp(event.deltaY / 300), (event.clientX - left) / width);
    else this.curves.move((event.deltaX || event.deltaY) / width);
  };

  readonly #onPointerDown = (event: PointerEvent): void => {
    if (!(event.button === 1 || (event.button === 0 && event.shiftKey))) return;
    event.preventDefault();
    event.stopPropagation();
    const { from, to } = this.curves.view.value ?? this.curves.all.value;
    this.#pan = { x: event.clientX, from, to };
    this.box.setPointerCapture(event.pointerId);
  };

  readonly #onPointerMove = (event: PointerEvent): void => {
    if (this.#pan === null || this.#plot === null) return;
    const { x, from, to } = this.#pan;
    const by = ((x - event.clientX) / this.#plot.over.clientWidth) * (to - from);
    this.curves.look({ from: from + by, to: to + by });
  };

  readonly #onPointerUp = (event: PointerEvent): void => {
    if (this.#pan === null) return;
    this.#pan = null;
    this.box.releasePointerCapture(event.pointerId);
  };
}

/** All traces over one x: those of several runs are interleaved. */
function aligned({ traces, isLog }: Drawing): uPlot.AlignedData {
  const tables = traces.map((trace): uPlot.AlignedData => {
    const ys = [];
    if (trace.band !== null) ys.push(column(trace.band.min, isLog), column(trace.band.max, isLog));
    if (trace.raw !== null) ys.push(column(trace.raw, isLog));
    ys.push(column(trace.y, isLog));
    return [Array.from(trace.x), ...ys];
  });
  if (tables.length === 0) return [[]];
  return tables.length === 1 ? tables[0]! : uPlot.join(tables);
}

function yRange(
  low: number | null,
  high: number | null,
  isLog: boolean,
  level: number | null,
): [number, number] {
  if (low === null || high === null) return isLog ? [0.1, 10] : [0, level ?? 1];
  if (isLog) return uPlot.rangeLog(low, Math.max(high, low * 1.01), 10, false) as [number, number];
  // the level is included when the curve is anywhere near it
  const top = level !== null && high > 0.3 * level ? Math.max(high, level) : high;
  const margin = 0.06 * (top - low) || Math.abs(top) * 0.1 || 1;
  const bottom = low >= 0 && low - margin < 0 ? 0 : low - margin;
  return [bottom, top + margin];
}

function drawLevel(plot: uPlot, { value, label }: { value: number; label: string }): void {
  const { ctx, bbox } = plot;
  const y = Math.round(plot.valToPos(value, 'y', true));
  if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color('limit');
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = 'right';
  ctx.fillText(label, bbox.left + bbox.width - 4, y - 4 * devicePixelRatio);
  ctx.restore();
}
