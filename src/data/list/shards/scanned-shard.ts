/** What the index knows of a shard: its images, where they lie, their labels, and what can't be read. */
import { closeSync, read } from 'node:fs';
import { promisify } from 'node:util';
import type { PackedImages } from '../packed-images.js';
import type { ShardFile } from '../../read/image-place.js';
import { openShardFile } from '../../read/quick-read.js';

const readAt = promisify(read);

/** A source of bytes: an open file. */
export interface ByteSource {
  readonly size: number;
  /** The bytes, fewer only at the end of the file. Valid until the next read. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** What can't be read of a shard, or was passed over. */
export interface ShardProblem {
  /** In bytes from the start of the shard. */
  offset: number;
  reason: string;
}

/**
 * Where the labels of a shard came from, and so what its numbers mean:
 * - `none`: no image has one
 * - `number`: class numbers (.cls files with a number, integer columns)
 * - `name`: numbers of `names` (.cls or .json files with a text, text columns, columns of named classes)
 * - `folder`: numbers of `names`, the first folder of each image's name; there were no labels
 */
export interface ShardLabels {
  kind: 'none' | 'number' | 'name' | 'folder';
  names: string[];
}

/** A shard that was looked through. */
export interface ScannedShard {
  /** One part: the shard's images, with its own numbers as labels. */
  images: PackedImages;
  labels: ShardLabels;
  problems: ShardProblem[];
}

/** Problems that are listed of one shard; more of them say no more. */
const MAX_PROBLEMS = 100;

/** The first problems of a shard, and how many there were. */
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

/** Largest class number that is believed. */
export const MAX_LABEL = 10_000_000;

/** Bytes that a read takes at least: a page of a file system, and where members are small a run of them. */
const NEAR_WINDOW = 65536;
const FAR_WINDOW = 4096;

/**
 * An open file that is read in windows. After a jump over an image only what is needed for the next header is read, so
 * that indexing a shard of large images doesn't read the shard.
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

  /** @throws DataError for what is no regular file, Error of the file system when it can't be opened. */
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
