/**
 * What the loader's threads share: the list of images, the slots that batches are rendered into, and the counters by
 * which workers take positions of a batch. Nothing is copied between threads: a million names are held once, and a
 * worker writes pixels where the tensor will read them.
 */
import type { SharedCache } from '../read/decoded-cache.js';
import type { SharedImages } from '../list/packed-images.js';
import type { Job, PositionResult } from './render.js';

/** What a worker is started with. */
export interface WorkerSetup {
  job: Job;
  images: SharedImages;
  /** Decoded images of all threads; null without. */
  cache: SharedCache | null;
  slots: SharedArrayBuffer[];
  control: SharedArrayBuffer;
}

/** To a worker: a slot has work. The same message goes to every worker; each takes positions until none is left. */
export interface BatchMessage {
  slot: number;
  /** How often the slot was used before: claims of an earlier use can't take positions of a later one. */
  use: number;
  epoch: number;
  count: number;
}

/** From a worker: it took these positions of a batch, and there is none left to take. */
export interface DoneMessage {
  slot: number;
  results: PositionResult[];
}

/** From a worker: something broke that is not one image's fault. */
export interface FailedMessage {
  failed: string;
  /** The images' fault all the same: the caller gets a DataError. */
  isData: boolean;
}

/**
 * Counters over shared memory. Word 0 tells every thread to stop; then, for each slot, its claim counter and the
 * indices of its batch's images.
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

  /** Makes a batch's positions available. Use n of a slot has the claims [n * batchSize, n * batchSize + count). */
  publish(slot: number, use: number, indices: ArrayLike<number>): void {
    const start = this.#start(slot);
    for (let i = 0; i < indices.length; i++) this.#words[start + 1 + i] = indices[i]!;
    Atomics.store(this.#words, start, (use * this.#batchSize) | 0);
  }

  /** Takes the next position of a use of a slot; null when there is none left. */
  claim(slot: number, use: number, count: number): number | null {
    const word = this.#start(slot);
    const first = (use * this.#batchSize) | 0;
    for (;;) {
      const seen = Atomics.load(this.#words, word);
      const position = (seen - first) | 0; // differences survive wrapping round
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
