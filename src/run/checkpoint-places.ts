/**
 * Where the checkpoints of a run are: their names, and which is the newest. Nothing in them is looked at. No link in a run
 * folder is followed, which may be a stranger's.
 */
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { namesIn, readTextIfThere } from '../files/guarded.js';

/** The most that `latest` may have, bytes. */
const NAME_BYTES = 1000;

export const checkpointsPath = (run: string): string => path.join(run, 'checkpoints');
export const latestPath = (run: string): string => path.join(checkpointsPath(run), 'latest');
export const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;
export const stepOfName = (name: string): number | null => {
  const digits = /^step-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
};

/** Folder of the checkpoint after `step` steps. */
export const checkpointFolder = (run: string, step: number): string =>
  path.join(checkpointsPath(run), folderName(step));

/** The run that a checkpoint's folder belongs to; a folder by itself is its own: below it no link is followed. */
export function runOfCheckpoint(folder: string): string {
  const whole = path.resolve(folder);
  const above = path.dirname(whole);
  return path.basename(above) === 'checkpoints' ? path.dirname(above) : whole;
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

/** Folder of the newest checkpoint, or null when there is none yet. Nothing in it is looked at. */
export function newestCheckpoint(run: string): string | null {
  return newestFirst(run)[0]?.folder ?? null;
}

/**
 * Checkpoints in the order in which they are to be tried: the one that `latest` names, those before it, and then those
 * after it, which a run leaves behind that was stopped between writing and naming one, or that fell back from one.
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
