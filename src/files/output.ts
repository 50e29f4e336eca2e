/** Checks where a command will write before its work begins: hours of work must not end at a missing folder. */
import { accessSync, constants, mkdirSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { type Failure, statIfThere } from './guarded.js';
import { folderReason, systemReason } from './system-reason.js';

/** @returns Why a folder can't be made or written to; null when it can. Creates nothing. */
function obstacle(folder: string): string | null {
  try {
    // the nearest existing parent: what is below it can be made
    for (let at = path.resolve(folder); ; at = path.dirname(at)) {
      const stat = statIfThere(at);
      if (stat === undefined && at !== path.dirname(at)) continue;
      if (stat?.isDirectory() !== true) return `${printable(at)} is a file, not a folder`;
      accessSync(at, constants.W_OK | constants.X_OK);
      return null;
    }
  } catch (error) {
    return systemReason(error);
  }
}

/**
 * Checks that a file can be written later, when makeFolderOf() makes its folder.
 *
 * @throws `failure` (DataError by default) when the path is a folder or any other non-regular file, or its folder can't be
 *   made or written to.
 */
export function assertWritable(file: string, failure: Failure = DataError): void {
  const refuse = (what: string): never => {
    throw new failure(`${printable(file)} can't be written: ${what}`);
  };
  if (/[\\/]$/.test(file)) refuse('it ends like a folder; give the name of a file');
  const why = obstacle(path.dirname(path.resolve(file)));
  if (why !== null) refuse(why);
  const stat = statIfThere(file);
  if (stat?.isDirectory() === true) refuse('it is a folder; give the name of a file');
  if (stat !== undefined && !stat.isFile()) refuse('it exists and is not a regular file');
}

/** The same for a folder that will be made and written to. */
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
