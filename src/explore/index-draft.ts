/** An index in memory while it is being built or brought up to date, and how it is written. */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { ImageList } from '../data/index.js';
import { DataError } from '../errors.js';
import { fitTransform, transformRows } from '../eval/fit-transform.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { removeWithin } from '../files/guarded.js';
import { writeLines } from '../files/json-lines.js';
import { type FeatureTransform, NO_TRANSFORM } from '../plain/feature-transform.js';
import { fromTypedArray } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { FloatRows, writeFloatRows } from './feature-file.js';
import { areSpread, MAX_IDS } from './graph-file.js';
import {
  checkedFile,
  INDEX_VERSION,
  type IndexedImage,
  type IndexFile,
  type IndexManifest,
  manifestPath,
  sealFile,
  unfitted,
} from './index-format.js';
import { readTransform, writeTransform } from './transform-file.js';
import { VectorIndex } from './vector-index.js';

/**
 * The graph is built again when more than this share of its nodes are removed ones: they stay in it as dead ends, and
 * USearch has no room for more than a third on top.
 */
const MOST_REMOVED = 0.2;

export interface IndexDraft {
  images: IndexedImage[];
  /** Features as the network gives them, in parts, one after the other; rows of length 1. */
  parts: Float32Array[];
  /** Values per row; null until it is known from the first image. */
  width: number | null;
  transform: FeatureTransform;
  whitening: IndexManifest['whitening'];
  /** The graph of the first `placed` rows, transformed. */
  vectors: VectorIndex | null;
  placed: number;
  skipped: { path: string; reason: string }[];
  nextId: number;
  /** The old graph is not used any more: the new one must be written, even if no image has changed. */
  hasNewGraph: boolean;
}

/** What becomes of the images of an old index. */
export interface Keeping {
  /** Those that stay, with their rows in the old index. */
  kept: readonly { image: IndexedImage; row: number }[];
  removed: readonly IndexedImage[];
  /** How many will be added. */
  fresh: number;
}

/** A draft without images. */
export const emptyDraft = (asked: IndexManifest['whitening']['asked']): IndexDraft => ({
  ...{ images: [], parts: [], width: null, transform: NO_TRANSFORM, whitening: unfitted(asked) },
  ...{ vectors: null, placed: 0, skipped: [], nextId: 0, hasNewGraph: false },
});

/** The old graph without the missing images; null when it must be built again. */
function keptGraph(
  folder: string,
  old: IndexManifest,
  oldIds: Int32Array,
  { kept, removed, fresh }: Keeping,
): VectorIndex | null {
  const { nextId } = old.images;
  const ids = Int32Array.from([
    ...kept.map(({ image }) => image.id),
    ...Array.from({ length: fresh }, (_, i) => nextId + i),
  ]);
  if (nextId + fresh > MAX_IDS || !areSpread(ids)) return null;
  const about = { within: folder, width: old.width, ids: oldIds, writable: true };
  let vectors: VectorIndex;
  try {
    vectors = VectorIndex.open(checkedFile(folder, old.files.vectors), about);
  } catch (error) {
    // everything in a graph can be rebuilt from the features
    if (error instanceof DataError) return null;
    throw error;
  }
  if (kept.length < (1 - MOST_REMOVED) * vectors.nodes) return null;
  vectors.remove(Int32Array.from(removed, ({ id }) => id));
  return vectors;
}

/** A draft of what stays of an old index. @param oldIds - Of all its images. */
export function draftOf(
  folder: string,
  old: IndexManifest,
  oldIds: Int32Array,
  keeping: Keeping,
): IndexDraft {
  const { width, whitening } = old;
  const { kept, removed } = keeping;
  const count = kept.length;
  using file = new FloatRows(folder, old.files.features, 'features', old.images.count, width);
  const all = file.all();
  const rows = removed.length === 0 ? all : new Float32Array(count * width);
  if (rows !== all)
    kept.forEach(({ row }, i) => rows.set(all.subarray(row * width, (row + 1) * width), i * width));
  const images = kept.map(({ image }) => image);
  const vectors = keptGraph(folder, old, oldIds, keeping);
  const draft = {
    ...{ parts: count > 0 ? [rows] : [], width, whitening, transform: readTransform(folder, old) },
    ...{ vectors, skipped: [] },
  };
  if (vectors !== null)
    return { ...draft, images, placed: count, nextId: old.images.nextId, hasNewGraph: false };
  const numbered = images.map((image, id) => ({ ...image, id }));
  return { ...draft, images: numbered, placed: 0, nextId: count, hasNewGraph: true };
}

/** All rows as one array, which then stands for the parts. */
function joinedRows(draft: IndexDraft): Float32Array {
  const { parts } = draft;
  if (parts.length === 1) return parts[0]!;
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  draft.parts = [all];
  return all;
}

