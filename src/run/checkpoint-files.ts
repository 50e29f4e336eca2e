/**
 * Checkpoints as files, without tensors: what is in one, and whether it is intact. Each is a folder that is written under a
 * temporary name, flushed and renamed (write-checkpoint.ts), so one with its final name was complete; `latest` names the
 * newest, and state.json holds a SHA-256 of each file, so that later damage is detected. A run folder may be untrusted: no
 * link in it is followed.
 *
 *   student.safetensors    tensors by the reference's names: backbone.*, head.*
 *   teacher.safetensors
 *   optimizer.safetensors  exp_avg.*, exp_avg_sq.*, step.*, dino_loss.center, loss_scaler, rng.*
 *   state.json             step; length and SHA-256 of the three files
 *
 * Beside them may be the best weights that a judge has found, `best-00001234`: the two networks and a state.json. The folder
 * has its step in its name so that a better one can be there, complete, before it goes; `RUN/checkpoints/best` stands for it.
 */
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { sha256File } from '../files/checksum.js';
import { readGuarded, refuseLinks, SMALL_FILE_BYTES } from '../files/guarded.js';
import { issueLines, messageOf, printable } from '../plain/printable.js';
import { newestFirst, runOfCheckpoint, stepOfFolder } from './checkpoint-places.js';

export {
  bestCheckpoint,
  bestPath,
  listCheckpoints,
  newestCheckpoint,
  resolveBest,
  stepOfFolder,
  checkpointFolder,
  checkpointsPath,
  runOfCheckpoint,
  type CheckpointPlace,
} from './checkpoint-places.js';

const stateSchema = z.object({
  step: z.int().min(0),
  files: z.record(
    z.string(),
    z.union([
      z.object({ bytes: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
      z
        .int()
        .min(0)
        .transform((bytes) => ({ bytes, sha256: null })), // version 0.1 had only the length
    ]),
  ),
});
type CheckpointState = z.output<typeof stateSchema>;

function readState(folder: string): CheckpointState {
  let value: unknown;
  try {
    const file = path.join(folder, 'state.json');
    value = JSON.parse(
      readGuarded(file, {
        ...{ within: runOfCheckpoint(folder), maxBytes: SMALL_FILE_BYTES, failure: CheckpointError },
      }).toString('utf8'),
    );
  } catch (error) {
    throw new CheckpointError(`${printable(folder)} is not a checkpoint: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const parsed = stateSchema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(`${printable(folder)}/state.json is damaged:\n${issueLines(parsed.error)}`);
  return parsed.data;
}

/** @returns The number of steps completed at a checkpoint. @throws CheckpointError when its state.json can't be read. */
export const readStep = (folder: string): number => readState(folder).step;

function checkFile(folder: string, file: string, expected: CheckpointState['files'][string]): void {
  const name = path.join(folder, file);
  const within = runOfCheckpoint(folder);
  refuseLinks(within, name, CheckpointError);
  const found = lstatSync(name, { throwIfNoEntry: false })?.size;
  if (found !== expected.bytes) {
    throw new CheckpointError(
      `${printable(name)}: expected ${expected.bytes} bytes, got ${found ?? 'no file'}: it is damaged`,
    );
  }
  if (expected.sha256 === null) return;
  const digest = sha256File(name, within);
  if (digest !== expected.sha256) {
    throw new CheckpointError(
      `${printable(name)}: its SHA-256 is ${digest}, but ${expected.sha256} was recorded: it is damaged`,
    );
  }
}

/**
 * Reads every file of a checkpoint and compares it with its recorded checksum. Checkpoints of version 0.1 have no
 * checksums: only lengths are compared.
 *
 * @returns The number of steps completed.
 * @throws CheckpointError that says what is damaged.
 */
export function verifyCheckpoint(folder: string): number {
  const { step, files } = readState(folder);
  const named = stepOfFolder(path.basename(path.resolve(folder)));
  if (named !== null && named !== step)
    throw new CheckpointError(`${printable(folder)}/state.json says step ${step}: it is damaged`);
  for (const [file, expected] of Object.entries(files)) checkFile(folder, file, expected);
  return step;
}

/**
 * Compares one file with the checksum in the state.json next to it. A file that is not part of a checkpoint passes.
 * @throws CheckpointError when it is damaged; the message names another checkpoint of the run, if there is one.
 */
export function verifyCheckpointFile(file: string): void {
  const folder = path.dirname(path.resolve(file));
  let expected: CheckpointState['files'][string] | undefined;
  try {
    expected = readState(folder).files[path.basename(file)];
  } catch {
    // not a checkpoint of ours
  }
  if (expected === undefined) return;
  try {
    checkFile(folder, path.basename(file), expected);
  } catch (error) {
    const run = path.resolve(folder, '..', '..');
    const other = newestFirst(run).find((place) => path.resolve(place.folder) !== folder);
    const advice = other === undefined ? '' : `. Another checkpoint of the run is ${printable(other.folder)}`;
    throw new CheckpointError(`${(error as Error).message}${advice}`, { cause: error });
  }
}

/**
 * Folder of the newest checkpoint that is completely intact, or null when the run has none yet.
 *
 * @param warn - Called with the reason when a newer one is skipped.
 * @throws CheckpointError when there are checkpoints but all are damaged, with the reason for each.
 */
export function newestWholeCheckpoint(run: string, warn: (message: string) => void): string | null {
  const problems: string[] = [];
  for (const { folder } of newestFirst(run)) {
    try {
      const step = verifyCheckpoint(folder);
      if (problems.length > 0)
        warn(`${problems.join('; ')}. Continuing from an older one, at step ${step}: ${printable(folder)}`);
      return folder;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length === 0) return null;
  throw new CheckpointError(
    `${printable(run)} has no intact checkpoint: ${problems.join('; ')}. Restore one from a backup, or start a new run.`,
  );
}
