/** The frames of a film that is saved: for each watched image the original, and its attention at every checkpoint. */
import { paint, type Painting, paintPicture } from '../attention/paint.ts';

/** Longer side of a picture, pixels. */
const CELL = 176;
const GAP = 8;
const CAPTION = 26;
/** More steps than these are left out evenly. */
const MOST_FRAMES = 60;

/** An image of the film: what is drawn in each of its cells after a step; null where there is nothing. */
export interface FilmRow {
  rows: number;
  columns: number;
  picture: Pick<Painting, 'picture' | 'part'>;
  cells: readonly (Painting | null)[];
}

export interface FilmOptions {
  steps: readonly number[];
  /** Titles above the cells. */
  titles: (step: number) => readonly string[];
  rowsAt: (step: number) => Promise<readonly FilmRow[]>;
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

function canvasFor(row: Pick<FilmRow, 'rows' | 'columns'>): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  const scale = CELL / Math.max(row.rows, row.columns);
  canvas.width = Math.round(row.columns * scale);
  canvas.height = Math.round(row.rows * scale);
  return canvas;
}

/** Images side by side, the width of each with its cells, and the height of a row. */
function layoutOf(images: number, cells: number): { across: number; block: number; high: number } {
  return { across: images > 2 ? 2 : 1, block: cells * (CELL + GAP) + GAP, high: CELL + GAP };
}

function drawFrame(
  context: CanvasRenderingContext2D,
  rows: readonly FilmRow[],
  titles: readonly string[],
): void {
  const { canvas } = context;
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  const { across, block, high } = layoutOf(rows.length, titles.length);
  context.fillStyle = '#1d1f22';
  context.font = '14px system-ui, sans-serif';
  for (let group = 0; group < across; group++)
    titles.forEach((title, i) => context.fillText(title, GAP + group * block + i * (CELL + GAP), 18, CELL));
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

/** Sides are even, as encoders of video want them. */
const even = (side: number): number => 2 * Math.ceil(side / 2);

/** A frame, drawn on the canvas of all frames, and how long it is shown. */
export interface Frame {
  context: CanvasRenderingContext2D;
  ms: number;
}

/** Draws frame after frame; each is valid until the next is asked for. */
export async function* drawFrames(options: FilmOptions): AsyncGenerator<Frame> {
  const steps = evenly(options.steps);
  let context: CanvasRenderingContext2D | null = null;
  for (const [i, step] of steps.entries()) {
    const rows = await options.rowsAt(step);
    const words = options.titles(step);
    if (context === null) {
      const { across, block, high } = layoutOf(rows.length, words.length);
      const canvas = document.createElement('canvas');
      canvas.width = even(GAP + across * block);
      canvas.height = even(CAPTION + Math.ceil(rows.length / across) * high);
      context = canvas.getContext('2d', { willReadFrequently: true })!;
    }
    drawFrame(context, rows, words);
    yield { context, ms: i === steps.length - 1 ? options.endMs : options.frameMs };
    options.onProgress(i + 1, steps.length);
  }
}
