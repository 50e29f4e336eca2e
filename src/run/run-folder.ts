/**
 * The files of a run folder: its settings and its logs. Everything is written to a temporary file and renamed, or appended
 * in whole lines, so that a reader never sees half of anything. The folder may be untrusted: no link in it is followed, for
 * reading or writing (src/files/guarded.ts).
 */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError, ConfigError, DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { readGuarded, SMALL_FILE_BYTES } from '../files/guarded.js';
import { keepLines } from '../files/json-lines.js';
import { issueLines, messageOf, printable } from '../plain/printable.js';
import { CONFIG } from '../plain/run-names.js';
import { shellPath } from '../plain/shell.js';
import { type RunLength, savedSettingsSchema, type TrainSettings } from './settings.js';

/** A change of the planned length: by `--resume RUN --epochs N`, or because a run for a time was faster or slower than planned. */
export interface Extension {
  /** Steps that were done then. */
  step: number;
  /** Epochs that were planned until then. */
  epochs: number;
  /** Steps that were planned until then; missing when whole epochs were. */
  steps?: number | undefined;
}

/** The time of a run with `--for`. Pauses between its sessions don't count. */
export interface RunTime {
  /** Seconds that it may take. */
  seconds: number;
  /** Seconds that it had taken when its newest checkpoint was saved. */
  used: number;
  /** The run ends earlier when the judge sees no gain any more. */
  untilStalled?: boolean | undefined;
  /** The step after which the judge ended it: its length is settled. */
  stalledAt?: number | undefined;
}

/** config.json of a run. */
export interface RunConfig {
  /** Version of the package that started the run. */
  version: string;
  /** The images as given on the command line. */
  images: string;
  /** Number of images, and a hash of their paths and sizes: a resumed run must see the same ones. */
  imageCount: number;
  fingerprint: string;
  /** Number of processes that started it: a step takes `settings.batchSize` images in each of them. */
  processes: number;
  settings: TrainSettings;
  /** Of the CPU that the run was started on (instructionLevels()); missing in runs of earlier versions. */
  instructions?: string | undefined;
  /** In the order of their steps; missing when the run has the epochs that it was started with. */
  extensions?: readonly Extension[] | undefined;
  /** Missing when the run's length is not a time. */
  time?: RunTime | undefined;
}

export const extensionsSchema = z.array(
  z.object({ step: z.int().min(1), epochs: z.int().min(1), steps: z.int().min(1).optional() }),
);

const runConfigSchema = z.object({
  version: z.string(),
  images: z.string(),
  imageCount: z.int(),
  fingerprint: z.string(),
  processes: z.int().min(1).default(1), // missing in runs from before there could be several
  settings: savedSettingsSchema,
  instructions: z.string().optional(),
  extensions: extensionsSchema.optional(),
  time: z
    .object({
      seconds: z.number().gt(0),
      used: z.number().min(0),
      untilStalled: z.boolean().optional(),
      stalledAt: z.int().min(1).optional(),
    })
    .optional(),
});

export const configPath = (run: string): string => path.join(run, CONFIG);
export const metricsPath = (run: string): string => path.join(run, 'metrics.jsonl');
export const skippedPath = (run: string): string => path.join(run, 'skipped.jsonl');
/** What a line of skipped.jsonl is about: an image, a folder, or a part of a shard. A run of earlier versions may name it often. */
export const skippedPlaceOf = ({ path: place, offset }: Record<string, unknown>): string =>
  `${String(place)}\0${typeof offset === 'number' ? offset : ''}`;
export const evaluationsPath = (run: string): string => path.join(run, 'evaluations');

/** Whether a folder holds a run. */
export const isRunFolder = (folder: string): boolean => existsSync(configPath(folder));

/** @throws DataError when the folder holds a run. */
export function assertNoRun(folder: string): void {
  if (!isRunFolder(folder)) return;
  throw new DataError(
    `${printable(folder)} already holds a run. Continue it with dino train --resume ${shellPath(folder)}, or choose another --output.`,
  );
}

/** @throws ConfigError when a run's folder is that of its images: every picture that the run keeps would become one of them. */
export function assertApart(run: string, images: string): void {
  if (!existsSync(run) || !existsSync(images)) return; // a pattern of shards; what keeps a folder from being made is said later
  const [own, theirs] = [statSync(run), statSync(images)];
  if (own.dev !== theirs.dev || own.ino !== theirs.ino) return;
  throw new ConfigError(
    `--output ${shellPath(run)} is the folder of the images: the pictures that a run keeps would be among them. Choose ` +
      `another, which may be below it: --output ${shellPath(path.join(run, 'runs', 'first'))}`,
  );
}

/** @throws CheckpointError when the folder is not a run folder, or its config.json is damaged. */
export function readRunConfig(run: string): RunConfig {
  const file = configPath(run);
  let text: string;
  try {
    text = readGuarded(file, {
      within: run,
      maxBytes: SMALL_FILE_BYTES,
      failure: CheckpointError,
    }).toString();
  } catch (error) {
    throw new CheckpointError(`${printable(run)} is not a run folder: ${messageOf(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CheckpointError(`${printable(file)} is not JSON: ${messageOf(error)}`, { cause: error });
  }
  const parsed = runConfigSchema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(`${printable(file)} is damaged:\n${issueLines(parsed.error)}`);
  return parsed.data;
}

/** @throws DataError when it can't be written. */
export function writeRunConfig(run: string, config: RunConfig): void {
  writeFileWhole(configPath(run), `${JSON.stringify(config, null, 2)}\n`, { within: run });
}

/** Changes the planned length of a run. @throws As readRunConfig() and writeRunConfig(). */
export function changeLength(
  run: string,
  { epochs, steps }: RunLength,
  { extensions, time }: Pick<RunConfig, 'extensions' | 'time'>,
): void {
  const config = readRunConfig(run);
  writeRunConfig(run, { ...config, settings: { ...config.settings, epochs, steps }, extensions, time });
}

/** Records the time that a run has taken. @throws As readRunConfig() and writeRunConfig(). */
export function recordTime(run: string, time: RunTime): void {
  writeRunConfig(run, { ...readRunConfig(run), time });
}

/**
 * Drops the lines of steps after `step`, which a resumed run writes again. @throws DataError for a link, or more than 2 GiB.
 */
export function truncateLog(file: string, step: number): void {
  keepLines(file, (value) => typeof value['step'] !== 'number' || value['step'] <= step);
}
