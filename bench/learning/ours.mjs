/** A run of `dino train` in a process of its own, as a person starts it; checkpoints on its way are kept by hard links. */
import { copyFileSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { clearInterval, setInterval } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { flagOf } from '../../dist/run/settings.js';
import { runChild } from './child.mjs';
import { isLoaded } from './summary.mjs';

const dino = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
/** How often the run folder is looked at, milliseconds. */
const LOOK = 100;
const TRIAL_STEPS = 40;
/** For the first guess of how many epochs a time holds. */
const GUESSED_IMAGES_PER_SECOND = 100;
const GUESSED_BATCH = 32;
const TRIAL_SECONDS = 60;

/** `{ "localCropsNumber": 6 }` or `["--local-crops-number", "6"]` as arguments. */
export const flagsOf = (flags = {}) =>
  Array.isArray(flags)
    ? flags.map(String)
    : Object.entries(flags).flatMap(([name, value]) => [flagOf(name), String(value)]);

let help;
/** Whether `dino train` takes a flag: `--for` (a time) or `--steps` in place of epochs. */
export const hasFlag = (flag) => {
  help ??= execFileSync(process.execPath, [dino, 'train', '--help'], { encoding: 'utf8' });
  return new RegExp(`^ +${flag}\\b`, 'm').test(help);
};

const jsonLinesOf = (file) =>
  !existsSync(file)
    ? []
    : readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line));

/** Lines of steps, with the seconds of training until then: what the steps took, with the waits for data between them. */
export function stepLines(run, batch) {
  let [last, seconds] = [0, 0];
  return jsonLinesOf(path.join(run, 'metrics.jsonl'))
    .filter((line) => line.imagesPerSecond > 0)
    .map((line) => {
      seconds += ((line.step - last) * batch) / line.imagesPerSecond;
      last = line.step;
      return { ...line, trainingSeconds: seconds };
    });
}

const configOf = (run) => {
  const file = path.join(run, 'config.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
};

/** Images of a step, all processes together. */
const batchOf = ({ settings, processes = 1 }) => settings.batchSize * processes;

/**
 * How fast a recipe runs: some steps of the real command, then Ctrl-C.
 * @returns `startSeconds` until the first step, `stepSeconds`, `batch`.
 */
export async function trial({ source, flags, folder }) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const run = path.join(folder, 'run');
  const args = [dino, 'train', source, '--output', run, ...flags, '--epochs', '100', '--log-every', '1'];
  const start = performance.now();
  let child;
  let timer;
  let first = null;
  const look = () => {
    const { length } = jsonLinesOf(path.join(run, 'metrics.jsonl'));
    const now = performance.now();
    if (length > 0) first ??= now;
    if (length > TRIAL_STEPS || (first !== null && length > 3 && now - first > 1000 * TRIAL_SECONDS)) {
      clearInterval(timer);
      child.kill('SIGINT');
    }
  };
  try {
    await runChild(process.execPath, args, {
      log: path.join(folder, 'log.txt'),
      mayBeStopped: true,
      onStart: (started) => {
        child = started;
        timer = setInterval(look, LOOK);
      },
    });
  } finally {
    clearInterval(timer);
  }
  const config = configOf(run);
  const lines = config === null ? [] : stepLines(run, batchOf(config));
  if (lines.length < 2) throw new Error(`the trial made no steps: see ${path.join(folder, 'log.txt')}`);
  const skipped = Math.min(5, lines.length - 1); // the first steps allocate
  const from = lines[skipped - 1];
  const stepSeconds = (lines.at(-1).trainingSeconds - from.trainingSeconds) / (lines.at(-1).step - from.step);
  return {
    startSeconds: (first - start) / 1000 - stepSeconds,
    stepSeconds,
    batch: batchOf(config),
    flags,
  };
}

/**
 * Flags that make a run as long as it should be, and its checkpoints as frequent; `steps` it is expected to make, null for a
 * run whose time is measured by itself.
 * @param tried - From trial(); null for such a run.
 */
export function lengthOf(budget, points, { images, tried }) {
  if (tried === null) {
    // its steps are not known yet; where an epoch is long, its end alone would be too few points
    const epochs = (budget.seconds * GUESSED_IMAGES_PER_SECOND) / images;
    const every = Math.max(1, Math.ceil((images / GUESSED_BATCH) * (epochs / points)));
    const flags = epochs < points ? ['--save-every-steps', String(every)] : [];
    return { flags: ['--for', `${budget.seconds}s`, ...flags], steps: null };
  }
  const perEpoch = Math.max(1, Math.floor(images / tried.batch));
  const wanted = Math.max(
    1,
    budget.views === undefined
      ? (budget.seconds - tried.startSeconds) / tried.stepSeconds
      : budget.views / tried.batch,
  );
  const isInSteps = hasFlag('--steps');
  const epochs = Math.max(1, Math.round(wanted / perEpoch));
  const steps = isInSteps ? Math.round(wanted) : epochs * perEpoch;
  const flags = isInSteps ? ['--steps', String(steps)] : ['--epochs', String(epochs)];
  // a checkpoint at the end of each epoch is often enough where there are many
  if (steps / perEpoch < points) flags.push('--save-every-steps', String(Math.ceil(steps / points)));
  return { flags, steps };
}

