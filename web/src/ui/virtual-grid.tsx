/**
 * A grid of many square cells that scrolls: only those in view, and a few more, are in the page. Arrow keys, Home, End and
 * the page keys move the focus.
 *
 * Scrolling is cheap: a cell keeps its element and its place for as long as it is there, so that nothing is drawn again but the
 * rows that come into view; and where it is too fast to see anything, cells stay empty until it slows down.
 */
import type { ComponentChildren, VNode } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { keep, kept as keptInSession } from '../session.ts';
import './virtual-grid.css';

/** CSS pixels between cells. */
const GAP = 8;
/** Rows above and below what is in view. */
const OVERSCAN = 2;
/** CSS pixels: browsers don’t draw elements that are much higher. A longer grid scrolls faster than the bar. */
const MOST_HEIGHT = 12_000_000;
/** Rows after which places are counted again: large ones are inexact. */
const BLOCK = 4096;
/** Nothing is seen where the view moves by more than this share of itself within this time; half of it is slow again. */
const FAST = { share: 0.3, ms: 100 };
const REST_MS = 120;

export interface CellState {
  /** It can be reached by Tab: give what takes the focus `tabIndex={isCurrent ? 0 : -1}` and `data-cell={i}`. */
  isCurrent: boolean;
  /** Width of the cell, CSS pixels. */
  side: number;
}

export interface VirtualGridProps {
  label: string;
  count: number;
  /** The least width of a cell, CSS pixels; it grows so that the row is full. */
  side: number;
  /** What a cell is higher than wide. */
  extra: number;
  keyOf: (i: number) => string | number;
  cell: (i: number, state: CellState) => ComponentChildren;
  classOf?: (i: number) => string;
  /** Keys that the grid doesn't use itself. */
  onKey?: (i: number, event: KeyboardEvent) => void;
  /** Where it was scrolled to when it was left; see scrollKept(). */
  kept?: { name: string; top: () => number; keep: (top: number) => void };
}

/** Where the cells of a grid are. */
interface Geometry {
  columns: number;
  /** Of a cell, CSS pixels. */
  side: number;
  rowHeight: number;
  rows: number;
  /** Of the element that scrolls, and by how much each of its pixels moves the view. */
  height: number;
  ratio: number;
}

function geometryOf(size: { width: number; height: number }, props: VirtualGridProps): Geometry {
  const { count, side: least, extra } = props;
  const columns = Math.max(1, Math.floor((size.width + GAP) / (least + GAP)));
  const side = Math.max(1, (size.width - GAP * (columns - 1)) / columns);
  const rowHeight = side + extra + GAP;
  const rows = Math.ceil(count / columns);
  const total = rows * rowHeight;
  const height = Math.min(total, MOST_HEIGHT);
  // of a grid that is longer than its element, each pixel of the bar stands for several
  const ratio = height > size.height ? (total - size.height) / (height - size.height) : 1;
  return { columns, side, rowHeight, rows, height, ratio };
}

/** Rows that are in the page, from `first` up to and without `last`. */
interface Range {
  first: number;
  last: number;
  isFast: boolean;
}

function rangeAt(top: number, viewHeight: number, { rowHeight, rows, ratio }: Geometry): [number, number] {
  const at = top * ratio;
  return [
    Math.max(0, Math.floor(at / rowHeight) - OVERSCAN),
    Math.min(rows, Math.ceil((at + viewHeight) / rowHeight) + OVERSCAN),
  ];
}

interface ItemProps extends Pick<VirtualGridProps, 'count' | 'cell'> {
  classOf: VirtualGridProps['classOf'] | undefined;
  i: number;
  /** CSS pixels. */
  x: number;
  y: number;
  height: number;
  state: CellState;
  /** Its content comes later. */
  isBare: boolean;
}

function Item({ i, x, y, height, count, cell, classOf, state, isBare }: ItemProps) {
  return (
    <li
      data-i={i}
      class={isBare ? 'bare' : classOf?.(i)}
      style={{ transform: `translate(${x}px,${y}px)`, width: `${state.side}px`, height: `${height}px` }}
      aria-setsize={count}
      aria-posinset={i + 1}
    >
      {isBare ? null : cell(i, state)}
    </li>
  );
}

/** How fast a grid is scrolled. */
class Speed {
  #past: { time: number; top: number }[] = [];

