/** The files of an earlier web export, in a folder that may be somebody else's: its manifest and its links may say anything. */
import { existsSync, lstatSync, readdirSync, type Stats } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { DataError } from '../../errors.js';
import { kindOf, readGuarded, refuseLinks, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { isBelow } from '../../files/read-below.js';
import { systemReason } from '../../files/system-reason.js';
import { printable } from '../../plain/printable.js';

const name = z.string().refine((text) => !text.includes('\0'));
const earlierSchema = z.object({ format: z.literal('dino-web'), files: z.array(name) });

/**
 * The files that an earlier export wrote, or may have written before it broke off, below the folder.
 * @param manifest - The name of the file that lists them.
 * @throws DataError for a folder that holds something else, or where one of them is reached through a link or is a folder.
 */
export function earlierFiles(folder: string, manifest: string): string[] {
  if (!existsSync(folder) || readdirSync(folder).length === 0) return [];
  const root = path.resolve(folder);
  let listed: string[];
  try {
    const bytes = readGuarded(path.join(root, manifest), { within: root, maxBytes: SMALL_FILE_BYTES });
    listed = earlierSchema.parse(JSON.parse(bytes.toString('utf8'))).files;
  } catch (error) {
    throw new DataError(
      `${printable(folder)} is not empty and is not an earlier export (it has no ${manifest} of ours): give a new --output`,
      { cause: error },
    );
  }
  const files = listed
    .map((name) => path.relative(root, path.resolve(root, name)))
    .filter((name) => name !== '' && isBelow(root, path.join(root, name)));
  checkPlaces(root, files);
  return files;
}

/**
 * Checks that each of these files can be written or deleted without leaving the folder.
 * @param root - Absolute.
 * @throws DataError for a link on the way, or anything there but a file. (A link in a file's own place is replaced itself.)
 */
export function checkPlaces(root: string, names: readonly string[]): void {
  const folders = new Set<string>([root]);
  for (const name of names) {
    const place = path.join(root, name);
    let at = root;
    for (const part of path.relative(root, place).split(path.sep)) {
      at = path.join(at, part);
      if (folders.has(at) && at !== place) continue;
      const stat = statOf(at);
      if (stat === undefined) break;
      const isFile = at === place;
      if (isFile && (stat.isFile() || stat.isSymbolicLink())) break;
      if (stat.isSymbolicLink()) refuseLinks(root, at);
      if (isFile || !stat.isDirectory())
        throw new DataError(
          `${printable(at)} is ${kindOf(stat)}, and the export in ${printable(root)} has a ${isFile ? 'file' : 'folder'} there: move it away`,
        );
      folders.add(at);
    }
  }
}

function statOf(place: string): Stats | undefined {
  try {
    return lstatSync(place, { throwIfNoEntry: false });
  } catch (error) {
    throw new DataError(`${printable(place)} can't be opened: ${systemReason(error)}`, { cause: error });
  }
}
