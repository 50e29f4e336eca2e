/** The map of an index: a point for each image, drawn with WebGL by deck.gl; small pictures when zoomed in; a lasso. */
import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { LabelGroup } from '../api.ts';
import { color, colorsChanged } from '../theme.ts';
import { useAnswer } from '../use-answer.ts';
import { Pace } from './pace.ts';
import { type Points, PointsLayer } from './points-layer.ts';

/** Pictures are shown when no more than this many points are in view. */
const MOST_PICTURES = 40;
const PICTURE_SIZE = 56;
/** Points that a machine without a graphics card draws while the map moves; when it rests, all are drawn. */
const SAMPLE = 10_000;
/** Labels that have colours of their own (series-1 to series-5): more can't be told apart. */
const COLORED_LABELS = 5;

const viewStateOf = ({ target, zoom }: View): OrthographicViewState => ({ target: [...target, 0], zoom });

interface Picture {
  row: number;
  address: string;
  name: string;
}

export interface FindMapProps {
  /** (N, 2). */
  positions: Float32Array;
  selected: ReadonlySet<number>;
  labels: LabelGroup[];
  onSelect: (rows: number[]) => void;
  /** The addresses of small pictures of these rows. */
  picturesOf: (rows: number[], signal?: AbortSignal) => Promise<Picture[]>;
}

type Point = readonly [x: number, y: number];

/** Whether a point lies in a polygon: a ray from it crosses the outline an odd number of times. */
function inside([x, y]: Point, polygon: readonly Point[]): boolean {
  let isIn = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i]!, polygon[j]!];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) isIn = !isIn;
  }
  return isIn;
}

const rgb = (css: string): [number, number, number] => {
  const context = new OffscreenCanvas(1, 1).getContext('2d')!;
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
  return [r!, g!, b!];
};

/** The meaning of a point's colour: each of the most frequent labels has one. */
function legendOf(labels: readonly LabelGroup[]): { name: string; color: string; groups: LabelGroup[] }[] {
  const ordered = [...labels].sort((a, b) => b.rows.length - a.rows.length);
  const own = ordered.slice(0, COLORED_LABELS);
  const others = ordered.slice(COLORED_LABELS);
  return [
    ...own.map((group, i) => ({ name: group.label, color: `series-${i + 1}`, groups: [group] })),
    ...(others.length > 0 ? [{ name: 'other labels', color: 'series-0', groups: others }] : []),
  ];
}

/** The view that shows all points. */
function wholeView(positions: Float32Array, width: number, height: number): View {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < positions.length; i += 2) {
    left = Math.min(left, positions[i]!);
    right = Math.max(right, positions[i]!);
    top = Math.min(top, positions[i + 1]!);
    bottom = Math.max(bottom, positions[i + 1]!);
  }
  const scale = 0.9 * Math.min(width / Math.max(right - left, 1e-6), height / Math.max(bottom - top, 1e-6));
  return { target: [(left + right) / 2, (top + bottom) / 2], zoom: Math.log2(scale) };
}

/**
 * What keys do: move by a share of the map's width and height, or zoom by powers of 2. deck.gl's own keys go by their place on
 * an American keyboard.
 */
const KEYS: Readonly<Record<string, { move?: Point; zoom?: number }>> = {
  ArrowLeft: { move: [-0.1, 0] },
  ArrowRight: { move: [0.1, 0] },
  ArrowUp: { move: [0, -0.1] },
  ArrowDown: { move: [0, 0.1] },
  '+': { zoom: 0.5 },
  '=': { zoom: 0.5 }, // plus without Shift
  '-': { zoom: -0.5 },
};

/**
 * Points in an order whose first n are a fair sample whatever the folders' order: steps of the golden section around a
 * circle. `ranks`: the place of each row in it; `places`: (N, 2), the positions in it.
 */
