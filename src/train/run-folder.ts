/**
 * The run folder: who may write in it, its settings, and its logs. Everything is written beside and renamed, or appended
 * a whole line at a time, so that a reader never sees half of anything.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError, DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { readTextIfThere } from '../files/guarded.js';
import { savedSettingsSchema, type TrainSettings } from './settings.js';

/** config.json of a run. */
export interface RunConfig {
  /** Version of the package that began the run. */
  version: string;
  /** The images as given on the command line. */
  images: string;
  /** Number of images, and a hash of their paths and sizes: a resumed run must see the same. */
  imageCount: number;
  fingerprint: string;
  /** How many processes began it: a step takes `settings.batchSize` images in each of them. */
  processes: number;
  settings: TrainSettings;
}

const runConfigSchema = z.object({
  version: z.string(),
  images: z.string(),
  imageCount: z.int(),
  fingerprint: z.string(),
  processes: z.int().min(1).default(1), // not there before there were several
  settings: savedSettingsSchema,
});

/** A lock names a process and its host. */
const LOCK_BYTES = 4096;

export const configPath = (run: string): string => path.join(run, 'config.json');
export const metricsPath = (run: string): string => path.join(run, 'metrics.jsonl');
export const skippedPath = (run: string): string => path.join(run, 'skipped.jsonl');
export const evaluationsPath = (run: string): string => path.join(run, 'evaluations');
export const lockPath = (run: string): string => path.join(run, 'lock');

/** Whether a folder holds a run. */
export const isRunFolder = (folder: string): boolean => existsSync(configPath(folder));

/** @throws CheckpointError when the folder holds no run, or its config.json is damaged. */
export function readRunConfig(run: string): RunConfig {
  const file = configPath(run);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new CheckpointError(`${run} is no run folder: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CheckpointError(`${file} is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const parsed = runConfigSchema.safeParse(value);
  if (!parsed.success) throw new CheckpointError(`${file} is damaged:\n${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export function writeRunConfig(run: string, config: RunConfig): void {
  writeFileWhole(configPath(run), `${JSON.stringify(config, null, 2)}\n`);
}

/** One line of a .jsonl log. @throws DataError when the disk is full or not writable. */
export function appendLine(file: string, value: unknown): void {
  try {
    appendFileSync(file, `${JSON.stringify(value)}\n`);
  } catch (error) {
    throw new DataError(
      `${file} can't be written: ${(error as Error).message}. Free some space there, then go on with \`dino train --resume\`.`,
      { cause: error },
    );
  }
}

/** The whole lines of a .jsonl log; the half line that a killed process may leave at the end is left out. */
export function readLines(file: string): Record<string, unknown>[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as Record<string, unknown>];
      } catch {
        return [];
      }
    });
}

/** Drops the lines of steps after `step`: a resumed run writes them again. */
export function truncateLog(file: string, step: number): void {
  const lines = readLines(file);
  const kept = lines.filter((line) => typeof line['step'] !== 'number' || line['step'] <= step);
  if (existsSync(file)) writeFileWhole(file, kept.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

/**
 * Makes the folder when needed and takes it for this process.
 *
 * @param isRestart - A launcher has ended the processes that it had started before: one on another machine is gone.
 * @returns A function that gives it back.
 * @throws DataError when it can't be written, or a living process has it.
 */
export function lockRunFolder(run: string, isRestart = false): () => void {
  const file = lockPath(run);
  const mine = JSON.stringify({ pid: process.pid, host: hostname() });
  try {
    mkdirSync(run, { recursive: true });
    for (let attempt = 0; ; attempt++) {
      try {
        const descriptor = openSync(file, 'wx');
        writeSync(descriptor, mine);
        closeSync(descriptor);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 0) throw error;
        const holder = livingHolder(run, isRestart);
        if (holder !== null) {
          throw new DataError(
            `${run} is in use by process ${holder}. Wait for it or stop it; if you are sure that it is gone, ` +
              `delete ${file}.`,
          );
        }
        rmSync(file, { force: true }); // its process died without giving it back
      }
    }
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${run} can't be written to: ${(error as Error).message}. Choose another --output.`, {
      cause: error,
    });
  }
  return () => rmSync(file, { force: true });
}

/** Who holds a run folder, as its lock file says. */
export interface LockHolder {
  pid: number;
  host: string;
  /** Whether the process is there; null on another host, of which this one can't know. */
  isAlive: boolean | null;
}

/** Null without a lock, or when its process was killed while it took it. */
export function readLock(run: string): LockHolder | null {
  let holder: { pid?: unknown; host?: unknown } | null;
  try {
    const text = readTextIfThere(lockPath(run), { within: run, maxBytes: LOCK_BYTES });
    holder = JSON.parse(text ?? 'null') as typeof holder;
  } catch {
    return null;
  }
  const { pid, host } = holder ?? {};
  if (!(Number.isSafeInteger(pid) && (pid as number) > 0)) return null;
  const known = pid as number;
  return { pid: known, host: String(host), isAlive: host === hostname() ? isAliveHere(known) : null };
}

function isAliveHere(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks whether it is there
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function livingHolder(run: string, isRestart: boolean): string | null {
  const holder = readLock(run);
  if (holder === null || holder.isAlive === false || (holder.isAlive === null && isRestart)) return null;
  const where = holder.isAlive === null ? ` on ${holder.host}` : '';
  return `${holder.pid}${holder.pid === process.pid && where === '' ? ' (this one)' : where}`;
}
