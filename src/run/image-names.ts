/**
 * The names and labels of a run's images, kept in its folder as `images.jsonl.gz`: when the data set has changed, the run can
 * say which files came and went, and an evaluation whether it uses images that the model has seen.
 */
import { statSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { ImageItem, ImageList } from '../data/index.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { readGuarded } from '../files/guarded.js';
import { fewNames } from '../plain/few-names.js';
import { IMAGE_NAMES } from '../plain/run-names.js';
import { readRunConfig } from './run-folder.js';

const namesPath = (run: string): string => path.join(run, IMAGE_NAMES);
const MAX_BYTES = 2 ** 27;
/** Of the text, which a hostile file could make much longer than itself. */
const MAX_TEXT_BYTES = 2 ** 29;
/** Characters that are compressed at a time. */
const PART = 2 ** 23;
/** How many names a message holds of each kind. */
const NAMED = 3;

/** An image's name within its folder or shard, which a folder and the shards made from it have in common. */
function nameIn(root: string, { path: file }: Pick<ImageItem, 'path'>): string {
  const inShard = file.indexOf('::');
  if (inShard !== -1) return file.slice(inShard + 2);
  // path.relative takes long for a million names
  return file.startsWith(root + path.sep) ? file.slice(root.length + 1) : path.relative(root, file);
}

/** Name and label of each image, in their order. */
type Named = [name: string, label: number | null][];

const namesOf = ({ items, root }: ImageList): Named => items.map((item) => [nameIn(root, item), item.label]);

/** @throws DataError when it can't be written. */
export function writeImageNames(run: string, { items, root }: ImageList): void {
  const parts: Buffer[] = [];
  let text = '';
  const compress = (): void => {
    parts.push(gzipSync(text, { level: 1 }));
    text = '';
  };
  for (const item of items) {
    text += `${JSON.stringify([nameIn(root, item), item.label])}\n`;
    if (text.length > PART) compress();
  }
  compress();
  writeFileWhole(namesPath(run), Buffer.concat(parts), { within: run });
}

/** The images that a run was started with; null when its folder doesn't know them (a run of an earlier version). */
function readImageNames(run: string): Named | null {
  try {
    const bytes = readGuarded(namesPath(run), { within: run, maxBytes: MAX_BYTES });
    const lines = gunzipSync(bytes, { maxOutputLength: MAX_TEXT_BYTES }).toString('utf8').split('\n');
    const named: Named = [];
    for (const line of lines) {
      if (line === '') continue;
      const [name, label] = JSON.parse(line) as unknown[];
      if (typeof name !== 'string' || (label !== null && typeof label !== 'number')) return null;
      named.push([name, label]);
    }
    return named;
  } catch {
    return null; // missing or damaged: the message is shorter without it
  }
}

/**
 * Whether an image, a path or `shard.tar::name`, is one of those that a run was trained on, by its place and name. Null where
 * the run's folder doesn't know, or its images are no longer where they were.
 */
export function trainedOn(run: string): ((image: string) => boolean) | null {
  const named = readImageNames(run);
  if (named === null) return null;
  const source = path.resolve(readRunConfig(run).images);
  const found = statSync(source, { throwIfNoEntry: false });
  if (found === undefined) return null;
  const root = found.isDirectory() ? source : path.dirname(source);
  const names = new Set(named.map(([name]) => name));
  return (image) => {
    const inShard = image.indexOf('::');
    // a list may name images anywhere, by their way from its folder
    if (inShard === -1) return names.has(nameIn(root, { path: path.resolve(image) }));
    const file = path.resolve(image.slice(0, inShard));
    return (file === source || file.startsWith(root + path.sep)) && names.has(nameIn(root, { path: image }));
  };
}

/** `3 new (a.jpg, b.jpg, c.jpg)`; null for none. */
function some(names: readonly string[], what: string): string | null {
  if (names.length === 0) return null;
  return `${names.length} ${what} (${fewNames(names, NAMED)})`;
}

/** How the images differ from those that a run was started with, in words. @param count - How many it was started with. */
export function changedImages(run: string, count: number, images: ImageList): string {
  const counts = `${count} images then, ${images.items.length} now`;
  const before = readImageNames(run);
  if (before === null || before.length !== count) return `${counts}; this run did not record their names`;
  const now = namesOf(images);
  const [then, here] = [new Map(before), new Map(now)];
  const came = now.map(([name]) => name).filter((name) => !then.has(name));
  const went = before.map(([name]) => name).filter((name) => !here.has(name));
  const relabelled = now
    .filter(([name, label]) => then.has(name) && then.get(name) !== label)
    .map(([name]) => name);
  const found = [some(came, 'new'), some(went, 'missing')].filter((part) => part !== null);
  if (found.length > 0) return `${counts}: ${found.join(', ')}`;
  const labels = some(relabelled, 'with another label');
  if (labels !== null) return `${counts}: ${labels}`;
  const isReordered = now.some(([name], i) => name !== before[i]?.[0]);
  return `${counts}: the names are the same, but ${isReordered ? 'their order has' : 'the files have'} changed`;
}
