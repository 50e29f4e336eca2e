/**
 * What recipes reach at one length as SVG: a line for each, the best at the top; a dot for each seed, a stroke for their mean, a
 * thin line from there to the recipe that all are compared with.
 */
import { escaped, picture, rangeOf, round, ticks } from './curves.mjs';

const [LEFT, WIDTH, RIGHT, TOP, ROW, BOTTOM] = [250, 400, 110, 56, 20, 34];

function panel({ title, rows, against, floors }, top, [low, high]) {
  const x = (value) => round(LEFT + (WIDTH * (value - low)) / (high - low));
  const bottom = top + TOP + ROW * rows.length;
  const out = [`<text class="title" x="12" y="${top + 22}">${escaped(title)}</text>`];
  for (const at of ticks(low, high, 6)) {
    out.push(`<path class="rule" d="M${x(at)} ${top + TOP - 6}V${bottom}"/>`);
    out.push(`<text class="mute" x="${x(at)}" y="${bottom + 18}" text-anchor="middle">${at}</text>`);
  }
  for (const { name, value } of floors) {
    out.push(`<path class="floor" d="M${x(value)} ${top + TOP - 10}V${bottom}"/>`);
    out.push(
      `<text class="mute" x="${x(value)}" y="${top + TOP - 16}" text-anchor="middle">${escaped(name)} ${value.toFixed(1)}</text>`,
    );
  }
  const base = rows.find(({ name }) => name === against)?.mean;
  rows.forEach(({ name, kind, mean, seeds }, i) => {
    const y = top + TOP + ROW * i + ROW / 2;
    const strong = name === against ? ' strong' : '';
    out.push(
      `<text class="${kind}${strong}" x="${LEFT - 12}" y="${y + 4}" text-anchor="end">${escaped(name)}</text>`,
    );
    if (base !== undefined && name !== against)
      out.push(`<path class="${kind}" stroke-opacity="0.35" d="M${x(base)} ${y}H${x(mean)}"/>`);
    for (const value of seeds)
      out.push(`<circle class="${kind}" fill="none" cx="${x(value)}" cy="${y}" r="3"/>`);
    out.push(`<path class="line ${kind} best" d="M${x(mean)} ${y - 6}v12"/>`);
    const less = base === undefined || name === against ? '' : signed(mean - base);
    out.push(
      `<text class="${kind}${strong}" x="${LEFT + WIDTH + 14}" y="${y + 4}">${mean.toFixed(1)}</text>`,
    );
    out.push(`<text class="mute" x="${LEFT + WIDTH + 52}" y="${y + 4}">${less}</text>`);
  });
  return out.join('\n');
}

const signed = (value) => `${value < 0 ? '\u2212' : '+'}${Math.abs(value).toFixed(1)}`;

/**
 * @param panels - { title, rows: { name, kind: 'ours' or 'peer', mean, seeds: number[] }[], floors: { name, value }[],
 *   against: the name of the row that the others are compared with }[]
 */
export function dots(panels, label) {
  const values = panels.flatMap(({ rows, floors }) => [
    ...rows.flatMap(({ seeds }) => seeds),
    ...floors.map(({ value }) => value),
  ]);
  const range = rangeOf(values);
  let height = 0;
  const drawn = panels.map((each) => {
    const top = height;
    height += TOP + ROW * each.rows.length + BOTTOM;
    return panel(each, top, range);
  });
  return picture({ width: LEFT + WIDTH + RIGHT, height, label }, drawn);
}
