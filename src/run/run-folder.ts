/**
 * The files of a run folder: its settings and its logs. Everything is written to a temporary file and renamed, or appended
 * in whole lines, so that a reader never sees half of anything. The folder may be untrusted: no link in it is followed, for
 * reading or writing (src/files/guarded.ts).
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { CheckpointError, DataError } from '../errors.js';
import { writeWhole, writeFileWhole } from '../files/atomic-file.js';
import {
  openToRead,
  openToWrite,
  readEnd,
  readGuarded,
  refuseLinks,
  SMALL_FILE_BYTES,
} from '../files/guarded.js';
import { brackets } from '../files/json-brackets.js';
import { linesOf } from '../files/lines.js';
import { systemReason } from '../files/system-reason.js';
import { issueLines, messageOf, printable } from '../plain/printable.js';
import { savedSettingsSchema, type TrainSettings } from './settings.js';

/** Size limit for a log (metrics.jsonl, skipped.jsonl), bytes: about five million lines. It is read in parts. */
export const LOG_BYTES = 2 ** 31;
/** The deepest nesting of values in a line that is still parsed: an evaluation's scores have three levels. */
const MAX_DEPTH = 64;
/** Size limit for a log that is returned as one list of lines, bytes. */
const LIST_BYTES = 2 ** 28;
/** The longest line of a log that is accepted, bytes. */
const LINE_BYTES = 2 ** 20;
/** Bytes that are read from a log at a time. */
const PART_BYTES = 2 ** 20;

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
}

const runConfigSchema = z.object({
  version: z.string(),
  images: z.string(),
  imageCount: z.int(),
  fingerprint: z.string(),
  processes: z.int().min(1).default(1), // missing in runs from before there could be several
  settings: savedSettingsSchema,
});

export const configPath = (run: string): string => path.join(run, 'config.json');
export const metricsPath = (run: string): string => path.join(run, 'metrics.jsonl');
export const skippedPath = (run: string): string => path.join(run, 'skipped.jsonl');
export const evaluationsPath = (run: string): string => path.join(run, 'evaluations');

/** Whether a folder holds a run. */
export const isRunFolder = (folder: string): boolean => existsSync(configPath(folder));

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

/**
 * Appends whole lines to a .jsonl log, all of them or none.
 *
 * @param within - The folder below which no link is followed; the log's own by default.
 * @throws DataError when the disk is full or can't be written to.
 */
export function appendLines(file: string, lines: string, within = path.dirname(file)): void {
  const fd = openToWrite(file, { within });
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.from(lines);
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    } catch (error) {
      ftruncateSync(fd, size); // a full disk may take a part: half a line would corrupt the next one
      throw error;
    }
  } catch (error) {
    throw new DataError(`${printable(file)} can't be written: ${systemReason(error)}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** One line of a .jsonl log. @throws DataError as appendLines(). */
export function appendLine(file: string, value: unknown, within?: string): void {
  appendLines(file, `${JSON.stringify(value)}\n`, within);
}

interface LogLine {
  text: string;
  value: Record<string, unknown>;
}

/**
 * The complete lines of a .jsonl log that hold an object, without the half line that a killed process may leave at the end.
 */
function* wholeLines(file: string, within: string, maxBytes: number): Generator<LogLine> {
  refuseLinks(within, file);
  if (!existsSync(file)) return;
  const { fd, size } = openToRead(file, { within, maxBytes });
  try {
    const pieces = piecesOf(fd, Math.min(PART_BYTES, size));
    for (const text of linesOf(pieces, LINE_BYTES, () => longLine(file))) {
      const value = text === '' ? null : objectOf(text);
      if (value !== null) yield { text, value };
    }
  } finally {
    closeSync(fd);
  }
}

const longLine = (file: string): DataError =>
  new DataError(`${printable(file)} has a line of more than ${LINE_BYTES} bytes: it is damaged`);

/** The bytes of an open file; each piece is valid until the next. */
function* piecesOf(fd: number, bytes: number): Generator<Buffer> {
  const piece = Buffer.alloc(bytes);
  for (let done = 0, count = -1; count !== 0; done += count) {
    count = readSync(fd, piece, 0, piece.length, done);
    yield piece.subarray(0, count);
  }
}

/** Whether brackets are nested deeper than in any line of ours, perhaps too deep for JSON.stringify(). */
function isDeep(text: string): boolean {
  let depth = 0;
  for (const step of brackets(text)) if ((depth += step) > MAX_DEPTH) return true;
  return false;
}

function objectOf(text: string): Record<string, unknown> | null {
  if (isDeep(text)) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** The complete lines of a .jsonl log. @throws DataError for a link, or more than 256 MiB. */
export const readLines = (file: string, within = path.dirname(file)): Record<string, unknown>[] =>
  Array.from(wholeLines(file, within, LIST_BYTES), ({ value }) => value);

/** The last complete line that matches, in the last MiB of a log; null without one. @throws DataError for a link. */
export function lastLine(
  file: string,
  isWanted: (value: Record<string, unknown>) => boolean,
): Record<string, unknown> | null {
  if (!existsSync(file)) return null;
  const lines = readEnd(file, LINE_BYTES, { within: path.dirname(file) }).split('\n');
  for (const line of lines.reverse()) {
    const value = objectOf(line);
    if (value !== null && isWanted(value)) return value;
  }
  return null;
}

/** Drops the lines of steps after `step`, which a resumed run writes again. @throws DataError for a link, or more than 2 GiB. */
export function truncateLog(file: string, step: number): void {
  const within = path.dirname(file);
  if (!existsSync(file)) return;
  writeWhole(
    file,
    (write) => {
      for (const { text, value } of wholeLines(file, within, LOG_BYTES))
        if (typeof value['step'] !== 'number' || value['step'] <= step) write(Buffer.from(`${text}\n`));
    },
    { within },
  );
}
