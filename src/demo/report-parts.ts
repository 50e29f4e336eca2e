/** The parts of the demo's report as HTML: pictures of attention, neighbours, the table of accuracies, the map, the curves. */
import { bestReading, READINGS, type Readings } from '../eval/readings.js';
import { escapeHtml } from '../plain/html.js';
import type {
  AttentionFigure,
  AttentionSide,
  DemoFigures,
  MapFigure,
  Neighbour,
  NeighbourRow,
  Picture,
} from './figures.js';
import { minutes } from './summary.js';

export const count = (value: number): string => value.toLocaleString('en-US');

export const image = (picture: Picture, className = ''): string =>
  `<img${className && ` class="${className}"`} alt="${escapeHtml(picture.alt)}" ` +
  `src="data:${picture.type};base64,${Buffer.from(picture.bytes).toString('base64')}">`;

export const list = (items: readonly string[]): string =>
  `<ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`;

// ============ attention ============

function heads(one: AttentionFigure): string {
  const strip = (when: string, { heads: maps, head }: AttentionSide): string =>
    `<span class="when">${when}</span>${maps.map((map, i) => image(map, i === head - 1 ? 'shown' : '')).join('')}`;
  return `<div class="heads">${strip('before', one.before)}${strip('after', one.after)}</div>`;
}

export function attentionPart(figures: readonly AttentionFigure[]): string {
  const look = (when: string, side: AttentionSide): string =>
    `<figure>${image(side.map)}<figcaption>${when} <b>${side.jaccard.toFixed(0)}</b></figcaption></figure>`;
  const looks = figures.map(
    (one) => `<div class="look">
<figure>${image(one.scene)}<figcaption>${escapeHtml(one.kind)}</figcaption></figure>
${look('before', one.before)}
${look('after', one.after)}
</div>`,
  );
  return `<div class="looks">${looks.join('\n')}</div>
<details><summary>Every head of these scenes</summary>
<div class="all-heads">${figures.map((one) => `<div>${image(one.scene)}${heads(one)}</div>`).join('\n')}</div></details>`;
}

// ============ neighbours ============

function neighbourStrip(when: string, found: readonly Neighbour[]): string {
  const right = found.filter(({ isSame }) => isSame).length;
  const cells = found.map(
    ({ picture, kind, isSame }) =>
      `<figure class="${isSame ? 'right' : 'wrong'}">${image(picture)}<figcaption>${escapeHtml(kind)}</figcaption></figure>`,
  );
  return `<div class="strip"><span class="when">${when}, ${right} of ${found.length}</span>${cells.join('')}</div>`;
}

export function neighboursPart(rows: readonly NeighbourRow[]): string {
  const one = (row: NeighbourRow): string => `<div class="query">
<figure class="asked">${image(row.query)}<figcaption>${escapeHtml(row.kind)}</figcaption></figure>
<div>${neighbourStrip('before', row.before)}${neighbourStrip('after', row.after)}</div>
</div>`;
  return `<div class="queries">${rows.map(one).join('\n')}</div>`;
}

// ============ accuracies ============

export function accuracyTable({ knn }: DemoFigures): string {
  const guess = 100 / knn.classes;
  const rows: readonly (readonly [string, string, Readings])[] = [
    ['pixels', 'no network', knn.pixels],
    ['HOG', 'no network', knn.hog],
    ['network before training', 'before', knn.before],
    ['network after training', 'after', knn.after],
  ];
  const body = rows.map(([name, kind, readings]) => {
    const best = bestReading(readings);
    const cells = READINGS.map((reading) => {
      const value = readings[reading].toFixed(1);
      return `<td>${reading === best ? `<b>${value}</b>` : value}</td>`;
    });
    return (
      `<tr class="${kind.replaceAll(' ', '-')}"><th scope="row">${name}</th>${cells.join('')}` +
      `<td class="bar"><span style="width:${Math.max(0, Math.min(100, readings[best])).toFixed(1)}%"></span></td></tr>`
    );
  });
  return `<table class="accuracy"><thead><tr><th scope="col">compared by</th><th scope="col">as it is</th><th scope="col">centred</th><th scope="col">whitened</th><th scope="col" class="bar">the best of the three, 0 to 100%</th></tr></thead>
<tbody><tr class="guess"><th scope="row">guessing</th><td>${guess.toFixed(1)}</td><td></td><td></td><td class="bar"><span style="width:${guess.toFixed(1)}%"></span></td></tr>
${body.join('\n')}</tbody></table>`;
}

