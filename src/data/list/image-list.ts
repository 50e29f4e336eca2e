/** What listImages() gives, and what it takes. */
import type { ImageItems } from './image-items.js';

export interface ImageList {
  items: ImageItems;
  /** Names of the classes, in the order of the labels; null when the source has none. */
  classes: string[] | null;
  /** A hash over the paths relative to the root, and their labels: tells whether a data set is the same one. */
  fingerprint: string;
  /** The folder that paths are relative to, absolute. */
  root: string;
  /** What listImages() was given, absolute: it lists the same again. */
  source: string;
  /** Folders and parts of shards that could not be read, with the reason; their images are missing from the list. */
  unreadable: UnreadablePlace[];
}

export interface UnreadablePlace {
  /** A folder or a shard. */
  path: string;
  /** Of a shard: where, in bytes from its start. */
  offset?: number;
  reason: string;
}

/** An unreadable place among images that were skipped. */
export const skippedPlace = ({ path: place, offset, reason }: UnreadablePlace) => ({
  path: place,
  reason: offset === undefined ? reason : `at byte ${offset}: ${reason}`,
});

export interface ListOptions {
  /** Called for each shard that is looked through because it isn't in the index yet. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /**
   * Whether a file or folder may be read, by its path with all links followed; the source itself is not asked about. What
   * may not is left out, unopened, and told of in `unreadable`. Default: what this process may, src/files/read-below.ts.
   */
  mayRead?: ((real: string) => boolean) | null | undefined;
}
