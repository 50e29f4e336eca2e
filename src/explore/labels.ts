/**
 * Labels that people give to the images of an index: labels.jsonl in its folder, one line per change, the last one counts.
 * Lines are only ever added, those of a change by one write, so that several processes don't overwrite each other's.
 * Images are named by their paths: rows move when the index is updated, and a label must not move to another image.
 */
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { indexArgument } from './arguments.js';
import { checkCall, rows as rowNumbers } from '../plain/check-options.js';
import { ConfigError, DataError } from '../errors.js';
import { FileBytes } from '../files/file-bytes.js';
import { openToWrite } from '../files/guarded.js';
import { splitLines } from '../files/json-lines.js';
import { brackets } from '../files/json-brackets.js';
import type { ImageIndex } from './image-index.js';

/** The most images that one line labels; a reader refuses much longer lines, which would fill its memory. */
const PER_LINE = 1000;
/** The longest line that is read: older versions wrote a million paths on one line. */
const LINE_BYTES = 2 ** 26;
/** The longest file that is read: a thousand times a million images, labelled and labelled again. */
const FILE_BYTES = 2 ** 31;

/** A label becomes a folder's name when images are exported: it must not lead out of it, or be hidden. */
export const labelSchema = z
  .string()
  .regex(
    /^(?!\.)[^/\\\p{Cc}]{1,100}$/u,
    'a label is 1 to 100 characters, without / and \\, that do not begin with a dot',
  );

const changeSchema = z.object({ label: labelSchema.nullable(), paths: z.array(z.string().min(1)) });

export interface IndexLabels {
  /** Label by row, of the images that have one. */
  labels: Map<number, string>;
  /** Lines of the file that could not be read, and were left out. */
  damaged: number;
}

export const labelsPath = (folder: string): string => path.join(folder, 'labels.jsonl');

/** Whether a line has more brackets than an object and a list, as ours do: a million of them take a gigabyte to parse. */
function hasManyBrackets(line: string): boolean {
  let opened = 0;
  for (const step of brackets(line)) if (step > 0 && ++opened > 2) return true;
  return false;
}

/** One line's change; null when it is damaged. */
function changeOf(line: string): z.infer<typeof changeSchema> | null {
  if (hasManyBrackets(line)) return null;
  try {
    return changeSchema.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}

/** The lines of labels.jsonl; none when nothing was labelled. */
function* linesOfLabels(folder: string): Generator<string> {
  const file = labelsPath(folder);
  let bytes: FileBytes;
  try {
    bytes = new FileBytes(file, folder);
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    throw new DataError(`the labels can't be read: ${(error as Error).message}`, { cause: error });
  }
  using opened = bytes;
  if (opened.size > FILE_BYTES)
    throw new DataError(`${file} has ${opened.size} bytes; at most ${FILE_BYTES} are read`);
  for (const { text } of splitLines(opened.pieces(), file, LINE_BYTES)) yield text;
}

/** The labels of an index; none when nothing was labelled. @throws DataError when the file can't be read. */
export function readLabels(index: ImageIndex): IndexLabels {
  checkCall('readLabels()', indexArgument(index));
  const indexed = new Set(index.images.map((image) => image.path));
  const byPath = new Map<string, string>();
  let damaged = 0;
  for (const line of linesOfLabels(index.folder)) {
    if (line === '') continue;
    const change = changeOf(line);
    if (change === null) {
      damaged++;
      continue;
    }
    const { label, paths } = change;
    for (const name of paths) {
      if (label === null) byPath.delete(name);
      else if (indexed.has(name)) byPath.set(name, label);
    }
  }
  const labels = new Map<number, string>();
  index.images.forEach((image, row) => {
    const label = byPath.get(image.path);
    if (label !== undefined) labels.set(row, label);
  });
  return { labels, damaged };
}

const anyLabel = z.string().nullable(); // the valid ones are checked below

/**
 * Gives images a label, or removes theirs (null).
 *
 * @throws ConfigError for an invalid label, or rows that the index lacks; DataError when the file can't be written.
 */
export function labelImages(index: ImageIndex, rows: readonly number[], label: string | null): void {
  checkCall('labelImages()', indexArgument(index), ['rows', rowNumbers, rows], ['label', anyLabel, label]);
  const parsed = labelSchema.nullable().safeParse(label);
  if (!parsed.success)
    throw new ConfigError(`label ${JSON.stringify(label)}: ${z.prettifyError(parsed.error)}`);
  const paths = rows.map((row) => {
    const image = index.images[row];
    if (image === undefined) throw new ConfigError(`row ${row}: the index has ${index.count} images`);
    return image.path;
  });
  const file = labelsPath(index.folder);
  const changes: string[] = [];
  for (let start = 0; start < paths.length; start += PER_LINE)
    changes.push(`${JSON.stringify({ label, paths: paths.slice(start, start + PER_LINE) })}\n`);
  const fd = openToWrite(file, { within: index.folder });
  try {
    const bytes = Buffer.from(lineStart(fd) + changes.join(''));
    const written = writeSync(fd, bytes);
    if (written < bytes.length) throw new Error('the disk is full');
  } catch (error) {
    throw new DataError(`${file} can't be written: ${(error as Error).message}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** A line end, if a process died in the middle of a line, so that the next line is whole. */
function lineStart(fd: number): string {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a ? '\n' : '';
}
