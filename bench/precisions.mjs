/**
 * What `--precision auto` chooses, beside steps in each precision: `node bench/precisions.mjs [row ...]`. The precisions of a
 * row take turns, each in a process of its own; then `auto` makes its trial steps several times, as in a training of ten minutes. Exits
 * with 1 where a choice is more than 3% slower than the fastest. DINO_BENCH_THREADS, DINO_BENCH_ROUNDS as for run.mjs;
 * DINO_BENCH_CHOICES is how often `auto` chooses.
 */
import { choosePrecision } from '../dist/train/choose-precision.js';
import { PAPER } from '../dist/train/presets.js';
import { PRECISIONS } from '../dist/plain/precisions.js';
import { precisionProblem } from '../dist/torch/index.js';
import { median, start } from './contestants.mjs';
import { rows } from './rows.mjs';

const env = process.env;
const threads = Number(env.DINO_BENCH_THREADS ?? 2);
const rounds = Number(env.DINO_BENCH_ROUNDS ?? 5);
const choices = Number(env.DINO_BENCH_CHOICES ?? 3);
const NEAR = 0.03;

const wanted = process.argv.slice(2);
const chosen = rows.filter(({ id }) =>
  wanted.length > 0 ? wanted.includes(id) : ['vit-s', 'vit-ti', 'vit-ti4', 'resnet50'].includes(id),
);
const precisions = PRECISIONS.filter((one) => precisionProblem(one, 'cpu') === null);
const seconds = (values) =>
  `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}-${Math.max(...values).toFixed(2)})`;

/** Seconds per step of each precision, by turns. */
async function timesOf(row) {
  const contestants = [];
  for (const precision of precisions) {
    const settings = JSON.stringify({ ...row.settings, threads, precision });
    contestants.push([precision, await start(process.execPath, ['step.mjs', settings], threads)]);
  }
  const times = new Map(precisions.map((one) => [one, []]));
  for (let round = 0; round < rounds; round++)
    for (const [precision, one] of contestants) times.get(precision).push((await one.turn()).seconds);
  for (const [, one] of contestants) one.stop();
  return times;
}

const settingsOf = ({ arch, patchSize, globalSize, localSize, locals, outDim, batch, dropPathRate }) => ({
  ...PAPER,
  ...{ arch, outDim, dropPathRate, threads },
  ...(arch.startsWith('vit') ? { patchSize } : {}),
  ...{ globalCropsSize: globalSize, localCropsSize: localSize, localCropsNumber: locals },
  ...{ batchSize: batch, device: 'cpu', precision: 'auto' },
});

console.log(`| row | ${precisions.join(' | ')} | auto | slower than the fastest by |`);
console.log(`| --- | ${precisions.map(() => '---').join(' | ')} | --- | --- |`);
for (const row of chosen) {
  const times = await timesOf(row);
  const best = new Map([...times].map(([precision, values]) => [precision, Math.min(...values)]));
  const fastest = Math.min(...best.values());
  const made = [];
  for (let i = 0; i < choices; i++) {
    const choice = await choosePrecision(settingsOf(row.settings), { length: { seconds: 600 } });
    made.push(choice.precision);
    process.stderr.write(`${row.id}: ${choice.precision}, ${choice.reason}\n`);
  }
  const worst = Math.max(...made.map((precision) => best.get(precision) / fastest - 1));
  if (worst > NEAR) process.exitCode = 1;
  const cells = precisions.map((one) => seconds(times.get(one)));
  console.log(
    `| ${row.title} | ${cells.join(' | ')} | ${[...new Set(made)].join(', ')} | ${(100 * worst).toFixed(1)}% |`,
  );
}
