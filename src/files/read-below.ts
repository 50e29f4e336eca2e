/**
 * Where this process may read. Anywhere, as a rule: whoever runs a command may read what they may. A process that works for
 * the studio reads below the folders that the studio was given, whatever links, lists and settings name: the variable
 * DINO_READ_BELOW of its environment, which its threads and its own child processes inherit, holds them as a JSON list of
 * absolute paths with links followed. Everything that opens a file of a stranger's folder asks here first
 * (src/files/guarded.ts, src/data).
 */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const VARIABLE = 'DINO_READ_BELOW';
/** What belongs to this package is no stranger's. */
const PACKAGE = realpathSync(fileURLToPath(new URL('../..', import.meta.url)));

export const OUTSIDE = 'leads outside the folders that may be read';

/** Whether a path is a folder or lies below it; both absolute, links followed. */
export function isBelow(folder: string, place: string): boolean {
  const relative = path.relative(folder, place);
  return relative === '' || (relative.split(path.sep)[0] !== '..' && !path.isAbsolute(relative));
}

/** The environment of a process that may read below these folders alone; they are absolute, links followed. */
export const readBelow = (folders: readonly string[]): Record<string, string> => ({
  [VARIABLE]: JSON.stringify(folders),
});

let parsed: { text: string; folders: string[] } | null = null;

/** The folders below which this process may read; null for anywhere. */
function allowed(): readonly string[] | null {
  const text = process.env[VARIABLE];
  if (text === undefined || text === '') return null;
  if (parsed?.text !== text) parsed = { text, folders: JSON.parse(text) as string[] };
  return parsed.folders;
}

/** Lets this process read a folder that it has made itself, and all below it. */
export function alsoReadBelow(folder: string): void {
  const folders = allowed();
  if (folders !== null) Object.assign(process.env, readBelow([...folders, realpathSync(folder)]));
}

/** Whether this process may read a file or folder, by its path with all links followed; null when it may read anything. */
export function mayReadHere(): ((real: string) => boolean) | null {
  const folders = allowed();
  return folders === null ? null : (real) => [...folders, PACKAGE].some((folder) => isBelow(folder, real));
}

/** Whether a path, its links followed, leads where this process may not read. What isn't there is told by whoever opens it. */
export function leadsOutside(file: string): boolean {
  const mayRead = mayReadHere();
  if (mayRead === null) return false;
  try {
    return !mayRead(realpathSync.native(file));
  } catch {
    return false;
  }
}
