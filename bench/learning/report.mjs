/**
 * Tables and curves from what run.mjs measured:
 *
 *   node bench/learning/report.mjs FOLDER [FOLDER ...]
 *
 * Writes docs/learning.md (between its markers; what else it says is kept), the curves in docs/images, and, from the runs of
 * the recipe `auto`, the rows of src/train/reached.ts, which `dino train --for` prints. `--dry` prints the tables alone.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as prettier from 'prettier';
import { curves } from './curves.mjs';
import { dots } from './dots.mjs';
import { bestOf, readResults } from './results.mjs';
import { bestBaseline, budgetKey, READING_NAMES, READINGS, summarize } from './summary.mjs';
import { table } from './table.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const DOCS = path.join(root, 'docs', 'learning.md');
const REACHED = path.join(root, 'src', 'train', 'reached.ts');
const [BEGIN, END] = ['<!-- measured: made by bench/learning/report.mjs -->', '<!-- end of measured -->'];
/** A training may miss its time by this share. */
const PUNCTUAL = 0.05;
/** The recipe that `dino train` follows by itself. */
const AUTO = 'auto';

const targets = JSON.parse(readFileSync(new URL('targets.json', import.meta.url), 'utf8'));
const { values, positionals } = parseArgs({ allowPositionals: true, options: { dry: { type: 'boolean' } } });
if (positionals.length === 0) {
  console.error('node bench/learning/report.mjs FOLDER ...: the --out of bench/learning/run.mjs');
  process.exit(2);
}
const rows = positionals.flatMap((folder) => {
  const found = readResults(folder);
  if (found.length === 0) console.error(`${folder}: no results`);
  return found;
});
const { groups, baselines } = summarize(rows);
if (groups.length === 0) process.exit(1);

const unique = (list) => [...new Set(list)];
const lengths = unique(groups.map(({ budget }) => JSON.stringify(budget)))
  .map((text) => JSON.parse(text))
  .sort((a, b) => (a.views ?? 0) - (b.views ?? 0) || (a.seconds ?? 0) - (b.seconds ?? 0));
const number = (value, digits = 1) => (typeof value === 'number' ? value.toFixed(digits) : '–');
const thousands = (value) => Math.round(value).toLocaleString('en-US');
const lengthName = ({ seconds, views }) => {
  if (views !== undefined) return `${thousands(views)} image views`;
  return seconds % 60 === 0 ? `${seconds / 60} minute${seconds === 60 ? '' : 's'}` : `${seconds} seconds`;
};
const lengthSlug = (budget) =>
  budgetKey(budget).replace(/\D+$/, (unit) => (unit === 'v' ? '-views' : '-seconds'));
const shown = (spread, digits = 1) => {
  if (spread === null) return '–';
  const { mean, least, most, count } = spread;
  return count === 1
    ? number(mean, digits)
    : `${number(mean, digits)} (${number(least, digits)}–${number(most, digits)})`;
};

const isInViews = ({ views }) => views !== undefined;
/** The groups of a length; of a number of views, where recipes are compared, the best first. */
const at = (budget) => {
  const list = groups.filter((group) => budgetKey(group.budget) === budgetKey(budget));
  return isInViews(budget) ? list.sort((a, b) => (b.best?.mean ?? 0) - (a.best?.mean ?? 0)) : list;
};
/** The data sets that were measured for so long, in the same order everywhere. */
const datasetsAt = (budget) =>
  [...baselines.keys()].filter((name) => at(budget).some(({ dataset }) => dataset === name));
const bestOurs = (list) =>
  list
    .filter(({ peer, best }) => peer === null && best !== null)
    .sort((a, b) => b.best.mean - a.best.mean)[0];

