/**
 * Which images a data set has. It is a folder with class folders (in the order of torchvision's ImageFolder), any other
 * folder of images, a text file of paths, or shards (src/data/list/shards).
 *
 * Departures from ImageFolder: hidden files and folders are skipped; a class folder without images is not an error; a
 * cycle of symbolic links is left where it closes instead of repeating its content; folders of trainings are left out; an image beside the class folders makes
 * it a folder without classes, unless only labelled images are asked for. Files that are not images are counted.
 */
import { isUtf8 } from 'node:buffer';
import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { listSource } from '../arguments.js';
import { callback, checkCall, optionsOf, signal as abortSignal, yesOrNo } from '../../plain/check-options.js';
import { DataError } from '../../errors.js';
import { compareCodePoints } from '../../plain/code-points.js';
import { fewNames } from '../../plain/few-names.js';
import { printable } from '../../plain/printable.js';
import { kindOf } from '../../files/guarded.js';
import { leadsOutside, mayReadHere, OUTSIDE } from '../../files/read-below.js';
import { fingerprintOf } from './fingerprint.js';
import { hasImageExtension, SUPPORTED } from './image-extensions.js';
import type { ImageList, ListOptions, UnreadablePlace } from './image-list.js';
import { kindsOf, type LeftOut, LeftOutCounter, leftOutLines } from './left-out.js';
import { onlyLabelled } from './only-labelled.js';
import { ownIndexFiles } from './own-index.js';
import { shellPath } from '../../plain/shell.js';
import { listTextFile } from './list-text-file.js';
import { PackedImagesBuilder } from './packed-images.js';
import { type MayRead, withinReach } from './reach.js';
import { isRunBelow, runLines } from './run-folders.js';
import { DESCRIPTION } from './shards/description.js';
import { isIndexFile } from './shards/index-file.js';
import { listShards, type ShardList } from './shards/list-shards.js';
import {
  checkOneSplit,
  compressedWords,
  expandShardPattern,
  isShard,
  isShardPattern,
  refuseCompressed,
} from './shards/pattern.js';

/** Names that a line gives as examples. */
const SHOWN = 5;

interface Found {
  /** Folders that hold images, and the images' names, each followed by a zero byte: strings would take far more memory. */
  folders: { path: string; files: Buffer }[];
  unreadable: UnreadablePlace[];
  /** Tar and Parquet files. */
  shards: string[];
  /** Folders directly in the source. */
  top: string[];
  /** Folders that hold an index of ours. */
  indexes: string[];
  /** How often each folder was visited, by device and inode. */
  visits: Map<string, number>;
  /** Files with other extensions, the shards aside. */
  others: LeftOutCounter;
  /** Files whose names, or whose folders' names, are not UTF-8. */
  unnamed: { files: LeftOutCounter; examples: string[] };
  /** Folders of trainings. */
  runs: string[];
  /** Of the others, compressed archives. */
  compressed: string[];
  mayRead: MayRead;
  signal: AbortSignal | undefined;
}

/** Limits the visits of a folder: forty folders with two links each to the next one make a million million paths. */
const MAX_VISITS = 100;

const describe = (error: unknown) => {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === 'EACCES' ? 'permission denied' : message;
};

/** The entries of a folder. Those whose names are not UTF-8 can't be given as strings: they are counted. */
async function readEntries(folder: string, found: Found): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  if (!entries.some(({ name }) => name.includes('\ufffd'))) return entries;
  const sound = new Set<string>();
  const { files, examples } = found.unnamed;
  for (const name of await readdir(folder, { encoding: 'buffer' })) {
    if (isUtf8(name)) {
      sound.add(name.toString());
      continue;
    }
    const shown = path.join(folder, name.toString('latin1').replace(/[\x80-\xff]/g, byteEscaped));
    if (name[0] !== DOT) examples.push(shown);
    try {
      await countUnnamed(Buffer.from(folder + path.sep), name, files);
    } catch (error) {
      found.unreadable.push({ path: shown, reason: describe(error) });
    }
  }
  return entries.filter(({ name }) => sound.delete(name));
}

const DOT = 46;
const byteEscaped = (byte: string): string => `\\x${byte.charCodeAt(0).toString(16)}`;

