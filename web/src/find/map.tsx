/** The map of an index: a point an image, drawn with WebGL by deck.gl; small pictures when one looks closely; a lasso. */
import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core';
import { ScatterplotLayer } from '@deck.gl/layers';
import { useEffect, useRef, useState } from 'preact/hooks';
import { colour, coloursChanged } from '../theme.ts';

/** Pictures are shown when no more than this many points are in view. */
const MOST_PICTURES = 40;
const PICTURE_SIZE = 56;

export interface FindMapProps {
  /** (N, 2). */
  positions: Float32Array;
  selected: ReadonlySet<number>;
  onSelect: (rows: number[]) => void;
  /** The addresses of small pictures of these rows. */
  picturesOf: (rows: number[]) => Promise<{ row: number; address: string; name: string }[]>;
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

/** The view in which all points are seen. */
function wholeView(positions: Float32Array, width: number, height: number): { target: Point; zoom: number } {
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

interface View {
  target: Point;
  zoom: number;
}

export function FindMap({ positions, selected, onSelect, picturesOf }: FindMapProps) {
  const box = useRef<HTMLDivElement>(null);
  const deck = useRef<Deck<OrthographicView> | null>(null);
  const [view, setView] = useState<View | null>(null);
  const [isLasso, setLasso] = useState(false);
  const [outline, setOutline] = useState<Point[]>([]);
  const [pictures, setPictures] = useState<{ row: number; address: string; name: string }[]>([]);
  const count = positions.length / 2;
  const size = (): { width: number; height: number } => ({
    width: box.current?.clientWidth ?? 1,
    height: box.current?.clientHeight ?? 1,
  });

  useEffect(() => {
    const { width, height } = size();
    const start = wholeView(positions, width, height);
    setView(start);
    const made = new Deck({
      parent: box.current!,
      views: new OrthographicView({ id: 'map', flipY: true }),
      initialViewState: { target: [...start.target, 0], zoom: start.zoom },
      controller: { keyboard: true, scrollZoom: { smooth: false } },
      onViewStateChange: ({ viewState }: { viewState: OrthographicViewState }) => {
        const { target, zoom } = viewState;
        setView({ target: [target![0], target![1]], zoom: zoom as number });
      },
    });
    deck.current = made;
    return () => made.finalize();
  }, [positions]);

  useEffect(() => {
    const base = rgb(colour('accent'));
    const chosen = rgb(colour('text'));
    const colours = new Uint8Array(4 * count);
    for (let row = 0; row < count; row++) {
      const isChosen = selected.has(row);
      colours.set([...(isChosen ? chosen : base), isChosen ? 255 : 150], 4 * row);
    }
    deck.current?.setProps({
      layers: [
        new ScatterplotLayer({
          id: 'points',
          data: {
            length: count,
            attributes: {
              getPosition: { value: positions, size: 2 },
              getFillColor: { value: colours, size: 4, normalized: true },
            },
          },
          getRadius: 1,
          radiusUnits: 'pixels',
          radiusScale: count > 20_000 ? 1.5 : 3,
        }),
      ],
    });
  }, [positions, selected, coloursChanged.value]);

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
    const rows: number[] = [];
    for (let row = 0; row < count; row++) {
      const [x, y] = placeOf(row);
      if (x >= 0 && y >= 0 && x <= width && y <= height) rows.push(row);
    }
    return rows;
  };

  useEffect(() => {
    if (view === null) return;
    const waiting = setTimeout(() => {
      const rows = inView();
      if (rows.length === 0 || rows.length > MOST_PICTURES) return setPictures([]);
      void picturesOf(rows).then(setPictures, () => setPictures([]));
    }, 150);
    return () => clearTimeout(waiting);
  }, [view, positions]);

  const at = (event: PointerEvent): Point => {
    const { left, top } = box.current!.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const endLasso = (): void => {
    const rows: number[] = [];
    for (let row = 0; row < count; row++) if (inside(placeOf(row), outline)) rows.push(row);
    setOutline([]);
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
        <button
          type="button"
          onClick={() => {
            const { width, height } = size();
            const start = wholeView(positions, width, height);
            setView(start);
            deck.current?.setProps({
              initialViewState: { target: [...start.target, 0], zoom: start.zoom },
            });
          }}
        >
          Show all
        </button>
      </div>
      <div
        class="canvas"
        ref={box}
        role="application"
        aria-label={`Map of ${count} images: arrow keys move it, plus and minus zoom`}
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
              setOutline([at(event)]);
            }}
            onPointerMove={(event) => event.buttons > 0 && setOutline([...outline, at(event)])}
            onPointerUp={endLasso}
          >
            <polygon points={outline.map((point) => point.join(',')).join(' ')} />
          </svg>
        )}
      </div>
    </div>
  );
}