function baselineLines(datasets) {
  const cells = (pick) => datasets.map((name) => number(pick(baselines.get(name))));
  return [
    ['raw pixels', ...cells((row) => row?.pixels.asIs)],
    ['pixels, centred', ...cells((row) => row?.pixels.centred)],
    ['pixels, 128 whitened components', ...cells((row) => row?.pixels.whitened)],
    ['HOG, centred', ...cells((row) => row?.hog.centred)],
  ];
}

const mostCores = Math.max(...groups.map(({ cores }) => cores));
/** How a run was measured where not alone on the machine: the mark of its number, and what the mark says. */
const MARKS = [
  {
    mark: '†',
    is: ({ isLoaded, cores }) => isLoaded && cores === mostCores,
    says: 'Measured while something else ran on the machine: its seconds gave it fewer views.',
  },
  {
    mark: '‡',
    is: ({ isPaced }) => isPaced,
    says: 'Some seeds made the steps that fit into these seconds on a quiet machine (`--paced`), while it was shared.',
  },
  {
    mark: '§',
    is: ({ isPaced, cores }) => !isPaced && cores < mostCores,
    says: 'Had one core of the two, while another training had the other: about 60% of the views of both.',
  },
];
/** They explain seconds: none where views are counted. */
const marksOf = (group) => (isInViews(group.budget) ? [] : MARKS.filter(({ is }) => is(group)));
const marks = (group) =>
  marksOf(group)
    .map(({ mark }) => ` ${mark}`)
    .join('');

/** One line a recipe: its best reading on each data set. */
function overview(budget) {
  const [list, datasets] = [at(budget), datasetsAt(budget)];
  const lines = unique(list.map(({ recipe }) => recipe)).map((recipe) => {
    const cells = datasets.map((dataset) => {
      const group = list.find((each) => each.recipe === recipe && each.dataset === dataset);
      if (group === undefined) return '';
      if (group.best === null) return 'not finite';
      const isBest = group === bestOurs(list.filter((each) => each.dataset === dataset));
      const text = `${shown(group.best)} ${READING_NAMES[group.reading]}${marks(group)}`;
      return isBest ? `**${text}**` : text;
    });
    return [recipe, ...cells];
  });
  const untrained = datasets.map((dataset) =>
    number(bestOurs(list.filter((each) => each.dataset === dataset))?.bestUntrained),
  );
  return table(
    [`after ${lengthName(budget)}`, ...datasets],
    [...baselineLines(datasets), ['the best of ours, untrained', ...untrained], ...lines],
  );
}

/** What a data set should reach in this time, and whether it did. */
function targetLines(budget) {
  const wanted = targets[budget.seconds] ?? {};
  const list = at(budget);
  return datasetsAt(budget).flatMap((dataset) => {
    const best = bestOurs(list.filter((each) => each.dataset === dataset));
    const target = wanted[dataset];
    if (best === undefined) return [];
    const found = [];
    const said = `${dataset}: ${number(best.best.mean)} (${best.recipe}, ${READING_NAMES[best.reading]})`;
    if (target !== undefined) {
      const floor = bestBaseline(baselines.get(dataset));
      const above = target.above ?? floor + target.overBaselines;
      const what =
        target.above === undefined
          ? `${target.overBaselines} points above the best of pixels and HOG, ${number(above)}`
          : `above ${above}, aim ${target.aim}`;
      const isMet = best.best.mean > above;
      const isAim = target.aim !== undefined && best.best.mean >= target.aim;
      const verdict = isAim
        ? 'aim reached'
        : isMet
          ? 'target reached'
          : `**missed by ${number(above - best.best.mean)}**`;
      found.push(`- ${said}; target ${what}: ${verdict}.`);
    }
    const peers = list.filter((each) => each.dataset === dataset && each.peer !== null && each.best !== null);
    const against = peers.map((peer) => {
      const ahead = best.best.mean - peer.best.mean;
      return ahead > 0
        ? `${number(ahead)} ahead of ${peer.recipe}`
        : `**${number(-ahead)} behind ${peer.recipe}**`;
    });
    if (against.length > 0) found.push(`- ${said}: ${against.join(', ')}.`);
    return found;
  });
}

