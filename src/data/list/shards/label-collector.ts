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
  #hasLabels = false;
  /** The label of each image, and the number of its folder: -1 for none. */
  readonly #labels: RawLabel[] = [];
  readonly #places: number[] = [];

  constructor({ file, size, mtimeMs }: ShardFile, parquet?: ParquetColumn) {
    this.#builder.beginPart(file, size, mtimeMs, parquet);
  }

  add(name: string, label: RawLabel, place: TarPlace | ParquetPlace): void {
    this.#builder.add(name, null, place);
    this.#labels.push(label);
    this.#hasLabels ||= label !== null;
    if (this.#hasLabels) return;
    const slash = name.indexOf('/');
    this.#places.push(slash === -1 ? -1 : numberOf(this.#folders, name.slice(0, slash)));
  }

  /** The images so far, after which none may be added. */
  *entries(): Generator<{ index: number; name: string; label: RawLabel }, void> {
    const images = this.#builder.finish();
    for (let index = 0; index < images.length; index++)
      yield { index, name: images.name(index), label: this.#labels[index]! };
  }

  setLabel(index: number, label: RawLabel): void {
    this.#labels[index] = label;
  }

  /** @param classes - The names in their order, where the shard lists them. */
  finish(classes: readonly string[] = []): { images: PackedImages; labels: ShardLabels } {
    const { labels, values } = this.#labelled(classes);
    return { images: this.#builder.finish(values), labels };
  }

  #labelled(classes: readonly string[]): { labels: ShardLabels; values: Int32Array | null } {
    if (this.#labels.some((label) => typeof label === 'string')) {
      for (const name of classes) numberOf(this.#names, name);
      const values = Int32Array.from(this.#labels, (label) =>
        label === null ? -1 : numberOf(this.#names, String(label)),
      );
      return { labels: { kind: 'name', names: [...this.#names.keys()] }, values };
    }
    if (this.#labels.some((label) => label !== null)) {
      const values = Int32Array.from(this.#labels, (label) => (label === null ? -1 : Number(label)));
      return { labels: { kind: 'number', names: [] }, values };
    }
    if (this.#folders.size > 0) {
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