/** Counts a file, or the files of a folder, hidden ones aside. */
async function countUnnamed(folder: Buffer, name: Buffer, files: LeftOutCounter): Promise<void> {
  if (name[0] === DOT) return;
  const place = Buffer.concat([folder, name]);
  if (!(await lstat(place)).isDirectory()) return files.add(name.toString('latin1'));
  const below = Buffer.concat([place, Buffer.from(path.sep)]);
  for (const entry of await readdir(place, { encoding: 'buffer' })) await countUnnamed(below, entry, files);
}

/** The line on files whose names can't be used. */
function unnamedLines(root: string, { files, examples }: Found['unnamed']): string[] {
  const leftOut = files.finish();
  if (leftOut.count === 0) return [];
  const what =
    leftOut.count === 1 ? 'file was left out because its name' : 'files were left out because their names';
  return [
    `${printable(root)}: ${leftOut.count} ${what} or a folder's is not UTF-8 (${kindsOf(leftOut)}), for example ` +
      `${printable(examples[0]!)}: rename what is in another encoding, for example with ` +
      `convmv -f latin1 -t utf8 -r --notest ${shellPath(root)}`,
  ];
}

/** Visits a folder and all below it, following links; `ancestors` are the folders above it, which reveal a cycle. */
async function walk(folder: string, ancestors: readonly string[], found: Found): Promise<void> {
  found.signal?.throwIfAborted();
  let entries: Dirent[];
  let identity: string;
  try {
    const { dev, ino } = await stat(folder);
    identity = `${dev}:${ino}`;
    if (ancestors.includes(identity)) return;
    const visits = (found.visits.get(identity) ?? 0) + 1;
    found.visits.set(identity, visits);
    if (visits > MAX_VISITS) {
      found.unreadable.push({ path: folder, reason: `links lead here more than ${MAX_VISITS} times` });
      return;
    }
    entries = await readEntries(folder, found);
  } catch (error) {
    found.unreadable.push({ path: folder, reason: describe(error) });
    return;
  }
  if (isRunBelow(entries, ancestors)) {
    found.runs.push(folder);
    return;
  }
  const own = ownIndexFiles(
    folder,
    entries.map(({ name }) => name),
  );
  if (own.size > 0) found.indexes.push(folder);
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.') || own.has(entry.name)) continue;
    let kind: Dirent | Stats = entry;
    if (entry.isSymbolicLink()) {
      const place = path.join(folder, entry.name);
      try {
        if (found.mayRead?.(await realpath(place)) === false) {
          found.unreadable.push({ path: place, reason: OUTSIDE });
          continue;
        }
        kind = await stat(place);
      } catch {
        // a broken link: an unreadable image, if it has an image's name
      }
    }
    if (kind.isDirectory()) {
      folders.push(entry.name);
    } else if (hasImageExtension(entry.name)) {
      files.push(entry.name);
    } else if (isShard(entry.name)) {
      found.shards.push(path.join(folder, entry.name));
    } else if (entry.name !== DESCRIPTION && !isIndexFile(entry.name)) {
      found.others.add(entry.name);
      if (compressedWords(entry.name) !== null) found.compressed.push(path.join(folder, entry.name));
    }
  }
  if (files.length > 0) {
    files.sort(compareCodePoints);
    found.folders.push({ path: folder, files: Buffer.from(`${files.join('\0')}\0`) });
  }
  if (ancestors.length === 0) found.top = folders.map((name) => path.join(folder, name));
  for (const name of folders) await walk(path.join(folder, name), [...ancestors, identity], found);
}

function noImages(source: string, found: Found): DataError {
  const others = found.others.finish();
  const lines = [
    `There are no images in ${printable(source)}: looked for ${SUPPORTED} files in it and in all folders below.`,
  ];
  if (others.count > found.compressed.length) {
    lines.push(
      `Found other files instead (${kindsOf(others)}). Convert them to JPEG or PNG if they are images.`,
    );
  }
  const [archive, ...more] = found.compressed.sort(compareCodePoints);
  if (archive !== undefined)
    lines.push(
      `${compressedWords(archive)}${more.length === 0 ? '' : ` The same holds for ${more.length} more.`}`,
    );
  lines.push(...unnamedLines(source, found.unnamed), ...runLines(source, found.runs));
  for (const { path: folder, reason } of found.unreadable.slice(0, 3))
    lines.push(`Can't read ${printable(folder)}: ${printable(reason)}.`);
  if (others.count === 0 && found.unnamed.examples.length === 0 && found.unreadable.length === 0)
    lines.push('Give the folder that holds the images.');
  return new DataError(lines.join('\n'));
}

