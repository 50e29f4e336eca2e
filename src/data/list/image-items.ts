/** A list of images as its readers see it: an array, or a list that makes its items on demand. */

/** An image of a data set. */
export interface ImageItem {
  /** A file, or an image within a shard as `shard.tar::name`. */
  path: string;
  /** Index of its class; null when it has no label. */
  label: number | null;
  /** The content of the image's file, if it is in memory; `path` is then only its name. */
  bytes?: Uint8Array;
}

/** A list of images. Arrays are such lists; listImages() returns one that holds millions of names in little memory. */
export interface ImageItems extends Iterable<ImageItem> {
  readonly length: number;
  at(index: number): ImageItem | undefined;
  map<T>(compute: (item: ImageItem, index: number) => T): T[];
}
