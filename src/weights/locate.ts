/** From what the user calls WEIGHTS (a run folder, a checkpoint folder, a .safetensors file) to the file to read. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import type { TrainSettings } from '../train/config.js';
import { isRunFolder, readRunConfig } from '../train/run-folder.js';

export const CHECKPOINT_KEYS = ['teacher', 'student'] as const;
export type CheckpointKey = (typeof CHECKPOINT_KEYS)[number];

export interface LocatedWeights {
  /** The .safetensors file. */
  file: string;
  /** The run that it belongs to, when there is one. */
  run: string | null;
  settings: TrainSettings | null;
  /** Step of the checkpoint; null for a lone file. */
  step: number | null;
}

/** @throws CheckpointError for another name. */
export function checkpointKey(name: string): CheckpointKey {
  const key = CHECKPOINT_KEYS.find((known) => known === name);
  if (key === undefined) throw new CheckpointError(`checkpoint key ${name}; expected teacher or student`);
  return key;
}

/** Newest checkpoint of a run: the one that `latest` names, else the one with the most steps. */
function newestCheckpointFolder(run: string): string | null {
  const folder = path.join(run, 'checkpoints');
  const latest = path.join(folder, 'latest');
  if (!existsSync(latest)) return null;
  const named = path.join(folder, readFileSync(latest, 'utf8').trim());
  return existsSync(path.join(named, 'teacher.safetensors')) ? named : null;
}

function settingsOfRun(run: string): TrainSettings | null {
  return isRunFolder(run) ? readRunConfig(run).settings : null;
}

function fromCheckpoint(folder: string, key: CheckpointKey): LocatedWeights {
  const run = path.resolve(folder, '..', '..');
  const settings = settingsOfRun(run);
  const step = /^step-(\d+)$/.exec(path.basename(path.resolve(folder)))?.[1];
  return {
    file: path.join(folder, `${key}.safetensors`),
    run: settings === null ? null : run,
    settings,
    step: step === undefined ? null : Number(step),
  };
}

/** @throws CheckpointError that says what is there instead. */
export function locateWeights(weights: string, key: CheckpointKey): LocatedWeights {
  const stat = statSync(weights, { throwIfNoEntry: false });
  if (stat === undefined) throw new CheckpointError(`${weights} does not exist`);
  if (stat.isDirectory()) {
    if (existsSync(path.join(weights, `${key}.safetensors`))) return fromCheckpoint(weights, key);
    if (existsSync(path.join(weights, 'config.json'))) {
      const newest = newestCheckpointFolder(weights);
      if (newest === null) throw new CheckpointError(`${weights} is a run without a checkpoint yet`);
      return fromCheckpoint(newest, key);
    }
    throw new CheckpointError(
      `${weights} is neither a run folder (config.json) nor a checkpoint folder (${key}.safetensors)`,
    );
  }
  if (!weights.endsWith('.safetensors')) {
    throw new CheckpointError(
      `${weights}: expected a run folder, a checkpoint folder or a .safetensors file. A PyTorch file becomes one in ` +
        'Python: safetensors.torch.save_file(state_dict, "weights.safetensors")',
    );
  }
  // A file inside a checkpoint folder knows its run all the same.
  const beside = path.dirname(path.resolve(weights));
  if (existsSync(path.join(beside, 'state.json'))) return { ...fromCheckpoint(beside, key), file: weights };
  return { file: weights, run: null, settings: null, step: null };
}
