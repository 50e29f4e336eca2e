/** Why the system refused to open, make or write something, and what to do about it. */
import { accessSync, constants, lstatSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf, printable } from '../plain/printable.js';

/** How many files this process may have open; null where the system doesn't say. */
function openFilesLimit(): string | null {
  try {
    return /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? null;
  } catch {
    return null; // not Linux, or no more files can be opened
  }
}
// read at start, before the limit is reached, because reading it opens a file
const FILES_LIMIT = openFilesLimit();

const ADVICE: Readonly<Record<string, () => string>> = {
  ENOSPC: () => 'the disk is full; free some space',
  EDQUOT: () => 'the disk quota is used up; free some space',
  EROFS: () => 'the disk is read-only; choose one that can be written to',
  EMFILE: () =>
    `too many open files${FILES_LIMIT === null ? '' : ` (limit ${FILES_LIMIT})`}: raise it with ulimit -n`,
  ENFILE: () => 'the system has too many open files: close other programs, or raise its limit',
};

/**
 * The system's own message on one line, followed by advice where there is some.
 * @param temporary - A file that stands for the one that the message names already: what names it is left out.
 */
export function systemReason(error: unknown, temporary?: string): string {
  const { code, path: at, dest, syscall } = error as NodeJS.ErrnoException & { dest?: string };
  let message = messageOf(error);
  if (temporary !== undefined && at === temporary) {
    const call = printable(`, ${syscall} '${at}'${dest === undefined ? '' : ` -> '${dest}'`}`);
    message = message.replace(call, '');
  }
  const advice = ADVICE[code ?? '']?.();
  return advice === undefined ? message : `${message}: ${advice}`;
}

/**
 * Why a folder can't be made. A recursive mkdir() reports ENOENT whatever was wrong with a parent; the nearest existing
 * parent gives the real reason.
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
