/** The harness of docs/learning.md: what it reads, how it puts seeds together, and what it says of a target that was missed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '#scripts/find-libtorch.mjs';

interface Readings {
  asIs: number | null;
  centred: number | null;
  whitened: number | null;
  problem?: string;
}
interface Features {
  rows: Float32Array;
  labels: number[];
}
const file = (name: string): string => path.join(packageRoot, 'bench', 'learning', name);
const load = async <T>(name: string): Promise<T> => (await import(pathToFileURL(file(name)).href)) as T;

const { readings, pixelReadings } =
  await load<Record<'readings' | 'pixelReadings', (train: Features, val: Features) => Readings>>(
    'readings.mjs',
  );
const { addResult, readResults, resultsPath } = await load<{
  addResult: (out: string, row: object) => void;
  readResults: (out: string) => { id: string; value?: number }[];
  resultsPath: (out: string) => string;
}>('results.mjs');
const { parseData } = await load<{
  parseData: (text: string) => {
    name: string;
    side: number | null;
    pairs: { name: string; train: string }[];
  };
}>('data.mjs');
const { lengthOf, flagsOf } = await load<{
  lengthOf: (budget: object, points: number, run: object) => { flags: string[]; steps: number | null };
  flagsOf: (flags: object) => string[];
}>('ours.mjs');

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-learning-'));
after(() => rmSync(folder, { recursive: true }));

/** Features of four classes, each a direction of its own, under a mean and one direction of noise that drown them. */
function drowned(count: number, width: number): Features {
  let state = 7;
  const random = () => (state = (state * 16807) % 2147483647) / 2147483647 - 0.5;
  const labels = Array.from({ length: count }, (_, i) => i % 4);
  const rows = new Float32Array(count * width);
  labels.forEach((label, i) => {
    for (let d = 0; d < width; d++) rows[i * width + d] = 0.3 * random() + (d === label ? 1 : 0);
    rows[i * width + width - 1]! += 100 + 60 * random();
    rows[i * width + width - 2]! += 60 * random();
  });
  return { rows, labels };
}

test('whitening finds what a mean and one direction drown', () => {
  const train = drowned(400, 16);
  const found = readings(train, drowned(80, 16));
  assert.ok(found.asIs! < 75, JSON.stringify(found));
  assert.ok(found.whitened! > 95, JSON.stringify(found));
  // more values than images: the axes come from the products of the images with each other
  const few = pixelReadings(drowned(60, 200), drowned(40, 200));
  const many = pixelReadings(drowned(400, 16), drowned(80, 16));
  assert.ok(many.whitened! > 95 && few.whitened! > few.asIs!, JSON.stringify([few, many]));
});

test('features that are not finite get no score', () => {
  const broken = drowned(80, 16);
  broken.rows[5] = NaN;
  const found = readings(broken, drowned(20, 16));
  assert.deepEqual([found.asIs, found.whitened], [null, null]);
  assert.match(found.problem ?? '', /not finite/);
});

test('a line that a crash cut off is left out, and the next one is whole', () => {
  const out = path.join(folder, 'cut');
  addResult(out, { id: 'a', value: 1 });
  addResult(out, { id: 'b', value: 2 });
  appendFileSync(resultsPath(out), '{"id":"c","val');
  addResult(out, { id: 'a', value: 3 });
  assert.deepEqual(readResults(out), [
    { id: 'b', value: 2 },
    { id: 'a', value: 3 },
  ]);
});

