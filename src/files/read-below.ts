/**
 * Where this process may read. Normally anywhere: a command may read what its user may read. A process that works for the
 * studio reads only below the folders that the studio was given, whatever links, lists and settings name. Its environment
 * variable DINO_READ_BELOW, which its threads and child processes inherit, holds these folders as a JSON list of absolute
 * paths with links resolved. Everything that opens a file of an untrusted folder asks here first (src/files/guarded.ts,
 * src/data).
 */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const VARIABLE = 'DINO_READ_BELOW';
/** This package's own files are always trusted. */
const PACKAGE = realpathSync(fileURLToPath(new URL('../..', import.meta.url)));

export const OUTSIDE = 'leads outside the folders that may be read';

/** Whether a path is the folder itself or below it; both absolute, with links resolved. */
export function isBelow(folder: string, place: string): boolean {
  const relative = path.relative(folder, place);
  return relative === '' || (relative.split(path.sep)[0] !== '..' && !path.isAbsolute(relative));
}

/** The environment for a process that may read only below these folders, which are absolute, with links resolved. */
export const readBelow = (folders: readonly string[]): Record<string, string> => ({
  [VARIABLE]: JSON.stringify(folders),
});

let parsed: { text: string; folders: string[] } | null = null;

/** The folders below which this process may read; null if it may read anywhere. */
function allowed(): readonly string[] | null {
  const text = process.env[VARIABLE];
  if (text === undefined || text === '') return null;
  if (parsed?.text !== text) parsed = { text, folders: JSON.parse(text) as string[] };
  return parsed.folders;
}

/** Also lets this process read a folder that it has made itself, and everything below it. */
export function alsoReadBelow(folder: string): void {
  const folders = allowed();
  if (folders !== null) Object.assign(process.env, readBelow([...folders, realpathSync(folder)]));
}

/** A test of whether this process may read a path with all links resolved; null when it may read anything. */
export function mayReadHere(): ((real: string) => boolean) | null {
  const folders = allowed();
  return folders === null ? null : (real) => [...folders, PACKAGE].some((folder) => isBelow(folder, real));
}

/** Whether a path, with links resolved, leads where this process may not read. False if it doesn't exist: opening it fails. */
export function leadsOutside(file: string): boolean {
  const mayRead = mayReadHere();
  if (mayRead === null) return false;
  try {
    return !mayRead(realpathSync.native(file));
  } catch {
    return false;
  }
}
