/**
 * Lists the images of a set of shards, with an index: it is made when the shards are first listed, kept beside them, and
 * later only read, in about the time that reading its file takes. Shards that have changed since are scanned again.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { DataError } from '../../../errors.js';
import { compareCodePoints } from '../../../plain/code-points.js';
import { kindOf } from '../../../files/guarded.js';
import type { ShardFile } from '../../read/image-place.js';
import { readProblem } from '../../read/read-problem.js';
import type { ImageList, ListOptions } from '../image-list.js';
import { LeftOutCounter, leftOutLines, type ListNotes } from '../left-out.js';
import { PackedImages } from '../packed-images.js';
import { printable } from '../../../plain/printable.js';
import { type FoundDescription, readDescription } from './description.js';
import { aboutShard, readIndex, type ShardIndex, writeIndex } from './index-file.js';
import { scanShard } from './scan-shard.js';
import { NOTE_KINDS, type ScannedShard, type ShardLabels, type ShardNote } from './scanned-shard.js';

/** Shards that are scanned at the same time: on a network file system each waits for its reads. */
const LANES = 8;

export interface ShardList extends ImageList {
  index: {
    /** The index's file; null when it could not be written anywhere. */
    file: string | null;
    /** Shards that had to be scanned; 0 when the index was complete. */
    scanned: number;
    shards: number;
  };
}

/** Runs `work` on all, `lanes` at a time; the results are in the order of the inputs. */
async function inLanes<T, R>(all: readonly T[], lanes: number, work: (one: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(all.length);
  let next = 0;
  const lane = async () => {
    while (next < all.length) {
      const at = next++;
      results[at] = await work(all[at]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, all.length) }, lane));
  return results;
}

/** @throws DataError that counts the shards that can't be read, and names the first of them */
async function statShards(files: readonly string[]): Promise<ShardFile[]> {
  const answers = await inLanes(files, 4 * LANES, async (file): Promise<ShardFile | string> => {
    try {
      const info = await stat(file);
      return info.isFile()
        ? { file, size: info.size, mtimeMs: info.mtimeMs }
        : `${file}: is ${kindOf(info)}, not a regular file`;
    } catch (error) {
      return `${file}: ${readProblem(error).message}`;
    }
  });
  // in the order of the files, not of the answers
  const problems = answers.filter((answer) => typeof answer === 'string');
  const found = answers.filter((answer) => typeof answer !== 'string');
  if (problems.length > 0) {
    const more = problems.length > 5 ? `\nand ${problems.length - 5} more` : '';
    throw new DataError(
      `${problems.length} of ${files.length} shards can't be read:\n${problems.slice(0, 5).join('\n')}${more}`,
    );
  }
  return found;
}

const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

/**
 * Where the index of these shards may be: beside the first one, or in the user's cache when that folder can't be written to.
 * Each selection of a folder's shards has an index of its own.
 */
export function indexPlaces(files: readonly string[]): { folder: string; places: string[] } {
  const folder = path.dirname(files[0]!);
  const names = files.map((file) => path.relative(folder, file)).join('\0');
  const cache = process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache');
  return {
    folder,
    places: [
      path.join(folder, `dino-index-${shortHash(names)}.bin`),
      path.join(cache, 'dino-ts', `index-${shortHash(`${folder}\0${names}`)}.bin`),
    ],
  };
}

type Described = FoundDescription | null;

interface Labelling {
  classes: string[] | null;
  labels: Int32Array<SharedArrayBuffer> | null;
}

/**
 * Folders in the names are classes if no shard has labels, there is no description, which would list the classes, and every
 * image lies in one; where only labelled images are wanted, those in no folder don't count.
 */
function withoutFolders(
  images: PackedImages,
  shards: ShardIndex['shards'],
  described: Described,
  onlyLabelled: boolean,
): ShardLabels[] {
  const own = images.shared.labels === null ? null : new Int32Array(images.shared.labels);
  const areInFolders = ({ kind }: ShardLabels, i: number): boolean => {
    const { count } = images.parts[i]!;
    if (count === 0 || (onlyLabelled && kind === 'none')) return true;
    if (kind !== 'folder') return false;
    const first = images.firstOf(i);
    return onlyLabelled || own?.subarray(first, first + count).includes(-1) === false;
  };
  const areClasses = described === null && shards.every(({ labels }, i) => areInFolders(labels, i));
  return shards.map(({ labels }) =>
    labels.kind === 'folder' && !areClasses ? { kind: 'none', names: [] } : labels,
  );
}

