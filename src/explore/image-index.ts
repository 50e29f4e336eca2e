/** An index of images, opened to be searched. The format is described in index-format.ts. */
import { realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { shardOf } from '../data/read/shard-path.js';
import {
  callback,
  checkCall,
  count as wholeNumber,
  filePath,
  instanceOf,
  optionsOf,
  signal as abortSignal,
  yesOrNo,
  show,
} from '../plain/check-options.js';
import { ConfigError, DataError } from '../errors.js';
import { transformRows } from '../eval/fit-transform.js';
import type { FeatureTransform } from '../plain/feature-transform.js';
import { FloatRows } from './feature-file.js';
import {
  checkedFile,
  type IndexedImage,
  type IndexManifest,
  readIndexedImages,
  readManifest,
  readSkippedImages,
  remake,
  writingOf,
} from './index-format.js';
import { LinkedRows } from './linked-rows.js';
import { exactNearest, type NearestRows, sortMatches } from './nearest-rows.js';
import { readTransform } from './transform-file.js';
import { VectorIndex } from './vector-index.js';

/** Up to this many images, search is always exact: it takes a few milliseconds. */
export const EXACT_UP_TO = 10_000;

export interface Match {
  row: number;
  /** Absolute. */
  path: string;
  /** Cosine of the angle between the features, -1 to 1. */
  similarity: number;
}

export interface NearestOptions {
  /** Compare with every image; default for up to 10,000 images. */
  exact?: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

const vector = instanceOf(Float32Array, 'a Float32Array');
const nearestOptions = optionsOf<NearestOptions>(
  {},
  { exact: yesOrNo, signal: abortSignal, onProgress: callback },
);

/** An open index. Close it. */
export class ImageIndex implements Disposable {
  readonly #file: FloatRows;
  #features: Float32Array | null = null;
  #transform: FeatureTransform | null = null;
  #vectors: VectorIndex | null = null;
  #rows: Map<string, number> | null = null;
  #linked: LinkedRows | null = null;
  #rowById: Map<number, number> | null = null;
  #neighbours: { exact: boolean; found: NearestRows } | null = null;

  private constructor(
    /** The index folder. */
    readonly folder: string,
    readonly manifest: IndexManifest,
    readonly images: readonly IndexedImage[],
  ) {
    this.#file = new FloatRows(folder, manifest.files.features, 'features', images.length, manifest.width);
  }

  /** @throws DataError that says what to do, when there is no index or it is damaged. */
  static open(folder: string): ImageIndex {
    checkCall('ImageIndex.open()', ['folder', filePath, folder]);
    for (let attempt = 0; ; attempt++) {
      const manifest = readManifest(folder);
      try {
        return new ImageIndex(folder, manifest, readIndexedImages(folder, manifest));
      } catch (error) {
        // another process may just have written the next generation
        if (attempt >= 3 || writingOf(readManifest(folder)) === writingOf(manifest)) throw error;
      }
    }
  }

  get count(): number {
    return this.images.length;
  }
  get width(): number {
    return this.manifest.width;
  }

  /** @throws ConfigError for a row that the index doesn't have. */
  #checkRow(row: number): void {
    if (Number.isInteger(row) && row >= 0 && row < this.count) return;
    throw new ConfigError(`row ${show(row)}; the index ${this.folder} has ${this.count} images, from 0 on`);
  }

  /** Where an image is, according to the index; to read it, use fileOf(). */
  pathOf(row: number): string {
    this.#checkRow(row);
    return path.resolve(this.manifest.images.root, this.images[row]!.path);
  }

  /**
   * An image's file, safe to read: an index may be a stranger's, and name any file.
   * @throws DataError when it is missing, not a regular file, or outside the folder of the index's images.
   */
  fileOf(row: number): string {
    return imageWithin(this.manifest.images.root, this.pathOf(row));
  }

  /** The row of an image file, by whatever links it is named; null when it is not indexed. */
  rowOf(file: string): number | null {
    checkCall('rowOf()', ['file', filePath, file]);
    this.#rows ??= new Map(this.images.map((_, row) => [this.pathOf(row), row]));
    const place = path.resolve(file);
    const row = this.#rows.get(place);
    if (row !== undefined) return row;
    this.#linked ??= new LinkedRows(this.images, (each) => {
      const named = this.pathOf(each);
      return isBelow(this.manifest.images.root, named) ? named : null; // a stranger's index may name any place
    });
    return this.#linked.rowOf(place);
  }

  skipped(): { path: string; reason: string }[] {
    return readSkippedImages(this.folder, this.manifest);
  }

  /** How features are centred or whitened before they are compared. @throws DataError when its file is damaged. */
  get transform(): FeatureTransform {
    this.#transform ??= readTransform(this.folder, this.manifest);
    return this.#transform;
  }

  /**
   * Transforms features of the index's network as those of its images are: what a query must go through.
   *
   * @param features - (n, width), rows of any length but 0.
   * @returns (n, width), rows of length 1.
   */
  transformed(features: Float32Array): Float32Array {
    checkCall('transformed()', ['features', vector, features]);
    if (features.length % this.width > 0)
      throw new ConfigError(
        `${features.length} values are not rows of ${this.width}, as the index ${this.folder} has them`,
      );
    return transformRows(this.transform, features, this.width);
  }

  /** One image's features as they are compared, (width), of length 1. */
  feature(row: number): Float32Array {
    this.#checkRow(row);
    return this.#some([row]);
  }

  /** The same of several rows, (rows, width). */
  #some(rows: readonly number[]): Float32Array {
    const { width } = this;
    const all = this.#features;
    const [only] = rows;
    if (all !== null && rows.length === 1) return all.subarray(only! * width, (only! + 1) * width);
    const some = new Float32Array(rows.length * width);
    rows.forEach((row, i) => {
      const from = all === null ? this.#file.row(row) : all.subarray(row * width, (row + 1) * width);
      some.set(from, i * width);
    });
    const isReady = all !== null || this.transform.mode === 'none';
    return isReady ? some : transformRows(this.transform, some, width, some);
  }

  /**
   * All features as they are compared, (count, width), rows of length 1; computed once, and kept.
   * @throws DataError when they are damaged.
   */
  features(): Float32Array {
    if (this.#features === null) {
      const raw = this.#file.all();
      const { transform } = this;
      this.#features = transform.mode === 'none' ? raw : transformRows(transform, raw, this.width, raw);
    }
    return this.#features;
  }

  /** All features as the network gives them, (count, width), rows of length 1; not kept. @throws DataError as features(). */
  rawFeatures(): Float32Array {
    return this.#file.all();
  }

  #graph(): VectorIndex {
    if (this.#vectors === null) {
      const ids = Int32Array.from(this.images, ({ id }) => id);
      const place = checkedFile(this.folder, this.manifest.files.vectors);
      try {
        const about = { within: this.folder, width: this.width, ids, writable: false };
        this.#vectors = VectorIndex.open(place, about);
      } catch (error) {
        throw new DataError(`${(error as Error).message}. ${remake(this.folder)}`, { cause: error });
      }
    }
    return this.#vectors;
  }

  /** Rows of the graph's ids. */
  #rowsOf(ids: Iterable<number>): number[] {
    this.#rowById ??= new Map(this.images.map(({ id }, row) => [id, row]));
    const rows: number[] = [];
    for (const id of ids) {
      const row = this.#rowById.get(id);
      if (row !== undefined) rows.push(row);
    }
    return rows;
  }

  /** Ranks rows by their exact similarity to a query. */
  #ranked(query: Float32Array, rows: readonly number[]): { row: number; similarity: number }[] {
    const { width } = this;
    const features = this.#some(rows);
    const matches = rows.map((row, i) => {
      let similarity = 0;
      for (let d = 0; d < width; d++) similarity += query[d]! * features[i * width + d]!;
      return { row, similarity };
    });
    sortMatches(matches);
    return matches;
  }

  /**
   * The images most like a feature.
   * @param query - (width) of length 1, transformed.
   */
  async search(query: Float32Array, k: number, options: NearestOptions = {}): Promise<Match[]> {
    checkCall(
      'search()',
      ['query', vector, query],
      ['k', wholeNumber(1), k],
      ['options', nearestOptions, options],
    );
    if (query.length !== this.width)
      throw new ConfigError(
        `a query of ${query.length} values; the index ${this.folder} has ${this.width} per image`,
      );
    if (!(Number.isInteger(k) && k >= 1)) throw new ConfigError(`k ${k}; expected at least 1`);
    const exact = options.exact ?? this.count <= EXACT_UP_TO;
    let matches: { row: number; similarity: number }[];
    if (exact) {
      const found = await exactNearest(this.features(), query, this.width, k, { signal: options.signal });
      matches = Array.from(found.rows, (row, j) => ({ row, similarity: found.similarities[j]! })).filter(
        ({ row }) => row >= 0,
      );
    } else {
      const ids = this.#graph().search(query, candidates(k));
      matches = this.#ranked(query, this.#rowsOf(ids)).slice(0, k);
    }
    return matches.map((match) => ({ ...match, path: this.pathOf(match.row) }));
  }

  /** The k most similar other images of every image. Kept, and reused for the same or a smaller k. */
  async neighbours(k: number, options: NearestOptions = {}): Promise<NearestRows> {
    checkCall('neighbours()', ['k', wholeNumber(1), k], ['options', nearestOptions, options]);
    const exact = options.exact ?? this.count <= EXACT_UP_TO;
    const kept = this.#neighbours;
    if (kept === null || kept.found.k < k || (exact && !kept.exact))
      this.#neighbours = { exact, found: await this.#findNeighbours(k, exact, options) };
    return narrowed(this.#neighbours!.found, k, this.count);
  }

  async #findNeighbours(k: number, exact: boolean, options: NearestOptions): Promise<NearestRows> {
    const { count, width } = this;
    const features = this.features();
    const { signal } = options;
    const onProgress = (done: number): void => options.onProgress?.(done, count);
    const rows = new Int32Array(count * k).fill(-1);
    const similarities = new Float32Array(count * k).fill(-Infinity);
    const put = (row: number, matches: readonly { row: number; similarity: number }[]): void => {
      let place = row * k;
      for (const match of matches) {
        if (match.row === row || match.row < 0 || place === (row + 1) * k) continue;
        rows[place] = match.row;
        similarities[place++] = match.similarity;
      }
    };
    if (exact) {
      const found = await exactNearest(features, features, width, k + 1, { signal, onProgress });
      for (let row = 0; row < count; row++) {
        const from = row * (k + 1);
        put(
          row,
          Array.from({ length: k + 1 }, (_, j) => ({
            row: found.rows[from + j]!,
            similarity: found.similarities[from + j]!,
          })),
        );
      }
    } else {
      const found = await this.#graph().searchMany(features, candidates(k + 1), onProgress, signal);
      for (let row = 0; row < count; row++) {
        const ids = found.ids.subarray(row * found.k, (row + 1) * found.k);
        put(row, this.#ranked(this.feature(row), this.#rowsOf(ids)));
      }
    }
    return { rows, similarities, k };
  }

  /** Share of the ten exact nearest that the graph finds, over images spread through the index. */
  async recall(sample: number, onProgress?: (done: number, total: number) => void): Promise<number> {
    checkCall(
      'recall()',
      ['sample', wholeNumber(1), sample],
      ['onProgress', callback.optional(), onProgress],
    );
    const { count, width } = this;
    if (count <= EXACT_UP_TO) return 1;
    const k = 10;
    const asked = Math.min(sample, count);
    const queries = new Float32Array(asked * width);
    for (let i = 0; i < asked; i++) queries.set(this.feature(Math.floor((i * count) / asked)), i * width);
    const truth = await exactNearest(this.features(), queries, width, k, {
      onProgress: (done) => onProgress?.(done, asked),
    });
    let hits = 0;
    for (let i = 0; i < asked; i++) {
      const query = queries.subarray(i * width, (i + 1) * width);
      const found = await this.search(query, k, { exact: false });
      // counted by similarity: equal images are interchangeable
      const least = truth.similarities[i * k + k - 1]! - 1e-6;
      hits += found.filter(({ similarity }) => similarity >= least).length;
    }
    return hits / (asked * k);
  }

  close(): void {
    this.#file.close();
    this.#features = null;
    this.#transform = null;
    this.#vectors = null;
    this.#neighbours = null;
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Checks that an image may be read as one of a folder: it is a regular file (or lies in a shard that is one) below it, even
 * after every link is followed.
 *
 * @returns The path itself.
 * @throws DataError that says why it may not.
 */
export function imageWithin(root: string, file: string): string {
  const place = shardOf(file) ?? file;
  const outside = (where: string): DataError =>
    new DataError(`${file} is not read: ${where}, outside ${root}, the folder of the index's images`);
  if (!isBelow(root, place)) throw outside('it lies');
  let real: string;
  let isFile: boolean;
  try {
    real = realpathSync(place);
    if (!isBelow(realpathSync(root), real)) throw outside(`a link leads to ${real}`);
    isFile = statSync(real).isFile();
  } catch (error) {
    if (error instanceof DataError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new DataError(`${file} does not exist any more`, { cause: error });
    throw new DataError(`${file} can't be read: ${(error as Error).message}`, { cause: error });
  }
  if (!isFile) throw new DataError(`${file} is not read: expected a regular file`);
  return file;
}

/** Whether a path lies below a folder, links not followed. */
export function isBelow(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '' && relative.split(path.sep)[0] !== '..' && !path.isAbsolute(relative);
}

/** How many candidates the graph is asked for, so that the exact ranking can choose. */
const candidates = (k: number): number => Math.ceil(k * 1.5) + 8;

function narrowed(found: NearestRows, k: number, count: number): NearestRows {
  if (found.k === k) return found;
  const rows = new Int32Array(count * k);
  const similarities = new Float32Array(count * k);
  for (let row = 0; row < count; row++) {
    const from = row * found.k;
    rows.set(found.rows.subarray(from, from + k), row * k);
    similarities.set(found.similarities.subarray(from, from + k), row * k);
  }
  return { rows, similarities, k };
}
