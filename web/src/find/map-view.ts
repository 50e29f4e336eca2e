/** Where a map stands, and what lies where on it; without WebGL. Pixels are CSS pixels. */
export type Point = readonly [x: number, y: number];

export interface View {
  /** What is in the middle, in the map's own units. */
  target: Point;
  /** A unit is 2 ** zoom pixels. */
  zoom: number;
}
export interface Size {
  width: number;
  height: number;
}

/** The box that all points lie in, and the view that shows it. */
export interface Bounds {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export function boundsOf(positions: Float32Array): Bounds {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < positions.length; i += 2) {
    left = Math.min(left, positions[i]!);
    right = Math.max(right, positions[i]!);
    top = Math.min(top, positions[i + 1]!);
    bottom = Math.max(bottom, positions[i + 1]!);
  }
  return { left, right, top, bottom };
}

export function wholeView({ left, right, top, bottom }: Bounds, { width, height }: Size): View {
  const scale = 0.9 * Math.min(width / Math.max(right - left, 1e-6), height / Math.max(bottom - top, 1e-6));
  return { target: [(left + right) / 2, (top + bottom) / 2], zoom: Math.log2(scale) };
}

/** How far beyond the whole map zooming out goes, and zooming in beyond evenly spread points that are `APART` pixels apart. */
const OUT = 0.5;
const IN = 3;
const APART = 200;

/** The nearest view that still shows points: neither lost in the void, nor a speck. */
export function bounded({ target, zoom }: View, bounds: Bounds, size: Size, count: number): View {
  const whole = wholeView(bounds, size);
  const evenly = Math.log2(APART * Math.sqrt(count / (size.width * size.height)));
  const between = (value: number, least: number, most: number): number =>
    Math.min(most, Math.max(least, value));
  return {
    target: [between(target[0], bounds.left, bounds.right), between(target[1], bounds.top, bounds.bottom)],
    zoom: between(zoom, whole.zoom - OUT, whole.zoom + IN + Math.max(0, evenly)),
  };
}

/** Where a row is on the screen, from the upper left corner of the map. */
export function pixelOf(positions: Float32Array, row: number, { target, zoom }: View, size: Size): Point {
  const scale = 2 ** zoom;
  return [
    (positions[2 * row]! - target[0]) * scale + size.width / 2,
    (positions[2 * row + 1]! - target[1]) * scale + size.height / 2,
  ];
}

/** Whether a point lies in a polygon: a ray from it crosses the outline an odd number of times. */
export function inside([x, y]: Point, polygon: readonly Point[]): boolean {
  let isIn = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i]!, polygon[j]!];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) isIn = !isIn;
  }
  return isIn;
}

export function rowsInView(positions: Float32Array, { target: [x, y], zoom }: View, size: Size): number[] {
  const [halfWidth, halfHeight] = [size.width / 2 ** (zoom + 1), size.height / 2 ** (zoom + 1)];
  const rows: number[] = [];
  for (let row = 0; 2 * row < positions.length; row++) {
    const isIn =
      Math.abs(positions[2 * row]! - x) <= halfWidth && Math.abs(positions[2 * row + 1]! - y) <= halfHeight;
    if (isIn) rows.push(row);
  }
  return rows;
}

/** The row whose point is nearest to a pixel, if one is within `reach` pixels of it. */
export function rowAt(
  positions: Float32Array,
  at: Point,
  view: View,
  size: Size,
  reach: number,
): number | null {
  const scale = 2 ** view.zoom;
  const x = (at[0] - size.width / 2) / scale + view.target[0];
  const y = (at[1] - size.height / 2) / scale + view.target[1];
  let [nearest, least] = [-1, (reach / scale) ** 2];
  for (let row = 0; 2 * row < positions.length; row++) {
    const distance = (positions[2 * row]! - x) ** 2 + (positions[2 * row + 1]! - y) ** 2;
    if (distance > least) continue;
    least = distance;
    nearest = row;
  }
  return nearest < 0 ? null : nearest;
}

/**
 * Points in an order whose first n are a fair sample whatever the folders' order: steps of the golden section around a
 * circle. `ranks`: the place of each row in it; `places`: (N, 2), the positions in it.
 */
export function scattered(positions: Float32Array): { ranks: Uint32Array; places: Float32Array } {
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

/**
 * Rows in view whose pictures have room: each covers few other points, and no other picture. Most of them are at the rims,
 * and everywhere once the map is zoomed in.
 *
 * @param side - Of a picture, pixels.
 * @param crowd - The most other points that a picture may cover.
 */
export function rowsWithRoom(
  positions: Float32Array,
  view: View,
  size: Size,
  { side, crowd, most }: { side: number; crowd: number; most: number },
): number[] {
  const half = side / 2;
  const inView = rowsInView(positions, view, size);
  const at = inView.map((row) => pixelOf(positions, row, view, size));
  /** Points by squares of half a picture: those of one square would cover each other. */
  const squares = new Map<number, number[]>();
  const squareOf = (x: number, y: number): number => Math.floor(y / half) * 4096 + Math.floor(x / half);
  at.forEach(([x, y], i) => {
    const square = squareOf(x, y);
    const some = squares.get(square);
    if (some === undefined) squares.set(square, [i]);
    else some.push(i);
  });
  const isCrowded = (i: number): boolean => {
    const [x, y] = at[i]!;
    if (squares.get(squareOf(x, y))!.length - 1 > crowd) return true; // nearly all of many points end here
    let covered = 0;
    for (const dy of [-half, 0, half])
      for (const dx of [-half, 0, half])
        for (const j of squares.get(squareOf(x + dx, y + dy)) ?? []) {
          if (j === i || Math.abs(at[j]![0] - x) >= half || Math.abs(at[j]![1] - y) >= half) continue;
          if (++covered > crowd) return true;
        }
    return false;
  };
  const chosen: number[] = [];
  for (let i = 0; i < inView.length && chosen.length < most; i++) {
    const [x, y] = at[i]!;
    if (x < half || y < half || x > size.width - half || y > size.height - half) continue;
    if (isCrowded(i)) continue;
    const isFree = chosen.every((j) => Math.abs(at[j]![0] - x) >= side || Math.abs(at[j]![1] - y) >= side);
    if (isFree) chosen.push(i);
  }
  return chosen.map((i) => inView[i]!);
}
