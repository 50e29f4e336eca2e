/** Draws maps over patches: a heat map or colours over the picture, what a mask leaves out dimmed, a patch framed. */
import { heatMap, scaleToUnit } from '../../../src/explain/colors.ts';

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
  /** 0 shows the picture alone, 1 the map alone. */
  overlay: number;
  /** (rows, columns) of 0 and 1: patches with 0 are dimmed. */
  mask?: Uint8Array | null | undefined;
  /** A patch to frame. */
  marked?: number | null | undefined;
}

/** RGB of a map: of values by viridis, from `range` or the smallest to the largest. */
export function mapColours(
  map: Float32Array | Uint8Array,
  range?: readonly [low: number, high: number],
): Uint8Array {
  if (map instanceof Uint8Array) return map;
  if (range === undefined) return heatMap(map);
  // the two ends take part in the scaling and are left out again
  const [low, high] = range;
  const bounded = map.map((value) => Math.min(high, Math.max(low, value)));
  return heatMap(Float32Array.of(...bounded, low, high)).subarray(0, map.length * 3);
}

/** How strongly each value shows, 0 to 1. */
export { scaleToUnit };

/** A canvas of one pixel a patch. */
function patchCanvas(rows: number, columns: number, rgba: Uint8ClampedArray<ArrayBuffer>): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = rows;
  canvas.getContext('2d')!.putImageData(new ImageData(rgba, columns, rows), 0, 0);
  return canvas;
}

function withAlpha(rgb: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) {
    out[j] = rgb[i]!;
    out[j + 1] = rgb[i + 1]!;
    out[j + 2] = rgb[i + 2]!;
    out[j + 3] = 255;
  }
  return out;
}

/** How dark what a mask leaves out is drawn. */
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
    context.drawImage(patchCanvas(rows, columns, withAlpha(mapColours(map, range))), 0, 0, width, height);
    context.globalAlpha = 1;
  }
  if (mask !== null && mask !== undefined) {
    const dark = new Uint8ClampedArray(rows * columns * 4);
    mask.forEach((kept, i) => (dark[i * 4 + 3] = kept === 1 ? 0 : Math.round(255 * DIMMED)));
    context.drawImage(patchCanvas(rows, columns, dark), 0, 0, width, height);
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