/** Numbers the classes of all shards together. */
function labelling(
  images: PackedImages,
  shards: ShardIndex['shards'],
  described: Described,
  onlyLabelled = false,
): Labelling {
  const named = described?.description.classes ?? null;
  const meanings = withoutFolders(images, shards, described, onlyLabelled);
  const used = meanings.filter(({ kind }, i) => images.parts[i]!.count > 0 && kind !== 'none');
  if (images.shared.labels === null || used.length === 0) return { classes: null, labels: null };
  const own = new Int32Array(images.shared.labels);
  const labels = new Int32Array(new SharedArrayBuffer(4 * images.length)).fill(-1);
  const eachLabel = (visit: (meaning: ShardLabels, label: number, index: number) => void) => {
    meanings.forEach((meaning, i) => {
      if (meaning.kind === 'none') return;
      const start = images.firstOf(i);
      for (let k = start; k < start + images.parts[i]!.count; k++)
        if (own[k]! >= 0) visit(meaning, own[k]!, k);
    });
  };
  if (used.every(({ kind }) => kind === 'number')) {
    let most = (named?.length ?? 0) - 1;
    eachLabel((_, label, index) => {
      labels[index] = label;
      if (label > most) most = label;
    });
    return {
      classes: Array.from({ length: most + 1 }, (_, label) => named?.[label] ?? String(label)),
      labels,
    };
  }
  const isOne = used.every(
    ({ kind, names }) => kind === 'name' && names.join('\0') === used[0]!.names.join('\0'),
  );
  const nameOf = ({ kind, names }: ShardLabels, label: number) =>
    kind === 'number' ? (named?.[label] ?? String(label)) : names[label]!;
  let classes = named ?? used[0]!.names;
  if (named !== null || !isOne) {
    const all = new Set<string>();
    eachLabel((meaning, label) => all.add(nameOf(meaning, label)));
    if (![...all].every((name) => named?.includes(name))) classes = [...all].sort(compareCodePoints);
  }
  const numberOf = new Map(classes.map((name, i) => [name, i]));
  eachLabel((meaning, label, index) => {
    labels[index] = numberOf.get(nameOf(meaning, label))!;
  });
  return { classes, labels };
}

/**
 * Identifies a set of shards: SHA-256 of the images' names, labels and sizes. A complete set made by `dino shard` has the
 * fingerprint of the folder that it was made from: the images and their order are the same, so that a run that was begun
 * with one can go on with the other.
 */
function fingerprint(images: PackedImages, shards: ShardIndex['shards'], described: Described): string {
  // names as they are in the shards: images that were in two may be in one here
  const renamed = new Map(
    shards.flatMap((shard, part) =>
      shard.renamed.map(([image, name]) => [images.firstOf(part) + image, name] as const),
    ),
  );
  const [names, sizes] = [createHash('sha256'), createHash('sha256')];
  const lengths = new Uint32Array(images.shared.lengths!);
  const CHUNK = 4096;
  for (let start = 0; start < images.length; start += CHUNK) {
    const end = Math.min(start + CHUNK, images.length);
    let text = '';
    for (let i = start; i < end; i++) text += `${renamed.get(i) ?? images.name(i)}\0${images.label(i)}\n`;
    names.update(text);
    sizes.update(text).update(lengths.slice(start, end)); // a copy: shared memory can't be hashed
  }
  const ofNames = names.digest('hex');
  return described?.description.fingerprint === ofNames ? ofNames : sizes.digest('hex');
}

/** What a stored index knows of each shard; null for those that are new or have changed. */
function storedShards(index: ShardIndex | null, files: readonly ShardFile[]): (ScannedShard | null)[] {
  if (index === null) return files.map(() => null);
  const numbers = new Map(index.images.parts.map((part, i) => [part.file, i]));
  return files.map(({ file, size, mtimeMs }) => {
    const number = numbers.get(file);
    if (number === undefined) return null;
    const part = index.images.parts[number]!;
    if (part.size !== size || part.mtimeMs !== mtimeMs) return null;
    return { ...index.shards[number]!, images: index.images.copyOfPart(number) };
  });
}

function isCurrent(index: ShardIndex, files: readonly ShardFile[], described: Described): boolean {
  const { parts } = index.images;
  return (
    parts.length === files.length &&
    index.description?.size === described?.state.size &&
    index.description?.mtimeMs === described?.state.mtimeMs &&
    files.every(({ file, size, mtimeMs }, i) => {
      const part = parts[i]!;
      return part.file === file && part.size === size && part.mtimeMs === mtimeMs;
    })
  );
}

/** Writes the index to the first place that allows it. */
function keepIndex(places: readonly string[], folder: string, index: ShardIndex): string | null {
  for (const place of places) {
    try {
      writeIndex(place, folder, index);
      return place;
    } catch {
      // a folder that can't be written to, or a full disk: the images are listed nevertheless
    }
  }
  return null;
}