  /** @returns Pixels within the last FAST.ms. */
  at(top: number): number {
    const time = performance.now();
    // the newest of those before stands for where it began
    const from = this.#past.findLastIndex((one) => time - one.time > FAST.ms);
    this.#past = [...this.#past.slice(Math.max(0, from)), { time, top }];
    return Math.abs(top - this.#past[0]!.top);
  }
  rests(top: number): void {
    this.#past = [{ time: performance.now(), top }];
  }
}

export function VirtualGrid(props: VirtualGridProps) {
  const { label, count, extra, keyOf, cell, classOf, onKey, kept } = props;
  const box = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [range, setRange] = useState<Range>({ first: 0, last: 0, isFast: false });
  const [current, setCurrent] = useState(0);
  const focus = useRef(false);
  const rest = useRef<number | undefined>(undefined);
  const speed = useRef(new Speed());
  const geometry = geometryOf(size, props);
  const { columns, side, rowHeight, rows, height, ratio } = geometry;

  // what was shown of a longer or wider grid may be beyond this one
  const last = Math.min(range.last, rows);
  const first = Math.min(range.first, Math.max(0, last - 1));
  const [from, to] = [first * columns, Math.min(count, last * columns)];
  const base = first - (first % BLOCK);

  /** Places the rows in the element that scrolls. */
  const place = (): void => {
    const { scrollTop } = box.current!;
    const shift = scrollTop - scrollTop * ratio + base * rowHeight;
    list.current!.style.transform = `translateY(${shift}px)`;
  };
  const follow = (isFast: boolean): void => {
    const [begin, end] = rangeAt(box.current!.scrollTop, size.height, geometry);
    if (ratio !== 1) place();
    setRange((before) =>
      before.first === begin && before.last === end && before.isFast === isFast
        ? before
        : { first: begin, last: end, isFast },
    );
  };

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = (): void => setSize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      observer.disconnect();
      clearTimeout(rest.current);
    };
  }, []);
  // once its height is known
  useLayoutEffect(() => {
    if (kept === undefined || size.width === 0) return;
    box.current!.scrollTop = kept.top();
    speed.current.rests(box.current!.scrollTop);
  }, [size.width > 0, count, kept?.name]);
  useLayoutEffect(() => {
    if (size.width > 0) follow(range.isFast);
  }, [size.width, size.height, columns, rowHeight, rows, kept?.name]);
  useLayoutEffect(place, [base, rowHeight, ratio]);
  useEffect(() => setCurrent((before) => Math.min(before, Math.max(0, count - 1))), [count]);

  const onScroll = (): void => {
    const now = box.current!.scrollTop;
    const moved = speed.current.at(now);
    // nothing reacts to a pointer that the images pass under
    box.current!.classList.add('moving');
    follow(moved > FAST.share * size.height * (range.isFast ? 0.5 : 1));
    clearTimeout(rest.current);
    rest.current = window.setTimeout(() => {
      box.current!.classList.remove('moving');
      speed.current.rests(now);
      follow(false);
      kept?.keep(now);
    }, REST_MS);
  };

  const moveTo = (i: number): void => {
    const next = Math.min(count - 1, Math.max(0, i));
    const row = Math.floor(next / columns);
    const [above, below] = [row * rowHeight, (row + 1) * rowHeight - size.height];
    const element = box.current!;
    const at = element.scrollTop * ratio;
    if (at > above) element.scrollTop = above / ratio;
    else if (at < below) element.scrollTop = below / ratio;
    speed.current.rests(element.scrollTop);
    follow(false);
    focus.current = true;
    setCurrent(next);
  };
  useLayoutEffect(() => {
    if (!focus.current) return;
    const target = box.current!.querySelector<HTMLElement>(`[data-cell="${current}"]`);
    if (target === null) return;
    focus.current = false;
    target.focus({ preventScroll: true });
  });

  const byKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = columns * Math.max(1, Math.floor(size.height / rowHeight));
    const steps: Readonly<Record<string, number>> = {
      ...{ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns },
      ...{ PageUp: -page, PageDown: page, Home: -count, End: count },
    };
    const step = steps[event.key];
    if (step === undefined) return onKey?.(current, event);
    event.preventDefault();
    const isOut = current + step < 0 || current + step >= count;
    // a row up from the first row stays where it is
    if (!isOut || Math.abs(step) === count || Math.abs(step) === page) moveTo(current + step);
  };
  const onFocus = (event: FocusEvent): void => {
    const index = (event.target as HTMLElement).closest<HTMLElement>('[data-i]')?.dataset['i'];
    if (index !== undefined) setCurrent(Number(index));
  };
  // a cell that was scrolled away can't be reached by Tab
  const reachable = current >= from && current < to ? current : from;

  // items are kept: what hasn't changed is not compared again
  const items = useRef<{ of: readonly unknown[]; kept: Map<number, Kept> }>({ of: [], kept: new Map() });
  const of = [cell, classOf, keyOf, count, columns, side, extra, base];
  const isSame = of.every((value, i) => Object.is(value, items.current.of[i]));
  const before = isSame ? items.current.kept : new Map<number, Kept>();
  const now = new Map<number, Kept>();
  for (let i = from; i < to; i++) {
    const isCurrent = i === reachable;
    const old = before.get(i);
    // what has its content already keeps it, also where it is drawn anew: the focus may be in it
    const isBare = range.isFast && items.current.kept.get(i)?.isBare !== false;
    if (old !== undefined && old.isCurrent === isCurrent && old.isBare === isBare) {
      now.set(i, old);
      continue;
    }
    const row = Math.floor(i / columns);
    const [x, y] = [(i - row * columns) * (side + GAP), (row - base) * rowHeight];
    const state = { isCurrent, side };
    const item = (
      <Item key={keyOf(i)} {...{ i, x, y, count, cell, classOf, state, isBare }} height={side + extra} />
    );
    now.set(i, { item, isCurrent, isBare });
  }
  items.current = { of, kept: now };

  return (
    <div class="virtual-grid" ref={box} onScroll={onScroll} onKeyDown={byKey} onFocusIn={onFocus}>
      <div style={{ height: `${height}px` }}>
        <ul aria-label={label} ref={list}>
          {size.width > 0 && [...now.values()].map(({ item }) => item)}
        </ul>
      </div>
    </div>
  );
}

/** An item as it was drawn last. */
interface Kept {
  item: VNode;
  isCurrent: boolean;
  isBare: boolean;
}

/** Keeps where a grid was scrolled to, under a name, for as long as the browser's session. */
export const scrollKept = (name: string): NonNullable<VirtualGridProps['kept']> => ({
  name,
  top: () => Number(keptInSession(`scroll ${name}`)) || 0,
  keep: (top) => keep(`scroll ${name}`, String(Math.round(top))),
});
