/**
 * The file of the index of a set of shards: names, places and labels of all images, as the arrays that they are in memory.
 * 14 million images are there in the time that reading a few hundred MiB takes.
 *
 *   bytes 0-7    "DINOIDX" and the version
 *   bytes 8-11   length of the header in bytes, uint32
 *   header       JSON, see IndexHeader
 *   arrays       each at a multiple of 8 bytes: segments of names; starts of blocks (float64); labels (int32) if any image
 *                has one; offsets (float64); lengths (uint32), see SharedImages in packed-images.ts; all little-endian, as
 *                every machine is that this runs on
 *
 * A shard whose size or time of change differs from the index's is scanned again, and so are all when the version differs.
 */
import { closeSync, mkdirSync, readSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { writeWhole } from '../../../files/atomic-file.js';
import { openToRead } from '../../../files/guarded.js';
import { PackedImages } from '../packed-images.js';
import { MAX_LABEL, NOTE_KINDS, type ScannedShard } from './scanned-shard.js';

/**
 * 2: of a sample all images, labels that stand apart, archives within archives, and what is left out.
 * 3: nothing of hidden folders.
 * 4: names that no two images of a shard share, without doubled slashes.
 */
const VERSION = 4;
const MAGIC = Buffer.from(`DINOIDX${String.fromCharCode(VERSION)}`, 'latin1');

const NAME = /^dino-index-[0-9a-f]{12}\.bin$/;
/** Whether a file beside shards is an index of theirs. */
export const isIndexFile = (name: string): boolean => NAME.test(name);

const count = z.int().min(0);
const headerSchema = z.object({
  /** Of all images, see list-shards.ts. */
  fingerprint: z.string(),
  /** The state of dino-shards.json, which names the classes. */
  description: z.object({ size: count, mtimeMs: z.number() }).nullable(),
  hasLabels: z.boolean(),
  /** Bytes in each segment of names. */
  names: z.array(count),
  blocks: count,
  shards: z.array(
    z.object({
      /** Relative to the folder of the first shard. */
      file: z.string(),
      count,
      size: count,
      mtimeMs: z.number(),
      labels: z.object({ kind: z.enum(['none', 'number', 'name', 'folder']), names: z.array(z.string()) }),
      problems: z.array(z.object({ offset: count, reason: z.string() })),
      leftOut: z.array(z.tuple([z.string(), count])),
      notes: z.array(z.object({ kind: z.enum(NOTE_KINDS), count, example: z.string() })),
      renamed: z.array(z.tuple([count, z.string()])),
      parquet: z
        .object({
          codec: z.string(),
          levels: count,
          groups: z.array(z.object({ start: count, dictionary: z.int() })),
        })
        .optional(),
    }),
  ),
});
type IndexHeader = z.infer<typeof headerSchema>;

/** An index in memory; the labels are still each shard's own numbers. */
export interface ShardIndex {
  images: PackedImages;
  /** In the order of the parts of `images`. */
  shards: Omit<ScannedShard, 'images'>[];
  fingerprint: string;
  description: { size: number; mtimeMs: number } | null;
}

const padded = (bytes: number): number => Math.ceil(bytes / 8) * 8;

/** Most bytes that Node reads or writes in one call. */
const CHUNK = 2 ** 30;

function readWhole(file: number, position: number, bytes: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(bytes);
  const view = new Uint8Array(buffer);
  for (let done = 0; done < bytes;) {
    const read = readSync(file, view, done, Math.min(CHUNK, bytes - done), position + done);
    if (read === 0) throw new Error('it is cut off');
    done += read;
  }
  return buffer;
}

/** An index is far smaller than its shards, unless these are small: it may always have so many bytes more than they. */
const LEAST_LIMIT = 2 ** 28;

/** Whether all labels have a meaning: a class that the shard names, or a number that is not too large to be one. */
function labelsAreSound(images: PackedImages, shards: IndexHeader['shards']): boolean {
  const { labels: shared } = images.shared;
  if (shared === null) return true;
  const labels = new Int32Array(shared);
  return shards.every(({ labels: { kind, names }, count }, i) => {
    const most = kind === 'number' ? MAX_LABEL : names.length - 1;
    const start = images.firstOf(i);
    return kind === 'none' || labels.subarray(start, start + count).every((label) => label <= most);
  });
}

/**
 * Reads an index. null when there is none that can be used: it is missing, damaged, cut off or of another version. It may
 * come from anybody, so that what it says is checked before it is used.
 * @param folder - The folder of the first shard, which names in the index are relative to.
 * @param options.bytes - Bytes of all shards together.
 * @param options.isOwn - Whether it lies in the user's cache.
 */
export function readIndex(
  file: string,
  folder: string,
  { bytes, isOwn }: { bytes: number; isOwn: boolean },
): ShardIndex | null {
  let descriptor: number;
  let size: number;
  try {
    ({ fd: descriptor, size } = openToRead(file, { maxBytes: bytes + LEAST_LIMIT, isOwn }));
  } catch {
    return null;
  }
  try {
    const start = Buffer.from(readWhole(descriptor, 0, 12));
    if (!start.subarray(0, 8).equals(MAGIC)) return null;
    const headerBytes = start.readUInt32LE(8);
    if (12 + headerBytes > size) return null;
    const text = Buffer.from(readWhole(descriptor, 12, headerBytes)).toString('utf8');
    const header = headerSchema.parse(JSON.parse(text));
    const images = header.shards.reduce((sum, shard) => sum + shard.count, 0);
    const lengths = [
      ...header.names,
      8 * header.blocks,
      ...(header.hasLabels ? [4 * images] : []),
      8 * images,
      4 * images,
    ];
    let position = padded(12 + headerBytes);
    if (lengths.reduce((sum, bytes) => sum + padded(bytes), position) !== size) return null;
    const arrays = lengths.map((bytes) => {
      const array = readWhole(descriptor, position, bytes);
      position += padded(bytes);
      return array;
    });
    const next = () => arrays.shift()!;
    const list = new PackedImages({
      parts: header.shards.map(({ file: name, count, size, mtimeMs, parquet }) => ({
        ...{ file: path.resolve(folder, name), count, size, mtimeMs },
        ...(parquet === undefined ? {} : { parquet }),
      })),
      names: header.names.map(next),
      blocks: next(),
      labels: header.hasLabels ? next() : null,
      offsets: next(),
      lengths: next(),
    });
    const { fingerprint, description, shards } = header;
    if (!labelsAreSound(list, shards)) return null;
    return { images: list, shards, fingerprint, description };
  } catch {
    return null;
  } finally {
    closeSync(descriptor);
  }
}

/** What an index keeps of a shard besides its images. */
export const aboutShard = ({ labels, problems, leftOut, notes, renamed }: ShardIndex['shards'][number]) => {
  return { labels, problems, leftOut, notes, renamed };
};

/** Writes an index under a temporary name and renames it. @throws DataError when it can't be written */
export function writeIndex(file: string, folder: string, index: ShardIndex): void {
  const { images, shards, fingerprint, description } = index;
  const { names, blocks, labels, offsets, lengths } = images.shared;
  const header: IndexHeader = {
    ...{ fingerprint, description, hasLabels: labels !== null },
    names: names.map((segment) => segment.byteLength),
    blocks: blocks.byteLength / 8,
    shards: images.parts.map(({ file: shard, count, size, mtimeMs, parquet }, i) => ({
      file: path.relative(folder, shard!),
      ...{ count, size, mtimeMs, parquet },
      ...aboutShard(shards[i]!),
    })),
  };
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(padded(12 + text.length));
  MAGIC.copy(start);
  start.writeUInt32LE(text.length, 8);
  text.copy(start, 12);
  mkdirSync(path.dirname(file), { recursive: true });
  writeWhole(file, (write) => {
    write(start);
    for (const array of [...names, blocks, ...(labels === null ? [] : [labels]), offsets!, lengths!]) {
      write(Buffer.from(array));
      write(Buffer.alloc(padded(array.byteLength) - array.byteLength));
    }
  });
}