async function listFolder(source: string, mayRead: MayRead, options: ListOptions): Promise<ImageList> {
  const root = path.resolve(source);
  const found: Found = {
    folders: [],
    unreadable: [],
    shards: [],
    top: [],
    indexes: [],
    visits: new Map(),
    others: new LeftOutCounter(),
    unnamed: { files: new LeftOutCounter(), examples: [] },
    runs: [],
    compressed: [],
    mayRead,
    signal: options.signal,
  };
  await walk(root, [], found);
  found.shards.sort(compareCodePoints);
  if (found.folders.length === 0) {
    if (found.shards.length === 0) throw noImages(source, found);
    checkOneSplit(root, found.shards);
    const beside = linesOnRest(root, found);
    found.others.addAll(found.unnamed.files.finish());
    const list = await listShards(found.shards, root, root, options);
    found.others.addAll(list.leftOut);
    return {
      ...list,
      unreadable: [...found.unreadable, ...list.unreadable],
      leftOut: found.others.finish(),
      remarks: [...beside, ...list.remarks],
    };
  }
  const { leftOut, remarks } = notesOfFolder(root, found, options.onlyLabelled === true);
  found.folders.sort((a, b) => compareCodePoints(a.path, b.path));

  // class folders: all images lie below folders, none in the root itself
  const labelled = found.folders.every((folder) => folder.path !== root);
  const classOf = (folder: string) => path.relative(root, folder).split(path.sep)[0]!;
  const classes = labelled
    ? [...new Set(found.folders.map((folder) => classOf(folder.path)))].sort(compareCodePoints)
    : null;
  const labels = new Map(classes?.map((name, i) => [name, i]));
  const groups = found.folders.map((folder) => {
    return { ...folder, label: classes === null ? null : labels.get(classOf(folder.path))! };
  });
  // by class first, as in ImageFolder: a folder "a b" would otherwise come between "a" and "a/deeper"
  if (classes !== null) groups.sort((a, b) => a.label! - b.label!);
  const items = new PackedImagesBuilder();
  items.beginPart();
  for (const { path: folder, files, label } of groups) {
    for (let start = 0; start < files.length;) {
      const end = files.indexOf(0, start);
      items.add(path.join(folder, files.toString('utf8', start, end)), label);
      start = end + 1;
    }
  }
  const images = items.finish();
  const { unreadable } = found;
  const fingerprint = fingerprintOf(images, root);
  return { items: images, classes, root, source: root, unreadable, leftOut, remarks, fingerprint };
}

const namesOf = ({ files }: Found['folders'][number]): string[] =>
  files.toString('utf8').split('\0').slice(0, -1);

/** On what is neither an image nor a shard. */
const linesOnRest = (root: string, { others, unnamed, runs }: Found): string[] => [
  ...leftOutLines(root, others.finish()),
  ...unnamedLines(root, unnamed),
  ...runLines(root, runs),
];

/**
 * What is left out of a folder of images: other files, shards, and where labels are needed the images beside class
 * folders, which are taken out of `found`.
 */
function notesOfFolder(
  root: string,
  found: Found,
  needsLabels: boolean,
): { leftOut: LeftOut; remarks: string[] } {
  const remarks = linesOnRest(root, found);
  found.others.addAll(found.unnamed.files.finish());
  const { shards } = found;
  const [first] = shards;
  if (first !== undefined) {
    const folders = new Set(shards.map((file) => path.dirname(file)));
    const isOne =
      folders.size === 1 && !found.folders.some(({ path: folder }) => isBelow(folder, path.dirname(first)));
    const instead = isOne
      ? shellPath(path.dirname(first))
      : `'${path.dirname(first)}/*${path.extname(first)}'`;
    remarks.push(
      `${printable(root)}: ${shards.length} ${shards.length === 1 ? 'shard was' : 'shards were'} left out because there ` +
        `are images beside ${shards.length === 1 ? 'it' : 'them'} (${printable(first)}); to use ` +
        `${shards.length === 1 ? 'it' : 'them'} instead, give ${printable(instead)}`,
    );
    for (const file of shards) found.others.add(file);
  }
  const own = found.folders.find((folder) => folder.path === root);
  if (needsLabels && own !== undefined && found.folders.length > 1) {
    const names = namesOf(own);
    for (const name of names) found.others.add(name);
    found.folders.splice(found.folders.indexOf(own), 1);
    const shown = names.slice(0, 3).map(printable).join(', ');
    remarks.push(
      `${printable(root)}: ${names.length} ${names.length === 1 ? 'image beside the class folders has no label and was' : 'images beside the class folders have no label and were'} ` +
        `left out (${shown}${names.length > 3 ? ', ...' : ''})`,
    );
  }
  remarks.push(...withoutImages(root, found));
  return { leftOut: found.others.finish(), remarks };
}

