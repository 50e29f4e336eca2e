/** What listImages() takes and returns. */
import { printable } from '../../plain/printable.js';
import type { ImageItems } from './image-items.js';
import type { ListNotes } from './left-out.js';

export interface ImageList extends ListNotes {
  items: ImageItems;
  /** Names of the classes, in the order of the labels; null when the source has none. */
  classes: string[] | null;
  /** A hash of the paths relative to the root and of their labels: identifies the data set. */
  fingerprint: string;
  /** The folder that paths are relative to, absolute. */
  root: string;
  /** The argument of listImages(), absolute: it lists the same images again. */
  source: string;
  /** Folders and parts of shards that could not be read, with the reason; their images are missing from the list. */
  unreadable: UnreadablePlace[];
}

export interface UnreadablePlace {
  /** A folder or a shard. */
  path: string;
  /** In a shard: where, in bytes from its start. */
  offset?: number;
  reason: string;
}

/** An unreadable place as an entry of a list of skipped images. */
export const skippedPlace = ({ path: place, offset, reason }: UnreadablePlace) => ({
  path: place,
  reason: offset === undefined ? reason : `at byte ${offset}: ${reason}`,
});

/** What an error that nothing could be read ends with: `; the first: photos/a.jpg: no such file`. */
export function firstSkipped(skipped: readonly { path: string; reason: string }[]): string {
  const [first] = skipped;
  return first === undefined ? '' : `; the first: ${printable(first.path)}: ${first.reason}`;
}

export interface ListOptions {
  /** Called after each shard that was scanned because it isn't in the index yet. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /**
   * Whether a file or folder may be read, by its path with all links resolved; the source itself is not checked. What may
   * not be read is left out, unopened, and listed in `unreadable`. Default: what this process may read, see
   * src/files/read-below.ts.
   */
  mayRead?: ((real: string) => boolean) | null | undefined;
  /**
   * Leaves out images without a label, and says so: rows of shards that have none, and images beside class folders, which
   * torchvision's ImageFolder ignores too. Without it one of the latter makes a folder one without classes. Default false.
   */
  onlyLabelled?: boolean | undefined;
  /** Looked at before each folder and each shard that is scanned. */
  signal?: AbortSignal | undefined;
}
