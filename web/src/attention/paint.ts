/**
 * Draws maps over pictures. The picture stays visible: the more a patch has, the more opaque its colour is, smoothly or patch
 * by patch; or the map is drawn without the picture. One patch can be framed, and those outside a mask are left out.
 */
import { heatMap, scaleToUnit } from '../../../src/plain/colors.ts';
import { canvasOf, withAlpha } from './pixels.ts';

/** How a map is drawn: over the picture, smoothly or patch by patch; or only the map. */
export const STYLES = { smooth: 'smooth', patches: 'by patch', map: 'only the map' } as const;
export type Style = keyof typeof STYLES;

/** What is drawn of an image. */
export interface Painting {
  /** The image, at any resolution. */
  picture: CanvasImageSource;
  /** Width and height of its part, from the top left, that the patches cover, in its pixels; default all of it. */
  part?: readonly [width: number, height: number] | undefined;
  rows: number;
  columns: number;
  /** (rows, columns) values, drawn as a heat map; or (rows, columns, 3) colours. */
  map: Float32Array | Uint8Array;
  /** Values at the two ends of the colours; default the map's smallest and largest. */
  range?: readonly [low: number, high: number] | undefined;
  style: Style;
  /** Opacity of the largest value over the picture, 0 to 1; of colours, that of all of them. */
  overlay: number;
  /** (rows, columns) of 0 and 1: patches with 0 have no colour; where only the map is drawn they are dark. */
  mask?: Uint8Array | null | undefined;
  /** A patch to frame. */
  marked?: number | null | undefined;
}

/** Values as shares of a range, 0 to 1. */
function unitOf(map: Float32Array, range?: readonly [low: number, high: number]): Float32Array {
  if (range === undefined) return scaleToUnit(map);
  const [low, high] = range;
  return map.map((value) => Math.min(1, Math.max(0, (value - low) / (high - low))));
}

/** Colours of values that are shares, (n, 3): heatMap() without its scaling. */
function colorsOf(unit: Float32Array): Uint8Array {
  // the two ends take part in the scaling and are removed again
  const ended = new Float32Array(unit.length + 2);
  ended.set(unit);
  ended[unit.length + 1] = 1;
  return heatMap(ended).subarray(0, unit.length * 3);
}

/** How bright a patch outside a mask is where only the map is drawn. */
const DIMMED = 0.28;

/** The map as pixels, one for each patch, (rows, columns, 4). */
function overlayOf({ map, range, style, overlay, mask }: Painting): Uint8ClampedArray<ArrayBuffer> {
  const unit = map instanceof Uint8Array ? null : unitOf(map, range);
  const out = withAlpha(map instanceof Uint8Array ? map : colorsOf(unit!));
  for (let i = 0, at = 0; at < out.length; i++, at += 4) {
    const isOut = mask !== null && mask !== undefined && mask[i] === 0;
    if (style !== 'map') {
      const share = isOut ? 0 : unit === null ? 1 : unit[i]!;
      out[at + 3] = Math.round(255 * overlay * share);
    } else if (isOut) {
      for (let c = at; c < at + 3; c++) out[c] = Math.round(DIMMED * out[c]!);
    }
  }
  return out;
}

/** Fills a canvas, whatever its size. */
export function paint(canvas: HTMLCanvasElement, painting: Painting): void {
  const { picture, part, rows, columns, style, marked } = painting;
  const context = canvas.getContext('2d')!;
  const { width, height } = canvas;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  if (style !== 'map') {
    if (part === undefined) context.drawImage(picture, 0, 0, width, height);
    else context.drawImage(picture, 0, 0, part[0], part[1], 0, 0, width, height);
  }
  context.imageSmoothingEnabled = style === 'smooth';
  context.drawImage(canvasOf(overlayOf(painting), columns, rows), 0, 0, width, height);
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

/** Only the picture: its part that patches cover. */
export function paintPicture(
  canvas: HTMLCanvasElement,
  { picture, part }: Pick<Painting, 'picture' | 'part'>,
): void {
  const context = canvas.getContext('2d')!;
  const { width, height } = canvas;
  context.imageSmoothingQuality = 'high';
  if (part === undefined) context.drawImage(picture, 0, 0, width, height);
  else context.drawImage(picture, 0, 0, part[0], part[1], 0, 0, width, height);
}