// ============ the map ============

/** Side of a map in its own units, and the margin for labels. */
const SIDE = 520;
const MARGIN = 22;

function mapSvg(title: string, places: Float32Array, { kinds, labels }: MapFigure): string {
  const at = (i: number): [number, number] => [
    MARGIN + (SIDE - 2 * MARGIN) * places[2 * i]!,
    MARGIN + (SIDE - 2 * MARGIN) * places[2 * i + 1]!,
  ];
  const dots = labels.map((label, i) => {
    const [x, y] = at(i);
    return `<circle class="k${label}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3.4"/>`;
  });
  const names = kinds.map((kind, label) => {
    const own = labels.flatMap((one, i) => (one === label ? [at(i)] : []));
    const [x, y] = middle(own);
    return `<text class="k${label}" x="${x.toFixed(0)}" y="${y.toFixed(0)}">${escapeHtml(kind)}</text>`;
  });
  return `<figure><figcaption>${title}</figcaption>
<svg viewBox="0 0 ${SIDE} ${SIDE}" role="img" aria-label="${escapeHtml(`map of ${labels.length} scenes ${title}`)}">${dots.join('')}${names.join('')}</svg></figure>`;
}

/** The point with the least sum of distances to the others: inside the largest group, where a mean may be between two. */
function middle(points: readonly (readonly [number, number])[]): readonly [number, number] {
  const cost = ([x, y]: readonly [number, number]): number =>
    points.reduce((sum, [a, b]) => sum + Math.hypot(a - x, b - y), 0);
  return points.reduce<{ point: readonly [number, number]; cost: number }>(
    (best, point) => (cost(point) < best.cost ? { point, cost: cost(point) } : best),
    { point: [0, 0], cost: Infinity },
  ).point;
}

export function mapPart(map: MapFigure): string {
  return `<div class="maps">${mapSvg('before training', map.before, map)}${mapSvg('after training', map.after, map)}</div>`;
}

// ============ curves ============

export interface Chart {
  title: string;
  caption: string;
  values: readonly number[];
  /** A line to compare with. */
  limit?: { label: string; value: number };
}

export function charts({ curves, settings }: DemoFigures): Chart[] {
  const lnK = Math.log(curves.outDim);
  const limit = { label: `ln K = ${lnK.toFixed(2)}`, value: lnK };
  const isCoding = settings['loss'] === 'simdino';
  return [
    isCoding
      ? {
          title: 'Loss',
          caption:
            'Views of a scene are drawn together, and different scenes are kept apart (coding rate, SimDINO). Lower is ' +
            'better; it rises at first, while the teacher is still changing fast.',
          values: curves.loss,
        }
      : {
          title: 'Loss (nats)',
          caption:
            'Cross-entropy between the teacher on one view and the student on another. A loss that stays at ln K means ' +
            'that nothing is learned.',
          values: curves.loss,
          limit,
        },
    {
      title: "Entropy of the teacher's outputs (nats)",
      caption:
        'At ln K all outputs are equal (uniform); at 0 only one is left. A healthy value is in between.',
      values: curves.entropy,
      limit,
    },
    {
      title: 'KL from the batch mean (nats)',
      caption: 'How well the outputs tell images apart. 0 would be a collapse of either kind.',
      values: curves.kl,
    },
  ];
}

/** A chart's size and the room for its axes, in its own units. */
const WIDTH = 360;
const HEIGHT = 190;
const ROOM = { left: 34, right: 40, top: 10, bottom: 24 };

/** Points that a line of this width can show. */
const POINTS = 300;

