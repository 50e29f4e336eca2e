/**
 * Checkpoints as files, without a tensor: their names, which is the newest whole one, which are kept, and how one is
 * written. A folder each, written under a temporary name, flushed and renamed, so that one that has its name is whole;
 * `latest` names the newest, and state.json holds a SHA-256 of each file, so that damage done later is found out:
 *
 *   student.safetensors    tensors by the reference's names: backbone.*, head.*
 *   teacher.safetensors
 *   optimizer.safetensors  exp_avg.*, exp_avg_sq.*, step.*, dino_loss.center, loss_scaler, rng.*
 *   state.json             step; length and SHA-256 of the three files
 *
 * Loaded by the writer's thread too: nothing here may import libtorch.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { FileBytes } from '../files/file-bytes.js';
import { syncFolder, writeFileWhole, writeWhole } from '../files/atomic-file.js';

/** Bytes that are hashed and written, or read and hashed, at a time. */
const PART_BYTES = 16 * 2 ** 20;

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

export const checkpointsPath = (run: string): string => path.join(run, 'checkpoints');
const latestPath = (run: string): string => path.join(checkpointsPath(run), 'latest');
const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;
const stepOfName = (name: string): number | null => {
  const digits = /^step-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
};

/** Folder of the checkpoint after `step` steps. */
export const checkpointFolder = (run: string, step: number): string =>
  path.join(checkpointsPath(run), folderName(step));

export interface CheckpointPlace {
  step: number;
  folder: string;
}

