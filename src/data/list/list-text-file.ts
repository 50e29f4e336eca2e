/** The images that a text file names: one path a line, relative to its own folder, without labels. */
import { closeSync, readSync } from 'node:fs';
import path from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { DataError } from '../../errors.js';
import { openToRead } from '../../files/guarded.js';
import { OUTSIDE } from '../../files/read-below.js';
import { printable } from '../../plain/printable.js';
import { shardOf } from '../read/shard-path.js';
import { fingerprintOf } from './fingerprint.js';
import { hasImageExtension, SUPPORTED } from './image-extensions.js';
import type { ImageList, UnreadablePlace } from './image-list.js';
import { LeftOutCounter } from './left-out.js';
import { PackedImagesBuilder } from './packed-images.js';
import { isWithin, type MayRead } from './reach.js';

/** Longest line of a list of paths, in characters: Linux allows paths of 4,096 bytes. */
const MAX_PATH = 16384;
/** Largest list of paths, in bytes: room for 40 million of them. */
const MAX_LIST = 2 ** 32;
const CHUNK = 2 ** 20;

/**
 * The lines of a text file, without line ends; a file of 14 million paths is too long for one string. Stops after a line
 * that is too long for a path.
 * @throws DataError when it is not a regular file, or too large
 */
function* linesOf(file: string): Generator<string, void> {
  const { fd } = openToRead(file, { maxBytes: MAX_LIST });
  try {
    const decoder = new StringDecoder('utf8');
    const chunk = Buffer.alloc(CHUNK);
    let rest = '';
    for (let bytes = -1; bytes !== 0 && rest.length <= MAX_PATH;) {
      bytes = readSync(fd, chunk, 0, CHUNK, null);
      const text = bytes === 0 ? decoder.end() : decoder.write(chunk.subarray(0, bytes));
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    }
    yield rest;
  } finally {
    closeSync(fd);
  }
}

/** @throws DataError when it names no images, or none that may be read. */
export async function listTextFile(source: string, mayRead: MayRead): Promise<ImageList> {
  const file = path.resolve(source);
  const root = path.dirname(file);
  const items = new PackedImagesBuilder();
  items.beginPart();
  const unreadable: UnreadablePlace[] = [];
  let first: string | null = null;
  let [lines, count, images] = [0, 0, 0];
  for (const text of linesOf(file)) {
    lines++;
    const line = count === 0 ? text.replace(/^\ufeff/, '') : text;
    first ??= line;
    if (line.length > MAX_PATH && images > 0)
      throw new DataError(
        `${source}: line ${lines} has more than ${MAX_PATH} characters; expected one path a line.`,
      );
    if (line.trim() === '') continue;
    count++;
    if (hasImageExtension(line)) images++;
    const place = path.resolve(root, line.slice(0, MAX_PATH));
    if (mayRead !== null && !(await isWithin(shardOf(place) ?? place, mayRead)))
      unreadable.push({ path: place, reason: OUTSIDE });
    else items.add(place, null);
  }
  if (count === 0) {
    throw new DataError(
      `The list ${printable(source)} names no images: expected one path a line, relative to the list's folder.`,
    );
  }
  if (images === 0) {
    throw new DataError(
      `${printable(source)} is not a list of images: its first line is ${JSON.stringify(printable(first!.slice(0, 60)))}. ` +
        `Expected a folder, or a text file with the path of one ${SUPPORTED} file a line.`,
    );
  }
  const list = items.finish();
  if (list.length === 0) throw new DataError(`Everything that ${printable(source)} names ${OUTSIDE}.`);
  const fingerprint = fingerprintOf(list, root);
  const nothing = { leftOut: new LeftOutCounter().finish(), remarks: [] };
  return { items: list, classes: null, root, source: file, unreadable, fingerprint, ...nothing };
}
