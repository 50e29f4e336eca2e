/**
 * The map of an index: a point for each image, drawn with WebGL by deck.gl; small pictures where there is room. The pointer
 * shows an image, a click looks for its neighbours, a lasso filters.
 */
import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { color, colorsChanged } from '../theme.ts';
import { count as countOf } from '../ui/format.ts';
import { Thumb } from '../ui/thumb.tsx';
import { useAnswer } from '../use-answer.ts';
import type { Colouring } from './map-colours.ts';
import {
  bounded,
  boundsOf,
  inside,
  pixelOf,
  type Point,
  rowAt,
  rowsInView,
  rowsWithRoom,
  scattered,
  type Size,
  type View,
  wholeView,
} from './map-view.ts';
import { hovered, marks } from './marks.ts';
import { Pace } from './pace.ts';
import { type Points, PointsLayer } from './points-layer.ts';
import type { Images } from './shown.ts';

const PICTURE_SIDE = 48;
/** The most pictures at a time, and the most points that one may cover. */
const PICTURES = { side: PICTURE_SIDE, most: 60, crowd: 2 };
/** Points that a machine without a graphics card draws while the map moves; when it rests, all are drawn. */
const SAMPLE = 10_000;
/** How far from a point the pointer may be, and how far a click may move, pixels. */
const REACH = 10;
const CLICK = 4;

const viewStateOf = ({ target, zoom }: View): OrthographicViewState => ({ target: [...target, 0], zoom });

export interface FindMapProps {
  /** (N, 2). */
  positions: Float32Array;
  images: Images;
  colouring: Colouring;
  /** What the grid shows; null for all. The others are drawn faintly. */
  shown: readonly number[] | null;
  /** The images that a lasso, or the edge of the view, holds. */
  onFilter: (rows: number[]) => void;
  /** A point was clicked. */
  onPick: (row: number) => void;
}

const rgb = (css: string): [number, number, number] => {
  // in memory: nothing waits for the graphics card
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })!;
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
  return [r!, g!, b!];
};

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