/** Keeps a checkpoint that a run has just written, under `kept`; false when it is gone already. */
function keep(run, kept, name) {
  const [from, to] = [run, kept].map((folder) => path.join(folder, 'checkpoints', name));
  try {
    mkdirSync(to, { recursive: true });
    for (const file of ['teacher.safetensors', 'state.json'])
      linkSync(path.join(from, file), path.join(to, file));
    return true;
  } catch {
    rmSync(to, { recursive: true, force: true });
    return false;
  }
}

/**
 * Trains. @returns The clock from the start of the process to its end, that of the training alone, and the points: the
 * first checkpoint after each tenth (by `points`) of the time, or of the steps, and the last.
 */
export async function trainOurs({ source, flags, budget, points, folder, expectedSteps }) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const [run, kept] = [path.join(folder, 'run'), path.join(folder, 'kept')];
  const latest = path.join(run, 'checkpoints', 'latest');
  const found = [];
  let seen = '';
  let start;
  const look = (isLast = false) => {
    const name = existsSync(latest) ? readFileSync(latest, 'utf8').trim() : '';
    if (name === '' || (name === seen && !isLast)) return;
    const seconds = (performance.now() - start) / 1000;
    const step = Number(name.replace('step-', ''));
    const done = expectedSteps === null ? seconds / budget.seconds : step / expectedSteps;
    const isKept = found.at(-1)?.name === name;
    const isDue = done >= (found.length + 1) / points - 0.005;
    if (isKept || !(isDue || isLast)) return;
    if (keep(run, kept, name)) {
      seen = name;
      found.push({ name, step, seconds });
    }
  };
  let timer;
  let seconds;
  try {
    seconds = await runChild(process.execPath, [dino, 'train', source, '--output', run, ...flags], {
      log: path.join(folder, 'log.txt'),
      onStart: () => {
        start = performance.now();
        timer = setInterval(look, LOOK);
      },
    });
  } finally {
    clearInterval(timer);
  }
  look(true);
  const config = configOf(run);
  copyFileSync(path.join(run, 'config.json'), path.join(kept, 'config.json'));
  const batch = batchOf(config);
  const lines = stepLines(run, batch);
  const trained = (step) => lines.findLast((line) => line.step <= step)?.trainingSeconds ?? null;
  const steps = found.at(-1).step;
  return {
    seconds,
    trainingSeconds: trained(steps),
    startSeconds: null,
    steps,
    batch,
    settings: config.settings,
    versions: { program: `dino-ts ${config.version}` },
    points: found.map((point, i) => ({
      step: point.step,
      views: point.step * batch,
      seconds: i === found.length - 1 ? seconds : point.seconds,
      trainingSeconds: trained(point.step),
      weights: path.join(kept, 'checkpoints', point.name),
    })),
  };
}

/**
 * The timed run that says how many steps a recipe makes in the time, on a quiet machine.
 * @throws Where none was measured.
 */
export function timedRun(rows, { dataset, recipe, budget }) {
  const timed = rows.find(
    (row) =>
      row.kind === 'run' &&
      !row.paced &&
      !isLoaded(row) &&
      row.dataset === dataset.name &&
      row.recipe === recipe.name &&
      row.budget.seconds === budget.seconds,
  );
  if (timed !== undefined) return timed;
  throw new Error(
    `--paced needs a run of ${recipe.name} on ${dataset.name} for ${budget.seconds} seconds that was timed on a quiet ` +
      'machine, with any seed: measure one without --paced first',
  );
}

/** The settings and the steps of a timed run, with another seed; its seconds are those of the timed run at the same steps. */
export async function paceOurs({ source, timed, seed, budget, points, folder }) {
  const config = `${folder}.json`;
  mkdirSync(path.dirname(config), { recursive: true });
  writeFileSync(config, JSON.stringify({ ...timed.settings, steps: timed.steps }));
  const length = lengthOf({ views: timed.steps * timed.batch }, points, {
    images: timed.images,
    tried: timed,
  });
  const flags = ['--config', config, ...length.flags, '--seed', String(seed)];
  const run = await trainOurs({ source, flags, budget, points, folder, expectedSteps: timed.steps });
  const at = (step, clock) => {
    const after = timed.curve.findIndex((point) => point.step >= step);
    const [a, b] = [timed.curve[Math.max(0, after - 1)], timed.curve[Math.max(1, after)]];
    return a[clock] + ((b[clock] - a[clock]) * (step - a.step)) / (b.step - a.step);
  };
  return {
    ...run,
    flags,
    seconds: timed.seconds,
    trainingSeconds: timed.trainingSeconds,
    points: run.points.map((point) => ({
      ...point,
      seconds: at(point.step, 'seconds'),
      trainingSeconds: at(point.step, 'trainingSeconds'),
    })),
  };
}
