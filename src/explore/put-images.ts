/** Results as a list of paths, or as a folder of copies or links. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { being, checkCall, filePath, oneOf, optionsOf, paths } from '../check-options.js';
import { listImages } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import type { ImageIndex } from './image-index.js';

export interface PutOptions {
  /** A new or empty folder. */
  folder: string;
  /** `copy`: the files. `link`: symbolic links to them. */
  how: 'copy' | 'link';
}

/** Images under the name of the folder they go to; '' for the folder itself. */
export type ImageGroups = Readonly<Record<string, readonly string[]>>;

/** Writes one path a line: what `dino train`, `dino embed` and `dino index` take as a list of images. */
export function writeList(file: string, images: readonly string[]): void {
  checkCall('writeList()', ['file', filePath, file], ['images', paths, images]);
  try {
    mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
    writeFileWhole(file, images.map((image) => `${image}\n`).join(''));
  } catch (error) {
    throw new DataError(`${file} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

/** @throws ConfigError when the folder is there and holds something. */
export function checkPutFolder(folder: string): void {
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new ConfigError(`${folder} is not empty: give a new folder, nothing in it is overwritten`);
}

const imageGroups = being(
  'an object of lists of paths, by the name of their folder',
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((list) => paths.safeParse(list).success),
);
const putOptions = optionsOf<PutOptions>({ folder: filePath, how: oneOf(['copy', 'link']) }, {});

/**
 * Copies or links images into a folder, a folder a group. Names begin with the image's place in its group, so that a
 * listing has their order and two of one name don't meet.
 *
 * @returns How many.
 * @throws ConfigError when the folder holds something; DataError when an image lies in a shard or a file can't be made.
 */
export function putImages(groups: ImageGroups, options: PutOptions): number {
  checkCall('putImages()', ['groups', imageGroups, groups], ['options', putOptions, options]);
  const { folder, how } = options;
  checkPutFolder(folder);
  let count = 0;
  for (const [name, images] of Object.entries(groups)) {
    const into = path.join(folder, name);
    const digits = String(images.length).length;
    try {
      mkdirSync(into, { recursive: true });
      images.forEach((image, i) => {
        const place = path.join(into, `${String(i + 1).padStart(digits, '0')} ${path.basename(image)}`);
        if (how === 'copy') copyFileSync(image, place);
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
