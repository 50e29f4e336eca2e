/**
 * Writes a checkpoint, as described in checkpoint-files.ts, and removes those that are no longer kept. This runs in the
 * writer's thread: nothing here may import libtorch, nor much else, since loading opens a file for each module.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { syncFolder, writeFileWhole, writeWhole } from '../files/atomic-file.js';
import { makeFolder, refuseLinks, removeWithin } from '../files/guarded.js';
import { systemReason } from '../files/system-reason.js';
import { printable } from '../plain/printable.js';
import {
  bestFolder,
  checkpointFolder,
  checkpointsPath,
  folderName,
  latestPath,
  listBest,
  listCheckpoints,
} from '../run/checkpoint-places.js';

/** Bytes hashed and written at a time. */
const PART_BYTES = 16 * 2 ** 20;

/** Which checkpoints are kept. */
export interface KeepRule {
  /** Number of newest ones, at least 1. */
  last: number;
  /** Also those of epochs 1, 1 + every, 1 + 2 * every, ... (like the reference's saveckp_freq); 0 for none. */
  everyEpochs: number;
  stepsPerEpoch: number;
}

function isPermanent(step: number, { everyEpochs, stepsPerEpoch }: KeepRule): boolean {
  const epochs = step / stepsPerEpoch;
  return everyEpochs > 0 && Number.isInteger(epochs) && (epochs - 1) % everyEpochs === 0;
}

/**
 * Removes what killed processes left half written, and the checkpoints up to `step` that the rule doesn't keep. Only the
 * holder of the run folder's lock may call it.
 */
function prune(run: string, step: number, rule: KeepRule): void {
  const folder = checkpointsPath(run);
  const remove = (place: string): void => removeWithin(place, { within: run, failure: CheckpointError });
  refuseLinks(run, folder, CheckpointError);
  for (const name of readdirSync(folder))
    if (name.startsWith('.') && name.endsWith('.tmp')) remove(path.join(folder, name));
  const done = listCheckpoints(run).filter((checkpoint) => checkpoint.step <= step);
  for (const checkpoint of done.slice(0, -rule.last)) {
    if (!isPermanent(checkpoint.step, rule)) remove(checkpoint.folder);
  }
}

/** A checkpoint in memory, ready to be written. */
export interface CheckpointImage {
  run: string;
  step: number;
  files: { name: string; bytes: Uint8Array }[];
  keep: KeepRule;
  /** `step` (default): as the newest checkpoint. `best`: the two networks as the best weights, in place of those before. */
  as?: readonly ('step' | 'best')[];
}

/** The files of the best weights: those of the two networks. */
export const isNetwork = ({ name }: { name: string }): boolean => /^(student|teacher)\./.test(name);

/** What to do about a disk without space. */
function adviceOn(error: unknown, files: CheckpointImage['files']): string {
  const causes = [error, (error as Error).cause].map(
    (each) => (each as NodeJS.ErrnoException | undefined)?.code,
  );
  if (!causes.some((code) => code === 'ENOSPC' || code === 'EDQUOT')) return '';
  const needed = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return (
    ` A checkpoint takes ${Math.ceil(needed / 2 ** 20)} MiB: free some space there, ` +
    'or keep fewer (--keep-checkpoints, --saveckp-freq).'
  );
}

/** Writes files and their state.json to a folder that is complete as soon as it is there; then calls `after`. */
function writeFolder(
  { run, step, files }: Pick<CheckpointImage, 'run' | 'step' | 'files'>,
  folder: string,
  after = (): void => undefined,
): void {
  const temporary = path.join(checkpointsPath(run), `.${path.basename(folder)}.${process.pid}.tmp`);
  const guard = { within: run, failure: CheckpointError };
  try {
    // the run folder was made when it was locked: if it is missing, it was moved or deleted
    if (!existsSync(run)) throw new CheckpointError(`${printable(run)} no longer exists`);
    removeWithin(temporary, guard);
    makeFolder(temporary, guard);
    const state: Record<string, { bytes: number; sha256: string }> = {};
    for (const { name, bytes } of files) {
      const hash = createHash('sha256');
      writeWhole(
        path.join(temporary, name),
        (write) => {
          for (let done = 0; done < bytes.length; done += PART_BYTES) {
            const part = bytes.subarray(done, done + PART_BYTES);
            hash.update(part);
            write(part);
          }
        },
        guard,
      );
      state[name] = { bytes: bytes.length, sha256: hash.digest('hex') };
    }
    const about = `${JSON.stringify({ step, files: state }, null, 2)}\n`;
    writeFileWhole(path.join(temporary, 'state.json'), about, guard);
    syncFolder(temporary);
    removeWithin(folder, guard); // only ever the same step of the same run
    renameSync(temporary, folder);
    syncFolder(checkpointsPath(run));
    after();
  } catch (error) {
    try {
      removeWithin(temporary, guard);
    } catch {
      // it doesn't exist, or the disk is gone: the error below says so
    }
    // the files were to be there, whatever the folder is called while they are written
    const reason = systemReason(error, temporary).replaceAll(printable(temporary), () => printable(folder));
    throw new CheckpointError(
      `The checkpoint at step ${step} can't be written to ${printable(folder)}: ${reason}. ` +
        `Earlier checkpoints are intact.${adviceOn(error, files)}`,
      { cause: error },
    );
  }
}

/**
 * Writes a checkpoint, updates `latest`, and removes those that are no longer kept; or the best weights, or both.
 * @throws CheckpointError when the disk is full or can't be written to; earlier checkpoints stay intact.
 */
export function writeCheckpoint({ run, step, files, keep, as = ['step'] }: CheckpointImage): void {
  const guard = { within: run, failure: CheckpointError };
  if (as.includes('step'))
    writeFolder({ run, step, files }, checkpointFolder(run, step), () =>
      writeFileWhole(latestPath(run), `${folderName(step)}\n`, guard),
    );
  if (as.includes('best')) writeFolder({ run, step, files: files.filter(isNetwork) }, bestFolder(run, step));
  try {
    if (as.includes('step')) prune(run, step, keep);
    if (as.includes('best'))
      for (const other of listBest(run)) if (other.step !== step) removeWithin(other.folder, guard);
  } catch (error) {
    throw new CheckpointError(
      `The checkpoint at step ${step} is saved, but older ones can't be removed: ${systemReason(error)}.`,
      { cause: error },
    );
  }
}
