/**
 * From what the user calls WEIGHTS to the file to read: a run folder, a checkpoint folder, a file, or a folder as Hugging
 * Face's save_pretrained() writes it.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { readTextIfThere, SMALL_FILE_BYTES } from '../files/guarded.js';
import { newestCheckpoint } from '../train/checkpoint-files.js';
import type { TrainSettings } from '../train/settings.js';
import { isRunFolder, readRunConfig } from '../train/run-folder.js';
import { whatFolderIs } from './identify.js';

export const CHECKPOINT_KEYS = ['teacher', 'student'] as const;
export type CheckpointKey = (typeof CHECKPOINT_KEYS)[number];

export interface LocatedWeights {
  /** The file of weights. */
  file: string;
  /** The run that it belongs to, when there is one. */
  run: string | null;
  settings: TrainSettings | null;
  /** Step of the checkpoint; null for a lone file. */
  step: number | null;
  /** Attention heads, where a run or a model's config.json tells them. */
  numHeads: number | null;
}

/** @throws CheckpointError for another name. */
function checkpointKey(name = 'teacher'): CheckpointKey {
  const key = CHECKPOINT_KEYS.find((known) => known === name);
  if (key === undefined) throw new CheckpointError(`checkpoint key ${name}; expected teacher or student`);
  return key;
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
    numHeads: settings?.numHeads ?? null,
  };
}

/** Files of weights in a folder that save_pretrained() wrote, the best first. */
const PRETRAINED_FILES = ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json']; // prettier-ignore

/** config.json of a folder, {} without one; null when it can't be read. */
function configOf(folder: string): Record<string, unknown> | null {
  try {
    const text = readTextIfThere(path.join(folder, 'config.json'), {
      ...{ maxBytes: SMALL_FILE_BYTES, failure: CheckpointError },
    });
    const config: unknown = text === null ? {} : JSON.parse(text);
    return typeof config === 'object' && config !== null ? (config as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** A folder with Hugging Face's weights, and config.json where there is one; null when it is none. */
function fromPretrained(folder: string, file?: string): LocatedWeights | null {
  const found =
    file ?? PRETRAINED_FILES.map((name) => path.join(folder, name)).find((each) => existsSync(each));
  const config = configOf(folder);
  if (found === undefined || config === null || 'settings' in config) return null;
  const heads = config['num_attention_heads'];
  const numHeads = Number.isInteger(heads) && (heads as number) > 0 ? (heads as number) : null;
  return { file: found, run: null, settings: null, step: null, numHeads };
}

/**
 * @param key - Which network: `teacher` (default) or `student`; a lone file may have others.
 * @throws CheckpointError that says what is there instead.
 */
export function locateWeights(weights: string, key?: string): LocatedWeights {
  const stat = statSync(weights, { throwIfNoEntry: false });
  if (stat === undefined) throw new CheckpointError(`${weights} does not exist`);
  if (stat.isDirectory()) {
    if (existsSync(path.join(weights, 'teacher.safetensors')))
      return fromCheckpoint(weights, checkpointKey(key));
    const pretrained = fromPretrained(weights);
    if (pretrained !== null) return pretrained;
    if (existsSync(path.join(weights, 'config.json'))) {
      const newest = newestCheckpoint(weights);
      if (newest !== null) return fromCheckpoint(newest, checkpointKey(key));
      if ('settings' in (configOf(weights) ?? {}))
        throw new CheckpointError(`${weights} is a run without a checkpoint yet`);
    }
    const what = whatFolderIs(readdirSync(weights), weights);
    throw new CheckpointError(
      `${weights} is ${what === null ? '' : `${what}. It is `}neither a run folder (config.json), a checkpoint folder ` +
        `(teacher.safetensors) nor a folder of Hugging Face's (${PRETRAINED_FILES.join(', ')})`,
    );
  }
  // A file inside a checkpoint folder knows its run all the same, one beside a config.json its heads.
  const beside = path.dirname(path.resolve(weights));
  if (existsSync(path.join(beside, 'state.json')) && weights.endsWith('.safetensors'))
    return { ...fromCheckpoint(beside, checkpointKey(key)), file: weights };
  const isPretrained = PRETRAINED_FILES.includes(path.basename(weights));
  const lone: LocatedWeights = { file: weights, run: null, settings: null, step: null, numHeads: null };
  return (isPretrained ? fromPretrained(beside, weights) : null) ?? lone;
}
