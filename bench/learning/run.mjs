/**
 * What recipes learn in the same time, or from the same number of image views: every recipe on every data set with every
 * seed, through `dino train` in a process of its own, or through another program (peers.mjs).
 *
 *   node bench/learning/run.mjs --data cifar10-mini=TRAIN:VAL --data imagenette-mini=TRAIN:VAL \
 *     --recipes bench/learning/recipes.json --seconds 600 --seeds 0,1,2 --out FOLDER
 *
 *   --data NAME[@SIDE]=TRAIN:VAL[,TRAIN:VAL]  labelled images; several domains are trained on together and read one by one
 *   --recipes FILE[,FILE]  JSON: a list of { name, flags } or { name, peer, settings }; either may have `on`, changes by
 *                          data set
 *   --only NAME[,NAME]     only these recipes
 *   --seconds N            the time of a training, from the start of its process to its end
 *   --views N              or images that it sees
 *   --seeds 0,1,2          default 0
 *   --points 10            how often its weights are kept and read afterwards, outside the clock
 *   --whole                k-NN reads whole images, in place of the centre that `dino eval knn` reads
 *   --reference FOLDER     a checkout of facebookresearch/dino, for the peer `reference`
 *   --cache FOLDER         where the peers' Python packages are installed
 *   --trials               only see how fast each recipe is, on a quiet machine, and keep that
 *   --paced                turn the seconds into the steps that fit into them on a quiet machine: those of a trial, or for
 *                          recipes that measure their own time, those of a timed run with another seed. Such a run may
 *                          share the machine, since its steps are counted; its seconds are those of the quiet machine
 *   --allow-load           measure although something else runs; the results say so
 *   --out FOLDER           results.jsonl, and the runs with their kept weights
 *
 * What is in results.jsonl already is not measured again, so a harness that was stopped goes on where it was.
 * `node bench/learning/report.mjs FOLDER` makes the tables and curves of docs/learning.md.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonLines, stopChild } from './child.mjs';
import { parseData, prepare } from './data.mjs';
import { assertQuiet, busyShare, BUSY, commit, machine, takeLock, watchOthers } from './machine.mjs';
import { flagsOf, hasFlag, lengthOf, paceOurs, timedRun, trainOurs, trial } from './ours.mjs';
import { PEERS, trainPeer, trialOfPeer } from './peers.mjs';
import { addResult, bestOf, idOf, readResults } from './results.mjs';

const evaluator = fileURLToPath(new URL('evaluate.mjs', import.meta.url));
const string = { type: 'string' };
const { values } = parseArgs({
  options: {
    data: { type: 'string', multiple: true },
    recipes: { type: 'string', multiple: true },
    ...{ only: string, seconds: string, views: string, out: string, reference: string, cache: string },
    seeds: { type: 'string', default: '0' },
    points: { type: 'string', default: '10' },
    whole: { type: 'boolean', default: false },
    trials: { type: 'boolean', default: false },
    paced: { type: 'boolean', default: false },
    'allow-load': { type: 'boolean', default: false },
  },
});

function readRecipes(files) {
  const recipes = files.flatMap((file) => {
    const found = JSON.parse(readFileSync(file, 'utf8'));
    if (!Array.isArray(found)) throw new Error(`${file}: expected a list of recipes`);
    for (const { name, peer, ...rest } of found) {
      const known = peer === undefined ? ['flags', 'on', 'about'] : ['settings', 'on', 'about'];
      const unknown = Object.keys(rest).filter((key) => !known.includes(key));
      if (typeof name !== 'string') throw new Error(`${file}: a recipe without a name`);
      if (unknown.length > 0)
        throw new Error(`${file}: ${name}: ${unknown.join(', ')}; expected ${known.join(', ')}`);
      if (peer !== undefined && !PEERS.includes(peer))
        throw new Error(`${file}: ${name}: peer ${peer}; expected one of ${PEERS.join(', ')}`);
    }
    return found;
  });
  const names = recipes.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new Error(`two recipes are named ${twice}`);
  return recipes;
}

/** A recipe as it is on one data set. */
function recipeOn({ on = {}, ...recipe }, name) {
  const { flags, settings } = on[name] ?? {};
  if (recipe.peer !== undefined) return { ...recipe, settings: { ...recipe.settings, ...settings } };
  return { ...recipe, flags: [...flagsOf(recipe.flags), ...flagsOf(flags)] };
}

