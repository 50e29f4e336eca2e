/**
 * The ring of slots behind the loaders. A slot is shared memory for one batch; it is being filled, waiting to be taken, held
 * by the consumer, or free. A batch is begun as soon as a slot is free, and only then: this is the back-pressure, and it
 * bounds the memory.
 */
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DataError, EngineError } from '../../errors.js';
import { loadCropsAddon } from '../crops/crops.js';
import type { DecodedCache } from '../read/decoded-cache.js';
import { ImageReader } from '../read/image-reader.js';
import { ImageDecoder } from '../read/image-decoder.js';
import type { PackedImages } from '../list/packed-images.js';
import { renderPosition, slotBytes, type Job, type PositionResult } from './render.js';
import {
  Control,
  type BatchMessage,
  type DoneMessage,
  type FailedMessage,
  type WorkerSetup,
} from './shared.js';

/** A batch to make. */
export interface BatchPlan {
  epoch: number;
  batch: number;
  indices: ArrayLike<number>;
}

/** A finished batch: `results` are in the order of positions. */
export interface FilledSlot extends BatchPlan {
  slot: number;
  bytes: Uint8Array;
  results: PositionResult[];
  /** How long the consumer waited for it. */
  waitMs: number;
}

export interface PoolOptions {
  job: Job;
  images: PackedImages;
  /** Decoded images, for all threads. Default none. */
  cache?: DecodedCache | null;
  /** Worker threads at first; with 0, a batch is rendered in this thread when it is asked for. */
  numWorkers: number;
  /** Batches in memory: held, waiting and being filled. */
  slots: number;
  plans: Iterator<BatchPlan>;
  signal?: AbortSignal | undefined;
  /** The worker's file, which only tests replace. */
  workerFile?: URL | undefined;
}

interface Pending {
  plan: BatchPlan;
  message: BatchMessage;
  results: PositionResult[];
}

/** How long a worker may take to finish its image when it is asked to stop. */
const STOP_MS = 3000;

/** Images in flight in this thread, as in a worker: one is decoded while the other one is rendered. */
const LOCAL_LANES = 2;

