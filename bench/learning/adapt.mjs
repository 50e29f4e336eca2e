/**
 * Whether going on from trained weights makes them better: with care, as `dino adapt` takes it of a transformer, and plainly,
 * as new weights are trained (and as it trains a ResNet).
 *
 *   node bench/learning/adapt.mjs WEIGHTS --data NAME=TRAIN:VAL [--data ...] --out FOLDER
 *
 *   --data NAME=TRAIN:VAL   labelled images: TRAIN is trained on without its labels; both are read before and after
 *   --images NAME=FOLDER    images to train on for this set, in place of TRAIN
 *   --steps NAME=N          steps for this set; default: 20 epochs, from 100 to 2,000 steps
 *   --lr N                  the learning rate without care: that which new weights get (default 0.08, a narrow ResNet's)
 *   --seeds 0,1,2
 *   --methods plain,careful  which of the two
 *   --keep                  keep the runs, with a few checkpoints of each, for bench/learning/judge.mjs
 *   --out FOLDER            adapt.jsonl: a row for each run; those that it has are not measured again
 *
 * Read are k-NN (top-1, k 20, as is and whitened) and logistic regression, of the given weights, of the last ones and of
 * those that the judge without labels kept. Equal steps; the judge's own time is in the seconds. Prints docs/adapt.md's table.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { appendLine, readLines } from '../../dist/files/json-lines.js';
import { listImages } from '../../dist/index.js';
import { mean } from '../../dist/plain/mean.js';
import { bestCheckpoint, listCheckpoints } from '../../dist/run/checkpoint-places.js';
import { jsonLines, runChild } from './child.mjs';
import { parseData } from './data.mjs';
import { table } from './table.mjs';

const dino = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const reader = fileURLToPath(new URL('adapt-read.mjs', import.meta.url));
const EPOCHS = 20;
const BATCH = 32;
const JUDGEMENTS = 6;

const string = { type: 'string' };
const many = { type: 'string', multiple: true, default: [] };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ...{ data: many, images: many, steps: many },
    ...{ out: string, seeds: { ...string, default: '0,1,2' }, lr: { ...string, default: '0.08' } },
    methods: { ...string, default: 'plain,careful' },
    keep: { type: 'boolean', default: false },
  },
});
const [weights] = positionals;
if (weights === undefined || values.data.length === 0 || values.out === undefined) {
  console.error('WEIGHTS, --data and --out are needed: see the top of bench/learning/adapt.mjs');
  process.exit(2);
}
const byName = (list) => Object.fromEntries(list.map((text) => text.split(/=(.*)/s).slice(0, 2)));
const [imagesOf, stepsOf] = [byName(values.images), byName(values.steps)];
const seeds = values.seeds.split(',').map(Number);
const file = path.join(values.out, 'adapt.jsonl');

const flagsOf = ({ freeze, warmup, decay, patches, lr }) => [
  ...['--freeze-backbone', String(freeze), '--backbone-warmup-epochs', String(warmup)],
  ...['--layerwise-decay', String(decay), '--patch-embed-lr-mult', String(patches), '--lr', String(lr)],
];
const short = (value) => Number(value.toPrecision(3));
/** Flags of a run of so many epochs. */
const METHODS = {
  // a new head's gradients run through the whole backbone from the first step, as high as for new weights
  plain: () => flagsOf({ freeze: 0, warmup: 0, decay: 1, patches: 1, lr: Number(values.lr) }),
  // src/train/auto-preset.ts, ADAPTATION
  careful: (epochs) =>
    flagsOf({
      ...{ freeze: short(epochs / 10), warmup: short(epochs / 5), decay: 0.9, patches: 0.2 },
      lr: short(Number(values.lr) / 10),
    }),
};

async function read(places, { train, val }) {
  return await jsonLines(reader, [train, val, ...places]);
}

/** Leaves the teachers of a run's last checkpoint and of JUDGEMENTS steps before it. */
function thin(run, steps) {
  for (const { folder, step } of listCheckpoints(run)) {
    if (step % everySteps(steps) !== 0 && step !== steps) rmSync(folder, { recursive: true });
    else for (const name of ['student', 'optimizer']) rmSync(path.join(folder, `${name}.safetensors`));
  }
}
const everySteps = (steps) => Math.floor(steps / JUDGEMENTS);

/** @returns Rows by id; a row that is there is not measured again. */
const known = () =>
  new Map(
    existsSync(file) ? readLines(file).map((row) => [`${row.data} ${row.method} ${row.seed}`, row]) : [],
  );

