/**
 * Finds the file to read for what the user gives as WEIGHTS: a run folder, a checkpoint folder, a file, or a folder as
 * Hugging Face's save_pretrained() writes it.
 */
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { newestCheckpoint, resolveBest, runOfCheckpoint, stepOfFolder } from '../run/checkpoint-files.js';
import { readTextIfThere, SMALL_FILE_BYTES, statIfThere } from '../files/guarded.js';
import { mayReadHere, OUTSIDE } from '../files/read-below.js';
import type { TrainSettings } from '../run/settings.js';
import { configPath, isRunFolder, readRunConfig } from '../run/run-folder.js';
import { whatFolderIs } from './identify.js';

export const CHECKPOINT_KEYS = ['teacher', 'student'] as const;
export type CheckpointKey = (typeof CHECKPOINT_KEYS)[number];

export interface LocatedWeights {
  /** The file of weights. */
  file: string;
  /** The network of a checkpoint's file, which has no other; null where a key still has to choose. */
  key: CheckpointKey | null;
  /** The run that it belongs to, when there is one. */
  run: string | null;
  /** The run or checkpoint folder below which no link is followed; null for a file that the caller named. */
  within: string | null;
  settings: TrainSettings | null;
  /** Step of the checkpoint; null for a lone file. */
  step: number | null;
  /** Attention heads, where a run or a model's config.json says it. */
  numHeads: number | null;
  /** Mean of the channels that images are normalized by, where a file beside the weights says it. */
  imageMean?: readonly number[] | null;
}

/** @throws CheckpointError for any other name. */
function checkpointKey(name = 'teacher'): CheckpointKey {
  const key = CHECKPOINT_KEYS.find((known) => known === name);
  if (key === undefined)
    throw new CheckpointError(`checkpoint key ${printable(name)}; expected teacher or student`);
  return key;
}

/** A checkpoint's folder, in its run also where the given path is a link to it: only there are its settings. */
function inItsRun(folder: string): string {
  const isInRun = (place: string): boolean => runOfCheckpoint(place) !== path.resolve(place);
  if (isInRun(folder)) return folder;
  const real = realpathSync(folder);
  return isInRun(real) ? real : folder;
}

/** What a link leads to, if that is a checkpoint's file; any other file as it is: its config.json may be beside the link. */
function followedFile(file: string): string {
  if (isInCheckpoint(file)) return path.join(inItsRun(path.dirname(file)), path.basename(file));
  const real = realpathSync(file);
  return isInCheckpoint(real) ? real : file;
}

const stateBeside = (file: string): string => path.join(path.dirname(path.resolve(file)), 'state.json');

/** Whether a file lies in a checkpoint folder. */
const isInCheckpoint = (file: string): boolean =>
  file.endsWith('.safetensors') && existsSync(stateBeside(file));

/** Whether a path, its links followed, may be read. */
type MayRead = ReturnType<typeof mayReadHere>;

function isWithinReach(file: string, mayRead: MayRead): boolean {
  if (mayRead === null) return true;
  try {
    return mayRead(realpathSync(file));
  } catch {
    return true; // a missing file is reported when it is read
  }
}

/** Files of weights in a folder that save_pretrained() wrote, the best first. */
const PRETRAINED_FILES = ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json']; // prettier-ignore

/** Files that are looked for in a folder to find out what it is. */
const LOOKED_AT = [
  'config.json',
  'preprocessor_config.json',
  'teacher.safetensors',
  'student.safetensors',
  'checkpoints',
  'state.json',
];

/**
 * The part of WEIGHTS that leads, by a link, to where may not be read; null when none does. Only allowed files are opened.
 */
export function weightsOutside(weights: string, mayRead: MayRead): string | null {
  const firstOf = (files: readonly string[]): string | null =>
    files.find((file) => !isWithinReach(file, mayRead)) ?? null;
  const inFolder = (folder: string): string | null => {
    const names = [...LOOKED_AT, ...PRETRAINED_FILES, path.join('checkpoints', 'latest')];
    return firstOf(names.map((name) => path.join(folder, name)));
  };
  if (mayRead === null) return null;
  // the checksums in a state.json are read with the weights beside it
  const stat = statIfThere(weights, CheckpointError);
  if (stat?.isDirectory() !== true) {
    const led = firstOf([weights, stateBeside(weights)]);
    return led ?? (stat === undefined ? null : firstOf([stateBeside(realpathSync(weights))]));
  }
  const outside = inFolder(weights);
  if (outside !== null) return outside;
  const newest = newestCheckpoint(weights);
  return newest === null ? null : (firstOf([newest]) ?? inFolder(newest));
}

function settingsOfRun(run: string, mayRead: MayRead): TrainSettings | null {
  return isRunFolder(run) && isWithinReach(configPath(run), mayRead) ? readRunConfig(run).settings : null;
}

