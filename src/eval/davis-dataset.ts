/** Where the frames and masks of DAVIS are, and whether they are all there. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { labelImageSize } from './indexed-png.js';
import { compareCodePoints } from '../plain/code-points.js';
import { DataError } from '../errors.js';
import { readTextIfThere, SMALL_FILE_BYTES } from '../files/guarded.js';

export interface DavisSequence {
  name: string;
  /** Files of the frames, in order. */
  frames: string[];
  /** Names of the frames without their ending: '00000'. */
  ids: string[];
  /** The mask of each frame, or null. The first frame always has one. */
  masks: (string | null)[];
}

const FRAMES = path.join('JPEGImages', '480p');
const MASKS = path.join('Annotations', '480p');
const LIST = path.join('ImageSets', '2017', 'val.txt');

const isFrame = (name: string): boolean => /^[^.].*\.(jpe?g|png)$/i.test(name);

async function isFolder(folder: string): Promise<boolean> {
  try {
    return (await stat(folder)).isDirectory();
  } catch {
    return false;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort(compareCodePoints);
}

/**
 * @param root - A folder with JPEGImages/480p and Annotations/480p.
 * @param names - Default: the lines of ImageSets/2017/val.txt, or all folders without that file.
 * @throws DataError with every problem of every sequence: a missing folder, no frames, no mask for the first frame, masks
 *   that differ in size from the first one.
 */
export async function listDavis(root: string, names?: readonly string[]): Promise<DavisSequence[]> {
  const frames = path.join(root, FRAMES);
  if (!(await isFolder(frames))) {
    throw new DataError(
      `${root} is not DAVIS: expected a folder ${FRAMES} in it, with a folder for each video`,
    );
  }
  const chosen = names ?? listedNames(root) ?? (await folderNames(frames));
  if (chosen.length === 0) throw new DataError(`${frames} has no folder with a video`);
  const problems: string[] = [];
  const sequences: DavisSequence[] = [];
  for (const name of chosen) sequences.push(await readSequence(root, name, problems));
  if (problems.length > 0) throw new DataError(problems.join('\n'));
  return sequences;
}

/** Null without a list. */
function listedNames(root: string): string[] | null {
  const text = readTextIfThere(path.join(root, LIST), { maxBytes: SMALL_FILE_BYTES });
  if (text === null) return null;
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

async function folderNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()))
    .map((entry) => entry.name)
    .sort(compareCodePoints);
}

async function readSequence(root: string, name: string, problems: string[]): Promise<DavisSequence> {
  const frameFolder = path.join(root, FRAMES, name);
  const maskFolder = path.join(root, MASKS, name);
  const sequence: DavisSequence = { name, frames: [], ids: [], masks: [] };
  if (!(await isFolder(frameFolder))) {
    problems.push(`${name}: no folder ${frameFolder}`);
    return sequence;
  }
  const files = (await namesIn(frameFolder)).filter(isFrame);
  sequence.frames = files.map((file) => path.join(frameFolder, file));
  sequence.ids = files.map((file) => path.basename(file, path.extname(file)));
  if (files.length === 0) {
    problems.push(`${name}: no frames (.jpg) in ${frameFolder}`);
    return sequence;
  }
  const masks = new Set((await isFolder(maskFolder)) ? await namesIn(maskFolder) : []);
  sequence.masks = sequence.ids.map((id) =>
    masks.has(`${id}.png`) ? path.join(maskFolder, `${id}.png`) : null,
  );
  if (sequence.masks[0] === null) {
    problems.push(
      `${name}: no mask for the first frame, expected ${path.join(maskFolder, `${sequence.ids[0]!}.png`)}`,
    );
    return sequence;
  }
  await checkSizes(sequence, problems);
  return sequence;
}

/** Every mask must have the first one's size; one line per sequence. */
async function checkSizes({ name, masks }: DavisSequence, problems: string[]): Promise<void> {
  let first: { width: number; height: number } | null = null;
  const others: string[] = [];
  for (const mask of masks) {
    if (mask === null) continue;
    try {
      const size = await labelImageSize(mask);
      first ??= size;
      if (size.width !== first.width || size.height !== first.height) {
        others.push(`${path.basename(mask)} (${size.width} x ${size.height})`);
      }
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`);
      return;
    }
  }
  if (first !== null && others.length > 0) {
    problems.push(
      `${name}: ${others.length} masks differ in size from the first one's ${first.width} x ${first.height}: ` +
        `${others.slice(0, 3).join(', ')}${others.length > 3 ? ', ...' : ''}`,
    );
  }
}
