/**
 * Files of JSON, a value a line (.jsonl), which may be a stranger's. A writer appends whole lines only, so a half line at
 * the end is one that a process was killed in.
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { writeWhole } from './atomic-file.js';
import { openToRead, openToWrite, readEnd, refuseLinks } from './guarded.js';
import { brackets } from './json-brackets.js';
import { systemReason } from './system-reason.js';

/** Size limit for a log (metrics.jsonl, skipped.jsonl), bytes: about five million lines. It is read in parts. */
export const LOG_BYTES = 2 ** 31;
/** The deepest nesting of a line that is parsed: an evaluation's scores have three levels. */
const MAX_DEPTH = 64;
/** Size limit for a log that is returned as one list of lines, bytes. */
const LIST_BYTES = 2 ** 28;
/** The longest line of a log that is parsed, bytes. */
const LINE_BYTES = 2 ** 20;
/** Bytes that are read from a log at a time. */
const PART_BYTES = 2 ** 20;
/** Lines that are written at a time: a million of them are longer than a string may be. */
const LINES_AT_ONCE = 4096;

const lineOf = (value: unknown): string => `${JSON.stringify(value)}\n`;

/**
 * Adds whole lines to a log, all of them or none.
 *
 * @param within - The folder below which no link is followed; the log's own by default.
 * @throws DataError when the disk is full or not writable.
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

/** Adds one line to a log. @throws DataError as appendLines(). */
export function appendLine(file: string, value: unknown, within?: string): void {
  appendLines(file, lineOf(value), within);
}

/** Writes a file of lines, whole or not at all. @throws DataError when the disk is full or not writable. */
export function writeLines(file: string, values: readonly unknown[], within?: string): void {
  writeWhole(
    file,
    (write) => {
      for (let start = 0; start < values.length; start += LINES_AT_ONCE)
        write(
          Buffer.from(
            values
              .slice(start, start + LINES_AT_ONCE)
              .map(lineOf)
              .join(''),
          ),
        );
    },
    { within },
  );
}

/**
 * The lines in a file's pieces, without their ends. The last is not whole when no line end follows it.
 * @param file - For messages.
 * @throws DataError for a line of more than `maxBytes`.
 */
export function* splitLines(
  pieces: Iterable<Buffer>,
  file: string,
  maxBytes: number,
): Generator<{ text: string; isWhole: boolean }> {
  let rest: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    const bytes = Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
      if (end - start > maxBytes) break;
      yield { text: bytes.toString('utf8', start, end), isWhole: true };
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length > maxBytes)
      throw new DataError(`${printable(file)} is damaged: a line has more than ${maxBytes} bytes`);
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), isWhole: false };
}

interface LogLine {
  text: string;
  value: Record<string, unknown>;
}

/** The whole lines of a log that hold an object; none when there is no log. */
function* wholeLines(file: string, within: string, maxBytes: number): Generator<LogLine> {
  refuseLinks(within, file);
  if (!existsSync(file)) return;
  const { fd, size } = openToRead(file, { within, maxBytes });
  const part = Buffer.alloc(Math.min(PART_BYTES, size));
  // it may be written or cut meanwhile: read to its end, wherever that is
  function* pieces(): Generator<Buffer> {
    for (let done = 0, count = -1; count !== 0; done += count) {
      count = readSync(fd, part, 0, part.length, done);
      yield part.subarray(0, count);
    }
  }
  try {
    for (const { text, isWhole } of splitLines(pieces(), file, LINE_BYTES)) {
      const value = isWhole && text !== '' ? objectOf(text) : null;
      if (value !== null) yield { text, value };
    }
  } finally {
    closeSync(fd);
  }
}

/** Whether a line is nested deeper than JSON.stringify() can follow, or any line of ours is. */
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

/** The objects of a log's whole lines; none when there is no log. @throws DataError for a link, or more than 256 MiB. */
export const readLines = (file: string, within = path.dirname(file)): Record<string, unknown>[] =>
  Array.from(wholeLines(file, within, LIST_BYTES), ({ value }) => value);

/** The last line of a log, in its last MiB, that is as wanted; null when there is none. @throws DataError for a link. */
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

/** Drops the lines of a log that are not to be kept. @throws DataError for a link, or more than 2 GiB. */
export function keepLines(
  file: string,
  isKept: (value: Record<string, unknown>) => boolean,
  within = path.dirname(file),
): void {
  if (!existsSync(file)) return;
  writeWhole(
    file,
    (write) => {
      for (const { text, value } of wholeLines(file, within, LOG_BYTES))
        if (isKept(value)) write(Buffer.from(`${text}\n`));
    },
    { within },
  );
}
