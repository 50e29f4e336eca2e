/**
 * A grid of many square cells that scrolls: only those in view, and a few more, are in the page. Arrow keys, Home, End and
 * the page keys move the focus.
 */
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import './virtual-grid.css';

/** CSS pixels between cells. */
const GAP = 8;
/** Rows above and below what is in view. */
const OVERSCAN = 2;
/** CSS pixels: browsers draw no element that is much higher. A longer grid scrolls faster than the bar. */
const MOST_HEIGHT = 12_000_000;
/** A movement by more than this share of the view is too fast for pictures to be loaded on the way. */
const FAST = 0.5;
const REST_MS = 120;

export interface CellState {
  /** It can be reached by Tab: give what takes the focus `tabIndex={isCurrent ? 0 : -1}` and `data-cell={i}`. */
  isCurrent: boolean;
  /** The grid is moving too fast to load a picture. */
  isFast: boolean;
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

export function VirtualGrid(props: VirtualGridProps) {
  const { label, count, side: least, extra, keyOf, cell, classOf, onKey, kept } = props;
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [top, setTop] = useState(0);
  const [isFast, setFast] = useState(false);
  const [current, setCurrent] = useState(0);
  const focus = useRef(false);
  const rest = useRef<number | undefined>(undefined);

  const columns = Math.max(1, Math.floor((size.width + GAP) / (least + GAP)));
  const side = Math.max(1, (size.width - GAP * (columns - 1)) / columns);
  const rowHeight = side + extra + GAP;
  const rows = Math.ceil(count / columns);
  const total = rows * rowHeight;
  const height = Math.min(total, MOST_HEIGHT);
  // of a grid that is longer than its element, each pixel of the bar stands for several
  const ratio = height > size.height ? (total - size.height) / (height - size.height) : 1;
  const at = top * ratio;
  const first = Math.max(0, Math.floor(at / rowHeight) - OVERSCAN);
  const last = Math.min(rows, Math.ceil((at + size.height) / rowHeight) + OVERSCAN);
  const [from, to] = [first * columns, Math.min(count, last * columns)];

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
    setTop(box.current!.scrollTop);
  }, [size.width > 0, count, kept?.name]);
  useEffect(() => setCurrent((before) => Math.min(before, Math.max(0, count - 1))), [count]);

  const onScroll = (): void => {
    const now = box.current!.scrollTop;
    setFast(Math.abs(now - top) > FAST * size.height);
    setTop(now);
    clearTimeout(rest.current);
    rest.current = window.setTimeout(() => {
      setFast(false);
      kept?.keep(now);
    }, REST_MS);
  };

  const moveTo = (i: number): void => {
    const next = Math.min(count - 1, Math.max(0, i));
    const row = Math.floor(next / columns);
    const [above, below] = [row * rowHeight, (row + 1) * rowHeight - size.height];
    const element = box.current!;
    if (at > above) element.scrollTop = above / ratio;
    else if (at < below) element.scrollTop = below / ratio;
    setTop(element.scrollTop);
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

  return (
    <div class="virtual-grid" ref={box} onScroll={onScroll} onKeyDown={byKey} onFocusIn={onFocus}>
      <div style={{ height: `${height}px` }}>
        <ul
          aria-label={label}
          style={{
            transform: `translateY(${top - at + first * rowHeight}px)`,
            gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
            gridAutoRows: `${side + extra}px`,
            gap: `${GAP}px`,
          }}
        >
          {size.width > 0 &&
            Array.from({ length: Math.max(0, to - from) }, (_, n) => {
              const i = from + n;
              const state = { isCurrent: i === reachable, isFast, side };
              return (
                <li key={keyOf(i)} data-i={i} class={classOf?.(i)} aria-setsize={count} aria-posinset={i + 1}>
                  {cell(i, state)}
                </li>
              );
            })}
        </ul>
      </div>
    </div>
  );
}

/** Keeps where a grid was scrolled to, under a name, for as long as the browser's session. */
export const scrollKept = (name: string): NonNullable<VirtualGridProps['kept']> => ({
  name,
  top: () => Number(sessionStorage.getItem(`scroll ${name}`)) || 0,
  keep: (top) => sessionStorage.setItem(`scroll ${name}`, String(Math.round(top))),
});
