/**
 * The picture of the rooms in docs/architecture.md: the way of an image on top, below it the rooms, each standing on those
 * that it imports. Drawn from the sources by scripts/rooms.mjs --write.
 */

/** The way of an image: what it is, and the room that takes it there. */
const WAY = [
  ['file', 'data/read'],
  ['pixels', 'data/crops'],
  ['crops', 'data/load'],
  ['batch', 'models'],
  ['features', 'models'],
  ['logits', 'dino'],
  ['loss', 'optim'],
  ['weights', 'run'],
  ['checkpoint', null],
];

const WIDTH = 980;
const INK = '#1f2933';
const QUIET = '#616e7c';
const COLOURS = { core: '#e3f0e6', data: '#e4ecf7', use: '#f7efe0', base: '#eceff2' };
/** Which part of the project a room belongs to. */
const PART = {
  ...{
    errors: 'base',
    plain: 'base',
    version: 'base',
    'native-addons': 'base',
    files: 'base',
    processes: 'base',
  },
  ...{ torch: 'core', nn: 'core', optim: 'core', models: 'core', dino: 'core', train: 'core' },
  ...{ data: 'data', run: 'data', weights: 'data', model: 'data', export: 'data' },
};
const LEGEND = [
  ['core', 'the method and its engine'],
  ['data', 'images, runs and weights'],
  ['use', 'what people do with a model'],
  ['base', 'foundations'],
];

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const label = (x, y, text, { size = 13, colour = INK, weight = 400, anchor = 'middle' } = {}) =>
  `<text x="${x}" y="${y}" font-size="${size}" fill="${colour}" font-weight="${weight}" text-anchor="${anchor}">${escape(text)}</text>`;
const box = (x, y, width, height, fill) =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="6" fill="${fill}" stroke="#9aa5b1"/>`;

function wayOfAnImage(top) {
  const step = (WIDTH - 40) / WAY.length;
  const parts = [
    label(20, top, 'How an image becomes a feature and then new weights, and which room takes each step', {
      size: 15,
      weight: 600,
      anchor: 'start',
    }),
  ];
  WAY.forEach(([what, room], i) => {
    const x = 20 + i * step;
    const width = step - 30;
    parts.push(box(x, top + 18, width, 34, '#ffffff'), label(x + width / 2, top + 40, what, { size: 12 }));
    if (room === null) return;
    const from = x + width + 3;
    const to = x + step - 3;
    parts.push(
      `<path d="M${from} ${top + 35}H${to - 6}" stroke="${INK}" fill="none"/>`,
      `<path d="M${to} ${top + 35}l-7 -4v8z" fill="${INK}"/>`,
      label((from + to) / 2, top + 70, room, { size: 11, colour: QUIET, weight: 600 }),
    );
  });
  return parts;
}

/** Rows of rooms from the bottom up: a room is one row above the highest of those that it imports. */
function rowsOf(imports) {
  const height = new Map();
  for (const [room, own] of imports)
    height.set(room, Math.max(-1, ...own.map((to) => height.get(to) ?? -1)) + 1);
  const rows = [];
  for (const [room, level] of height) (rows[level] ??= []).push(room);
  return rows;
}

/** As much of what a room holds as goes on a line, cut between two things. */
function gist(holds, width) {
  const text = holds.replaceAll('`', '').replace(/[:(;].*/, '');
  const most = Math.floor(width / 6.2);
  return text.length <= most ? text : text.slice(0, Math.max(0, text.lastIndexOf(',', most)));
}

/**
 * @param rooms - In order: the name of each, what it holds, and the rooms that it imports, which come before it.
 * @returns SVG
 */
export function drawRooms(rooms) {
  const imports = rooms.map(({ name, imports }) => [name, imports]);
  const holds = new Map(rooms.map(({ name, holds }) => [name, holds]));
  const rows = rowsOf(imports);
  const [top, row, gap] = [150, 46, 8];
  const parts = [
    ...wayOfAnImage(28),
    label(20, top - 8, 'The rooms of src/: each stands above all that it imports', {
      size: 15,
      weight: 600,
      anchor: 'start',
    }),
  ];
  rows.forEach((rowOfRooms, level) => {
    const y = top + 12 + (rows.length - 1 - level) * (row + gap);
    const width = (WIDTH - 40 - gap * (rowOfRooms.length - 1)) / rowOfRooms.length;
    rowOfRooms.forEach((room, i) => {
      const x = 20 + i * (width + gap);
      parts.push(
        box(x, y, width, row, COLOURS[PART[room] ?? 'use']),
        label(x + width / 2, y + 20, room, { size: 14, weight: 600 }),
        label(x + width / 2, y + 36, gist(holds.get(room), width), { size: 11, colour: QUIET }),
      );
    });
  });
  const bottom = top + 12 + rows.length * (row + gap) + 18;
  LEGEND.forEach(([part, words], i) => {
    const x = 20 + i * 235;
    parts.push(
      box(x, bottom - 11, 16, 14, COLOURS[part]),
      label(x + 24, bottom, words, { size: 12, colour: QUIET, anchor: 'start' }),
    );
  });
  const height = bottom + 18;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" role="img" aria-label="The rooms of src/ and the way of an image through them">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}
