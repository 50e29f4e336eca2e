/** The pictures of a classifier's report, SVG: the confusion matrix, and how sure predictions are and may be. */
import { escapeHtml } from '../plain/html.js';
import { printable } from '../plain/printable.js';
import type { ClassifierReport } from './report.js';

/** Side of a cell in pixels: as large as fits, within these. */
const [LEAST_CELL, MOST_CELL, MATRIX] = [8, 52, 760];
/** Cells of this side and more have numbers in them. */
const NUMBERED = 22;
/** Characters of a class's name. */
const NAME = 22;

const shown = (name: string): string => {
  const plain = printable(name);
  return escapeHtml(plain.length <= NAME ? plain : `${plain.slice(0, NAME - 1)}…`);
};

/** Rows are the classes, columns the predicted ones; a cell's colour is its share of the row. */
export function confusionSvg({
  confusion,
  classes,
}: Pick<ClassifierReport, 'confusion' | 'classes'>): string {
  const count = classes.length;
  const cell = Math.max(LEAST_CELL, Math.min(MOST_CELL, Math.floor(MATRIX / count)));
  const font = Math.max(7, Math.min(13, cell - 2));
  const longest = Math.max(...classes.map(({ name }) => Math.min(NAME, printable(name).length)));
  const room = Math.ceil(0.62 * font * longest) + 12;
  const [left, top] = [room + 22, room + 22];
  const side = cell * count;
  const parts: string[] = [];
  const middle = (i: number): number => i * cell + cell / 2;
  classes.forEach(({ name }, i) => {
    const [x, y] = [left + middle(i), top + middle(i) + font / 3];
    parts.push(
      `<text x="${left - 8}" y="${y.toFixed(1)}" text-anchor="end">${shown(name)}</text>`,
      `<text transform="translate(${(x + font / 3).toFixed(1)} ${top - 8}) rotate(-90)">${shown(name)}</text>`,
    );
  });
  confusion.forEach((row, c) => {
    const total = row.reduce((sum, images) => sum + images, 0);
    row.forEach((images, p) => {
      if (images === 0) return;
      const share = images / total;
      const [x, y] = [left + p * cell, top + c * cell];
      const [own, predicted] = [classes[c]!.name, classes[p]!.name];
      const title = `${images} of ${total} ${shown(own)}: ${c === p ? 'right' : `taken for ${shown(predicted)}`}`;
      parts.push(
        `<rect class="${c === p ? 'right' : 'wrong'}" fill-opacity="${(0.12 + 0.88 * share).toFixed(2)}" x="${x}" y="${y}" width="${cell}" height="${cell}"><title>${title}</title></rect>`,
      );
      if (cell >= NUMBERED)
        parts.push(
          `<text${share > 0.55 ? ' class="strong"' : ''} x="${(x + cell / 2).toFixed(1)}" y="${(y + cell / 2 + font / 3).toFixed(1)}" text-anchor="middle">${images}</text>`,
        );
    });
  });
  const axes =
    `<text class="dim" x="${left}" y="14">predicted →</text>` +
    `<text class="dim" transform="translate(14 ${top + side}) rotate(-90)">class →</text>` +
    `<rect class="line" x="${left}" y="${top}" width="${side}" height="${side}"/>`;
  const right = confusion.reduce((sum, row, c) => sum + row[c]!, 0);
  const all = confusion.flat().reduce((sum, images) => sum + images, 0);
  const [width, height] = [left + side + 8, top + side + 8];
  return (
    `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" style="font-size:${font}px" ` +
    `aria-label="confusion matrix of ${count} classes: ${right} of ${all} images are on the diagonal">${axes}${parts.join('')}</svg>`
  );
}

/** The chart's sides and the room for its axes, pixels. */
const [WIDTH, HEIGHT] = [440, 280];
const ROOM = { left: 46, right: 12, top: 12, bottom: 40 };

/** Bars: the share of right predictions among those of a probability; the dashed line is where both are the same. */
export function calibrationSvg({ bins, ece }: Pick<ClassifierReport, 'bins' | 'ece'>): string {
  const x = (share: number): number => ROOM.left + share * (WIDTH - ROOM.left - ROOM.right);
  const y = (share: number): number => HEIGHT - ROOM.bottom - share * (HEIGHT - ROOM.top - ROOM.bottom);
  const most = Math.max(...bins.map(({ images }) => images));
  const bars = bins
    .filter(({ images }) => images > 0)
    .map(({ from, to, images, accuracy, confidence }) => {
      const [begin, end] = [x(from) + 1, x(to) - 1];
      const title = `${images} predictions of ${(100 * confidence).toFixed(1)}% on average: ${(100 * accuracy).toFixed(1)}% right`;
      return (
        `<rect class="right" fill-opacity="${(0.25 + (0.75 * images) / most).toFixed(2)}" x="${begin.toFixed(1)}" y="${y(accuracy).toFixed(1)}" ` +
        `width="${(end - begin).toFixed(1)}" height="${(y(0) - y(accuracy)).toFixed(1)}"><title>${title}</title></rect>`
      );
    });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<text class="dim" x="${x(share).toFixed(1)}" y="${HEIGHT - ROOM.bottom + 18}" text-anchor="middle">${100 * share}%</text>` +
      `<text class="dim" x="${ROOM.left - 6}" y="${(y(share) + 4).toFixed(1)}" text-anchor="end">${100 * share}%</text>` +
      `<line class="line" x1="${ROOM.left}" x2="${WIDTH - ROOM.right}" y1="${y(share).toFixed(1)}" y2="${y(share).toFixed(1)}"/>`,
  );
  return (
    `<svg width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" ` +
    `aria-label="share of right predictions by their probability; expected calibration error ${(100 * ece).toFixed(1)}%">` +
    `${ticks.join('')}${bars.join('')}<line class="ideal" x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"/>` +
    `<text class="dim" x="${x(0.5)}" y="${HEIGHT - 6}" text-anchor="middle">probability of the prediction; the fainter a bar, the fewer</text></svg>`
  );
}
