/** What has to be done to bring an index up to date: which images stay, which are embedded, which leave it. */
import { existsSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { ImageItem, ImageList } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { type IndexedImage, type IndexManifest, nameBelow, readIndexedImages } from './index-format.js';
import { freeName } from '../files/new-places.js';

interface Stamp {
  bytes: number;
  mtime: number;
}

/** Size and time of an image's file, or of the shard that it lies in. */
function stampOf(file: string): Stamp {
  const place = existsSync(file) ? file : file.split('::')[0]!;
  try {
    const { size, mtimeMs } = statSync(place);
    return { bytes: size, mtime: mtimeMs };
  } catch {
    return { bytes: -1, mtime: -1 }; // missing, or a circle of links: reported when it is read
  }
}

/** The folder that holds all images: that of the list, or, when a list names images elsewhere, one above them all. */
export function rootOf({ root, items }: ImageList): string {
  let common = root;
  for (const { path: file } of items)
    while (!file.startsWith(common.endsWith(path.sep) ? common : common + path.sep)) {
      if (path.dirname(common) === common) return common;
      common = path.dirname(common);
    }
  return common;
}

/**
 * Whether an index is surely one of other images than those of a folder or list: its own are named otherwise and still there.
 */
export function isOfOthers({ images }: IndexManifest, source: string): boolean {
  const [own, given] = [path.resolve(images.source), path.resolve(source)];
  if (own === given) return false;
  try {
    return realpathSync(own) !== realpathSync(given);
  } catch {
    return false; // moved, or a pattern of shards
  }
}

/** Whether most of an index's images are in a list, if their names are relative to this root. */
function hasMost(list: ImageList, images: readonly IndexedImage[], root: string): boolean {
  const listed = new Set<string>();
  for (const { path: file } of list.items) listed.add(file);
  const found = images.filter((image) => {
    const file = path.resolve(root, image.path);
    return listed.has(file) && stampOf(file).bytes === image.bytes;
  });
  return 2 * found.length > images.length;
}

/**
 * The root that the names in an index are relative to now: another than when it was made, if its images were moved.
 * @throws ConfigError when it is the index of other images: what is known of its own, as labels, would become theirs.
 */
export function rootNow(folder: string, old: IndexManifest, list: ImageList): string {
  const { source, root } = old.images;
  if (path.resolve(source) === list.source) return root;
  if (!isOfOthers(old, list.source)) {
    const images = readIndexedImages(folder, old);
    for (const place of [root, list.root]) if (hasMost(list, images, place)) return place;
  }
  throw new ConfigError(
    `${printable(folder)} is the index of ${printable(source)}, not of ${printable(list.source)}: an index is brought up to ` +
      `date, never replaced. Give another --output, ${printable(freeName(folder))} is not taken`,
  );
}

export interface Plan {
  /** The images that stay, with their rows in the old index. */
  kept: { image: IndexedImage; row: number }[];
  /** Images to embed; `before` when the index had another state of the file. */
  fresh: (Stamp & { item: ImageItem; label: string | null; before: boolean })[];
  /** What leaves the index: missing images, and old states of changed ones. */
  removed: IndexedImage[];
  /** Entries of the list that name an image again. */
  repeated: string[];
}

/** What has to be done, given the images that exist and those that are indexed. */
export function planOf(list: ImageList, old: { root: string; images: readonly IndexedImage[] } | null): Plan {
  const known = new Map(
    (old?.images ?? []).map((image, row) => [path.resolve(old!.root, image.path), { image, row }]),
  );
  const kept: Plan['kept'] = [];
  const fresh: Plan['fresh'] = [];
  const repeated: string[] = [];
  const seen = new Set<string>();
  for (const item of list.items) {
    // two rows of one file would be copies of one another, of which one could be deleted
    if (seen.has(item.path)) {
      repeated.push(item.path);
      continue;
    }
    seen.add(item.path);
    const label = item.label === null ? null : list.classes![item.label]!;
    const stamp = stampOf(item.path);
    const before = known.get(item.path);
    if (before?.image.bytes === stamp.bytes && before.image.mtime === stamp.mtime) {
      kept.push({
        row: before.row,
        image: { ...before.image, path: nameBelow(list.root, item.path), label },
      });
      continue;
    }
    fresh.push({ item, label, ...stamp, before: before !== undefined });
  }
  kept.sort((a, b) => a.row - b.row);
  const keptIds = new Set(kept.map(({ image }) => image.id));
  const removed = (old?.images ?? []).filter(({ id }) => !keptIds.has(id));
  return { kept, fresh, removed, repeated };
}

/** The line on entries that name an image again. */
export function repeatedLine(source: string, repeated: readonly string[]): string[] {
  const [first] = repeated;
  if (first === undefined) return [];
  const { length } = repeated;
  return [
    `${printable(source)}: ${length} ${length === 1 ? 'entry names an image' : 'entries name images'} that the list already ` +
      `has (${printable(first)}${length === 1 ? '' : `, and ${length - 1} more`}): each image counts once`,
  ];
}
