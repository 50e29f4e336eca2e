/**
 * The two ways of scaling that eval_video_segmentation.py uses besides Pillow's filters: OpenCV's bilinear for the frames
 * (cv2.resize, no antialiasing, 8-bit fixed point) and Pillow's nearest for the masks. Both agree bit for bit.
 */
import { ShapeError } from '../errors.js';
import { roundHalfEven } from '../plain/rounding.js';

export interface Size {
  width: number;
  height: number;
}

/** Taps along one axis: two source positions and their weights out of 2048. */
interface Taps {
  first: Int32Array;
  second: Int32Array;
  weightFirst: Int32Array;
  weightSecond: Int32Array;
}

/** OpenCV keeps 11 bits of a weight. */
const WEIGHT_SCALE = 2048;

/** @param isClamped - Along x, OpenCV moves a tap outside to the edge with weight 0; along y it repeats the edge row. */
function linearTaps(from: number, to: number, isClamped: boolean): Taps {
  const taps: Taps = {
    first: new Int32Array(to),
    second: new Int32Array(to),
    weightFirst: new Int32Array(to),
    weightSecond: new Int32Array(to),
  };
  const scale = from / to;
  const clamp = (i: number): number => Math.min(Math.max(i, 0), from - 1);
  for (let i = 0; i < to; i++) {
    const centre = Math.fround((i + 0.5) * scale - 0.5);
    let at = Math.floor(centre);
    let fraction = Math.fround(centre - at);
    if (isClamped && (at < 0 || at >= from - 1)) {
      at = clamp(at);
      fraction = 0;
    }
    taps.first[i] = clamp(at);
    taps.second[i] = clamp(at + 1);
    taps.weightFirst[i] = roundHalfEven(Math.fround(1 - fraction) * WEIGHT_SCALE);
    taps.weightSecond[i] = roundHalfEven(fraction * WEIGHT_SCALE);
  }
  return taps;
}

/**
 * cv2.resize with its default INTER_LINEAR.
 *
 * @param rgb - (height, width, 3) bytes.
 * @returns (to.height, to.width, 3) bytes.
 * @throws ShapeError when `rgb` has another size.
 */
export function resizeLinear(rgb: Uint8Array, from: Size, to: Size): Uint8Array {
  if (rgb.length !== from.width * from.height * 3) {
    throw new ShapeError(
      `resizeLinear: expected ${from.height} x ${from.width} RGB pixels, got ${rgb.length} bytes`,
    );
  }
  const horizontal = linearTaps(from.width, to.width, true);
  const vertical = linearTaps(from.height, to.height, false);
  const rowValues = to.width * 3;
  const out = new Uint8Array(to.height * rowValues);
  // rows that were scaled along x; two neighbouring output rows mostly share them
  const rows = new Map<number, Int32Array>();
  const scaledRow = (y: number): Int32Array => {
    const known = rows.get(y);
    if (known !== undefined) return known;
    const row = new Int32Array(rowValues);
    const base = y * from.width * 3;
    for (let x = 0; x < to.width; x++) {
      const a = base + horizontal.first[x]! * 3;
      const b = base + horizontal.second[x]! * 3;
      const wa = horizontal.weightFirst[x]!;
      const wb = horizontal.weightSecond[x]!;
      for (let c = 0; c < 3; c++) row[x * 3 + c] = rgb[a + c]! * wa + rgb[b + c]! * wb;
    }
    rows.set(y, row);
    return row;
  };
  for (let y = 0; y < to.height; y++) {
    const first = vertical.first[y]!;
    for (const key of rows.keys()) if (key < first) rows.delete(key);
    const above = scaledRow(first);
    const below = scaledRow(vertical.second[y]!);
    const wa = vertical.weightFirst[y]!;
    const wb = vertical.weightSecond[y]!;
    for (let i = 0; i < rowValues; i++) {
      // OpenCV's own order of shifts: 22 bits come down to 8 in three steps
      const sum = ((wa * (above[i]! >> 4)) >> 16) + ((wb * (below[i]! >> 4)) >> 16);
      out[y * rowValues + i] = (sum + 2) >> 2;
    }
  }
  return out;
}

/** Source positions along one axis as Pillow steps through them: by adding, so that its rounding is kept. */
function nearestPositions(from: number, to: number): Int32Array {
  const step = from / to;
  const positions = new Int32Array(to);
  let at = step * 0.5;
  for (let i = 0; i < to; i++) {
    positions[i] = Math.min(Math.floor(at), from - 1);
    at += step;
  }
  return positions;
}

/** Image.resize(..., NEAREST) of one channel, (height, width) to (to.height, to.width). */
export function resizeNearest(values: Uint8Array, from: Size, to: Size): Uint8Array {
  if (values.length !== from.width * from.height) {
    throw new ShapeError(
      `resizeNearest: expected ${from.height} x ${from.width} values, got ${values.length}`,
    );
  }
  const columns = nearestPositions(from.width, to.width);
  const rows = nearestPositions(from.height, to.height);
  const out = new Uint8Array(to.width * to.height);
  for (let y = 0; y < to.height; y++) {
    const base = rows[y]! * from.width;
    for (let x = 0; x < to.width; x++) out[y * to.width + x] = values[base + columns[x]!]!;
  }
  return out;
}