function readOptions() {
  const { seconds, views } = values;
  const number = (name, text) => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`--${name} ${text}: expected a number above 0`);
    return value;
  };
  if (values.data === undefined || values.recipes === undefined || values.out === undefined)
    throw new Error('--data, --recipes and --out are needed: see the top of bench/learning/run.mjs');
  if ((seconds === undefined) === (views === undefined)) throw new Error('give either --seconds or --views');
  if (seconds === undefined && values.paced)
    throw new Error('--paced needs --seconds, which it turns into steps');
  const only = values.only?.split(',');
  const recipes = readRecipes(values.recipes.flatMap((files) => files.split(',')));
  const unknown = only?.filter((name) => !recipes.some((recipe) => recipe.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only ${unknown.join(',')}: not among the recipes`);
  return {
    data: values.data.map(parseData),
    recipes: recipes.filter(({ name }) => only === undefined || only.includes(name)),
    budget:
      seconds === undefined ? { views: number('views', views) } : { seconds: number('seconds', seconds) },
    seeds: values.seeds.split(',').map(Number),
    points: number('points', values.points),
    out: path.resolve(values.out),
    whole: values.whole,
    reference: values.reference,
    cache: values.cache === undefined ? undefined : path.resolve(values.cache),
    ...{ trialsOnly: values.trials, paced: values.paced },
    // a paced run counts steps, not seconds
    allowLoad: values['allow-load'] || values.paced,
  };
}

let options;
try {
  options = readOptions();
} catch (error) {
  console.error(error.message);
  process.exit(2);
}
const { out, budget, points } = options;
const about = { machine: machine(), commit: commit() };
const note = (text) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, '-');
const budgetText = budget.views === undefined ? `${budget.seconds}s` : `${budget.views}views`;

const without = (value, ...names) =>
  Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));

/** Readings of each point, in order. */
async function evaluate(dataset, folder, list) {
  mkdirSync(folder, { recursive: true });
  const request = path.join(folder, 'evaluate.json');
  const known = path.join(out, 'untrained.jsonl');
  writeFileSync(request, JSON.stringify({ images: dataset.file, whole: options.whole, known, points: list }));
  return (await jsonLines(evaluator, [request])).map((found) => without(found, 'name'));
}

async function measureBaselines(dataset, measured) {
  const { name, side } = dataset;
  const id = idOf('baselines', name, side, dataset.images);
  if (measured.has(id)) return;
  note(`${name}: pixels and HOG at ${side} pixels`);
  const [pixels, hog] = await evaluate(dataset, path.join(out, 'baselines', name), [
    { name: 'pixels', baseline: 'pixels', side },
    { name: 'hog', baseline: 'hog', side },
  ]);
  addResult(out, {
    ...{ id, kind: 'baselines', dataset: name, side, images: dataset.images, pixels, hog },
    ...{ date: new Date().toISOString(), ...about },
  });
}

/** How fast a recipe is, measured once and kept; null where `dino train` measures its own time. */
async function tryOut(dataset, recipe, folder, seed) {
  const isOurs = recipe.peer === undefined;
  if (isOurs && budget.seconds !== undefined && hasFlag('--for')) return null;
  const id = idOf(
    'trial',
    dataset.name,
    recipe.peer ?? 'dino',
    recipe.flags ?? recipe.settings,
    dataset.side,
  );
  const known = readResults(out).find((row) => row.id === id);
  if (known !== undefined) return known;
  note(`${dataset.name}, ${recipe.name}: a trial, to see how fast it is`);
  const where = `${folder}-trial`;
  const busyBefore = await busyShare();
  const tried = isOurs
    ? await trial({ source: dataset.source, flags: recipe.flags, folder: where })
    : await trialOfPeer({ recipe, dataset, options, folder: where, seed });
  rmSync(where, { recursive: true, force: true });
  const row = { id, kind: 'trial', ...tried, busyBefore };
  addResult(out, row);
  return row;
}

async function trainRecipe(dataset, recipe, seed, folder, tried) {
  if (options.paced && tried === null) {
    const timed = timedRun(readResults(out), { dataset, recipe, budget });
    return paceOurs({ source: dataset.source, timed, seed, budget, points, folder });
  }
  const length = lengthOf(budget, points, { images: dataset.images, tried });
  const flags = [...recipe.flags, ...length.flags, '--seed', String(seed)];
  const run = await trainOurs({
    ...{ source: dataset.source, flags, budget, points, folder },
    expectedSteps: length.steps,
  });
  return { ...run, flags };
}

/** Trains, or takes up what was trained and not yet read. */
async function trained(dataset, recipe, seed, folder) {
  const file = path.join(folder, 'trained.json');
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  const tried = await tryOut(dataset, recipe, folder, seed);
  if (options.paced && tried?.busyBefore > BUSY)
    throw new Error(
      'its trial was made on a busy machine, so the steps that fit are not known: remove it, and give --trials',
    );
  const busyBefore = await busyShare();
  if (busyBefore > BUSY && !options.allowLoad)
    throw new Error(`${Math.round(100 * busyBefore)}% of the cores are busy: something else runs`);
  note(`${dataset.name}, ${recipe.name}, seed ${seed}: ${budgetText}`);
  const { result: run, others } = await watchOthers(async () =>
    recipe.peer === undefined
      ? trainRecipe(dataset, recipe, seed, folder, tried)
      : {
          ...(await trainPeer({
            tried,
            budget,
            recipe,
            dataset,
            options,
            folder,
            seed,
            points,
            paced: options.paced,
          })),
          settings: recipe.settings,
        },
  );
  const load = { busyBefore, busyOthers: others, loadAtStart: os.loadavg()[0] };
  const whole = { ...run, paced: options.paced, ...load };
  writeFileSync(file, JSON.stringify(whole));
  return whole;
}

async function measure(dataset, recipe, seed, measured) {
  const folder = path.join(out, 'runs', `${slug(dataset.name)}-${slug(recipe.name)}-${budgetText}-${seed}`);
  if (options.trialsOnly) {
    await tryOut(dataset, recipe, folder, seed);
    return;
  }
  const id = idOf(
    'run',
    dataset.name,
    recipe.name,
    budget,
    seed,
    recipe.flags ?? recipe.settings,
    dataset.side,
    options.whole,
  );
  if (measured.has(id)) return;
  const { points: found, ...run } = await trained(dataset, recipe, seed, folder);
  note(
    `${dataset.name}, ${recipe.name}, seed ${seed}: reading ${found.length} points, after ${run.seconds.toFixed(0)} s`,
  );
  const list = found.map((point, i) => ({ name: String(i), ...point }));
  const isOurs = recipe.peer === undefined;
  const begin = isOurs ? [{ name: 'untrained', untrained: list.at(-1).weights, seed }] : [];
  const scores = await evaluate(dataset, folder, [...begin, ...list]);
  const untrained = isOurs ? scores.shift() : scores[0];
  const curve = found.map((point, i) => ({ ...without(point, 'weights', 'features'), ...scores[i] }));
  if (isOurs) curve.unshift({ step: 0, views: 0, seconds: 0, trainingSeconds: 0, ...untrained });
  const { side, images, width, height } = dataset;
  addResult(out, {
    ...{ id, kind: 'run', dataset: dataset.name, side, images, imageSize: [width, height] },
    ...{
      recipe: recipe.name,
      peer: recipe.peer ?? null,
      about: recipe.about,
      budget,
      seed,
      whole: options.whole,
    },
    ...run,
    ...{ views: run.steps * run.batch, untrained, final: curve.at(-1), curve },
    ...{ date: new Date().toISOString(), ...about },
  });
  // what is left: logs, settings, metrics, and the teacher's weights that were read
  for (const large of ['features', 'weights.pth', 'lightly', path.join('run', 'checkpoints')])
    rmSync(path.join(folder, large), { recursive: true, force: true });
  const best = bestOf(curve.at(-1));
  note(
    `${dataset.name}, ${recipe.name}, seed ${seed}: best reading ${best === null ? 'none' : best.toFixed(2)}`,
  );
}

let release;
try {
  if (!options.allowLoad) assertQuiet();
  release = takeLock();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, stopChild);
const failures = [];
try {
  mkdirSync(out, { recursive: true });
  const measured = new Set(readResults(out).map((row) => row.id));
  for (const each of options.data) {
    const dataset = await prepare(each, out);
    await measureBaselines(dataset, measured);
    // seed by seed: what is there after an hour has all recipes
    for (const seed of options.seeds) {
      for (const recipe of options.recipes.map((one) => recipeOn(one, dataset.name))) {
        try {
          await measure(dataset, recipe, seed, measured);
        } catch (error) {
          if (error.message === 'interrupted') throw error;
          failures.push(`${dataset.name}, ${recipe.name}, seed ${seed}: ${error.message}`);
          note(failures.at(-1));
        }
      }
    }
  }
} catch (error) {
  failures.push(error.message);
} finally {
  release();
}
for (const failure of failures) console.error(`failed: ${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;
