/** The pictures that stand for a video: those of a folder or a pattern, or a list of them, in order. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import {
  type EncodedImage,
  hasImageExtension,
  IMAGE_EXTENSIONS,
  kindsOf,
  LeftOutCounter,
  leftOutLines,
} from '../data/index.js';
import { DataError } from '../errors.js';
import { statIfThere } from '../files/guarded.js';
import { systemReason } from '../files/system-reason.js';
import { compareCodePoints } from '../plain/code-points.js';
import { printable } from '../plain/printable.js';
import { hasWildcards, wildcardExpression } from '../plain/wildcards.js';

const isHidden = (name: string): boolean => name.startsWith('.');
// alone it is a film, if only of one frame; among others it is a picture
const isGif = (name: string): boolean => path.extname(name).toLowerCase() === '.gif';
const isPicture = (name: string): boolean => !isHidden(name) && hasImageExtension(name);

/**
 * The pictures of an input, in the order of their names; null for a video file.
 *
 * @param onWarning - Told how many other files were left out.
 * @throws DataError when it has none, or can't be opened.
 */
export async function listFrames(
  input: string | readonly EncodedImage[],
  onWarning: (message: string) => void = () => undefined,
): Promise<EncodedImage[] | null> {
  if (typeof input !== 'string') {
    if (input.length === 0)
      throw new DataError('no frames: expected a video, a folder of pictures or pictures');
    const others = input.filter(
      (file): file is string => typeof file === 'string' && !isPicture(path.basename(file)),
    );
    if (others.length > 0) {
      throw new DataError(
        `${others.slice(0, 3).join(', ')}: expected pictures (${IMAGE_EXTENSIONS.join(', ')}), or a single video or folder`,
      );
    }
    return [...input];
  }
  const info = statIfThere(input); // nothing may be there: a pattern
  if (info?.isDirectory() === true) {
    const { names, others } = await picturesIn(input, () => true);
    if (names.length === 0) {
      throw new DataError(
        `there are no frames in ${input}: looked for ${IMAGE_EXTENSIONS.join(', ')} files in it, not in subfolders` +
          (others.count === 0 ? '' : `; it has ${kindsOf(others)}`),
      );
    }
    for (const line of leftOutLines(input, others)) onWarning(line);
    return names.map((name) => path.join(input, name));
  }
  if (info !== undefined) return isPicture(path.basename(input)) && !isGif(input) ? [input] : null;
  const pattern = path.basename(input);
  const folder = path.dirname(input);
  if (!hasWildcards(pattern)) {
    throw new DataError(`${input} does not exist (looked for ${path.resolve(input)})`);
  }
  const expression = wildcardExpression(pattern);
  const { names, others } = await picturesIn(folder, (name) => expression.test(name));
  if (names.length === 0) {
    throw new DataError(
      `no picture matches ${input}${others.count === 0 ? '' : `; what matches is ${kindsOf(others)}`}`,
    );
  }
  for (const line of leftOutLines(input, others)) onWarning(line);
  return names.map((name) => path.join(folder, name));
}

/**
 * The names of pictures in a folder, and how many other files there are, hidden ones aside.
 * @throws DataError when it can't be opened.
 */
async function picturesIn(folder: string, isWanted: (name: string) => boolean) {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw new DataError(`${printable(folder)} can't be opened: ${systemReason(error, folder)}`, {
      cause: error,
    });
  }
  const names: string[] = [];
  const others = new LeftOutCounter();
  for (const entry of entries.filter(({ name }) => isWanted(name))) {
    if (isPicture(entry.name)) names.push(entry.name);
    else if (!isHidden(entry.name) && !(await isFolder(folder, entry))) others.add(entry.name);
  }
  return { names: names.sort(compareCodePoints), others: others.finish() };
}

/** Also of a link to one. */
async function isFolder(parent: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  const target = await stat(path.join(parent, entry.name)).catch(() => null); // it may lead nowhere
  return target?.isDirectory() === true;
}
