/** What a list of images is to those who read it: an array, or a list that makes its items when they are asked for. */

/** An image of a data set. */
export interface ImageItem {
  /** A file, or an image within a shard as `shard.tar::name`. */
  path: string;
  /** Index of its class; null when there are no labels. */
  label: number | null;
  /** The content of the image's file, where it lies in memory; `path` is then what it is called. */
  bytes?: Uint8Array;
}

/** A list of images. Arrays are such lists; listImages() gives one that holds millions of names in little memory. */
export interface ImageItems extends Iterable<ImageItem> {
  readonly length: number;
  at(index: number): ImageItem | undefined;
  map<T>(compute: (item: ImageItem, index: number) => T): T[];
}