/** The checkpoints of a run, oldest first. */
export function listCheckpoints(run: string): CheckpointPlace[] {
  const folder = checkpointsPath(run);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
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
function newestFirst(run: string): CheckpointPlace[] {
  const found = listCheckpoints(run).reverse();
  const file = latestPath(run);
  const named = existsSync(file) ? stepOfName(readFileSync(file, 'utf8').trim()) : null;
  if (named === null || !found.some(({ step }) => step === named)) return found;
  return [...found.filter(({ step }) => step <= named), ...found.filter(({ step }) => step > named)];
}

function readState(folder: string): CheckpointState {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path.join(folder, 'state.json'), 'utf8'));
  } catch (error) {
    throw new CheckpointError(`${folder} is no checkpoint: ${(error as Error).message}`, { cause: error });
  }
  const parsed = stateSchema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(`${folder}/state.json is damaged:\n${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** @returns The number of steps that a checkpoint has behind it. @throws CheckpointError when its state.json can't be read. */
export const readStep = (folder: string): number => readState(folder).step;

function checkFile(folder: string, file: string, expected: CheckpointState['files'][string]): void {
  const name = path.join(folder, file);
  const found = statSync(name, { throwIfNoEntry: false })?.size;
  if (found !== expected.bytes) {
    throw new CheckpointError(
      `${name}: expected ${expected.bytes} bytes, got ${found ?? 'no file'}: it is damaged`,
    );
  }
  if (expected.sha256 === null) return;
  using source = new FileBytes(name);
  const hash = createHash('sha256');
  for (let done = 0; done < source.size; done += PART_BYTES)
    hash.update(source.read(done, Math.min(PART_BYTES, source.size - done)));
  const digest = hash.digest('hex');
  if (digest !== expected.sha256) {
    throw new CheckpointError(
      `${name}: its SHA-256 is ${digest}, written was ${expected.sha256}: it is damaged`,
    );
  }
}

/**
 * Reads every file of a checkpoint and compares it with what was written. Checkpoints of version 0.1 have no checksums:
 * only lengths are compared.
 *
 * @returns The number of steps that it has behind it.
 * @throws CheckpointError that says what is damaged.
 */
export function verifyCheckpoint(folder: string): number {
  const { step, files } = readState(folder);
  const named = stepOfName(path.basename(path.resolve(folder)));
  if (named !== null && named !== step)
    throw new CheckpointError(`${folder}/state.json says step ${step}: it is damaged`);
  for (const [file, expected] of Object.entries(files)) checkFile(folder, file, expected);
  return step;
}

/**
 * Compares one file with the checksum in the state.json beside it. A file that is no part of a checkpoint passes.
 * @throws CheckpointError when it is damaged; it names an older checkpoint of the run that has the same file.
 */
export function verifyCheckpointFile(file: string): void {
  const folder = path.dirname(path.resolve(file));
  let expected: CheckpointState['files'][string] | undefined;
  try {
    expected = readState(folder).files[path.basename(file)];
  } catch {
    // no checkpoint of ours
  }
  if (expected === undefined) return;
  try {
    checkFile(folder, path.basename(file), expected);
  } catch (error) {
    const run = path.resolve(folder, '..', '..');
    const other = newestFirst(run).find((place) => path.resolve(place.folder) !== folder);
    const advice = other === undefined ? '' : `. Another checkpoint of the run is ${other.folder}`;
    throw new CheckpointError(`${(error as Error).message}${advice}`, { cause: error });
  }
}

/**
 * Folder of the newest checkpoint that is whole to its last byte, or null when the run has none yet.
 *
 * @param warn - Is told why a newer one is passed over.
 * @throws CheckpointError when there are checkpoints and all are damaged: every one with its reason.
 */
export function newestWholeCheckpoint(run: string, warn: (message: string) => void): string | null {
  const problems: string[] = [];
  for (const { folder } of newestFirst(run)) {
    try {
      const step = verifyCheckpoint(folder);
      if (problems.length > 0)
        warn(`${problems.join('; ')}. Going on from an older one, of step ${step}: ${folder}`);
      return folder;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length === 0) return null;
  throw new CheckpointError(
    `${run} has no checkpoint that is whole: ${problems.join('; ')}. Bring one back from a copy, or start a new run.`,
  );
}

/** Which checkpoints stay. */
export interface KeepRule {
  /** The newest ones, at least 1. */
  last: number;
  /** Besides them, those of epochs 1, 1 + every, 1 + 2 * every, ... (as the reference's saveckp_freq); 0 for none. */
  everyEpochs: number;
  stepsPerEpoch: number;
}

function staysForGood(step: number, { everyEpochs, stepsPerEpoch }: KeepRule): boolean {
  const epochs = step / stepsPerEpoch;
  return everyEpochs > 0 && Number.isInteger(epochs) && (epochs - 1) % everyEpochs === 0;
}

/**
 * Removes what killed processes left half written, and the checkpoints up to `step` that the rule doesn't keep. Only for
 * who holds the run folder's lock.
 */
function prune(run: string, step: number, rule: KeepRule): void {
  const folder = checkpointsPath(run);
  for (const name of readdirSync(folder)) {
    if (name.startsWith('.') && name.endsWith('.tmp'))
      rmSync(path.join(folder, name), { recursive: true, force: true });
  }
  const done = listCheckpoints(run).filter((checkpoint) => checkpoint.step <= step);
  for (const checkpoint of done.slice(0, -rule.last)) {
    if (!staysForGood(checkpoint.step, rule)) rmSync(checkpoint.folder, { recursive: true, force: true });
  }
}

/** A checkpoint that lies in memory, ready to be written. */
export interface CheckpointImage {
  run: string;
  step: number;
  files: { name: string; bytes: Uint8Array }[];
  keep: KeepRule;
}

/**
 * Writes a checkpoint, names it the newest, and removes those that are no longer kept.
 * @throws CheckpointError when the disk is full or not writable; what was there before stays whole.
 */
export function writeCheckpoint({ run, step, files, keep }: CheckpointImage): void {
  const folder = checkpointFolder(run, step);
  const beside = path.join(checkpointsPath(run), `.${folderName(step)}.${process.pid}.tmp`);
  try {
    rmSync(beside, { recursive: true, force: true });
    mkdirSync(beside, { recursive: true });
    const state: Record<string, { bytes: number; sha256: string }> = {};
    for (const { name, bytes } of files) {
      const hash = createHash('sha256');
      writeWhole(path.join(beside, name), (write) => {
        for (let done = 0; done < bytes.length; done += PART_BYTES) {
          const part = bytes.subarray(done, done + PART_BYTES);
          hash.update(part);
          write(part);
        }
      });
      state[name] = { bytes: bytes.length, sha256: hash.digest('hex') };
    }
    writeFileWhole(path.join(beside, 'state.json'), `${JSON.stringify({ step, files: state }, null, 2)}\n`);
    syncFolder(beside);
    rmSync(folder, { recursive: true, force: true }); // only ever the same step of the same run
    renameSync(beside, folder);
    syncFolder(checkpointsPath(run));
    writeFileWhole(latestPath(run), `${folderName(step)}\n`);
  } catch (error) {
    try {
      rmSync(beside, { recursive: true, force: true });
    } catch {
      // nothing of it is there, or the disk is gone: what follows says so
    }
    const needed = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
    throw new CheckpointError(
      `The checkpoint of step ${step} can't be written to ${folder}: ${(error as Error).message}. ` +
        `What was saved before is whole. A checkpoint takes ${Math.ceil(needed / 2 ** 20)} MiB: free some space there, ` +
        'or keep fewer (--keep-checkpoints, --saveckp-freq).',
      { cause: error },
    );
  }
  try {
    prune(run, step, keep);
  } catch (error) {
    throw new CheckpointError(
      `The checkpoint of step ${step} is saved, but older ones can't be removed: ${(error as Error).message}.`,
      { cause: error },
    );
  }
}