test('data sets, flags and lengths as they are given', () => {
  const { name, side, pairs } = parseData('pacs@64=/d/art/train:/d/art/val,/d/sketch/train:/d/sketch/val');
  assert.deepEqual([name, side, pairs.map((pair) => pair.name)], ['pacs', 64, ['art', 'sketch']]);
  assert.throws(() => parseData('pacs=/d/art/train'), /expected TRAIN:VAL/);
  assert.throws(() => parseData('two=/a/x/train:/a/x/val,/b/x/train:/b/x/val'), /two domains are named x, x/);
  assert.deepEqual(flagsOf({ localCropsNumber: 6, globalCropsScale: [0.4, 1] }), [
    ...['--local-crops-number', '6', '--global-crops-scale', '0.4,1'],
  ]);
  const tried = { startSeconds: 10, stepSeconds: 0.5, batch: 50 };
  const { flags, steps } = lengthOf({ views: 3000 }, 10, { images: 1000, tried });
  assert.equal(steps, 60);
  assert.match(flags.join(' '), /^--steps 60 --save-every-steps 6$/);
  assert.deepEqual(lengthOf({ seconds: 3600 }, 10, { images: 1000, tried: null }).flags, ['--for', '3600s']);
});

test('the report takes one reading for all seeds, and says which target was missed', () => {
  const out = path.join(folder, 'report');
  const dataset = 'cifar10-mini';
  const side = { dataset, side: 32, images: 100 };
  const pixels = { asIs: 31, centred: 39, whitened: 46 };
  addResult(out, { id: 'baselines', kind: 'baselines', ...side, pixels, hog: { centred: 45 } });
  const add = (recipe: string, peer: string | null, seed: number, asIs: number, whitened: number): void => {
    const [begin, end] = [
      { asIs: 20, centred: 20, whitened: 20 },
      { asIs, centred: 30, whitened },
    ];
    const curve = [begin, end].map((top1, i) => ({ step: i, views: 100 * i, seconds: 600 * i, ...top1 }));
    addResult(out, {
      ...{ id: `${recipe} ${seed}`, kind: 'run', ...side, imageSize: [32, 32], recipe, peer, seed },
      ...{ budget: { seconds: 600 }, seconds: 700, trainingSeconds: 690, views: 100, busyOthers: 0.4 },
      ...{
        untrained: begin,
        final: end,
        curve,
        date: '2026-01-01',
        machine: {},
        versions: { program: recipe },
      },
    });
  };
  add('narrow', null, 0, 48, 40);
  add('narrow', null, 1, 40, 46);
  add('other', 'reference', 0, 45, 30);
  const text = execFileSync(process.execPath, [file('report.mjs'), '--dry', out], { encoding: 'utf8' });
  // the mean of each seed's best would be 47.0
  assert.match(text, /narrow +\| \*\*44\.0 \(40\.0–48\.0\) as is †\*\*/);
  assert.match(text, /44\.0 \(narrow, as is\); target above 47, aim 52: \*\*missed by 3\.0\*\*/);
  assert.match(text, /\*\*1\.0 behind other\*\*/);
  assert.match(text, /narrow on cifar10-mini took 700 s in place of 600 s/);
  assert.match(text, /something else ran/);
});

test('a curve of several seeds ends where each of them ends, also when one has a point more', async () => {
  const { summarize } = await load<{
    summarize: (rows: object[]) => {
      groups: { curve: { top1: { mean: number } }[]; best: { mean: number } }[];
    };
  }>('summary.mjs');
  const run = (seed: number, whitened: readonly number[]): object => {
    const curve = whitened.map((value, i) => ({
      ...{ step: i, views: i, seconds: i },
      ...{ asIs: 1, centred: 1, whitened: value },
    }));
    return {
      ...{ kind: 'run', dataset: 'a', recipe: 'b', peer: null, seed, budget: { seconds: 600 } },
      ...{ curve, final: curve.at(-1), untrained: curve[0], seconds: 600, trainingSeconds: 600, views: 9 },
    };
  };
  const [group] = summarize([run(0, [10, 20, 30, 60]), run(1, [10, 20, 40])]).groups;
  assert.deepEqual(
    group!.curve.map(({ top1 }) => top1.mean),
    [10, 20, 50],
  );
  assert.equal(group!.best.mean, 50);
});
