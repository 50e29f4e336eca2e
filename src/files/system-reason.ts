/** Why the system refused to open, make or write something, in words that say what to do. */
import { accessSync, constants, lstatSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '../plain/printable.js';

/** How many files this process may have open; null where the system doesn't tell. */
function openFilesLimit(): string | null {
  try {
    return /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? null;
  } catch {
    return null; // not Linux; or not one more file can be opened
  }
}
// asked before the limit is reached: asking opens a file
const FILES_LIMIT = openFilesLimit();

const ADVICE: Readonly<Record<string, () => string>> = {
  ENOSPC: () => 'the disk is full; free some space',
  EDQUOT: () => 'the disk quota is used up; free some space',
  EROFS: () => 'the disk is read-only; choose a place that can be written',
  EMFILE: () =>
    `too many open files${FILES_LIMIT === null ? '' : ` (limit ${FILES_LIMIT})`}: raise it with ulimit -n`,
  ENFILE: () => 'the system has too many open files: end other programs, or raise its limit',
};

/** The system's own words on one line, and what to do where they don't say it. */
export function systemReason(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  const advice = ADVICE[code ?? '']?.();
  return advice === undefined ? messageOf(error) : `${messageOf(error)}: ${advice}`;
}

/**
 * Why a folder can't be made. mkdir() with parents says ENOENT for whatever was wrong with one of them: the nearest that
 * is there tells more.
 */
export function folderReason(error: unknown, folder: string): string {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return systemReason(error);
  let at = path.resolve(folder);
  while (lstatSync(at, { throwIfNoEntry: false }) === undefined && at !== path.dirname(at))
    at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK);
  } catch (nearest) {
    return systemReason(nearest);
  }
  return systemReason(error);
}
