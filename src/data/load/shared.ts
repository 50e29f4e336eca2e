/**
 * What the threads of a loader share: the list of images, the slots that batches are rendered into, and the counters with
 * which workers claim positions of a batch. Nothing is copied between threads: a million names are in memory once, and a
 * worker writes pixels where the tensor will read them.
 */
import type { SharedCache } from '../read/decoded-cache.js';
import type { SharedImages } from '../list/packed-images.js';
import type { Job, PositionResult } from './render.js';

/** What a worker starts with. */
export interface WorkerSetup {
  job: Job;
  images: SharedImages;
  /** The cache of decoded images; null without one. */
  cache: SharedCache | null;
  slots: SharedArrayBuffer[];
  control: SharedArrayBuffer;
}

/** To a worker: a batch is begun in a slot. Every worker gets the message; each claims positions until none is left. */
export interface BatchMessage {
  slot: number;
  /** How often the slot was used before, so that a late claim for an earlier batch can't take a position of this one. */
  use: number;
  epoch: number;
  count: number;
}

/** From a worker: it has rendered these positions of a batch, and none is left to claim. */
export interface DoneMessage {
  slot: number;
  results: PositionResult[];
}

/** From a worker: something failed, and not because of a single image. */
export interface FailedMessage {
  failed: string;
  /** Whether it is a DataError nevertheless: none of many images can be read. */
  isData: boolean;
}

/**
 * Counters in shared memory. Word 0 is set when every thread must stop; then come, for each slot, its claim counter and the
 * image indices of its batch.
 */
export class Control {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #batchSize: number;

  constructor(buffer: SharedArrayBuffer, batchSize: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#batchSize = batchSize;
  }

  static create(slots: number, batchSize: number): Control {
    return new Control(new SharedArrayBuffer(4 * (1 + slots * (1 + batchSize))), batchSize);
  }

  #start(slot: number): number {
    return 1 + slot * (1 + this.#batchSize);
  }

  /** Makes a batch's positions available. The claims for use n of a slot are [n * batchSize, n * batchSize + count). */
  publish(slot: number, use: number, indices: ArrayLike<number>): void {
    const start = this.#start(slot);
    for (let i = 0; i < indices.length; i++) this.#words[start + 1 + i] = indices[i]!;
    Atomics.store(this.#words, start, (use * this.#batchSize) | 0);
  }

  /** Claims the next position of a use of a slot; null when none is left. */
  claim(slot: number, use: number, count: number): number | null {
    const word = this.#start(slot);
    const first = (use * this.#batchSize) | 0;
    for (;;) {
      const seen = Atomics.load(this.#words, word);
      const position = (seen - first) | 0; // right even after the counter has wrapped around
      if (position < 0 || position >= count || this.stopped) return null;
      if (Atomics.compareExchange(this.#words, word, seen, (seen + 1) | 0) === seen) return position;
    }
  }

  imageIndex(slot: number, position: number): number {
    return this.#words[this.#start(slot) + 1 + position]! >>> 0;
  }

  stop(): void {
    Atomics.store(this.#words, 0, 1);
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, 0) === 1;
  }
}
