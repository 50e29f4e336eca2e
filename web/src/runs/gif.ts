/** Saves the film as an animated GIF: for each watched image the original, and its attention at every checkpoint. */
import { applyPalette, GIFEncoder, quantize } from 'gifenc';
import { paint, type Painting, paintPicture } from '../attention/paint.ts';

/** Longer side of a picture, pixels. */
const CELL = 176;
const GAP = 8;
const CAPTION = 26;
/** More steps than these are left out evenly. */
const MOST_FRAMES = 60;

/** An image of the film: what is drawn in each of its cells after a step; null where there is nothing. */
export interface GifRow {
  rows: number;
  columns: number;
  picture: Pick<Painting, 'picture' | 'part'>;
  cells: readonly (Painting | null)[];
}

export interface GifOptions {
  steps: readonly number[];
  /** Titles above the cells. */
  titles: (step: number) => readonly string[];
  rowsAt: (step: number) => Promise<readonly GifRow[]>;
  frameMs: number;
  /** The last frame's, before it begins again. */
  endMs: number;
  onProgress: (done: number, total: number) => void;
}

const evenly = (steps: readonly number[]): number[] => {
  if (steps.length <= MOST_FRAMES) return [...steps];
  const last = steps.length - 1;
  return Array.from({ length: MOST_FRAMES }, (_, i) => steps[Math.round((i * last) / (MOST_FRAMES - 1))]!);
};

function canvasFor(row: Pick<GifRow, 'rows' | 'columns'>): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  const scale = CELL / Math.max(row.rows, row.columns);
  canvas.width = Math.round(row.columns * scale);
  canvas.height = Math.round(row.rows * scale);
  return canvas;
}

/** Draws a frame. */
function drawFrame(
  context: CanvasRenderingContext2D,
  rows: readonly GifRow[],
  titles: readonly string[],
): void {
  const { canvas } = context;
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  const { across, block, high } = layoutOf(rows.length, titles.length);
  context.fillStyle = '#1d1f22';
  context.font = '14px system-ui, sans-serif';
  for (let group = 0; group < across; group++)
    titles.forEach((title, i) => context.fillText(title, GAP + group * block + i * (CELL + GAP), 18));
  rows.forEach((row, i) => {
    const [x, y] = [GAP + (i % across) * block, CAPTION + Math.floor(i / across) * high];
    const place = (cell: number, draw: (one: HTMLCanvasElement) => void): void => {
      const one = canvasFor(row);
      draw(one);
      const [dx, dy] = [(CELL - one.width) / 2, (CELL - one.height) / 2];
      context.drawImage(one, x + cell * (CELL + GAP) + dx, y + dy);
    };
    place(0, (one) => paintPicture(one, row.picture));
    row.cells.forEach((painting, j) => painting !== null && place(j + 1, (one) => paint(one, painting)));
  });
}

/** Images side by side, the width of each with its cells, and the height of a row. */
function layoutOf(images: number, cells: number): { across: number; block: number; high: number } {
  return { across: images > 2 ? 2 : 1, block: cells * (CELL + GAP) + GAP, high: CELL + GAP };
}

/** @returns The file's bytes. */
export async function makeGif(options: GifOptions): Promise<Blob> {
  const { titles, rowsAt, onProgress } = options;
  const steps = evenly(options.steps);
  const gif = GIFEncoder();
  let context: CanvasRenderingContext2D | null = null;
  for (const [i, step] of steps.entries()) {
    const rows = await rowsAt(step);
    const words = titles(step);
    if (context === null) {
      const { across, block, high } = layoutOf(rows.length, words.length);
      const canvas = document.createElement('canvas');
      canvas.width = GAP + across * block;
      canvas.height = CAPTION + Math.ceil(rows.length / across) * high;
      context = canvas.getContext('2d', { willReadFrequently: true })!;
    }
    drawFrame(context, rows, words);
    const { width, height } = context.canvas;
    const { data } = context.getImageData(0, 0, width, height);
    const palette = quantize(data, 256);
    const delay = i === steps.length - 1 ? options.endMs : options.frameMs;
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay });
    onProgress(i + 1, steps.length);
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  gif.finish();
  return new Blob([gif.bytes()], { type: 'image/gif' });
}

export { saveFile } from '../ui/save-file.ts';
