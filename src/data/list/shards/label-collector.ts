/** Collects the images of one shard with their labels: the numbers or texts that it has, or else the folders in the names. */
import type { ParquetColumn, ParquetPlace, ShardFile, TarPlace } from '../../read/image-place.js';
import { type PackedImages, PackedImagesBuilder } from '../packed-images.js';
import type { ShardLabels } from './scanned-shard.js';

/** A label as it stands in a shard: a class number, a class name, or none. */
export type RawLabel = number | string | null;

export class LabelCollector {
  readonly #builder = new PackedImagesBuilder();
  readonly #names = new Map<string, number>();
  readonly #folders = new Map<string, number>();
  #numbers = 0;
  #texts = 0;
  #allInFolders = true;
  #count = 0;
  /** The label of each image, and the number of its folder. */
  readonly #labels: RawLabel[] = [];
  readonly #places: number[] = [];

  constructor({ file, size, mtimeMs }: ShardFile, parquet?: ParquetColumn) {
    this.#builder.beginPart(file, size, mtimeMs, parquet);
  }

  add(name: string, label: RawLabel, place: TarPlace | ParquetPlace): void {
    this.#builder.add(name, null, place);
    this.#count++;
    if (typeof label === 'number') this.#numbers++;
    if (typeof label === 'string') this.#texts++;
    this.#labels.push(label);
    const slash = name.indexOf('/');
    if (slash === -1) this.#allInFolders = false;
    if (this.#allInFolders && this.#numbers + this.#texts === 0) {
      this.#places.push(numberOf(this.#folders, name.slice(0, slash)));
    }
  }

  /** @param classes - The names in their order, where the shard lists them. */
  finish(classes: readonly string[] = []): { images: PackedImages; labels: ShardLabels } {
    if (this.#texts > 0) for (const name of classes) numberOf(this.#names, name);
    const { labels, values } = this.#labelled();
    return { images: this.#builder.finish(values), labels };
  }

  #labelled(): { labels: ShardLabels; values: Int32Array | null } {
    if (this.#texts > 0) {
      const values = Int32Array.from(this.#labels, (label) =>
        label === null ? -1 : numberOf(this.#names, String(label)),
      );
      return { labels: { kind: 'name', names: [...this.#names.keys()] }, values };
    }
    if (this.#numbers > 0) {
      const values = Int32Array.from(this.#labels, (label) => (label === null ? -1 : Number(label)));
      return { labels: { kind: 'number', names: [] }, values };
    }
    if (this.#allInFolders && this.#count > 0) {
      return {
        labels: { kind: 'folder', names: [...this.#folders.keys()] },
        values: Int32Array.from(this.#places),
      };
    }
    return { labels: { kind: 'none', names: [] }, values: null };
  }
}

function numberOf(names: Map<string, number>, name: string): number {
  const known = names.get(name);
  if (known !== undefined) return known;
  names.set(name, names.size);
  return names.size - 1;
}
