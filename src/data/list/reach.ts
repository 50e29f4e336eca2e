/** Which files of a list may be read, where someone else names them. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { OUTSIDE } from '../../files/read-below.js';
import type { UnreadablePlace } from './image-list.js';

/** Says of a place with all links followed whether it may be read; null where all may. */
export type MayRead = ((real: string) => boolean) | null;

/** Whether a path may be read, by where its links lead; if it does not exist, whether its nearest existing folder may be. */
export async function isWithin(place: string, mayRead: (real: string) => boolean): Promise<boolean> {
  for (let at = place; ; at = path.dirname(at)) {
    try {
      return mayRead(await realpath(at));
    } catch {
      if (path.dirname(at) === at) return false;
    }
  }
}

/** Splits files into those that may be read and the others. */
export async function withinReach(
  files: readonly string[],
  mayRead: MayRead,
): Promise<{ allowed: string[]; unreadable: UnreadablePlace[] }> {
  const isAllowed = await Promise.all(files.map(async (file) => mayRead === null || isWithin(file, mayRead)));
  return {
    allowed: files.filter((_, i) => isAllowed[i]),
    unreadable: files.filter((_, i) => !isAllowed[i]).map((file) => ({ path: file, reason: OUTSIDE })),
  };
}