/** Brings the graph up to the rows: those that it lacks are transformed and added. */
export async function placeRows(draft: IndexDraft, signal?: AbortSignal): Promise<void> {
  const { width, images, transform } = draft;
  if (width === null) return;
  draft.vectors ??= new VectorIndex(width);
  let first = 0;
  for (const part of draft.parts) {
    const end = first + part.length / width;
    if (end > draft.placed) {
      const from = Math.max(0, draft.placed - first);
      const rows = part.subarray(from * width);
      const ids = Int32Array.from(images.slice(first + from, end), ({ id }) => id);
      const shown = transform.mode === 'none' ? rows : transformRows(transform, rows, width);
      await draft.vectors.add(ids, shown, undefined, signal);
      draft.placed = end;
    }
    first = end;
  }
}

/** How many of its images a transform may have been fitted without, or have lost, before it is fitted again. */
const MOST_CHANGED = 0.2;

/** Whether the transform must be fitted, or fitted again. */
export const needsFit = ({ whitening }: IndexDraft, asked: IndexManifest['whitening']['asked']): boolean =>
  whitening.asked !== asked ||
  whitening.fittedTo === 0 ||
  whitening.changed > MOST_CHANGED * whitening.fittedTo;

/** How features are to be transformed, and why. */
export interface ChosenMode {
  mode: FeatureTransform['mode'];
  reason: string;
}

/**
 * Fits the transform to all rows. The graph, whose rows are transformed, is built again unless nothing has changed.
 * @param choose - Chooses among the transforms, given all rows.
 */
export async function fitDraft(
  draft: IndexDraft,
  asked: IndexManifest['whitening']['asked'],
  choose: (rows: Float32Array, width: number) => Promise<ChosenMode>,
): Promise<void> {
  const width = draft.width!;
  const rows = joinedRows(draft);
  const count = draft.images.length;
  const chosen = await choose(rows, width);
  using tensor = fromTypedArray(rows, [count, width]);
  const { transform, remark } = fitTransform(tensor, chosen.mode);
  const reason = [chosen.reason, remark].filter((part) => part !== null && part !== '').join('; ');
  if (transform.mode !== 'none' || draft.transform.mode !== 'none') {
    draft.vectors = null;
    draft.placed = 0;
  }
  draft.transform = transform;
  draft.whitening = { asked, mode: transform.mode, reason, fittedTo: count, changed: 0 };
}

/** Writes a new generation and deletes the one before. @internal */
export function commitIndex(
  folder: string,
  growing: Omit<IndexDraft, 'hasNewGraph' | 'placed' | 'width'>,
  about: Pick<IndexManifest, 'generation' | 'weights' | 'settings'> & {
    list: Pick<ImageList, 'source' | 'root'>; // all images are below the root
  },
): IndexManifest {
  const { list, generation, weights, settings } = about;
  const vectors = growing.vectors!;
  const { width } = vectors;
  const { transform, whitening } = growing;
  const name = (kind: string, ending: string): string => `${kind}-${generation}.${ending}`;
  const within = folder;
  const written = (file: string, write: (place: string) => void): IndexFile => {
    try {
      // an existing file, perhaps a link, is not written through: index.json doesn't name it
      removeWithin(path.join(folder, file), { within });
      write(path.join(folder, file));
      return sealFile(folder, file);
    } catch (error) {
      removeWithin(path.join(folder, file), { within });
      throw new DataError(
        `${path.join(folder, file)} can't be written: ${(error as Error).message}. The index is as it was before.`,
        { cause: error },
      );
    }
  };
  const files: IndexManifest['files'] = {
    images: written(name('images', 'jsonl'), (place) => writeLines(place, growing.images, within)),
    skipped: written(name('skipped', 'jsonl'), (place) => writeLines(place, growing.skipped, within)),
    features: written(name('features', 'safetensors'), (place) =>
      writeFloatRows(place, 'features', width, growing.parts, within),
    ),
    vectors: written(name('vectors', 'usearch'), (place) => vectors.save(place)),
    transform:
      transform.mode === 'none'
        ? null
        : written(name('transform', 'safetensors'), (place) => writeTransform(place, transform, within)),
    map: null,
  };
  const manifest: IndexManifest = {
    format: 'dino-index',
    version: INDEX_VERSION,
    package: packageVersion,
    written: new Date().toISOString(),
    ...{ generation, weights, settings, width, whitening },
    images: {
      source: list.source,
      root: list.root,
      count: growing.images.length,
      skipped: growing.skipped.length,
      nextId: growing.nextId,
    },
    files,
  };
  writeManifest(folder, manifest);
  return manifest;
}

/** Renames a new index.json into place and deletes the files that it doesn't name. */
export function writeManifest(folder: string, manifest: IndexManifest): void {
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  writeFileWhole(manifestPath(folder), text, { within: folder });
  const named = new Set(Object.values(manifest.files).flatMap((file) => (file === null ? [] : [file.name])));
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const isOld =
      /^(images|skipped|features|vectors|transform|map)-\d+\./.test(entry.name) && !named.has(entry.name);
    // a folder with such a name is not ours
    if (isOld && !entry.isDirectory()) rmSync(path.join(folder, entry.name), { force: true });
  }
}
