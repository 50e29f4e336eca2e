/** What all loaders have in common: they iterate over the batches of a pool. */
import { availableParallelism } from 'node:os';
import { SlotPool, type FilledSlot, type PoolOptions } from './pool.js';

/** A sensible number of workers for this machine: one core is left for the training itself. */
export const defaultNumWorkers = (): number => Math.max(1, Math.min(availableParallelism() - 1, 8));

/** Batches in memory when there are workers: one is trained on, one is ready, one is being made. */
const DEFAULT_SLOTS = 3;
/** Without workers no batch is made ahead. */
const LOCAL_SLOTS = 2;

export const defaultSlots = (numWorkers: number): number => (numWorkers > 0 ? DEFAULT_SLOTS : LOCAL_SLOTS);

/** A loader is iterated once. Leaving the loop, the abort signal or close() ends its workers. */
export abstract class PooledLoader<Batch> implements AsyncIterableIterator<Batch> {
  protected readonly pool: SlotPool;

  protected constructor(options: PoolOptions) {
    this.pool = new SlotPool(options);
  }

  /** Makes a slot's batch for the consumer; `release` returns the slot to the pool, and does nothing when called again. */
  protected abstract batchOf(filled: FilledSlot, release: () => void): Batch;

  /** @throws the abort reason; DataError; EngineError when a worker failed or no batch was released */
  async next(): Promise<IteratorResult<Batch, undefined>> {
    const filled = await this.pool.next();
    if (filled === null) return { done: true, value: undefined };
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      this.pool.release(filled.slot);
    };
    return { done: false, value: this.batchOf(filled, release) };
  }

  async return(): Promise<IteratorResult<Batch, undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /** Ends the workers and waits for them. */
  close(): Promise<void> {
    return this.pool.close();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
