/** What scanning a shard finds: its images, where they lie, their labels, and what can't be read. */
import { closeSync, read } from 'node:fs';
import { promisify } from 'node:util';
import type { PackedImages } from '../packed-images.js';
import type { ShardFile } from '../../read/image-place.js';
import { openShardFile } from '../../read/quick-read.js';

const readAt = promisify(read);

/** An open file. */
export interface ByteSource {
  readonly size: number;
  /** The bytes, fewer only at the end of the file. They are valid until the next read. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** Something in a shard that can't be read, or was skipped. */
export interface ShardProblem {
  /** In bytes from the start of the shard. */
  offset: number;
  reason: string;
}

/**
 * Where the labels of a shard come from, and so what its numbers mean:
 * - `none`: no image has one
 * - `number`: class numbers (.cls files with a number, integer columns)
 * - `name`: indices into `names` (.cls or .json files with a text, text columns, columns of named classes)
 * - `folder`: indices into `names`, which are the first folders in the images' names; there are no labels
 */
export interface ShardLabels {
  kind: 'none' | 'number' | 'name' | 'folder';
  names: string[];
}

/**
 * What is said of a shard's images:
 * - `sample`: images that share a WebDataset sample with another one (`key.seg.png` beside `key.jpg`)
 * - `archive`: tar archives within the archive, whose images are read
 * - `name`: images with the name of another one, which get a name of their own
 */
export const NOTE_KINDS = ['sample', 'archive', 'label', 'contradiction', 'name'] as const;

export interface ShardNote {
  kind: (typeof NOTE_KINDS)[number];
  count: number;
  /** The first of them. */
  example: string;
}

/** A shard that was scanned. */
export interface ScannedShard {
  /** A list of one part, whose labels are the shard's own numbers. */
  images: PackedImages;
  labels: ShardLabels;
  problems: ShardProblem[];
  /** Extensions of the members that are neither images nor labels of images, and how often they are there. */
  leftOut: [extension: string, count: number][];
  notes: ShardNote[];
  /** Images, by their numbers, that have another name here than in the shard, and that name. */
  renamed: [image: number, name: string][];
}

/** Most problems that are listed for a shard; more would say no more. */
const MAX_PROBLEMS = 100;

/** The first problems of a shard, and how many more there were. */
export class ProblemList {
  readonly list: ShardProblem[] = [];
  #more = 0;

  add(problem: ShardProblem): void {
    if (this.list.length < MAX_PROBLEMS) {
      this.list.push(problem);
      return;
    }
    if (this.#more === 0) this.list.push(problem);
    this.#more++;
    this.list[MAX_PROBLEMS] = {
      offset: problem.offset,
      reason: `${this.#more} more, the last: ${problem.reason}`,
    };
  }
}

/** Largest class number that is accepted. */
export const MAX_LABEL = 10_000_000;

/** Least bytes of a read: a page of the file system after a jump, a run of small members otherwise. */
const NEAR_WINDOW = 65536;
const FAR_WINDOW = 4096;

/**
 * An open shard that is read in windows. After a jump over an image only what the next header needs is read, so that
 * indexing a shard of large images does not read all of it.
 */
export class WindowedFile implements ByteSource, ShardFile {
  #window = Buffer.alloc(0);
  #start = 0;

  private constructor(
    private readonly descriptor: number,
    readonly file: string,
    readonly size: number,
    readonly mtimeMs: number,
  ) {}

  /** @throws DataError when it is not a regular file; Error of the file system when it can't be opened. */
  static open(file: string): WindowedFile {
    const { descriptor, size, mtimeMs } = openShardFile(file);
    return new WindowedFile(descriptor, file, size, mtimeMs);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const end = this.#start + this.#window.length;
    const from = offset - this.#start;
    if (from >= 0 && offset + length <= end) return this.#window.subarray(from, from + length);
    const isNear = offset >= end && offset - end < NEAR_WINDOW;
    const wanted = Math.max(length, isNear ? NEAR_WINDOW : FAR_WINDOW);
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(wanted, this.size - offset)));
    let filled = 0;
    while (filled < buffer.length) {
      const length = buffer.length - filled;
      const { bytesRead } = await readAt(this.descriptor, buffer, filled, length, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    this.#window = buffer.subarray(0, filled);
    this.#start = offset;
    return this.#window.subarray(0, Math.min(length, filled));
  }

  close(): void {
    closeSync(this.descriptor);
  }
}
