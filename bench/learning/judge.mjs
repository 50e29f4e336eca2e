/**
 * Which measure without labels predicts k-NN with labels best: computes all of them for many checkpoints, and prints
 * Spearman's rank correlations as a table for docs/evaluations.md.
 *
 *   node bench/learning/judge.mjs --rows judge.jsonl [--images 1024] [--views 4] NAME=TRAIN,VAL,RUNS[,RUNS...] ...
 *
 * NAME names a data set, TRAIN and VAL are its folders with one folder a class. RUNS is a run folder, a folder of runs, a
 * checkpoint or a file of weights; all checkpoints of a run are taken (train with --saveckp-freq or --keep-checkpoints). Only
 * the images of TRAIN are judged, without their labels. A row is appended to the file of rows for each checkpoint; those that
 * it has are not computed again, so the command continues where it was stopped, and several can be put together.
 * Without data sets it only prints the table.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { fitTransform, tensorTransform } from '../../dist/eval/fit-transform.js';
import { neighbourAgreement } from '../../dist/eval/neighbours.js';
import { embedViews, findOtherViews } from '../../dist/eval/other-view.js';
import { alphaReq, lidar, rankMe } from '../../dist/eval/quality-measures.js';
import { appendLine, readLines } from '../../dist/files/json-lines.js';
import { evaluateKnn, listImages, loadModel } from '../../dist/index.js';
import { evalSizes } from '../../dist/plain/eval-geometry.js';
import { mean } from '../../dist/plain/mean.js';
import { scoreOf } from '../../dist/plain/quality.js';
import { listCheckpoints } from '../../dist/run/checkpoint-files.js';
import { isRunFolder } from '../../dist/run/run-folder.js';
import { scope } from '../../dist/torch/index.js';
import { table } from './table.mjs';

const K = 20;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: 'judge.jsonl' },
    images: { type: 'string', default: '1024' },
    views: { type: 'string', default: '4' },
  },
});
const [images, views] = [Number(values.images), Number(values.views)];

// ------------------------------------------------------------------------------------------------- the rows

/** Weights below a place: all checkpoints of its runs, or the place itself. */
function weightsIn(place) {
  if (!existsSync(place)) throw new Error(`${place} does not exist`);
  if (isRunFolder(place)) return listCheckpoints(place).map(({ folder }) => folder);
  if (!statSync(place).isDirectory() || existsSync(path.join(place, 'teacher.safetensors'))) return [place];
  const below = readdirSync(place, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return below.flatMap(({ name }) => weightsIn(path.join(place, name)));
}

/** Every measure, of the features as they are and transformed; a transform is fitted to the images themselves. */
function measuresOf(features, others) {
  const measures = {};
  for (const [reading, mode] of [
    ['as is', 'none'],
    ['centred', 'center'],
    ['whitened', 'pca'],
  ]) {
    scope(() => {
      const apply = tensorTransform(fitTransform(features, mode).transform, features.device);
      const [x, ys] = [apply(features), others.map((view) => apply(view))];
      measures[`neighbours, ${reading}`] = mean(neighbourAgreement(x, ys));
      const found = ys.map((y) => findOtherViews(x, y));
      measures[`otherView, ${reading}`] = mean(found.map(({ hits }) => mean(hits)));
      measures[`otherViewRank, ${reading}`] = mean(found.map(({ reciprocalRanks }) => mean(reciprocalRanks)));
      if (mode === 'pca') return; // the spectrum is then flat
      measures[`rankMe, ${reading}`] = rankMe(x);
    });
  }
  measures.lidar = lidar(others);
  measures['alphaReq, nearness to 1'] = scoreOf('alphaReq', alphaReq(features));
  return measures;
}

async function rowOf(weights, dataset, train, val) {
  const model = loadModel(weights, { device: 'cpu' });
  const knn = await evaluateKnn(model, { train, val, k: [K] });
  const { items } = await listImages(train);
  const sizes = evalSizes({}, model.architecture);
  const embedded = await embedViews(model.backbone, items, {
    ...{ ...sizes, device: model.device, views, most: images },
  });
  const measures = measuresOf(embedded.features, embedded.views);
  for (const each of [embedded.features, ...embedded.views, model]) each.dispose();
  const top1 = (scores) => scores?.top1?.[K] ?? null;
  const labelled = { 'as is': top1(knn), centred: top1(knn.center), whitened: top1(knn.pca) };
  return { dataset, weights, images: embedded.used, views, knn: labelled, measures };
}

const keyOf = ({ dataset, weights }) => `${dataset} ${weights}`;
const known = existsSync(values.rows) ? readLines(values.rows) : [];
const done = new Set(known.map(keyOf));
const rows = [...known];
for (const given of positionals) {
  const [, dataset, list] = /^([^=]+)=(.+)$/.exec(given) ?? [];
  const [train, val, ...places] = (list ?? '').split(',');
  if (dataset === undefined || places.length === 0)
    throw new Error(`${given}: expected NAME=TRAIN,VAL,RUNS, for example cifar=data/train,data/test,runs`);
  const all = places.flatMap(weightsIn).map((weights) => path.resolve(weights));
  for (const [i, weights] of all.entries()) {
    if (done.has(keyOf({ dataset, weights }))) continue;
    const row = await rowOf(weights, dataset, train, val);
    rows.push(row);
    appendLine(values.rows, row);
    process.stderr.write(
      `${dataset} ${i + 1}/${all.length}: k-NN ${row.knn['as is'].toFixed(1)} ${weights}\n`,
    );
  }
}

// ------------------------------------------------------------------------------------------------ the table

/** Ranks from 1; equal values share the mean of theirs. */
function ranksOf(list) {
  const order = list.map((value, i) => [value, i]).sort(([a], [b]) => a - b);
  const ranks = new Array(list.length);
  for (let start = 0; start < order.length;) {
    let end = start;
    while (end < order.length && order[end][0] === order[start][0]) end++;
    for (let i = start; i < end; i++) ranks[order[i][1]] = (start + end + 1) / 2;
    start = end;
  }
  return ranks;
}

/** Spearman's correlation: Pearson's of the ranks. Null where one of the two is the same everywhere. */
function spearman(a, b) {
  const [x, y] = [ranksOf(a), ranksOf(b)];
  const [mx, my] = [mean(x), mean(y)];
  const along = mean(x.map((value, i) => (value - mx) * (y[i] - my)));
  const spread = Math.sqrt(
    mean(x.map((value) => (value - mx) ** 2)) * mean(y.map((value) => (value - my) ** 2)),
  );
  return spread > 0 ? along / spread : null;
}

const datasets = [...new Set(rows.map(({ dataset }) => dataset))];
const names = Object.keys(rows[0]?.measures ?? {});
const show = (value) => (value === null ? '–' : value.toFixed(2));
const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
for (const reading of ['as is', 'whitened']) {
  const columns = datasets.map((dataset) =>
    rows.filter((row) => row.dataset === dataset && isNumber(row.knn[reading])),
  );
  if (columns.every((column) => column.length < 3)) continue;
  const heads = columns.map((column, i) => `${datasets[i]} (${column.length})`);
  const lines = names
    .map((name) => {
      const found = columns.map((column) => {
        const used = column.filter(({ measures }) => isNumber(measures[name]));
        return used.length < 3
          ? null
          : spearman(
              used.map(({ measures }) => measures[name]),
              used.map(({ knn }) => knn[reading]),
            );
      });
      const real = found.filter((value) => value !== null);
      return { name, found, average: real.length === 0 ? null : mean(real), least: Math.min(...real) };
    })
    .sort((a, b) => (b.average ?? -2) - (a.average ?? -2));
  process.stdout.write(
    [
      `\nSpearman's correlation with k-NN top-1 (k ${K}) of features ${reading}; in parentheses: checkpoints`,
      '',
      table(
        ['measure', ...heads, 'mean', 'least'],
        lines.map(({ name, found, average, least }) => [
          name,
          ...[...found, average, Number.isFinite(least) ? least : null].map(show),
        ]),
      ),
      '',
    ].join('\n'),
  );
}