/** Beside class folders, those that would be classes if they had images. */
function withoutImages(root: string, { folders, shards, top, indexes, runs, unreadable }: Found): string[] {
  if (folders.some(({ path: folder }) => folder === root)) return [];
  const places = [...folders, ...unreadable].map((one) => one.path);
  const known = new Set(
    [...places, ...shards, ...indexes, ...runs].map((place) => path.relative(root, place).split(path.sep)[0]),
  );
  const names = top.map((folder) => path.basename(folder)).filter((name) => !known.has(name));
  if (names.length === 0) return [];
  return [
    `${printable(root)}: ${names.length} ${names.length === 1 ? 'folder has no images and is not a class' : 'folders have no images and are not classes'}: ` +
      fewNames(names.sort(compareCodePoints), SHOWN),
  ];
}

const isBelow = (place: string, folder: string): boolean =>
  place === folder || place.startsWith(folder.endsWith(path.sep) ? folder : folder + path.sep);

const listOptions = optionsOf<ListOptions>(
  {},
  { onProgress: callback, mayRead: callback, onlyLabelled: yesOrNo, signal: abortSignal },
);

/**
 * Lists the images of a source.
 * - A folder whose images all lie in folders below it: each of these is a class, in alphabetical order.
 * - Any other folder: all images in it and below it, without labels.
 * - A folder without images but with shards (.tar, .parquet), a shard, or a pattern of shards
 *   (`shard-{000000..000127}.tar`, `train-*.parquet`): the images in them, with the labels that they have there.
 * - A text file: one path a line, relative to its own folder, without labels. Missing files are reported when they are
 *   read.
 *
 * @throws DataError when there is nothing or it can't be read, and says what to try; the signal's reason when aborted
 */
export async function listImages(source: string, options: ListOptions = {}): Promise<ImageList> {
  checkCall('listImages()', ['source', listSource, source], ['options', listOptions, options]);
  const list = await listSourceOf(source, options);
  return options.onlyLabelled === true ? onlyLabelled(list) : list;
}

async function listSourceOf(source: string, options: ListOptions): Promise<ImageList> {
  const mayRead = options.mayRead ?? mayReadHere();
  if (leadsOutside(source)) throw new DataError(`${source} ${OUTSIDE}`);
  let info: Stats;
  try {
    info = await stat(source);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (isShardPattern(source)) {
      const files = await expandShardPattern(source);
      const { allowed, unreadable } = await withinReach(files, mayRead);
      if (allowed.length === 0) throw new DataError(`Everything that ${source} names ${OUTSIDE}.`);
      const list = await listShards(allowed, path.resolve(source), path.dirname(files[0]!), options);
      return { ...list, unreadable: [...unreadable, ...list.unreadable] };
    }
    if (code !== 'ENOENT')
      throw new DataError(`Can't read ${printable(source)}: ${printable(describe(error))}`, { cause: error });
    throw new DataError(
      `There is no ${printable(source)} (looked for ${printable(path.resolve(source))}). ` +
        'Give a folder of images or of shards, or a text file with one path a line.',
      { cause: error },
    );
  }
  if (info.isDirectory()) return listFolder(source, mayRead, options);
  if (!info.isFile())
    throw new DataError(`Can't read ${source}: it is ${kindOf(info)}; expected a folder or a regular file.`);
  refuseCompressed(source);
  if (!isShard(source)) return listTextFile(source, mayRead);
  const file = path.resolve(source);
  return listShards([file], file, path.dirname(file), options);
}

/**
 * Lists shards as listImages() does, and says where their index is kept.
 * @throws DataError as listImages(), and when the source is not a set of shards
 */
export async function listShardSource(source: string, options: ListOptions = {}): Promise<ShardList> {
  checkCall('listShardSource()', ['source', listSource, source], ['options', listOptions, options]);
  const list = await listImages(source, options);
  if ('index' in list) return list as ShardList;
  throw new DataError(
    `${printable(source)} is not a set of shards: expected .tar or .parquet files, or a folder of them.`,
  );
}
