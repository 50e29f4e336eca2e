/** Which files of a folder are an index of ours: dino index may have been told to put it among the images. */
import { closeSync, readSync } from 'node:fs';
import path from 'node:path';
import { openToRead } from '../../files/guarded.js';

/** The files of an index beside its index.json, and traces of one whose writing was interrupted. */
export const INDEX_FILE =
  /^(lock(\.(new|after)-[0-9a-f-]+)?|labels\.jsonl|\.index\.json\..*|(images|skipped|features|vectors|transform|map)-\d+\..*)$/;
export const INDEX_MANIFEST = 'index.json';

/** How every index.json of ours begins. */
const START = /^\{\s*"format":\s*"dino-index"/;
/** Far more than an index.json may have: of a large one only the start is read. */
const MAX_BYTES = 2 ** 30;

/** The names in a folder that are an index's files; none where its index.json isn't ours, or can't be read. */
export function ownIndexFiles(folder: string, names: readonly string[]): ReadonlySet<string> {
  if (!names.includes(INDEX_MANIFEST)) return new Set();
  try {
    const { fd } = openToRead(path.join(folder, INDEX_MANIFEST), { maxBytes: MAX_BYTES });
    try {
      const start = Buffer.alloc(64);
      const length = readSync(fd, start, 0, start.length, 0);
      if (!START.test(start.toString('utf8', 0, length))) return new Set();
    } finally {
      closeSync(fd);
    }
  } catch {
    return new Set();
  }
  return new Set(names.filter((name) => name === INDEX_MANIFEST || INDEX_FILE.test(name)));
}
