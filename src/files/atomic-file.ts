/** Files that are either complete or absent: written under a temporary name next to the final one, then renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { DataError, DinoError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { type Failure, refuseLinks } from './guarded.js';
import { systemReason } from './system-reason.js';

/** The most bytes that one write call is given. */
const MAX_PART_BYTES = 2 ** 30;

export interface WriteOptions {
  /** Make the file survive a power cut (default). Turn it off to write a file that can be made again faster. */
  flush?: boolean;
  /** What is thrown when the disk is full or the folder is not writable: DataError by default. */
  failure?: Failure;
  /** An untrusted run or index folder: a link below it, on the way to the file, is refused. */
  within?: string | undefined;
}

function writeFully(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, Math.min(MAX_PART_BYTES, bytes.length - done));
  }
}

/** Makes a rename survive a power cut, where the file system allows a folder to be opened. */
export function syncFolder(folder: string): void {
  try {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // the rename itself has succeeded
  }
}

/**
 * Writes a file in parts.
 *
 * @param fill - Receives a function that writes the next bytes; what it throws is passed on.
 * @throws `options.failure`; an existing `file` is then unchanged.
 */
export function writeWhole(
  file: string,
  fill: (write: (bytes: Uint8Array) => void) => void,
  options: WriteOptions = {},
): void {
  const { flush = true, failure = DataError, within } = options;
  if (within !== undefined) refuseLinks(within, path.dirname(file), failure);
  const partial = `${file}.partial-${process.pid}`; // two processes may write one file
  let fd: number | undefined;
  try {
    rmSync(partial, { force: true });
    const out = openSync(partial, 'wx'); // fails if it exists: never write through a link planted there
    fd = out;
    fill((bytes) => writeFully(out, bytes));
    if (flush) fsyncSync(fd);
    closeSync(fd);
    fd = undefined;
    renameSync(partial, file);
    if (flush) syncFolder(path.dirname(file));
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    try {
      rmSync(partial, { force: true });
    } catch {
      // its folder is not one: the error below says so
    }
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof DinoError || code === undefined) throw error;
    throw new failure(`${printable(file)} can't be written: ${systemReason(error, partial)}`, {
      cause: error,
    });
  }
}

/** Writes a whole text or array, see writeWhole(). */
export function writeFileWhole(file: string, content: string | Uint8Array, options?: WriteOptions): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  writeWhole(file, (write) => write(bytes), options);
}
