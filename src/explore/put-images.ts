/** Results as a list of paths, or as a folder of copies or links. No existing file is replaced. */
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { being, checkCall, filePath, oneOf, optionsOf, paths } from '../plain/check-options.js';
import { listImages } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { fewNames } from '../plain/few-names.js';
import { checkPutFolder, taken } from '../files/new-places.js';
import { type ImageIndex, imageWithin, isBelow } from './image-index.js';
import { labelSchema } from './labels.js';

export interface PutOptions {
  /** A new or empty folder. */
  folder: string;
  /** `copy`: the files. `link`: symbolic links to them. */
  how: 'copy' | 'link';
  /**
   * The folder that all of the images must be in; copied files also after links are followed. Give an
   * index's `manifest.images.root` for the paths that it names: the index may be a stranger's.
   */
  within?: string;
}

/** Images by the name of the folder that they are put into; '' for the folder itself. */
export type ImageGroups =
  Readonly<Record<string, readonly string[]>> | ReadonlyMap<string, readonly string[]>;

const entriesOf = (groups: ImageGroups): [string, readonly string[]][] =>
  groups instanceof Map
    ? [...(groups as ReadonlyMap<string, readonly string[]>)]
    : Object.entries(groups as Readonly<Record<string, readonly string[]>>);

/** All images of groups, one group after the other. */
export const imagesOf = (groups: ImageGroups): string[] => entriesOf(groups).flatMap(([, images]) => images);

/**
 * Writes one path a line: what `dino train`, `dino embed` and `dino index` take as a list of images.
 * @throws ConfigError when something with this name exists, or a path can't be a line; DataError when it can't be written.
 */
export function writeList(file: string, images: readonly string[]): void {
  checkCall('writeList()', ['file', filePath, file], ['images', paths, images]);
  const broken = images.filter((image) => /\n|\r$/.test(image));
  if (broken.length > 0) {
    throw new ConfigError(
      `${file} is not written: a list has one path a line, and ${broken.length} of ${images.length} have a line break in ` +
        `their name (${fewNames(
          broken.map((image) => JSON.stringify(image)),
          3,
        )}): rename ${broken.length === 1 ? 'it' : 'them'}, ` +
        'or have the images copied or linked to a folder',
    );
  }
  writeLines(file, images);
}

/** A field of a CSV file (RFC 4180). */
const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/**
 * Writes a CSV file with the columns image and label; '' for images of the group ''.
 * @throws ConfigError when something with this name exists; DataError when it can't be written.
 */
export function writeLabels(file: string, groups: ReadonlyMap<string, readonly string[]>): void {
  const lines = [...groups].flatMap(([label, images]) =>
    images.map((image) => `${csvField(image)},${csvField(label)}`),
  );
  writeLines(file, ['image,label', ...lines]);
}

function writeLines(file: string, lines: readonly string[]): void {
  let fd: number | undefined;
  try {
    mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
    fd = openSync(file, 'wx'); // replaces neither an existing file, nor what a link leads to
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    fsyncSync(fd);
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw taken(file);
    if (fd !== undefined) {
      closeSync(fd);
      rmSync(file, { force: true });
    }
    throw new DataError(`${file} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

/** @throws DataError when an image may not be copied or linked. */
function checkImage(image: string, how: 'copy' | 'link', within: string | undefined): void {
  if (how === 'copy') {
    imageWithin(within ?? path.parse(path.resolve(image)).root, image);
  } else if (within !== undefined && !isBelow(within, image)) {
    throw new DataError(
      `${image} is not linked to: it lies outside ${within}, the folder of the index's images`,
    );
  }
}

const imageGroups = being(
  'an object of lists of paths, by the name of their folder',
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((list) => paths.safeParse(list).success),
);
const putOptions = optionsOf<PutOptions>(
  { folder: filePath, how: oneOf(['copy', 'link']) },
  { within: filePath },
);

/**
 * Copies or links images into a folder, a folder per group. Names begin with the image's position in its group, so that a
 * listing keeps their order and equal names don't collide.
 *
 * @returns How many.
 * @throws ConfigError when the folder is not empty, or a group's name can't be a folder's; DataError when an image lies in a
 *   shard or outside `within`, or a file can't be made; files made until then stay.
 */
export function putImages(groups: ImageGroups, options: PutOptions): number {
  checkCall('putImages()', ['groups', imageGroups, groups], ['options', putOptions, options]);
  const { folder, how, within } = options;
  checkPutFolder(folder);
  const entries = entriesOf(groups);
  for (const [name, images] of entries) {
    if (name !== '' && !labelSchema.safeParse(name).success)
      throw new ConfigError(`${JSON.stringify(name)} can't be the name of a folder`);
    for (const image of images) checkImage(image, how, within);
  }
  let count = 0;
  for (const [name, images] of entries) {
    const into = path.join(folder, name);
    const digits = String(images.length).length;
    try {
      mkdirSync(into, { recursive: true });
      images.forEach((image, i) => {
        const place = path.join(into, `${String(i + 1).padStart(digits, '0')} ${path.basename(image)}`);
        if (how === 'copy') copyFileSync(image, place, constants.COPYFILE_EXCL);
        else symlinkSync(path.resolve(image), place);
        count++;
      });
    } catch (error) {
      throw new DataError(`${into} can't be filled: ${(error as Error).message}`, { cause: error });
    }
  }
  return count;
}

/** Rows of the images of a list or folder; how many of them the index doesn't have. */
export async function rowsOfList(
  index: ImageIndex,
  source: string,
): Promise<{ rows: number[]; unknown: number }> {
  const rows = new Set<number>();
  let unknown = 0;
  for (const { path: file } of (await listImages(source)).items) {
    const row = index.rowOf(file);
    if (row === null) unknown++;
    else rows.add(row);
  }
  return { rows: [...rows], unknown };
}
