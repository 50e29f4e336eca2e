/**
 * Curves of quality over seconds or views as SVG: a small picture for each data set below one another, on the same scales,
 * lines named where they end. The line is the mean over the seeds, the shade their range.
 */
const [WIDTH, HEIGHT] = [560, 200];
const [LEFT, LABELS, TOP, BOTTOM] = [34, 118, 30, 40];
/** Least distance of two labels, pixels. */
const LINE = 12;

const STYLE = `
text { font: 11px system-ui, sans-serif; fill: #1f2933 }
.paper { fill: #ffffff }
.title { font-weight: 600; font-size: 13px }
.mute { fill: #616e7c }
.rule { stroke: #d5dbe1; stroke-width: 1 }
.floor { stroke: #616e7c; stroke-width: 1; stroke-dasharray: 2 3 }
.lead { stroke: #9aa5b1; stroke-width: 0.5 }
.line { fill: none; stroke-width: 1.5 }
.best { stroke-width: 2.5 }
.ours { stroke: #0b62bd } .band.ours, text.ours { fill: #0b62bd; stroke: none }
.peer { stroke: #b4500b } .band.peer, text.peer { fill: #b4500b; stroke: none }
.band { opacity: 0.13 }
text.strong { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb } .paper { fill: #0d1117 } .mute { fill: #9aa5b1 }
  .rule { stroke: #323f4b } .floor { stroke: #9aa5b1 }
  .ours { stroke: #6cb2ff } .band.ours, text.ours { fill: #6cb2ff }
  .peer { stroke: #ffa262 } .band.peer, text.peer { fill: #ffa262 }
  .band { opacity: 0.22 }
}`;

export const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
export const round = (value) => Math.round(value * 10) / 10;

/** Round numbers from 0 or `low` to `high`, about `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) found.push(at);
  return found;
}

/** From a multiple of 5 to a multiple of 5. */
export const rangeOf = (values) => [
  5 * Math.floor(Math.min(...values) / 5),
  5 * Math.ceil(Math.max(...values) / 5),
];

/** The whole picture around its panels. */
export const picture = ({ width, height, label }, panels) =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(label)}">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n');

/** Moves labels apart, as little as needed, within the picture. */
function apart(labels, low, high) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((label, i) => {
    label.y = Math.max(label.y, i === 0 ? low : sorted[i - 1].y + LINE);
  });
  for (let i = sorted.length - 1; i >= 0; i--)
    sorted[i].y = Math.min(sorted[i].y, i === sorted.length - 1 ? high : sorted[i + 1].y - LINE);
  return sorted;
}

const AXES = {
  seconds: { name: 'minutes', scale: 1 / 60 },
  views: { name: 'thousand image views', scale: 1 / 1000 },
};

function panel({ title, lines, floors }, { top, axis, most, range: [low, high] }) {
  const { name, scale } = AXES[axis];
  const x = (value) => round(LEFT + (WIDTH * value * scale) / most);
  const y = (value) => round(top + TOP + HEIGHT * (1 - (value - low) / (high - low)));
  const bottom = y(low);
  const out = [`<text class="title" x="${LEFT}" y="${top + 18}">${escaped(title)}</text>`];
  for (const at of ticks(low, high, 4)) {
    out.push(`<path class="rule" d="M${LEFT} ${y(at)}h${WIDTH}"/>`);
    out.push(`<text class="mute" x="${LEFT - 6}" y="${y(at) + 4}" text-anchor="end">${at}</text>`);
  }
  const across = ticks(0, most, 5);
  for (const at of across) {
    const place = round(LEFT + (WIDTH * at) / most);
    out.push(`<text class="mute" x="${place}" y="${bottom + 16}" text-anchor="middle">${round(at)}</text>`);
    const after = place + 4 + 3.5 * String(round(at)).length;
    if (at === across.at(-1)) out.push(`<text class="mute" x="${after}" y="${bottom + 16}">${name}</text>`);
  }
  const labels = [];
  for (const { name: label, value } of floors) {
    out.push(`<path class="floor" d="M${LEFT} ${y(value)}h${WIDTH}"/>`);
    labels.push({ y: y(value), text: `${label} ${value.toFixed(1)}`, kind: 'mute' });
  }
  for (const { name: label, curve, kind, isBest } of lines) {
    const upper = curve.map((point) => `${x(point[axis])} ${y(point.top1.most)}`);
    const lower = curve.map((point) => `${x(point[axis])} ${y(point.top1.least)}`).reverse();
    if (curve.some(({ top1 }) => top1.most > top1.least))
      out.push(`<path class="band ${kind}" d="M${[...upper, ...lower].join('L')}Z"/>`);
    const path = curve.map((point) => `${x(point[axis])} ${y(point.top1.mean)}`).join('L');
    out.push(`<path class="line ${kind}${isBest ? ' best' : ''}" d="M${path}"/>`);
    const last = curve.at(-1);
    const value = last.top1.mean;
    labels.push({
      ...{ y: y(value), text: `${label} ${value.toFixed(1)}`, kind: `${kind}${isBest ? ' strong' : ''}` },
      end: { x: x(last[axis]), y: y(value) },
    });
  }
  const side = LEFT + WIDTH + 6;
  for (const { y: at, text, kind, end } of apart(labels, top + TOP, bottom)) {
    if (end !== undefined && end.x < LEFT + 0.97 * WIDTH)
      out.push(`<path class="lead" d="M${end.x} ${end.y}L${side - 2} ${round(at)}"/>`);
    out.push(`<text class="${kind}" x="${side}" y="${round(at + 4)}">${escaped(text)}</text>`);
  }
  return out.join('\n');
}

/**
 * @param panels - { title, lines: { name, kind: 'ours' or 'peer', isBest, curve: { seconds, views, top1: { mean, least,
 *   most } }[] }[], floors: { name, value }[] }[]
 */
export function curves(panels, axis, label) {
  const values = panels.flatMap(({ lines, floors }) => [
    ...lines.flatMap(({ curve }) => curve.flatMap(({ top1 }) => [top1.least, top1.most])),
    ...floors.map(({ value }) => value),
  ]);
  const range = rangeOf(values);
  const longest = Math.max(
    ...panels.flatMap(({ lines, floors }) =>
      [...lines, ...floors].map(({ name }) => 6.1 * (name.length + 6)),
    ),
    LABELS,
  );
  const [width, height] = [Math.ceil(LEFT + WIDTH + 10 + longest), (TOP + HEIGHT + BOTTOM) * panels.length];
  const { scale } = AXES[axis];
  const most = Math.max(
    ...panels.flatMap(({ lines }) => lines.flatMap(({ curve }) => curve.map((point) => point[axis] * scale))),
  );
  const drawn = panels.map((each, i) => panel(each, { top: i * (TOP + HEIGHT + BOTTOM), axis, most, range }));
  return picture({ width, height, label }, drawn);
}
