/**
 * Labels that people give to the images of an index: labels.jsonl in its folder, one line a change, the last one counts.
 * Lines are only ever added, each by one write, so several processes lose nothing of each other's. Images are named by
 * their paths: rows move when the index is brought up to date, and a label must not move to another image.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { indexArgument } from './arguments.js';
import { checkCall, rows as rowNumbers } from '../check-options.js';
import { ConfigError, DataError } from '../errors.js';
import type { ImageIndex } from './image-index.js';

/** A label becomes a folder's name when images are exported: no way out of it, and not hidden. */
export const labelSchema = z
  .string()
  .regex(
    /^(?!\.)[^/\\\p{Cc}]{1,100}$/u,
    'a label is 1 to 100 characters, without / and \\, not begun by a dot',
  );

const changeSchema = z.object({ label: labelSchema.nullable(), paths: z.array(z.string().min(1)) });

export interface IndexLabels {
  /** Label by row, of the images that have one. */
  labels: Map<number, string>;
  /** Lines of the file that could not be read, and were left out. */
  damaged: number;
}

export const labelsPath = (folder: string): string => path.join(folder, 'labels.jsonl');

/** One line's change; null when it is damaged. */
function changeOf(line: string): z.infer<typeof changeSchema> | null {
  try {
    return changeSchema.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}

/** The labels of an index; none when nothing was labelled. @throws DataError when the file can't be read. */
export function readLabels(index: ImageIndex): IndexLabels {
  checkCall('readLabels()', indexArgument(index));
  const file = labelsPath(index.folder);
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw new DataError(`${file} can't be read: ${message}`, { cause: error });
  }
  const byPath = new Map<string, string>();
  let damaged = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const change = changeOf(line);
    if (change === null) {
      damaged++;
      continue;
    }
    const { label, paths } = change;
    for (const name of paths) {
      if (label === null) byPath.delete(name);
      else byPath.set(name, label);
    }
  }
  const labels = new Map<number, string>();
  index.images.forEach((image, row) => {
    const label = byPath.get(image.path);
    if (label !== undefined) labels.set(row, label);
  });
  return { labels, damaged };
}

const anyLabel = z.string().nullable(); // which ones there can be is told below

/**
 * Gives images a label, or takes theirs away (null).
 *
 * @throws ConfigError for a label that can't be one, or rows that the index lacks; DataError when the file can't be written.
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
  try {
    // a link that someone put there is not followed
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    const fd = openSync(file, flags, 0o644);
    try {
      const line = Buffer.from(`${lineStart(fd)}${JSON.stringify({ label, paths })}\n`);
      const written = writeSync(fd, line);
      if (written < line.length) throw new Error('the disk is full');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new DataError(`${file} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

/** A line end where a process died in the middle of a line, so that the next line is whole. */
function lineStart(fd: number): string {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a ? '\n' : '';
}