function scattered(positions: Float32Array): { ranks: Uint32Array; places: Float32Array } {
  const count = positions.length / 2;
  const keys = Float64Array.from({ length: count }, (_, row) => (row * 0.6180339887498949) % 1);
  const order = new Uint32Array(count).map((_, i) => i).sort((a, b) => keys[a]! - keys[b]!);
  const ranks = new Uint32Array(count);
  const places = new Float32Array(2 * count);
  order.forEach((row, rank) => {
    ranks[row] = rank;
    places.set(positions.subarray(2 * row, 2 * row + 2), 2 * rank);
  });
  return { ranks, places };
}

interface View {
  target: Point;
  zoom: number;
}

export function FindMap({ positions, selected, labels, onSelect, picturesOf }: FindMapProps) {
  const box = useRef<HTMLDivElement>(null);
  const deck = useRef<Deck<OrthographicView> | null>(null);
  const [view, setView] = useState<View | null>(null);
  const [isDrawn, setDrawn] = useState(false);
  const [isLasso, setLasso] = useState(false);
  const [outline, setOutline] = useState<Point[]>([]);
  /** The same, before it is drawn: the mouse is faster than the frames. */
  const lasso = useRef<Point[]>([]);
  const count = positions.length / 2;
  const legend = legendOf(labels);
  const { ranks, places } = useMemo(() => scattered(positions), [positions]);
  const points = useRef<Points | null>(null);
  const isSlow = useRef(false);
  const resting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const draw = (drawn: number): void => {
    const layer = { id: 'points', data: points.current!, diameter: count > 20_000 ? 3 : 6 };
    deck.current?.setProps({ layers: [new PointsLayer({ ...layer, drawn })] });
  };
  const size = (): { width: number; height: number } => ({
    width: box.current?.clientWidth ?? 1,
    height: box.current?.clientHeight ?? 1,
  });

  const whole = (): View => {
    const { width, height } = size();
    return wholeView(positions, width, height);
  };

  useEffect(() => {
    const start = whole();
    setView(start);
    const pace = new Pace();
    const made = new Deck({
      parent: box.current!,
      deviceProps: { type: 'webgl', webgl: { antialias: false } },
      views: new OrthographicView({ id: 'map', flipY: true }),
      viewState: viewStateOf(start),
      controller: { keyboard: false, scrollZoom: { smooth: false } },
      onBeforeRender: () => pace.begins(),
      onAfterRender: ({ gl }) => {
        if (made.props.layers.length === 0) return;
        if (pace.ended(gl)) made.redraw('to measure it');
        isSlow.current = pace.isSlow;
        setDrawn(true);
      },
      onViewStateChange: ({ viewState }: { viewState: OrthographicViewState }) => {
        const { target, zoom } = viewState;
        goTo({ target: [target![0], target![1]], zoom: zoom as number });
      },
    });
    deck.current = made;
    return () => {
      clearTimeout(resting.current);
      made.finalize();
    };
  }, [positions]);

  useEffect(() => {
    const colors = new Uint8Array(4 * count);
    const paint = (rows: Iterable<number>, name: string, alpha: number): void => {
      const [r, g, b] = rgb(color(name));
      for (const row of rows) {
        const at = 4 * ranks[row]!;
        colors[at] = r;
        colors[at + 1] = g;
        colors[at + 2] = b;
        colors[at + 3] = alpha;
      }
    };
    paint(ranks.keys(), labels.length > 0 ? 'dim' : 'accent', 150);
    for (const { color: name, groups } of legend) for (const { rows } of groups) paint(rows, name, 255);
    paint(selected, 'text', 255);
    points.current = {
      length: count,
      attributes: {
        getPosition: { value: places, size: 2 },
        getFillColor: { value: colors, size: 4, normalized: true },
      },
    };
    draw(count);
  }, [positions, selected, labels, colorsChanged.value]);

  /** Screen pixels of a row. */
  const placeOf = (row: number): Point => {
    const { width, height } = size();
    const scale = 2 ** view!.zoom;
    return [
      (positions[2 * row]! - view!.target[0]) * scale + width / 2,
      (positions[2 * row + 1]! - view!.target[1]) * scale + height / 2,
    ];
  };
  const inView = (): number[] => {
    const { width, height } = size();
    const [x, y] = view!.target;
    const half = 0.5 / 2 ** view!.zoom;
    const rows: number[] = [];
    for (let row = 0; row < count; row++) {
      const isIn =
        Math.abs(positions[2 * row]! - x) <= width * half &&
        Math.abs(positions[2 * row + 1]! - y) <= height * half;
      if (isIn) rows.push(row);
    }
    return rows;
  };

  const loadPictures = async (_: View, signal?: AbortSignal): Promise<Picture[]> => {
    const rows = inView();
    return rows.length === 0 || rows.length > MOST_PICTURES ? [] : picturesOf(rows, signal);
  };
  const near = useAnswer(loadPictures, view, { keep: true, delay: 150 });
  const pictures = near.error === null && near.answer !== null ? near.answer : [];

  const at = (event: PointerEvent): Point => {
    const { left, top } = box.current!.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const goTo = (next: View): void => {
    setView(next);
    deck.current?.setProps({ viewState: viewStateOf(next) });
    clearTimeout(resting.current);
    if (count <= SAMPLE || !isSlow.current) return;
    draw(SAMPLE);
    resting.current = setTimeout(() => draw(count), 250);
  };
  const showAll = (): void => goTo(whole());
  const byKey = (event: KeyboardEvent): void => {
    const key = KEYS[event.key];
    if (view === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '0') showAll();
    else if (key === undefined) return;
    else {
      const { width, height } = size();
      const [x, y] = key.move ?? [0, 0];
      const scale = 2 ** view.zoom;
      goTo({
        target: [view.target[0] + (x * width) / scale, view.target[1] + (y * height) / scale],
        zoom: view.zoom + (key.zoom ?? 0),
      });
    }
    event.preventDefault();
  };
  const drawLasso = (points: Point[]): void => {
    lasso.current = points;
    setOutline(points);
  };
  const endLasso = (): void => {
    const rows: number[] = [];
    for (let row = 0; row < count; row++) if (inside(placeOf(row), lasso.current)) rows.push(row);
    drawLasso([]);
    setLasso(false);
    onSelect(rows);
  };

  return (
    <div class="find-map">
      <div class="row">
        <button type="button" aria-pressed={isLasso} onClick={() => setLasso(!isLasso)}>
          Lasso
        </button>
        <button type="button" onClick={() => onSelect(inView())}>
          Select what is in view
        </button>
        <button type="button" onClick={showAll}>
          Show all
        </button>
      </div>
      {legend.length > 0 && (
        <ul class="legend" aria-label="Colours of the labels">
          {legend.map(({ name, color: dot }) => (
            <li key={name}>
              <span class="dot" style={{ background: `var(--${dot})` }} /> {name}
            </li>
          ))}
        </ul>
      )}
      <div
        class="canvas"
        ref={box}
        aria-busy={!isDrawn}
        onKeyDown={byKey}
        role="application"
        aria-label={`Map of ${count} images: arrow keys move it, plus and minus zoom, zero shows all`}
      >
        {view !== null &&
          pictures.map(({ row, address, name }) => {
            const [x, y] = placeOf(row);
            return (
              <img
                key={row}
                src={address}
                alt={name}
                width={PICTURE_SIZE}
                height={PICTURE_SIZE}
                style={{ transform: `translate(${x - PICTURE_SIZE / 2}px, ${y - PICTURE_SIZE / 2}px)` }}
              />
            );
          })}
        {isLasso && (
          <svg
            aria-hidden="true"
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              drawLasso([at(event)]);
            }}
            onPointerMove={(event) => event.buttons > 0 && drawLasso([...lasso.current, at(event)])}
            onPointerUp={endLasso}
          >
            <polygon points={outline.map((point) => point.join(',')).join(' ')} />
          </svg>
        )}
      </div>
    </div>
  );
}
