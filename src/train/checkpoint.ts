/**
 * Saves the state of a training to a checkpoint's three files and restores it: everything that the next step depends on.
 * checkpoint-files.ts describes the files and how they are kept.
 */
import path from 'node:path';
import type { TrainingState } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import {
  defaultGenerator,
  noGrad,
  scope,
  withGenerators,
  type Generator,
  type Tensor,
} from '../torch/index.js';
import { copySafetensors, readSafetensors } from '../weights/safetensors.js';
import { readStep, runOfCheckpoint } from '../run/checkpoint-files.js';

/** The random generators that training uses, by the name of their state in a checkpoint. */
function generatorsOf({ device, generators = [] }: TrainingState): [name: string, generator: Generator][] {
  return withGenerators(generators, () => {
    const cpu: [string, Generator] = ['rng.cpu', defaultGenerator('cpu')];
    return device === 'cpu' ? [cpu] : [cpu, ['rng.device', defaultGenerator(device)]];
  });
}

/**
 * Copies the state off the device, as the bytes of a checkpoint's files. Training may continue immediately.
 *
 * @param allocate - Returns shared memory of at least this many bytes for the file with this name.
 * @param record - What the networks' files say of themselves: recordOfRun().
 */
export function copyState(
  state: TrainingState,
  allocate: (name: string, bytes: number) => SharedArrayBuffer,
  record: Readonly<Record<string, string>> = {},
): { name: string; bytes: Uint8Array }[] {
  return scope(() => {
    const rest = new Map(state.optimizer.stateDict());
    rest.set('dino_loss.center', state.loss.center);
    rest.set('loss_scaler', state.scaler.getState());
    for (const [name, generator] of generatorsOf(state)) rest.set(name, generator.getState());
    for (const [name, tensor] of state.lowRank?.stateDict() ?? []) rest.set(name, tensor);
    const parts: [name: string, tensors: Map<string, Tensor>, about: Readonly<Record<string, string>>][] = [
      ['student.safetensors', state.student.stateDict(), record],
      ['teacher.safetensors', state.teacher.stateDict(), record],
      ['optimizer.safetensors', rest, {}],
    ];
    return parts.map(([name, tensors, about]) => ({
      name,
      bytes: copySafetensors(tensors, { format: 'pt', ...about }, (bytes) => allocate(name, bytes)),
    }));
  });
}

/**
 * Loads a checkpoint found by newestWholeCheckpoint() into a newly built state.
 * @returns The number of steps completed.
 */
export function loadCheckpoint(folder: string, state: TrainingState): number {
  const step = readStep(folder);
  scope(() => {
    const within = runOfCheckpoint(folder);
    const read = (file: string): Map<string, Tensor> =>
      readSafetensors(path.join(folder, file), within).tensors;
    state.student.loadStateDict(read('student.safetensors'));
    state.teacher.loadStateDict(read('teacher.safetensors'));
    const rest = read('optimizer.safetensors');
    const take = (name: string): Tensor => {
      const found = rest.get(name);
      if (found === undefined) throw new CheckpointError(`${folder}/optimizer.safetensors: missing: ${name}`);
      rest.delete(name);
      return found;
    };
    const center = take('dino_loss.center');
    noGrad(() => state.loss.center.copy_(center));
    state.scaler.setState(take('loss_scaler'));
    for (const [name, generator] of generatorsOf(state)) generator.setState(take(name));
    state.lowRank?.loadStateDict(take);
    state.optimizer.loadStateDict(rest);
  });
  return step;
}
