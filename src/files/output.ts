/** Where a command will write, looked at before its work begins: hours of work must not end with a missing folder. */
import { accessSync, constants, mkdirSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { type Failure, statIfThere } from './guarded.js';
import { folderReason, systemReason } from './system-reason.js';

/** @returns Why a folder can't be made or written to; null when it can. Nothing is made. */
function obstacle(folder: string): string | null {
  try {
    // the nearest that is there: what is below it can be made
    for (let at = path.resolve(folder); ; at = path.dirname(at)) {
      const stat = statIfThere(at);
      if (stat === undefined && at !== path.dirname(at)) continue;
      if (stat?.isDirectory() !== true) return `${printable(at)} is a file, and not a folder`;
      accessSync(at, constants.W_OK | constants.X_OK);
      return null;
    }
  } catch (error) {
    return systemReason(error);
  }
}

/**
 * Looks whether a file can be written, which is done later; makeFolderOf() makes its folder then.
 *
 * @throws `failure` (DataError by default) when the file is a folder or something else than a regular file, or its folder
 *   can't be made or written to.
 */
export function assertWritable(file: string, failure: Failure = DataError): void {
  const refuse = (what: string): never => {
    throw new failure(`${printable(file)} can't be written: ${what}`);
  };
  if (/[\\/]$/.test(file)) refuse('it ends as a folder does; give the name of a file');
  const why = obstacle(path.dirname(path.resolve(file)));
  if (why !== null) refuse(why);
  const stat = statIfThere(file);
  if (stat?.isDirectory() === true) refuse('there is a folder of this name; give the name of a file');
  if (stat !== undefined && !stat.isFile()) refuse('what is there is not a regular file');
}

/** The same for a folder that will be made and written into. */
export function assertWritableFolder(folder: string, failure: Failure = DataError): void {
  const why = obstacle(folder);
  if (why !== null) throw new failure(`the folder ${printable(folder)} can't be written: ${why}`);
}

/** Makes the folder of a file. @throws `failure` when it can't be made. */
export function makeFolderOf(file: string, failure: Failure = DataError): void {
  const folder = path.dirname(path.resolve(file));
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const why = folderReason(error, folder);
    throw new failure(`${printable(file)} can't be written: ${why}`, { cause: error });
  }
}
