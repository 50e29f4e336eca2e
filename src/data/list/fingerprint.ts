/** What identifies a list of images. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ImageItems } from './image-items.js';

/** SHA-256 of the names relative to a folder, and of the labels. */
export function fingerprintOf(items: ImageItems, root: string): string {
  const hash = createHash('sha256');
  const folder = root.endsWith(path.sep) ? root : root + path.sep;
  let text = '';
  for (const { path: name, label } of items) {
    // path.relative would take most of the time of a large list
    text += `${name.startsWith(folder) ? name.slice(folder.length) : path.relative(root, name)}\0${label}\n`;
    if (text.length > 65536) {
      hash.update(text);
      text = '';
    }
  }
  return hash.update(text).digest('hex');
}