export function FindMap({ positions, images, colouring, shown, onFilter, onPick }: FindMapProps) {
  const box = useRef<HTMLDivElement>(null);
  const deck = useRef<Deck<OrthographicView> | null>(null);
  const [view, setView] = useState<View | null>(null);
  const [isDrawn, setDrawn] = useState(false);
  const [isLasso, setLasso] = useState(false);
  const [outline, setOutline] = useState<Point[]>([]);
  /** The same, before it is drawn: the pointer is faster than the frames. */
  const lasso = useRef<Point[]>([]);
  const pressed = useRef<Point | null>(null);
  const count = positions.length / 2;
  const bounds = useMemo(() => boundsOf(positions), [positions]);
  const { ranks, places } = useMemo(() => scattered(positions), [positions]);
  const points = useRef<Points | null>(null);
  const isSlow = useRef(false);
  const resting = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const draw = (drawn: number): void => {
    const layer = { id: 'points', data: points.current!, diameter: count > 20_000 ? 3 : 6 };
    deck.current?.setProps({ layers: [new PointsLayer({ ...layer, drawn })] });
  };
  const size = (): Size => ({ width: box.current?.clientWidth ?? 1, height: box.current?.clientHeight ?? 1 });

  const goTo = (wanted: View): void => {
    const next = bounded(wanted, bounds, size(), count);
    setView(next);
    deck.current?.setProps({ viewState: viewStateOf(next) });
    clearTimeout(resting.current);
    if (count <= SAMPLE || !isSlow.current) return;
    draw(SAMPLE);
    resting.current = setTimeout(() => draw(count), 250);
  };
  const showAll = (): void => goTo(wholeView(bounds, size()));

  useEffect(() => {
    const start = wholeView(bounds, size());
    setView(start);
    const pace = new Pace();
    const made = new Deck({
      parent: box.current!,
      deviceProps: { type: 'webgl', webgl: { antialias: false } },
      views: new OrthographicView({ id: 'map', flipY: true }),
      viewState: viewStateOf(start),
      controller: { keyboard: false, scrollZoom: { smooth: false } },
      getCursor: () => 'inherit',
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
    // the whole map stays whole when its place changes its size
    let { width, height } = size();
    const observer = new ResizeObserver(() => {
      const now = size();
      if (now.width === width && now.height === height) return;
      ({ width, height } = now);
      showAll();
    });
    observer.observe(box.current!);
    return () => {
      observer.disconnect();
      clearTimeout(resting.current);
      made.finalize();
    };
  }, [positions]);

  const { selected } = marks.value;
  useEffect(() => {
    const colors = new Uint8Array(4 * count);
    const put = (row: number, [r, g, b]: readonly number[], alpha: number): void => {
      const at = 4 * ranks[row]!;
      colors[at] = r!;
      colors[at + 1] = g!;
      colors[at + 2] = b!;
      colors[at + 3] = alpha;
    };
    const plain = rgb(color(colouring === null ? 'accent' : 'dim'));
    for (let row = 0; row < count; row++) put(row, plain, 160);
    if (colouring?.kind === 'groups')
      for (const group of colouring.groups) {
        const own = rgb(color(group.color));
        for (const row of group.rows) put(row, own, 255);
      }
    if (colouring?.kind === 'scale') {
      const [low, high] = [rgb(color('dim')), rgb(color('limit'))];
      colouring.values.forEach((value, row) =>
        put(
          row,
          low.map((from, c) => from + value * (high[c]! - from)),
          120 + 135 * value,
        ),
      );
    }
    if (shown !== null) {
      const isShown = new Uint8Array(count);
      for (const row of shown) isShown[row] = 1;
      for (let row = 0; row < count; row++) if (isShown[row] === 0) colors[4 * ranks[row]! + 3] = 40;
    }
    const text = rgb(color('text'));
    for (const row of selected) if (row < count) put(row, text, 255);
    points.current = {
      length: count,
      attributes: {
        getPosition: { value: places, size: 2 },
        getFillColor: { value: colors, size: 4, normalized: true },
      },
    };
    draw(count);
  }, [positions, colouring, shown, selected, colorsChanged.value]);

  const withRoom = (at: View): Promise<number[]> =>
    Promise.resolve(rowsWithRoom(positions, at, size(), PICTURES));
  const pictures = useAnswer(withRoom, view, { keep: true, delay: 150 }).answer ?? [];

  const at = (event: MouseEvent): Point => {
    const { left, top } = box.current!.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const under = (event: MouseEvent): number | null =>
    view === null ? null : rowAt(positions, at(event), view, size(), REACH);
  const click = (event: MouseEvent): void => {
    const [x, y] = at(event);
    const [x0, y0] = pressed.current ?? [Infinity, Infinity];
    const row = under(event);
    if (!isLasso && row !== null && Math.hypot(x - x0, y - y0) <= CLICK) onPick(row);
  };
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
  const drawLasso = (next: Point[]): void => {
    lasso.current = next;
    setOutline(next);
  };
  const endLasso = (): void => {
    const rows: number[] = [];
    for (let row = 0; row < count; row++)
      if (inside(pixelOf(positions, row, view!, size()), lasso.current)) rows.push(row);
    drawLasso([]);
    setLasso(false);
    onFilter(rows);
  };

  return (
    <div class="find-map">
      <div class="row">
        <button
          type="button"
          class="toggle"
          aria-pressed={isLasso}
          title="Draw around points, and the grid shows only their images"
          onClick={() => setLasso(!isLasso)}
        >
          Lasso
        </button>
        <button
          type="button"
          title="The grid shows only the images in view here"
          onClick={() => view !== null && onFilter(rowsInView(positions, view, size()))}
        >
          Only what is in view
        </button>
        <button type="button" onClick={showAll}>
          Whole map
        </button>
      </div>
      <div
        class={isLasso ? 'canvas lasso' : 'canvas'}
        ref={box}
        aria-busy={!isDrawn}
        onKeyDown={byKey}
        onPointerDown={(event) => (pressed.current = at(event))}
        onPointerMove={(event) => {
          if (event.buttons === 0) hovered.value = under(event);
        }}
        onPointerLeave={() => (hovered.value = null)}
        onClick={click}
        role="application"
        aria-label={`Map of ${countOf(count)} images: arrow keys move it, plus and minus zoom, zero shows all`}
      >
        {view !== null &&
          pictures.map((row) => {
            const [x, y] = pixelOf(positions, row, view, size());
            const corner = `translate(${x - PICTURE_SIDE / 2}px, ${y - PICTURE_SIDE / 2}px)`;
            return (
              <span key={row} class="map-picture" style={{ transform: corner }}>
                <Thumb path={images.pathOf(row)} side={PICTURE_SIDE} alt="" />
              </span>
            );
          })}
        {view !== null && <Hovered {...{ positions, view, size: size(), images }} />}
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

const CARD = { width: 148, height: 176 };

/** The image that the pointer is over, here or in the grid: a ring around its point, and its picture. */
function Hovered(props: { positions: Float32Array; view: View; size: Size; images: Images }) {
  const { positions, view, size, images } = props;
  const row = hovered.value;
  if (row === null || 2 * row >= positions.length) return null;
  const [x, y] = pixelOf(positions, row, view, size);
  if (x < 0 || y < 0 || x > size.width || y > size.height) return null;
  const left = x + 14 + CARD.width > size.width ? x - 14 - CARD.width : x + 14;
  const top = Math.min(Math.max(0, y - CARD.height / 2), Math.max(0, size.height - CARD.height));
  return (
    <>
      <span class="ring" style={{ transform: `translate(${x}px, ${y}px)` }} />
      <span class="map-card" style={{ transform: `translate(${Math.max(0, left)}px, ${top}px)` }}>
        <Thumb key={row} path={images.pathOf(row)} side={132} alt="" />
        <span class="caption">{images.nameOf(row)}</span>
      </span>
    </>
  );
}
