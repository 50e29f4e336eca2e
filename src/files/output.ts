/** Where a command will write, looked at before its work begins: hours of work must not end with a missing folder. */
import { accessSync, constants, mkdirSync, rmdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import { printable } from '../printable.js';
import type { Failure } from './guarded.js';
import { folderReason } from './system-reason.js';

/**
 * Makes the folder of a file that will be written, and looks whether it can be.
 *
 * @throws `failure` (DataError by default) when the file is a folder or something else than a regular file, or its folder
 *   can't be made or written to.
 */
export function assertWritable(file: string, failure: Failure = DataError): void {
  const folder = path.dirname(path.resolve(file));
  const refuse = (what: string, cause?: unknown): never => {
    throw new failure(`${printable(file)} can't be written: ${what}`, { cause });
  };
  if (file.endsWith('/') || file.endsWith(path.sep))
    refuse('it ends as a folder does; expected the name of a file');
  let stat;
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK | constants.X_OK);
    stat = statSync(file, { throwIfNoEntry: false });
  } catch (error) {
    refuse(folderReason(error, folder), error);
  }
  if (stat?.isDirectory() === true) refuse('there is a folder of this name; give the name of a file');
  if (stat !== undefined && !stat.isFile()) refuse('what is there is not a regular file');
}

/**
 * Looks whether a folder can be made and written into. One that wasn't there isn't afterwards either: what is refused
 * later leaves nothing behind.
 */
export function assertWritableFolder(folder: string, failure: Failure = DataError): void {
  const whole = path.resolve(folder);
  try {
    const first = mkdirSync(whole, { recursive: true });
    try {
      accessSync(whole, constants.W_OK | constants.X_OK);
    } finally {
      if (first !== undefined) removeEmpty(whole, path.dirname(first));
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what =
      code === 'EEXIST' || code === 'ENOTDIR' ? 'there is a file in its place' : folderReason(error, folder);
    throw new failure(`the folder ${printable(folder)} can't be written: ${what}`, { cause: error });
  }
}

/** Removes a folder and those around it, as far as `upTo`, which stays; not one that somebody uses by now. */
function removeEmpty(folder: string, upTo: string): void {
  try {
    for (let at = folder; at !== upTo; at = path.dirname(at)) rmdirSync(at);
  } catch {
    // another process has put something there
  }
}