function details(budget) {
  // with counted views the machine was shared, so that seconds say nothing
  const measured = ({ seconds, trainingSeconds, views }) =>
    isInViews(budget) ? [] : [shown(seconds, 0), shown(trainingSeconds, 0), thousands(views.mean)];
  const lines = at(budget).flatMap((group) => {
    const { dataset, recipe, final, domains, seeds } = group;
    const cells = (readings) => READINGS.map((name) => shown(readings[name]));
    const rest = [...measured(group), seeds.length];
    return [
      [recipe, dataset, ...cells(final), ...rest],
      ...Object.entries(domains).map(([domain, readings]) => [
        '',
        `${dataset}, ${domain}`,
        ...cells(readings),
        ...rest.map(() => ''),
      ]),
    ];
  });
  const names = isInViews(budget) ? [] : ['seconds', 'of them in steps', 'views'];
  return table(['recipe', 'data', 'as is', 'centred', 'whitened', ...names, 'seeds'], lines);
}

function notes(budget) {
  const list = at(budget);
  const found = [];
  const late = list.filter(
    ({ seconds }) => budget.seconds !== undefined && Math.abs(seconds.mean / budget.seconds - 1) > PUNCTUAL,
  );
  for (const { recipe, dataset, seconds } of late)
    found.push(`${recipe} on ${dataset} took ${number(seconds.mean, 0)} s in place of ${budget.seconds} s.`);
  const used = new Set(list.flatMap(marksOf));
  for (const each of MARKS) if (used.has(each)) found.push(`${each.mark} ${each.says}`);
  const counts = unique(list.map(({ seeds }) => seeds.length));
  if (counts.some((count) => count < 3)) found.push('Fewer than three seeds: a range says little.');
  return found.map((line) => `- ${line}`);
}

/** What pixels and HOG reach without any training. */
function floorsOf(dataset) {
  const row = baselines.get(dataset);
  if (row === undefined) return [];
  return [
    { name: 'pixels', value: bestOf(row.pixels) },
    { name: 'HOG', value: bestOf(row.hog) },
  ];
}

function panelsOf(budget) {
  return datasetsAt(budget).flatMap((dataset) => {
    const list = at(budget).filter((each) => each.dataset === dataset && each.curve.length > 1);
    if (list.length === 0) return [];
    const best = bestOurs(list);
    const floors = floorsOf(dataset);
    const lines = list.map((group) => ({
      name: group.recipe,
      kind: group.peer === null ? 'ours' : 'peer',
      isBest: group === best,
      curve: group.curve,
    }));
    return [{ title: dataset, lines, floors }];
  });
}

/** What all recipes reach with the same number of views. */
function dotsOf(budget) {
  const panels = datasetsAt(budget).map((dataset) => {
    const list = at(budget).filter((each) => each.dataset === dataset && each.best !== null);
    const rows = list.map(({ recipe, peer, best, reading, runs }) => ({
      ...{ name: recipe, kind: peer === null ? 'ours' : 'peer', mean: best.mean },
      seeds: runs.map(({ final }) => final[reading]),
    }));
    return { title: dataset, rows, floors: floorsOf(dataset), against: AUTO };
  });
  const name = `learning-${lengthSlug(budget)}.svg`;
  const label = `k-NN top-1 after ${lengthName(budget)}, by recipe`;
  if (!values.dry) writeFileSync(path.join(root, 'docs', 'images', name), dots(panels, label));
  return [`![${label}](images/${name})`];
}

/** Draws the curves of a length; the Markdown that shows them. */
function pictures(budget) {
  if (isInViews(budget)) return dotsOf(budget);
  const panels = panelsOf(budget);
  if (panels.length === 0) return [];
  // with the same views for all, seconds differ, and the other way round: both axes say something
  return ['seconds', 'views'].map((axis) => {
    const name = `learning-${lengthSlug(budget)}-over-${axis}.svg`;
    const label = `k-NN top-1 over ${axis === 'seconds' ? 'time' : 'image views'}, ${lengthName(budget)}`;
    if (!values.dry) writeFileSync(path.join(root, 'docs', 'images', name), curves(panels, axis, label));
    return `![${label}](images/${name})`;
  });
}

