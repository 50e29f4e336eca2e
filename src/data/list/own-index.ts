/** Which files of a folder are an index of ours: dino index may have been told to put it among the images. */
import path from 'node:path';
import { readStart } from '../../files/guarded.js';

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
    const start = readStart(path.join(folder, INDEX_MANIFEST), 64, { maxBytes: MAX_BYTES });
    if (!START.test(start.toString('utf8'))) return new Set();
  } catch {
    return new Set();
  }
  return new Set(names.filter((name) => name === INDEX_MANIFEST || INDEX_FILE.test(name)));
}
