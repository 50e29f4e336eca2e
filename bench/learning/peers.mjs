/** Runs of other programs for the same time: facebookresearch/dino and lightly-train, in Python on the CPU. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { runChild } from './child.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const LIGHTLY = 'lightly-train==0.18.*';
const TRIAL_SECONDS = 60;
export const PEERS = ['reference', 'lightly'];

/**
 * The Python of a virtual environment with lightly-train, which brings the torch that both peers run on; made in `cache`
 * when it is missing.
 */
export function peerPython(cache) {
  const folder = path.join(cache, 'lightly');
  const python = path.join(folder, 'bin', 'python');
  const ready = path.join(folder, 'ready');
  if (existsSync(ready)) return python;
  console.error(`installing ${LIGHTLY} in ${folder} ...`);
  const run = (...command) => execFileSync(command[0], command.slice(1), { stdio: ['ignore', 2, 2] });
  mkdirSync(cache, { recursive: true });
  run('python3', '-m', 'venv', folder);
  run(python, '-m', 'pip', 'install', '--quiet', LIGHTLY);
  writeFileSync(ready, '');
  return python;
}

/** The request of peer.py, and its answer. */
async function ask({ recipe, dataset, options, folder, seed, seconds, steps, points }) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const reference = options.reference;
  if (recipe.peer === 'reference' && !existsSync(path.join(reference ?? '', 'main_dino.py')))
    throw new Error('the peer "reference" needs --reference: a checkout of facebookresearch/dino');
  if (options.cache === undefined)
    throw new Error('peers need --cache: a folder for their Python packages, outside of the repository');
  const python = peerPython(options.cache);
  const file = path.join(folder, 'request.json');
  const write = () =>
    writeFileSync(
      file,
      JSON.stringify({
        images: dataset.file,
        folders: dataset.folders,
        program: reference === undefined ? null : path.resolve(reference),
        out: folder,
        side: dataset.side,
        whole: options.whole,
        workers: os.availableParallelism(),
        settings: recipe.settings,
        started: Date.now() / 1000,
        ...{ seed, seconds, steps, points },
      }),
    );
  write();
  await runChild(python, [path.join(here, `peer_${recipe.peer}.py`), file], {
    log: path.join(folder, 'log.txt'),
    env: { LIGHTLY_TRAIN_EVENTS_DISABLED: '1', TQDM_DISABLE: '1' },
  });
  return JSON.parse(readFileSync(path.join(folder, 'done.json'), 'utf8'));
}

/** How fast a peer runs: seconds until the first step, and for a step. */
export async function trialOfPeer(call) {
  const { startSeconds, trainingSeconds, steps, batch } = await ask({
    ...call,
    ...{ seconds: TRIAL_SECONDS, steps: null, points: 0 },
  });
  return { startSeconds, stepSeconds: trainingSeconds / steps, batch };
}

/**
 * Trains a peer, its schedules laid over the steps that the trial says fit; at the end of the time it stops in any case.
 * With `paced` it makes these steps however long they take, and its seconds are those of the trial's pace.
 */
export async function trainPeer({ tried, budget, paced, ...call }) {
  const wanted =
    budget.views === undefined
      ? (budget.seconds - tried.startSeconds) / tried.stepSeconds
      : budget.views / tried.batch;
  const steps = Math.max(1, Math.floor(wanted));
  if (!paced) return ask({ ...call, seconds: budget.seconds ?? null, steps });
  const run = await ask({ ...call, seconds: null, steps });
  const seconds = (step) => (step === 0 ? 0 : tried.startSeconds + step * tried.stepSeconds);
  return {
    ...run,
    seconds: seconds(run.steps),
    trainingSeconds: run.steps * tried.stepSeconds,
    startSeconds: tried.startSeconds,
    points: run.points.map((point) => ({
      ...point,
      seconds: seconds(point.step),
      trainingSeconds: point.step * tried.stepSeconds,
    })),
  };
}
