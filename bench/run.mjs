/**
 * The benchmark: `npm run bench [-- row row ...]`. Each row runs ours and the reference alternately for several rounds, and
 * gives the medians, their spread and the ratio (reference / ours: higher is better). A row with `against` compares with
 * different settings of our own in place of the reference.
 *
 *   DINO_BENCH_REFERENCE   a checkout of facebookresearch/dino
 *   DINO_BENCH_PYTHON      a Python with the same torch, torchvision and Pillow
 *   DINO_BENCH_DINOV2, DINO_BENCH_DINOV3   checkouts of facebookresearch/dinov2 and dinov3, for rows that compare with them
 *   DINO_BENCH_LIGHTLY     a Python with lightly-train 0.18, for the row that compares with it
 *   DINO_BENCH_SKLEARN     a Python with scikit-learn 1.9, for the row that compares with it
 *   DINO_BENCH_DATA        a folder with imagenette-mini/, cifar10-mini/ and photos/, for the rows that read files
 *
 * Without the first two only our own columns are shown. Nothing else should run at the same time.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { median, start } from './contestants.mjs';
import { rows } from './rows.mjs';
import { report } from './report.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const env = process.env;
const reference = env.DINO_BENCH_REFERENCE;
const python = env.DINO_BENCH_PYTHON;
const hasReference = reference !== undefined && python !== undefined;
const threads = Number(env.DINO_BENCH_THREADS ?? 2);
const rounds = Number(env.DINO_BENCH_ROUNDS ?? 5);

/** Commands for the two sides of a row, by the contestant's name. */
function sides(row) {
  const settings = JSON.stringify({ threads, data: env.DINO_BENCH_DATA, ...row.settings });
  const all = { ours: [process.execPath, [`${row.script}.mjs`, settings]] };
  if (row.against) {
    const other = JSON.stringify({ ...row.settings, ...row.against });
    all.reference = [process.execPath, [`${row.script}.mjs`, other]];
  } else if (hasReference && !row.alone) {
    const other = JSON.stringify({
      threads,
      data: env.DINO_BENCH_DATA,
      ...row.settings,
      ...row.referenceSettings,
    });
    const peer = row.peer ?? { python, script: row.script };
    if (peer.python) all.reference = [peer.python, [`${peer.script}.py`, path.resolve(reference), other]];
  }
  return all;
}

/** The time of a step's products in bfloat16, alone. */
async function productSeconds(row) {
  const one = await start(
    process.execPath,
    ['products.mjs', JSON.stringify({ threads, ...row.settings })],
    threads,
  );
  const { products } = await one.turn();
  one.stop();
  return products;
}

async function measure(row) {
  const contestants = {};
  for (const [name, [command, args]] of Object.entries(sides(row)))
    contestants[name] = await start(command, args, threads);
  const turns = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < (row.rounds ?? rounds); round++) {
    for (const [name, one] of Object.entries(contestants)) turns[name].push(await one.turn());
  }
  for (const one of Object.values(contestants)) one.stop();
  const value = row.value ?? ((turn) => turn.seconds);
  const result = { id: row.id, title: row.title, unit: row.unit, target: row.target, sides: {} };
  for (const [name, answers] of Object.entries(turns)) {
    const values = answers.map(value);
    result.sides[name] = { median: median(values), least: Math.min(...values), most: Math.max(...values) };
  }
  if (result.sides.reference) result.ratio = result.sides.reference.median / result.sides.ours.median;
  if (row.note) result.title += ` (${row.note(turns.ours.at(-1))})`;
  if (row.flops && !row.bf16) result.roofline = row.flops / (machine.gemmGflops * 1e9);
  if (row.flops && row.bf16) result.roofline = await productSeconds(row);
  return result;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((id) => !rows.some((row) => row.id === id));
if (unknown.length > 0) {
  console.error(`no such row: ${unknown.join(', ')}; rows: ${rows.map((row) => row.id).join(', ')}`);
  process.exit(2);
}
const chosen = rows.filter((row) => (wanted.length > 0 ? wanted.includes(row.id) : !row.skip?.()));
if (env.DINO_BENCH_DATA === undefined && chosen.some((row) => row.files)) {
  console.error('rows that read files are left out: DINO_BENCH_DATA is not set');
  for (const row of chosen.filter((one) => one.files)) chosen.splice(chosen.indexOf(row), 1);
}
const { measureMatmul } = await import('../dist/torch/index.js');
const machine = {
  date: new Date().toISOString().slice(0, 10),
  cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
  cores: os.cpus().length,
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  node: process.version,
  threads,
  rounds,
  gemmGflops: measureMatmul('cpu', 'float32'),
};
const results = [];
/** The best of several measurements: other processes can only lower it. */
const measureGemm = () =>
  (machine.gemmGflops = Math.max(machine.gemmGflops, measureMatmul('cpu', 'float32', 1000)));
for (const row of chosen) {
  process.stderr.write(`${row.id} ...`);
  try {
    measureGemm();
    const result = await measure(row);
    results.push(result);
    process.stderr.write(` ${result.ratio === undefined ? '' : result.ratio.toFixed(2)}\n`);
  } catch (error) {
    process.stderr.write(` failed: ${error.message}\n`);
    results.push({ id: row.id, title: row.title, failed: error.message.split('\n')[0] });
  }
}
const out = env.DINO_BENCH_OUT ?? path.join(here, 'results');
mkdirSync(out, { recursive: true });
writeFileSync(path.join(out, 'bench.json'), `${JSON.stringify({ machine, results }, null, 2)}\n`);
const text = report(machine, results);
writeFileSync(path.join(out, 'bench.md'), text);
console.log(text);
