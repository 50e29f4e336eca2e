/**
 * Labels that people give to the images of an index: labels.jsonl in its folder, one line per change, the last one counts.
 * Lines are only ever added, those of a change by one write, so that several processes don't overwrite each other's.
 * Images are named by their paths: rows move when the index is updated, and a label must not move to another image. The paths
 * are relative to the index's root; when that changes, moveLabels() writes the labels again under the new names.
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
import { printable } from '../plain/printable.js';
import type { ImageIndex } from './image-index.js';
import { nameBelow } from './index-format.js';

/** The most images that one line labels; a reader refuses much longer lines, which would fill its memory. */
const PER_LINE = 1000;
/** The longest line that is read: older versions wrote a million paths on one line. */
const LINE_BYTES = 2 ** 26;
/** The longest file that is read: a thousand times a million images, labelled and labelled again. */
const FILE_BYTES = 2 ** 31;

/** Characters of the names that are kept of images that the index lacks: a million names. */
const APART_CHARACTERS = 2 ** 26;

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
  /** Images that have a label and are not in the index: theirs counts again when they are. */
  unmatched: number;
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

/** Labels by the images' names. */
interface NamedLabels {
  byName: Map<string, string>;
  /** Those of images that are not among the indexed; of a stranger's endless list only the first. */
  apart: Map<string, string>;
  damaged: number;
}

function readNamed(folder: string, indexed: ReadonlySet<string>): NamedLabels {
  const byName = new Map<string, string>();
  const apart = new Map<string, string>();
  let room = APART_CHARACTERS;
  let damaged = 0;
  for (const line of linesOfLabels(folder)) {
    if (line === '') continue;
    const change = changeOf(line);
    if (change === null) {
      damaged++;
      continue;
    }
    const { label, paths } = change;
    for (const name of paths) {
      const labels = indexed.has(name) ? byName : apart;
      if (label === null) labels.delete(name);
      else if (labels === byName || labels.has(name) || (room -= name.length) >= 0) labels.set(name, label);
    }
  }
  return { byName, apart, damaged };
}

/** The labels of an index; none when nothing was labelled. @throws DataError when the file can't be read. */
export function readLabels(index: ImageIndex): IndexLabels {
  checkCall('readLabels()', indexArgument(index));
  const indexed = new Set(index.images.map((image) => image.path));
  const { byName, apart, damaged } = readNamed(index.folder, indexed);
  const labels = new Map<number, string>();
  index.images.forEach((image, row) => {
    const label = byName.get(image.path);
    if (label !== undefined) labels.set(row, label);
  });
  return { labels, unmatched: apart.size, damaged };
}

/** The line on labels of images that the index lacks, or on labels that can't be read. */
export function unmatchedLine(index: ImageIndex): string[] {
  try {
    const { unmatched } = readLabels(index);
    if (unmatched === 0) return [];
    return [
      `${printable(index.folder)}: ${unmatched} ${unmatched === 1 ? 'label matches' : 'labels match'} no image of the index: ` +
        `${unmatched === 1 ? 'it is' : 'they are'} kept in labels.jsonl, and ${unmatched === 1 ? 'counts' : 'count'} again when ` +
        `${unmatched === 1 ? 'its image is' : 'their images are'} back`,
    ];
  } catch (error) {
    return [(error as Error).message];
  }
}

/**
 * Gives an index another root, and its labels the names that their images have below it.
 *
 * @param at.files - The images that will be indexed, by their absolute paths.
 * @param commit - Writes the index. Until then the old names have their labels, so that nothing is lost when it fails.
 * @throws DataError when the labels can't be read or written; what commit() throws.
 */
export function moveLabels(
  folder: string,
  at: { from: string; to: string; files: Iterable<{ path: string }> },
  commit: () => void,
): void {
  const names = new Set<string>();
  for (const file of at.files) names.add(nameBelow(at.from, file.path));
  const { byName, apart } = readNamed(folder, names);
  const old = new Map([...apart, ...byName]);
  const moved = new Map<string, string>();
  for (const [name, label] of old) moved.set(nameBelow(at.to, path.resolve(at.from, name)), label);
  const labelled = (isOld: boolean): Map<string, string[]> => {
    const byLabel = new Map<string, string[]>();
    for (const [name, label] of moved) {
      if (old.has(name) !== isOld) continue;
      const those = byLabel.get(label) ?? [];
      byLabel.set(label, those);
      those.push(name);
    }
    return byLabel;
  };
  // a new name that was another image's old one can only be labelled when it isn't that any more
  const fresh = [...labelled(false)];
  append(folder, fresh);
  try {
    commit();
  } catch (error) {
    append(
      folder,
      fresh.map(([, paths]) => [null, paths]),
    );
    throw error;
  }
  append(folder, [[null, [...old.keys()].filter((name) => !moved.has(name))], ...labelled(true)]);
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
  append(index.folder, [[label, paths]]);
}

/** Adds changes to the file, by one write. */
function append(folder: string, changes: readonly [label: string | null, paths: readonly string[]][]): void {
  const file = labelsPath(folder);
  const lines: string[] = [];
  for (const [label, paths] of changes)
    for (let start = 0; start < paths.length; start += PER_LINE)
      lines.push(`${JSON.stringify({ label, paths: paths.slice(start, start + PER_LINE) })}\n`);
  if (lines.length === 0) return;
  const fd = openToWrite(file, { within: folder });
  try {
    const bytes = Buffer.from(lineStart(fd) + lines.join(''));
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
