/**
 * Near-duplicates: groups of images whose features are almost the same. A group is every image similar to its centre,
 * so that a film's frames, each similar to the next, don't become one chain. Centres are taken greedily, those with the most
 * near-duplicates first.
 */
import { indexArgument, nearestFields, nearestOf } from './arguments.js';
import { callback, checkCall, finite, optionsOf } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import type { ImageIndex, NearestOptions } from './image-index.js';
import { distanceOf, SAME_SIMILARITY } from './nearest-rows.js';

/**
 * Images nearer than this share of the usual distance to a tenth neighbour count as the same, by default: a network that
 * puts all images close together has its own idea of near. docs/explore.md has the measurements.
 */
const SAME = 0.45;
/** The neighbour whose distance is usual: an image seldom has as many copies. */
const USUAL_NEIGHBOUR = 10;
/** Neighbours of an image that are compared: a larger group is found through several of its images. */
const NEIGHBOURS = 50;
/** Above this share of the images in groups, the threshold says little about the images. */
const SUSPICIOUS_SHARE = 0.3;

export interface DuplicateOptions extends NearestOptions {
  /** Cosine similarity, above 0 and at most 1; default: by how far apart the images of the index usually are. */
  threshold?: number;
  onWarning?: (message: string) => void;
}

export interface DuplicateGroup {
  /** The image to keep: the largest file, since recompressed and smaller copies have fewer bytes. */
  keep: { row: number; path: string; bytes: number };
  /** The others, most similar to the group's centre first. */
  copies: { row: number; path: string; bytes: number; similarity: number }[];
  /** Similarity of the group's least similar image to its centre. */
  least: number;
}

/** Similarity from which two images of an index count as the same, by how far apart its images usually are. */
export async function duplicateThreshold(index: ImageIndex, options: NearestOptions = {}): Promise<number> {
  const k = Math.min(USUAL_NEIGHBOUR, index.count - 1);
  if (k < 1) return SAME_SIMILARITY;
  // as many as will be compared: they are found once
  const near = await index.neighbours(Math.min(NEIGHBOURS, index.count - 1), options);
  const distances = Float64Array.from({ length: index.count }, (_, row) =>
    distanceOf(near.similarities[row * near.k + k - 1]!),
  ).sort();
  const same = SAME * distances[distances.length >> 1]!;
  return Math.min(SAME_SIMILARITY, Math.max(0.01, 1 - same ** 2 / 2));
}

/** The most similar pairs of images, each once, the most similar first. At most `most`. */
export async function similarPairs(
  index: ImageIndex,
  most: number,
  options: NearestOptions = {},
): Promise<{ pairs: { a: number; b: number; similarity: number }[]; isAll: boolean }> {
  const k = Math.min(NEIGHBOURS, index.count - 1);
  if (k < 1) return { pairs: [], isAll: true };
  const { rows, similarities } = await index.neighbours(k, options);
  const pairs: { a: number; b: number; similarity: number }[] = [];
  const seen = new Set<number>();
  // only what may be among the first is sorted
  const least =
    Float32Array.from(similarities)
      .sort()
      .at(-2 * most) ?? -1;
  for (let a = 0; a < index.count; a++)
    for (let j = 0; j < k; j++) {
      const [b, similarity] = [rows[a * k + j]!, similarities[a * k + j]!];
      if (b < 0 || similarity < least) break;
      const pair = Math.min(a, b) * index.count + Math.max(a, b);
      if (seen.has(pair)) continue;
      seen.add(pair);
      pairs.push({ a: Math.min(a, b), b: Math.max(a, b), similarity });
    }
  pairs.sort((one, other) => other.similarity - one.similarity || one.a - other.a || one.b - other.b);
  return { pairs: pairs.slice(0, most), isAll: pairs.length <= most && index.count * k <= 2 * most };
}

const duplicateOptions = optionsOf<DuplicateOptions>(
  {},
  { ...nearestFields, threshold: finite, onWarning: callback },
);

/** @returns Groups, the largest first. @throws ConfigError for a threshold out of range. */
export async function findDuplicates(
  index: ImageIndex,
  options: DuplicateOptions = {},
): Promise<DuplicateGroup[]> {
  checkCall('findDuplicates()', indexArgument(index), ['options', duplicateOptions, options]);
  const { onWarning } = options;
  const threshold = options.threshold ?? (await duplicateThreshold(index, nearestOf(options)));
  if (!(threshold > 0 && threshold <= 1))
    throw new ConfigError(`threshold ${threshold}; expected a similarity above 0 and at most 1`);
  const k = Math.min(NEIGHBOURS, index.count - 1);
  if (k < 1) return [];
  const { rows, similarities } = await index.neighbours(k, nearestOf(options));
  const near = Array.from({ length: index.count }, () => new Map<number, number>());
  for (let row = 0; row < index.count; row++) {
    for (let j = 0; j < k; j++) {
      const [other, similarity] = [rows[row * k + j]!, similarities[row * k + j]!];
      if (other < 0 || similarity < threshold) break;
      // both ways, since one of the two may have more neighbours than were compared
      near[row]!.set(other, similarity);
      near[other]!.set(row, similarity);
    }
  }
  const order = near.flatMap((others, row) => (others.size > 0 ? [row] : []));
  order.sort((a, b) => near[b]!.size - near[a]!.size || a - b);
  const taken = new Uint8Array(index.count);
  const groups: DuplicateGroup[] = [];
  for (const centre of order) {
    if (taken[centre] === 1) continue;
    const members = [...near[centre]!].filter(([row]) => taken[row] === 0);
    if (members.length === 0) continue;
    taken[centre] = 1;
    for (const [row] of members) taken[row] = 1;
    groups.push(groupOf(index, centre, members));
  }
  groups.sort((a, b) => b.copies.length - a.copies.length || a.keep.row - b.keep.row);
  const inGroups = groups.reduce((sum, { copies }) => sum + copies.length + 1, 0);
  if (inGroups > SUSPICIOUS_SHARE * index.count) {
    onWarning?.(
      `${inGroups} of ${index.count} images are in groups: to this model most images look alike. ` +
        'Look at a few groups, and raise the threshold if they are not copies.',
    );
  }
  return groups;
}

function groupOf(
  index: ImageIndex,
  centre: number,
  members: readonly (readonly [row: number, similarity: number])[],
): DuplicateGroup {
  const all = [[centre, 1] as const, ...members]
    .map(([row, similarity]) => ({
      ...{ row, path: index.pathOf(row), bytes: index.images[row]!.bytes },
      similarity: Math.min(1, similarity),
    }))
    .sort((a, b) => b.similarity - a.similarity || a.row - b.row);
  const keep = all.reduce((best, each) => (each.bytes > best.bytes ? each : best));
  return {
    keep: { row: keep.row, path: keep.path, bytes: keep.bytes },
    copies: all.filter((each) => each !== keep),
    least: all.at(-1)!.similarity,
  };
}
