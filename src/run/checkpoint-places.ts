/**
 * Where the checkpoints of a run are: their names, and which is the newest. Their contents are not checked. A run folder may
 * be untrusted: no link in it is followed.
 */
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { namesIn, readTextIfThere } from '../files/guarded.js';
import { CHECKPOINTS } from '../plain/run-names.js';

/** Size limit for `latest`, bytes. */
const NAME_BYTES = 1000;

export const checkpointsPath = (run: string): string => path.join(run, CHECKPOINTS);
export const latestPath = (run: string): string => path.join(checkpointsPath(run), 'latest');
export const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;
export const stepOfName = (name: string): number | null => {
  const digits = /^step-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
};

/** The best weights, as a user names them: the folder itself has their step in its name. */
const BEST = 'best';
const bestName = (step: number): string => `${BEST}-${String(step).padStart(8, '0')}`;
const stepOfBest = (name: string): number | null => {
  const digits = /^best-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
};

/** Step in the name of a checkpoint's folder or of that of the best weights; null for any other name. */
export const stepOfFolder = (name: string): number | null => stepOfName(name) ?? stepOfBest(name);

/** Folder of the best weights, which are those after `step` steps. */
export const bestFolder = (run: string, step: number): string =>
  path.join(checkpointsPath(run), bestName(step));

/** Folder of the checkpoint after `step` steps. */
export const checkpointFolder = (run: string, step: number): string =>
  path.join(checkpointsPath(run), folderName(step));

/** The run that a checkpoint's folder belongs to, or the folder itself if it is not in a run: no link below it is followed. */
export function runOfCheckpoint(folder: string): string {
  const whole = path.resolve(folder);
  const above = path.dirname(whole);
  return path.basename(above) === CHECKPOINTS ? path.dirname(above) : whole;
}

export interface CheckpointPlace {
  step: number;
  folder: string;
}

/** The checkpoints of a run, oldest first. @throws CheckpointError when `checkpoints` is a link or not a folder. */
export function listCheckpoints(run: string): CheckpointPlace[] {
  const folder = checkpointsPath(run);
  return namesIn(folder, { within: run, failure: CheckpointError })
    .flatMap((name) => {
      const step = stepOfName(name);
      return step === null ? [] : [{ step, folder: path.join(folder, name) }];
    })
    .sort((a, b) => a.step - b.step);
}

/**
 * Folders with best weights, the newest first: normally one, for a moment two while one takes the other's place.
 * @throws CheckpointError when `checkpoints` is a link or not a folder.
 */
export function listBest(run: string): CheckpointPlace[] {
  const folder = checkpointsPath(run);
  return namesIn(folder, { within: run, failure: CheckpointError })
    .flatMap((name) => {
      const step = stepOfBest(name);
      return step === null ? [] : [{ step, folder: path.join(folder, name) }];
    })
    .sort((a, b) => b.step - a.step);
}

/** The weights that the judge found best (`--judge-every`), or null when there are none. */
export const bestCheckpoint = (run: string): CheckpointPlace | null => listBest(run)[0] ?? null;

/** What stands for the best weights of a run, wherever a command takes weights. */
export const bestPath = (run: string): string => path.join(checkpointsPath(run), BEST);

/** `RUN/checkpoints/best` as the folder that it stands for; any other path as it is. */
export function resolveBest(weights: string): string {
  const whole = path.resolve(weights);
  const above = path.dirname(whole);
  if (path.basename(whole) !== BEST || path.basename(above) !== CHECKPOINTS) return weights;
  return bestCheckpoint(path.dirname(above))?.folder ?? weights;
}

/** Folder of the newest checkpoint, or null when there is none yet. Its contents are not checked. */
export function newestCheckpoint(run: string): string | null {
  return newestFirst(run)[0]?.folder ?? null;
}

/**
 * Checkpoints in the order in which to try them: the one that `latest` names, those before it, and then those after it,
 * which remain when a run stopped between writing a checkpoint and updating `latest`, or resumed from an older one.
 */
export function newestFirst(run: string): CheckpointPlace[] {
  const found = listCheckpoints(run).reverse();
  const text = readTextIfThere(latestPath(run), {
    within: run,
    maxBytes: NAME_BYTES,
    failure: CheckpointError,
  });
  const named = stepOfName(text?.trim() ?? '');
  if (named === null || !found.some(({ step }) => step === named)) return found;
  return [...found.filter(({ step }) => step <= named), ...found.filter(({ step }) => step > named)];
}
