/** What has to be done to bring an index up to date: which images stay, which are embedded, which leave it. */
import { realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { ImageItem, ImageList } from '../data/index.js';
import { shardOf } from '../data/read/shard-path.js';
import { ConfigError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { type IndexedImage, type IndexManifest, nameBelow, readIndexedImages } from './index-format.js';
import { freeName } from '../files/new-places.js';
import { RealPlaces } from './real-places.js';

interface Stamp {
  /** -1 when it is unknown. */
  bytes: number;
  mtime: number;
}

/** Size and time of an image's file, or of the shard that it lies in. */
export function stampOf(file: string): Stamp {
  try {
    const { size, mtimeMs } = statSync(shardOf(file) ?? file);
    return { bytes: size, mtime: mtimeMs };
  } catch {
    return { bytes: -1, mtime: -1 }; // missing, or a circle of links: reported when it is read
  }
}

/** Whether a file is surely in the state that an index knows. */
const isUnchanged = (before: Stamp, now: Stamp): boolean =>
  now.bytes >= 0 && before.bytes === now.bytes && before.mtime === now.mtime;

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
    return listed.has(file) && image.bytes >= 0 && stampOf(file).bytes === image.bytes;
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
  /** Entries of the list that name an image again, by the name that it has in the index or by one that links lead from. */
  repeated: { path: string; as: string }[];
}

/** What has to be done, given the images that exist and those that are indexed. */
export function planOf(list: ImageList, old: { root: string; images: readonly IndexedImage[] } | null): Plan {
  const known = new Map(
    (old?.images ?? []).map((image, row) => [path.resolve(old!.root, image.path), { image, row }]),
  );
  const kept: Plan['kept'] = [];
  const fresh: Plan['fresh'] = [];
  const repeated: Plan['repeated'] = [];
  const places = new RealPlaces();
  const seen = new Map<string, string>();
  for (const item of list.items) {
    // two rows of one file would be copies of one another, of which one could be deleted
    const place = places.of(item.path);
    const as = seen.get(place);
    if (as !== undefined) {
      repeated.push({ path: item.path, as });
      continue;
    }
    seen.set(place, item.path);
    const label = item.label === null ? null : list.classes![item.label]!;
    const stamp = stampOf(item.path);
    const before = known.get(item.path);
    if (before !== undefined && isUnchanged(before.image, stamp)) {
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

/** The lines on entries that name an image again. */
export function repeatedLines(source: string, repeated: Plan['repeated']): string[] {
  const same = repeated.filter(({ path: file, as }) => file === as);
  const linked = repeated.filter(({ path: file, as }) => file !== as);
  const line = (
    those: Plan['repeated'],
    [one, several]: [string, string],
    example: (of: typeof those) => string,
  ) =>
    those.length === 0
      ? []
      : [
          `${printable(source)}: ${those.length} ${those.length === 1 ? `entry ${one}` : `entries ${several}`} that the list ` +
            `already has (${example(those)}${those.length === 1 ? '' : `, and ${those.length - 1} more`}): each image counts once`,
        ];
  return [
    ...line(same, ['names an image', 'name images'], ([first]) => printable(first!.path)),
    ...line(
      linked,
      ['leads by links to an image', 'lead by links to images'],
      ([first]) => `${printable(first!.path)} is ${printable(first!.as)}`,
    ),
  ];
}
