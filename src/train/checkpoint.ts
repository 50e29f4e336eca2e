/**
 * Checkpoints: everything that makes the next step what it would have been. A folder each, written under a temporary
 * name, flushed and renamed, so that one that has its name is whole; `latest` names the newest.
 *
 *   student.safetensors    tensors by the reference's names: backbone.*, head.*
 *   teacher.safetensors
 *   optimizer.safetensors  exp_avg.*, exp_avg_sq.*, step.*, dino_loss.center, loss_scaler, rng.*
 *   state.json             step, sizes of the three files
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { TrainingState } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import { defaultGenerator, noGrad, scope, type Tensor } from '../torch/index.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { syncFolder } from '../weights/write-file.js';
import { writeFileWhole } from './run-folder.js';

const stateSchema = z.object({
  step: z.int().min(0),
  files: z.record(z.string(), z.int().min(0)),
});

export const checkpointsPath = (run: string): string => path.join(run, 'checkpoints');
const latestPath = (run: string): string => path.join(checkpointsPath(run), 'latest');
const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;
const isFolderName = (name: string): boolean => /^step-\d{8,}$/.test(name);
const TENSOR_FILES = ['student.safetensors', 'teacher.safetensors', 'optimizer.safetensors'] as const;

/** Random number generators by the name that their state has in a checkpoint. */
function generators(device: string): [name: string, device: string][] {
  return device === 'cpu'
    ? [['rng.cpu', 'cpu']]
    : [
        ['rng.cpu', 'cpu'],
        ['rng.device', device],
      ];
}

/**
 * Writes the state after `step` steps and names it the newest.
 *
 * @returns The checkpoint's folder.
 * @throws CheckpointError when the disk is full or not writable; what was there before stays whole.
 */
export function saveCheckpoint(run: string, step: number, state: TrainingState): string {
  const folder = path.join(checkpointsPath(run), folderName(step));
  const beside = path.join(checkpointsPath(run), `.${folderName(step)}.${process.pid}.tmp`);
  try {
    rmSync(beside, { recursive: true, force: true });
    mkdirSync(beside, { recursive: true });
    scope(() => {
      const extra = new Map(state.optimizer.stateDict());
      extra.set('dino_loss.center', state.loss.center);
      extra.set('loss_scaler', state.scaler.getState());
      for (const [name, device] of generators(state.device))
        extra.set(name, defaultGenerator(device).getState());
      const parts = [state.student.stateDict(), state.teacher.stateDict(), extra];
      for (const [i, file] of TENSOR_FILES.entries()) {
        writeSafetensors(path.join(beside, file), parts[i] as Map<string, Tensor>, { format: 'pt' });
      }
    });
    const files = Object.fromEntries(
      TENSOR_FILES.map((file) => [file, statSync(path.join(beside, file)).size]),
    );
    writeFileWhole(path.join(beside, 'state.json'), `${JSON.stringify({ step, files }, null, 2)}\n`);
    syncFolder(beside);
    rmSync(folder, { recursive: true, force: true }); // only ever the same step of the same run
    renameSync(beside, folder);
    syncFolder(checkpointsPath(run));
    writeFileWhole(latestPath(run), `${folderName(step)}\n`);
  } catch (error) {
    rmSync(beside, { recursive: true, force: true });
    throw new CheckpointError(
      `The checkpoint of step ${step} can't be written to ${folder}: ${(error as Error).message}. ` +
        'What was saved before is whole; free some space and go on with `dino train --resume`.',
      { cause: error },
    );
  }
  return folder;
}

/** Steps of the whole checkpoints of a run, oldest first. */
export function listCheckpoints(run: string): { step: number; folder: string }[] {
  const folder = checkpointsPath(run);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter(isFolderName)
    .sort()
    .map((name) => ({ step: Number(name.slice('step-'.length)), folder: path.join(folder, name) }));
}

/** Folder of the newest checkpoint, or null when there is none yet. */
export function newestCheckpoint(run: string): string | null {
  const file = latestPath(run);
  if (existsSync(file)) {
    const named = path.join(checkpointsPath(run), readFileSync(file, 'utf8').trim());
    if (isFolderName(path.basename(named)) && existsSync(named)) return named;
  }
  // killed between the rename and naming it
  return listCheckpoints(run).at(-1)?.folder ?? null;
}

/** Removes what killed processes left half written, and checkpoints that `keep` doesn't want. Holds the lock. */
export function pruneCheckpoints(run: string, keep: (step: number) => boolean): void {
  const folder = checkpointsPath(run);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    if (name.startsWith('.') && name.endsWith('.tmp'))
      rmSync(path.join(folder, name), { recursive: true, force: true });
  }
  const newest = newestCheckpoint(run);
  for (const checkpoint of listCheckpoints(run)) {
    if (checkpoint.folder !== newest && !keep(checkpoint.step))
      rmSync(checkpoint.folder, { recursive: true, force: true });
  }
}

/** @throws CheckpointError when a file is missing or not as long as it was written. */
export function readCheckpointState(folder: string): { step: number } {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path.join(folder, 'state.json'), 'utf8'));
  } catch (error) {
    throw new CheckpointError(`${folder} is no checkpoint: ${(error as Error).message}`, { cause: error });
  }
  const parsed = stateSchema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(`${folder}/state.json is damaged:\n${z.prettifyError(parsed.error)}`);
  for (const [file, size] of Object.entries(parsed.data.files)) {
    const found = statSync(path.join(folder, file), { throwIfNoEntry: false })?.size;
    if (found !== size) {
      throw new CheckpointError(
        `${folder}/${file}: expected ${size} bytes, got ${found ?? 'no file'}: it is damaged`,
      );
    }
  }
  return { step: parsed.data.step };
}

/** Puts a checkpoint into a freshly built state. @returns The number of steps that it has behind it. */
export function loadCheckpoint(folder: string, state: TrainingState): number {
  const { step } = readCheckpointState(folder);
  scope(() => {
    const [student, teacher, rest] = TENSOR_FILES.map(
      (file) => readSafetensors(path.join(folder, file)).tensors,
    );
    if (student === undefined || teacher === undefined || rest === undefined) return;
    state.student.loadStateDict(student);
    state.teacher.loadStateDict(teacher);
    const take = (name: string): Tensor => {
      const found = rest.get(name);
      if (found === undefined) throw new CheckpointError(`${folder}/optimizer.safetensors: missing: ${name}`);
      rest.delete(name);
      return found;
    };
    const center = take('dino_loss.center');
    noGrad(() => state.loss.center.copy_(center));
    state.scaler.setState(take('loss_scaler'));
    for (const [name, device] of generators(state.device)) defaultGenerator(device).setState(take(name));
    state.optimizer.loadStateDict(rest);
  });
  return step;
}
