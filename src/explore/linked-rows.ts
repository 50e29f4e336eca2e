/** Rows of images by names that an index doesn't have, from which links lead to its images. */
import type { IndexedImage } from './index-format.js';
import { stampOf } from './index-plan.js';
import { RealPlaces } from './real-places.js';

const keyOf = ({ bytes, mtime }: { bytes: number; mtime: number }): string => `${bytes} ${mtime}`;

export class LinkedRows {
  readonly #places = new RealPlaces();
  /** By where folders and shards really are. */
  readonly #below = new Map<string, number>();
  /** By size and time, which a link and its file have in common: a look at each of a million files would take minutes. */
  readonly #stamps = new Map<string, number[]>();

  /** @param pathOf - Absolute; null for an image that isn't looked at. */
  constructor(
    images: readonly IndexedImage[],
    private readonly pathOf: (row: number) => string | null,
  ) {
    images.forEach((image, row) => {
      const named = pathOf(row);
      if (named === null) return;
      const place = this.#places.below(named);
      if (!this.#below.has(place)) this.#below.set(place, row);
      const key = keyOf(image);
      const rows = this.#stamps.get(key);
      if (rows === undefined) this.#stamps.set(key, [row]);
      else rows.push(row);
    });
  }

  /** @param file - Absolute. */
  rowOf(file: string): number | null {
    const place = this.#places.of(file);
    const row = this.#below.get(place);
    if (row !== undefined) return row;
    // the images of a shard all have its stamp, and are found above
    if (place.includes('::')) return null;
    const rows = this.#stamps.get(keyOf(stampOf(place))) ?? [];
    return rows.find((each) => this.#places.of(this.pathOf(each)!) === place) ?? null;
  }
}
