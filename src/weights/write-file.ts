/** Writing a file of weights so that it is whole or not there: beside first, flushed, then renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { CheckpointError } from '../errors.js';

/** The largest part that one write call takes. */
const MAX_PART_BYTES = 2 ** 30;

function writeFully(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, Math.min(MAX_PART_BYTES, bytes.length - done));
  }
}

/** Makes a rename last through a power cut; not every file system lets a folder be opened. */
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
 * Writes a file by parts.
 *
 * @param fill - Gets a function that takes the next bytes.
 * @throws CheckpointError when the disk is full or the folder is not writable; an older `file` is then untouched.
 */
export function writeWhole(file: string, fill: (write: (bytes: Uint8Array) => void) => void): void {
  const partial = `${file}.partial-${process.pid}`;
  let fd: number | undefined;
  try {
    const out = openSync(partial, 'w');
    fd = out;
    fill((bytes) => writeFully(out, bytes));
    fsyncSync(fd);
    closeSync(fd);
    fd = undefined;
    renameSync(partial, file);
    syncFolder(path.dirname(file));
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    rmSync(partial, { force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined || error instanceof CheckpointError) throw error;
    const advice = code === 'ENOSPC' ? ': the disk is full; free some space' : '';
    throw new CheckpointError(`${file} can't be written: ${(error as Error).message}${advice}`, {
      cause: error,
    });
  }
}
