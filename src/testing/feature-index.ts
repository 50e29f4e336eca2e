/** For tests: an index with made-up features, whose images need not exist. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { PhiloxStream, Purpose } from '../data/crops/philox.js';
import { ImageIndex } from '../explore/image-index.js';
import { commitIndex, emptyDraft, fitDraft, placeRows } from '../explore/index-draft.js';
import type { TransformMode } from '../plain/feature-transform.js';
import { unitRows } from '../plain/maps.js';

/** Normally distributed numbers from a seed (Box and Muller). */
export function normals(count: number, seed: number): Float32Array {
  const random = new PhiloxStream(seed, Purpose.permutation, 0);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random.random()));
    return radius * Math.cos(2 * Math.PI * random.random());
  });
}

/** Rows around centres: row i belongs to centre i % centres. (count, width), of length 1. */
export function clusteredRows(
  count: number,
  width: number,
  centres: number,
  spread: number,
  seed = 1,
): Float32Array {
  const middle = unitRows(normals(centres * width, seed), width);
  const rows = normals(count * width, seed + 1);
  for (let i = 0; i < count; i++) {
    const centre = (i % centres) * width;
    for (let d = 0; d < width; d++) {
      const at = i * width + d;
      rows[at] = middle[centre + d]! + (spread * rows[at]!) / Math.sqrt(width);
    }
  }
  return unitRows(rows, width);
}

/** Writes an index with these features; image i is `<i>.jpg` with `bytes(i)` bytes. */
export async function featureIndex(
  folder: string,
  rows: Float32Array,
  width: number,
  bytes: (row: number) => number = () => 1000,
  mode: TransformMode = 'none',
): Promise<ImageIndex> {
  mkdirSync(folder, { recursive: true });
  const count = rows.length / width;
  const images = Array.from({ length: count }, (_, id) => ({
    ...{ id, path: `${id}.jpg`, bytes: bytes(id), mtime: 0, label: null },
  }));
  const draft = { ...emptyDraft(mode), images, parts: [rows], width, nextId: count };
  await fitDraft(draft, mode, () => Promise.resolve({ mode, reason: 'given' }));
  await placeRows(draft);
  commitIndex(
    folder,
    { ...draft, vectors: draft.vectors! },
    {
      generation: 0,
      list: { source: path.join(folder, 'images'), root: path.join(folder, 'images') },
      settings: { features: 'cls', resize: 256, crop: 224 },
      weights: { given: '-', file: '-', sha256: '', checkpointKey: 'teacher', numHeads: null, arch: 'vit' },
    },
  );
  return ImageIndex.open(folder);
}