/** A line for each kind of note. */
const NOTES: Readonly<Record<ShardNote['kind'], (count: number, example: string) => string>> = {
  sample: (count, example) =>
    `${count} ${count === 1 ? 'image shares its' : 'images share their'} key with another image (for example ${example}): ` +
    'each counts as an image, masks too',
  archive: (count, example) =>
    `it holds ${count} ${count === 1 ? 'archive' : 'archives'} (for example ${example}): their images are read, in a folder ` +
    'named after each archive',
  label: (count, example) =>
    `${count} ${count === 1 ? 'label' : 'labels'} can't be read (for example ${example}): their images are used without it`,
  contradiction: (count, example) =>
    `${count} ${count === 1 ? 'image has' : 'images have'} labels that contradict each other (for example ${example}): none ` +
    'of them is used',
  name: (count, example) =>
    `${count} ${count === 1 ? 'image has' : 'images have'} the name of another one of the same shard (for example ` +
    `${example}): each counts as an image, under a name of its own`,
};

/** What the shards have besides their images, all together. */
function notesOfShards(source: string, shards: ShardIndex['shards']): ListNotes {
  const counter = new LeftOutCounter();
  for (const { leftOut } of shards) for (const [kind, count] of leftOut) counter.addKind(kind, count);
  const leftOut = counter.finish();
  const remarks = leftOutLines(source, leftOut);
  for (const kind of NOTE_KINDS) {
    const notes = shards.flatMap((shard) => shard.notes.filter((note) => note.kind === kind));
    const count = notes.reduce((sum, note) => sum + note.count, 0);
    if (count === 0) continue;
    const example = printable(notes[0]!.example);
    remarks.push(`${printable(source)}: ${NOTES[kind](count, example)}`);
  }
  return { leftOut, remarks };
}

/**
 * Lists the images of shards, in the order of the files and of the images within.
 * @param source - What the shards were named by, absolute: listImages() of it gives this list again.
 * @throws DataError when a shard is missing or none has images; the signal's reason when aborted
 */
export async function listShards(
  files: readonly string[],
  source: string,
  root: string,
  options: ListOptions = {},
): Promise<ShardList> {
  const found = await statShards(files);
  const { folder, places } = indexPlaces(files);
  const described = await readDescription(folder);
  let stored: ShardIndex | null = null;
  let kept: string | null = null;
  const bytes = found.reduce((sum, { size }) => sum + size, 0);
  for (const [i, place] of places.entries()) {
    stored = readIndex(place, folder, { bytes, isOwn: i > 0 });
    kept = place;
    if (stored !== null) break;
  }
  let index: ShardIndex;
  let scanned = 0;
  if (stored !== null && isCurrent(stored, found, described)) {
    index = stored;
  } else {
    const ready = storedShards(stored, found);
    const missing = ready.filter((shard) => shard === null).length;
    const shards = await inLanes([...found.entries()], LANES, async ([i, { file }]) => {
      const known = ready[i] ?? null;
      if (known !== null) return known;
      options.signal?.throwIfAborted();
      const shard = await scanShard(file);
      scanned++;
      options.onProgress?.(scanned, missing);
      return shard;
    });
    const images = PackedImages.concat(shards.map((shard) => shard.images));
    index = {
      images,
      shards: shards.map(aboutShard),
      fingerprint: '',
      description: described?.state ?? null,
    };
    const { labels } = labelling(images, index.shards, described);
    index.fingerprint = fingerprint(images.withLabels(labels), index.shards, described);
    kept = images.length > 0 ? keepIndex(places, folder, index) : null;
  }
  const unreadable = index.shards.flatMap(({ problems }, i) =>
    problems.map(({ offset, reason }) => ({ path: index.images.parts[i]!.file!, offset, reason })),
  );
  const { leftOut, remarks } = notesOfShards(source, index.shards);
  if (index.images.length === 0) {
    const some = unreadable
      .slice(0, 3)
      .map(({ path: shard, offset, reason }) => `${shard} at byte ${offset}: ${reason}`);
    const shards = files.length === 1 ? source : `the ${files.length} shards of ${source}`;
    throw new DataError([`There are no images in ${shards}.`, ...some, ...remarks].join('\n'));
  }
  const { classes, labels } = labelling(index.images, index.shards, described, options.onlyLabelled);
  return {
    items: index.images.withLabels(labels),
    ...{ classes, fingerprint: index.fingerprint, root, source, unreadable, leftOut, remarks },
    index: { file: kept, scanned, shards: files.length },
  };
}