function curveSvg({ values, limit }: Chart, steps: readonly number[], words: string): string {
  const least = Math.min(0, ...values) * 1.04;
  const most = Math.max(0, ...values, limit?.value ?? 0) * 1.04 || (least < 0 ? 0 : 1);
  const last = steps.at(-1) ?? 1;
  const x = (step: number): number => ROOM.left + ((WIDTH - ROOM.left - ROOM.right) * step) / last;
  const y = (value: number): number =>
    HEIGHT - ROOM.bottom - ((HEIGHT - ROOM.top - ROOM.bottom) * (value - least)) / (most - least);
  const every = Math.max(1, Math.ceil(values.length / POINTS));
  const line = values.flatMap((value, i) =>
    i % every === 0 || i === values.length - 1 ? [`${x(steps[i]!).toFixed(1)},${y(value).toFixed(1)}`] : [],
  );
  const height = most - least;
  const unit = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((one) => height / one <= 5) ?? height / 4;
  const lowest = Math.ceil(least / unit);
  const ticks = Array.from({ length: Math.floor(most / unit) - lowest + 1 }, (_, i) => (lowest + i) * unit);
  const rules = ticks.map((tick) => {
    const at = y(tick).toFixed(1);
    return (
      `<line class="rule" x1="${ROOM.left}" x2="${WIDTH - ROOM.right}" y1="${at}" y2="${at}"/>` +
      `<text class="tick" x="${ROOM.left - 6}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${unit < 1 ? tick.toFixed(1) : tick}</text>`
    );
  });
  const ends = [0, last].map(
    (step) =>
      `<text class="tick" x="${x(step).toFixed(1)}" y="${HEIGHT - 6}" text-anchor="middle">${count(step)}</text>`,
  );
  const end = values.at(-1) ?? 0;
  const compared =
    limit === undefined
      ? ''
      : `<line class="limit" x1="${ROOM.left}" x2="${WIDTH - ROOM.right}" y1="${y(limit.value).toFixed(1)}" y2="${y(limit.value).toFixed(1)}"/>` +
        `<text class="limit" x="${ROOM.left + 4}" y="${(y(limit.value) + 14).toFixed(1)}">${limit.label}</text>`;
  return (
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(words)}">${rules.join('')}${ends.join('')}${compared}` +
    `<polyline points="${line.join(' ')}"/><text class="end" x="${WIDTH - ROOM.right + 4}" y="${(y(end) + 4).toFixed(1)}">${end.toFixed(2)}</text></svg>`
  );
}

export function chartFigure(chart: Chart, steps: readonly number[]): string {
  const { values } = chart;
  const first = values[0] ?? NaN;
  const last = values.at(-1) ?? NaN;
  const words =
    `${chart.title}: ${first.toFixed(2)} at step ${steps[0] ?? 0}, ${last.toFixed(2)} at step ${steps.at(-1) ?? 0}, ` +
    `lowest ${Math.min(...values).toFixed(2)}, highest ${Math.max(...values).toFixed(2)}` +
    (chart.limit ? `; ${chart.limit.label}` : '');
  const shown = Math.min(8, steps.length);
  const rows = Array.from({ length: shown }, (_, i) => {
    const at = shown === 1 ? 0 : Math.round((i * (steps.length - 1)) / (shown - 1));
    return `<tr><td>${steps[at]}</td><td>${values[at]?.toFixed(3)}</td></tr>`;
  });
  return `<figure class="chart">
<figcaption><strong>${escapeHtml(chart.title)}</strong> ${escapeHtml(chart.caption)}</figcaption>
${curveSvg(chart, steps, words)}
<details><summary>As a table</summary><table><thead><tr><th scope="col">Step</th><th scope="col">${escapeHtml(chart.title)}</th></tr></thead>
<tbody>${rows.join('')}</tbody></table></details>
</figure>`;
}

// ============ how it was made ============

export function settingsTable(figures: DemoFigures): string {
  const show = (value: unknown): string =>
    Array.isArray(value) ? value.join(' to ') : typeof value === 'string' ? value : JSON.stringify(value);
  const rows = Object.entries(figures.settings).map(
    ([name, value]) =>
      `<tr><th scope="row"><code>${escapeHtml(name)}</code></th><td>${escapeHtml(show(value))}</td></tr>`,
  );
  return `<details><summary>All settings of this training</summary><table class="settings"><tbody>${rows.join('')}</tbody></table></details>`;
}

export function machineWords({ machine, seconds, steps, parameters }: DemoFigures): string {
  const where =
    machine.device === 'cpu'
      ? `${machine.cores} processor core${machine.cores === 1 ? '' : 's'}`
      : machine.device;
  return (
    `${count(steps)} steps in ${minutes(seconds.train)} on ${where} (${machine.precision}), ` +
    `${count(parameters)} trained parameters.`
  );
}
