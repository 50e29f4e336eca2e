/** Draws maps over patches: a heat map or colours over the picture, patches outside a mask dimmed, one patch framed. */
import { heatMap } from '../../../src/plain/colors.ts';
import { canvasOf, withAlpha } from './pixels.ts';

/** What is drawn of an image. */
export interface Painting {
  /** The image as the model sees it: whole patches. */
  picture: CanvasImageSource;
  rows: number;
  columns: number;
  /** (rows, columns) values, drawn as a heat map; or (rows, columns, 3) colours. */
  map: Float32Array | Uint8Array;
  /** Values at the two ends of the colours; default the map's smallest and largest. */
  range?: readonly [low: number, high: number] | undefined;
  /** 0 shows only the picture, 1 only the map. */
  overlay: number;
  /** (rows, columns) of 0 and 1: patches with 0 are dimmed. */
  mask?: Uint8Array | null | undefined;
  /** A patch to frame. */
  marked?: number | null | undefined;
}

/** RGB of a map: of values by viridis, from `range` or the smallest to the largest. */
function mapColors(map: Float32Array | Uint8Array, range?: readonly [low: number, high: number]): Uint8Array {
  if (map instanceof Uint8Array) return map;
  if (range === undefined) return heatMap(map);
  // the two ends take part in the scaling and are removed again
  const [low, high] = range;
  const bounded = map.map((value) => Math.min(high, Math.max(low, value)));
  return heatMap(Float32Array.of(...bounded, low, high)).subarray(0, map.length * 3);
}

/** How dark patches outside a mask are drawn. */
const DIMMED = 0.72;

/** Fills a canvas, whatever its size; each patch is a rectangle of one colour. */
export function paint(canvas: HTMLCanvasElement, painting: Painting): void {
  const { picture, rows, columns, map, range, overlay, mask, marked } = painting;
  const context = canvas.getContext('2d')!;
  const { width, height } = canvas;
  context.globalAlpha = 1;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, width, height);
  context.imageSmoothingEnabled = false;
  if (overlay > 0) {
    context.globalAlpha = overlay;
    context.drawImage(canvasOf(withAlpha(mapColors(map, range)), columns, rows), 0, 0, width, height);
    context.globalAlpha = 1;
  }
  if (mask !== null && mask !== undefined) {
    const dark = new Uint8ClampedArray(rows * columns * 4);
    mask.forEach((kept, i) => (dark[i * 4 + 3] = kept === 1 ? 0 : Math.round(255 * DIMMED)));
    context.drawImage(canvasOf(dark, columns, rows), 0, 0, width, height);
  }
  if (marked !== null && marked !== undefined) {
    const [w, h] = [width / columns, height / rows];
    const [x, y] = [(marked % columns) * w, Math.floor(marked / columns) * h];
    context.lineWidth = 4;
    context.strokeStyle = '#000';
    context.strokeRect(x, y, w, h);
    context.lineWidth = 2;
    context.strokeStyle = '#fff';
    context.strokeRect(x, y, w, h);
  }
}