function fromCheckpoint(given: string, key: CheckpointKey, mayRead: MayRead): LocatedWeights {
  const folder = inItsRun(given);
  const run = path.resolve(folder, '..', '..');
  const settings = settingsOfRun(run, mayRead);
  return {
    file: path.join(folder, `${key}.safetensors`),
    key,
    within: runOfCheckpoint(folder),
    run: settings === null ? null : run,
    settings,
    step: stepOfFolder(path.basename(path.resolve(folder))),
    numHeads: settings?.numHeads ?? null,
  };
}

/** config.json of a folder, or another such file; {} without one, null when it can't be read. */
function configOf(folder: string, name = 'config.json'): Record<string, unknown> | null {
  try {
    const text = readTextIfThere(path.join(folder, name), {
      ...{ maxBytes: SMALL_FILE_BYTES, failure: CheckpointError },
    });
    const config: unknown = text === null ? {} : JSON.parse(text);
    return typeof config === 'object' && config !== null ? (config as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

const meanOf = (value: unknown): number[] | null =>
  Array.isArray(value) && value.length === 3 && value.every((each) => typeof each === 'number')
    ? value
    : null;

/** A folder with Hugging Face's weights, and config.json where there is one; null for any other folder. */
function fromPretrained(folder: string, file?: string): LocatedWeights | null {
  const found =
    file ?? PRETRAINED_FILES.map((name) => path.join(folder, name)).find((each) => existsSync(each));
  const config = configOf(folder);
  if (found === undefined || config === null || 'settings' in config) return null;
  const heads = config['num_attention_heads'];
  const numHeads = Number.isInteger(heads) && (heads as number) > 0 ? (heads as number) : null;
  return {
    ...{ file: found, key: null, run: null, within: null, settings: null, step: null, numHeads },
    imageMean:
      meanOf(configOf(folder, 'preprocessor_config.json')?.['image_mean']) ??
      meanOf((config['pretrained_cfg'] as Record<string, unknown> | null | undefined)?.['mean']),
  };
}

/**
 * @param given - WEIGHTS; `RUN/checkpoints/best` stands for the best weights that training has kept.
 * @param key - Which network: `teacher` or `student`; a lone file may have others. Default: the one that a checkpoint's file
 *   holds, else the teacher.
 * @param mayRead - Whether a path with links followed may be read; default: by the rules of this process.
 * @throws CheckpointError that says what it is instead, or what leads to where may not be read.
 */
export function locateWeights(given: string, key?: string, mayRead: MayRead = mayReadHere()): LocatedWeights {
  const weights = resolveBest(given);
  const stat = statIfThere(weights, CheckpointError);
  if (stat === undefined) throw new CheckpointError(`${printable(weights)} does not exist`);
  const outside = weightsOutside(weights, mayRead);
  if (outside !== null) throw new CheckpointError(`${printable(outside)} ${OUTSIDE}`);
  if (stat.isDirectory()) {
    if (existsSync(path.join(weights, 'teacher.safetensors')))
      return fromCheckpoint(weights, checkpointKey(key), mayRead);
    const pretrained = fromPretrained(weights);
    if (pretrained !== null) return pretrained;
    if (existsSync(path.join(weights, 'config.json'))) {
      const newest = newestCheckpoint(weights);
      if (newest !== null) return fromCheckpoint(newest, checkpointKey(key), mayRead);
      if ('settings' in (configOf(weights) ?? {}))
        throw new CheckpointError(`${printable(weights)} is a run without a checkpoint yet`);
    }
    const names = readdirSync(weights).filter((name) => isWithinReach(path.join(weights, name), mayRead));
    const what = whatFolderIs(names, weights);
    throw new CheckpointError(
      `${printable(weights)} is ${what === null ? '' : `${what}. It is `}neither a run folder (config.json), a checkpoint folder ` +
        `(teacher.safetensors) nor a Hugging Face folder (${PRETRAINED_FILES.join(', ')})`,
    );
  }
  // a file inside a checkpoint folder still has its run, one beside a config.json its heads
  const beside = path.dirname(path.resolve(weights));
  const file = followedFile(weights);
  if (isInCheckpoint(file)) {
    const own = CHECKPOINT_KEYS.find((one) => path.basename(file) === `${one}.safetensors`) ?? null;
    const asked = key === undefined ? own : checkpointKey(key);
    if (own !== null && asked !== null && asked !== own)
      throw new CheckpointError(
        `${printable(weights)} is the ${own}'s weights; give the folder, or ${asked}.safetensors`,
      );
    return { ...fromCheckpoint(path.dirname(file), own ?? checkpointKey(key), mayRead), file, key: own };
  }
  const isPretrained =
    PRETRAINED_FILES.includes(path.basename(weights)) &&
    isWithinReach(path.join(beside, 'config.json'), mayRead);
  const lone: LocatedWeights = {
    ...{ file: weights, key: null, run: null, within: null, settings: null, step: null, numHeads: null },
  };
  return (isPretrained ? fromPretrained(beside, weights) : null) ?? lone;
}