async function measure({ name, pairs }) {
  const source = imagesOf[name] === undefined ? pairs[0].train : path.resolve(imagesOf[name]);
  const { items } = await listImages(source);
  const perEpoch = Math.max(1, Math.floor(items.length / BATCH));
  const steps = Number(stepsOf[name] ?? Math.min(2000, Math.max(100, EPOCHS * perEpoch)));
  if (!known().has(`${name} before 0`)) {
    const [before] = await read([path.resolve(weights)], pairs[0]);
    appendLine(file, { data: name, method: 'before', seed: 0, images: items.length, last: before });
  }
  for (const seed of seeds) {
    for (const method of values.methods.split(',')) {
      if (known().has(`${name} ${method} ${seed}`)) continue;
      const run = path.resolve(values.out, `${name}-${method}-${seed}`);
      rmSync(run, { recursive: true, force: true });
      const epochs = steps / perEpoch;
      const seconds = await runChild(
        process.execPath,
        [
          ...[
            dino,
            'adapt',
            weights,
            source,
            '--output',
            run,
            '--steps',
            String(steps),
            '--seed',
            String(seed),
          ],
          ...['--judge-every', String(short(epochs / JUDGEMENTS)), ...METHODS[method](epochs)],
          ...(values.keep
            ? ['--keep-checkpoints', '1000', '--save-every-steps', String(everySteps(steps))]
            : []),
        ],
        { log: `${run}.log` },
      );
      const kept = bestCheckpoint(run);
      const [last, best] = await read([run, ...(kept === null ? [] : [kept.folder])], pairs[0]);
      appendLine(file, {
        ...{ data: name, method, seed, steps, images: items.length, seconds: Math.round(seconds) },
        ...{ last, best: best ?? null, keptStep: kept?.step ?? null },
      });
      console.error(`${name}, ${method}, seed ${seed}: ${seconds.toFixed(0)} s`);
      if (values.keep) thin(run, steps);
      else rmSync(run, { recursive: true, force: true });
    }
  }
}

mkdirSync(values.out, { recursive: true });
for (const each of values.data) await measure(parseData(each));

// ------------------------------------------------------------------------------------------------- the table

const READINGS = ['knn', 'whitened', 'linear'];
const spread = (list) =>
  list.length === 1
    ? list[0].toFixed(1)
    : `${mean(list).toFixed(1)} (${Math.min(...list).toFixed(1)} to ${Math.max(...list).toFixed(1)})`;

const rows = [...known().values()];
const lines = [...new Set(rows.map(({ data }) => data))].flatMap((data) =>
  READINGS.map((reading) => {
    const of = (method, which) =>
      rows
        .filter((row) => row.data === data && row.method === method && row[which])
        .map((row) => row[which][reading]);
    const cell = (list) => (list.length === 0 ? '' : spread(list));
    return [
      ...[data, { knn: 'k-NN as is', whitened: 'k-NN whitened', linear: 'linear' }[reading]],
      ...[cell(of('before', 'last')), cell(of('plain', 'last')), cell(of('careful', 'last'))],
      cell(of('careful', 'best')),
    ];
  }),
);
console.log(table(['images', 'read by', 'before', 'plainly', 'with care, last', 'with care, kept'], lines));
/** By whitened k-NN, and by more than two standard errors of the difference. */
function isWorse(row, which) {
  const before = rows.find(({ data, method }) => data === row.data && method === 'before').last;
  const [a, b] = [before.whitened / 100, row[which].whitened / 100];
  return a - b > 2 * Math.sqrt((a * (1 - a) + b * (1 - b)) / before.images);
}
const count = (method, which) => {
  const of = rows.filter((row) => row.method === method && row[which] !== null);
  return `${of.filter((row) => isWorse(row, which)).length} of ${of.length}`;
};
for (const method of Object.keys(METHODS)) {
  const of = rows.filter((row) => row.method === method);
  if (of.length === 0) continue;
  console.log(
    `\n${method}: worse than before by more than two standard errors of whitened k-NN: last weights ` +
      `${count(method, 'last')}, those that the judge kept ${count(method, 'best')}. Runs whose given weights were kept: ` +
      `${of.filter(({ keptStep }) => keptStep === 0).length} of ${of.length}. ` +
      `Minutes of a run: ${(mean(of.map(({ seconds }) => seconds)) / 60).toFixed(1)}.`,
  );
}