export class SlotPool {
  readonly #options: PoolOptions;
  readonly #images: ImageDecoder;
  readonly #buffers: SharedArrayBuffer[];
  readonly #bytes: Uint8Array[];
  readonly #control: Control;
  readonly #uses: number[];
  readonly #free: number[];
  readonly #pending: Pending[] = [];
  #numWorkers: number;
  /** All threads that have not ended, including those that were asked to. */
  #workers: Worker[] = [];
  readonly #leaving = new Set<Worker>();
  #started = false;
  #plansDone = false;
  #error: Error | null = null;
  #wake: (() => void) | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#numWorkers = options.numWorkers;
    const { job, slots } = options;
    const { globals, locals } = slotBytes(job);
    this.#images = new ImageDecoder(new ImageReader(options.images), options.cache);
    this.#buffers = Array.from({ length: slots }, () => new SharedArrayBuffer(globals + locals));
    this.#bytes = this.#buffers.map((buffer) => new Uint8Array(buffer));
    this.#control = Control.create(slots, job.batchSize);
    this.#uses = new Array<number>(slots).fill(0);
    this.#free = Array.from({ length: slots }, (_, i) => i);
  }

  /** Starts the workers on the first batches. next() does so too; called earlier, the first batch is ready sooner. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    loadCropsAddon();
    const { signal } = this.#options;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) return this.#onAbort();
    this.#workers = Array.from({ length: this.#numWorkers }, () => this.#startWorker());
    if (this.#numWorkers > 0) this.#fillSlots();
  }

  get numWorkers(): number {
    return this.#numWorkers;
  }

  /**
   * Adds workers, or stops the newest ones after the batches that they have been given. Neither to 0 nor from 0, where this
   * thread renders all batches.
   */
  setWorkers(count: number): void {
    if (count < 1 || this.#numWorkers < 1)
      throw new RangeError(`internal: ${count} workers in place of ${this.#numWorkers}`);
    const change = count - this.#numWorkers;
    this.#numWorkers = count;
    if (!this.#started || this.#closing !== null) return;
    for (let i = 0; i < change; i++) {
      const worker = this.#startWorker();
      this.#workers.push(worker);
      for (const { message } of this.#pending) worker.postMessage(message);
    }
    for (const worker of change < 0 ? this.#staying().slice(change) : []) {
      this.#leaving.add(worker);
      worker.postMessage('stop');
    }
  }

  #staying(): Worker[] {
    return this.#workers.filter((worker) => !this.#leaving.has(worker));
  }

  #startWorker(): Worker {
    const setup: WorkerSetup = {
      job: this.#options.job,
      images: this.#options.images.shared,
      cache: this.#options.cache?.shared ?? null,
      slots: this.#buffers,
      control: this.#control.buffer,
    };
    const file = this.#options.workerFile ?? new URL('./worker.js', import.meta.url);
    const worker = new Worker(file, { workerData: setup, name: 'dino-loader' });
    worker.on('message', (message: DoneMessage | FailedMessage) => this.#onMessage(message));
    worker.on('error', (error) => this.#fail(crashed(error.message, error)));
    worker.on('exit', (code) => {
      const mayEnd = this.#closing !== null || (this.#leaving.delete(worker) && code === 0);
      if (!mayEnd) this.#fail(crashed(`it exited with code ${code}`));
      else if (this.#closing === null) this.#workers.splice(this.#workers.indexOf(worker), 1);
    });
    // a loader that nobody waits for does not keep the process alive; next() refs the workers while it waits
    worker.unref();
    return worker;
  }

  #onAbort = (): void => {
    const reason: unknown = this.#options.signal?.reason;
    this.#fail(
      reason instanceof Error ? reason : new DOMException('This operation was aborted', 'AbortError'),
    );
  };

  #fail(error: Error): void {
    this.#error ??= error;
    this.#wake?.();
    void this.close();
  }

  #onMessage(message: DoneMessage | FailedMessage): void {
    if ('failed' in message) {
      this.#fail(message.isData ? new DataError(message.failed) : crashed(message.failed));
      return;
    }
    this.#pending.find((item) => item.message.slot === message.slot)?.results.push(...message.results);
    this.#wake?.();
  }

  /** Begins a batch in every free slot. */
  #fillSlots(): void {
    while (this.#free.length > 0 && !this.#plansDone && this.#closing === null) {
      const next = this.#options.plans.next();
      if (next.done === true) {
        this.#plansDone = true;
        return;
      }
      const plan = next.value;
      const slot = this.#free.shift()!;
      const use = this.#uses[slot]!++;
      this.#control.publish(slot, use, plan.indices);
      const message: BatchMessage = { slot, use, epoch: plan.epoch, count: plan.indices.length };
      this.#pending.push({ plan, message, results: [] });
      for (const worker of this.#staying()) worker.postMessage(message);
    }
  }

  /** Renders a batch in this thread. */
  async #renderHere({ plan, message: { slot }, results }: Pending): Promise<void> {
    let position = 0;
    const lane = async () => {
      while (position < plan.indices.length && this.#error === null) {
        const at = position++;
        const place = { epoch: plan.epoch, imageIndex: plan.indices[at]!, position: at };
        results.push(await renderPosition(this.#options.job, this.#images, place, this.#bytes[slot]!));
        await eventLoopTurn(); // for signals
      }
    };
    await Promise.all(Array.from({ length: LOCAL_LANES }, lane));
  }

  /**
   * Waits until the workers have finished a batch, or something has failed. While positions are left, which is when workers
   * are starting or too few, this thread renders some too, since it has nothing else to do.
   */
  async #waitFor(pending: Pending): Promise<void> {
    const { plan, results } = pending;
    const complete = () => results.length === plan.indices.length;
    for (const worker of this.#workers) worker.ref();
    try {
      while (!complete() && this.#error === null) {
        if (!(await this.#help(pending))) await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      this.#wake = null;
      for (const worker of this.#workers) worker.unref();
    }
  }

  /** Renders one position that no worker has claimed yet; false when there is none. */
  async #help({ plan, message: { slot, use }, results }: Pending): Promise<boolean> {
    const position = this.#control.claim(slot, use, plan.indices.length);
    if (position === null) return false;
    const place = { epoch: plan.epoch, imageIndex: plan.indices[position]!, position };
    results.push(await renderPosition(this.#options.job, this.#images, place, this.#bytes[slot]!));
    await eventLoopTurn(); // for messages and signals
    return true;
  }

  /**
   * The next batch; null after the last one.
   * @throws the abort reason; DataError; EngineError when a worker has failed, or all slots are held
   */
  async next(): Promise<FilledSlot | null> {
    const from = performance.now();
    this.start();
    if (this.#error !== null) throw this.#error;
    if (this.#closing !== null) return null;
    this.#fillSlots();
    const pending = this.#pending[0];
    if (pending === undefined) {
      if (this.#plansDone) {
        await this.close();
        return null;
      }
      throw new EngineError(
        `The loader has ${this.#buffers.length} slots, and all of them hold batches that were not released: ` +
          'call batch.release() when its data is no longer needed',
      );
    }
    if (this.#numWorkers > 0) await this.#waitFor(pending);
    else await this.#renderHere(pending);
    // it may have been set while waiting, which TypeScript does not see
    const error = this.#error as Error | null;
    if (error !== null) throw error;
    this.#pending.shift();
    const results = pending.results.sort((a, b) => a.position - b.position);
    const { slot } = pending.message;
    const { plan } = pending;
    return { ...plan, slot, bytes: this.#bytes[slot]!, results, waitMs: performance.now() - from };
  }

  /** Returns a slot, to be filled again. */
  release(slot: number): void {
    this.#free.push(slot);
    if (this.#numWorkers > 0) this.#fillSlots();
  }

  /** Ends the workers, each after its current image. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#control.stop();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    await Promise.all(this.#workers.map(stopWorker));
    this.#workers = [];
    this.#images.reader.close();
    this.#wake?.();
  }
}

function crashed(reason: string, cause?: unknown): EngineError {
  return new EngineError(`A loader worker failed: ${reason}`, cause === undefined ? {} : { cause });
}

/** Asks first: terminating a thread inside sharp can crash the process. */
async function stopWorker(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return; // it has exited
  worker.ref();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => void worker.terminate(), STOP_MS);
    worker.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    worker.postMessage('stop');
  });
}