function machines() {
  const runs = groups.flatMap((group) => group.runs);
  const seen = unique(
    runs.map(
      ({ machine: m, commit, versions }) =>
        `- ${m.cpu}, ${m.cores} core${m.cores === 1 ? '' : 's'}, ${m.memoryGiB} GiB, ${m.platform}; Node ${m.node}; vectors ${m.vectors}; ` +
        `${versions.program}${versions.torch === undefined ? ` (commit ${commit})` : `, torch ${versions.torch}`}`,
    ),
  );
  const days = runs.map(({ date }) => date.slice(0, 10)).sort();
  return [
    `Measured ${days[0] === days.at(-1) ? 'on ' : `from ${days[0]} to `}${days.at(-1)}:`,
    '',
    ...seen,
  ].join('\n');
}

function recipesText() {
  const about = unique(groups.map(({ recipe, about }) => (about ? `- ${recipe}: ${about}.` : ''))).filter(
    Boolean,
  );
  return about.length === 0 ? [] : ['The recipes:', about.join('\n')];
}

const sections = lengths.flatMap((budget) => [
  `### ${lengthName(budget).replace(/^./, (c) => c.toUpperCase())}`,
  overview(budget),
  ...[targetLines(budget), notes(budget)].map((lines) => lines.join('\n')).filter(Boolean),
  ...pictures(budget),
  details(budget),
]);
const text = [machines(), ...recipesText(), ...sections].join('\n\n');

/** Replaces what stands between two texts. */
function between(file, begin, end, inside) {
  const whole = readFileSync(file, 'utf8');
  const [from, to] = [whole.indexOf(begin), whole.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file}: expected ${begin} ... ${end}`);
  return whole.slice(0, from + begin.length) + inside + whole.slice(to);
}

async function write(file, changed) {
  const config = await prettier.resolveConfig(file);
  writeFileSync(file, await prettier.format(changed, { ...config, filepath: file }));
}

/** What `dino train --for` says that runs of a length reached. */
async function writeReached() {
  const quiet = groups.filter(
    ({ recipe, budget, best, isLoaded, cores }) =>
      recipe === AUTO && budget.seconds !== undefined && best !== null && (!isLoaded || cores < mostCores),
  );
  const list = quiet.map(({ dataset, runs: [run], best, bestUntrained, budget }) => ({
    dataset,
    images: run.images,
    side: Math.min(...run.imageSize),
    seconds: budget.seconds,
    cores: run.machine.cores,
    top1: Math.round(10 * best.mean) / 10,
    untrained: Math.round(10 * bestUntrained) / 10,
    pixels: Math.round(10 * baselines.get(dataset).pixels.asIs) / 10,
  }));
  if (list.length === 0)
    console.error(`no quiet run of the recipe "${AUTO}" for a time: ${REACHED} stays as it is`);
  else if (!existsSync(REACHED)) console.error(`${REACHED} is missing: the rows are ${JSON.stringify(list)}`);
  else {
    const head = 'export const REACHED: readonly Reached[] = [';
    const whole = readFileSync(REACHED, 'utf8');
    const from = whole.indexOf(head);
    if (from < 0) throw new Error(`${REACHED}: expected ${head}`);
    const end = whole.indexOf('];', from);
    await write(
      REACHED,
      whole.slice(0, from + head.length) +
        list.map((row) => JSON.stringify(row)).join(',') +
        whole.slice(end),
    );
  }
}

if (values.dry) console.log(text);
else {
  await write(DOCS, between(DOCS, BEGIN, END, `\n\n${text}\n\n`));
  await writeReached();
}
