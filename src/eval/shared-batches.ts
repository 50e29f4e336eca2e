/**
 * Batches of features, distributed over several processes and collected again: in the order of the images, without
 * duplicates or gaps, in as little memory as one process needs.
 */
import type { Box, ImageItem, ImageItems } from '../data/index.js';
import type { World } from '../processes/world.js';

export interface FeatureBatch {
  /** Positions in `items` of the images that could be read. */
  indices: number[];
  /** float32; rows in the order of `indices`. */
  features: Float32Array;
  /** Shape of `features`. */
  shape: number[];
  skipped: { path: string; reason: string }[];
}

/** Every `count`-th batch of a list, starting with the `rank`-th, as a list. */
export class DealtItems implements ImageItems {
  readonly length: number;
  readonly #items: ImageItems;
  readonly #deal: { rank: number; count: number; batchSize: number };

  constructor(items: ImageItems, deal: { rank: number; count: number; batchSize: number }) {
    this.#items = items;
    this.#deal = deal;
    const { rank, count, batchSize } = deal;
    const round = count * batchSize;
    const rest = (items.length % round) - rank * batchSize;
    this.length = Math.floor(items.length / round) * batchSize + Math.min(batchSize, Math.max(0, rest));
  }

  /** The index in the whole list of an item of this list. */
  position(index: number): number {
    const { rank, count, batchSize } = this.#deal;
    return (Math.floor(index / batchSize) * count + rank) * batchSize + (index % batchSize);
  }

  at(index: number): ImageItem | undefined {
    return index < 0 || index >= this.length ? undefined : this.#items.at(this.position(index));
  }

  map<T>(compute: (item: ImageItem, index: number) => T): T[] {
    return Array.from({ length: this.length }, (_, i) => compute(this.at(i)!, i));
  }

  *[Symbol.iterator](): Iterator<ImageItem> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }
}

/**
 * The batches of all processes, in order, for each process. Collective: each must consume all of them.
 * @param compute - The batches of this process's items.
 */
export async function* sharedBatches(
  world: World,
  items: ImageItems,
  { batchSize, boxes: all }: { batchSize: number; boxes?: readonly (Box | null)[] | undefined },
  compute: (
    own: ImageItems,
    boxes: readonly (Box | null)[] | undefined,
  ) => AsyncGenerator<FeatureBatch, void>,
): AsyncGenerator<FeatureBatch, void> {
  const own = new DealtItems(items, { rank: world.rank, count: world.size, batchSize });
  const boxes = all && Array.from({ length: own.length }, (_, i) => all[own.position(i)]!);
  const rounds = Math.ceil(items.length / (batchSize * world.size));
  const batches = compute(own, boxes);
  try {
    for (let round = 0; round < rounds; round++) {
      const next = await batches.next();
      const batch =
        next.done === true ? { indices: [], shape: [0], skipped: [], features: NOTHING } : next.value;
      const { shape, skipped } = batch;
      const indices = batch.indices.map((index) => own.position(index));
      const about = await world.gather({ indices, shape, skipped });
      const rows = await world.gatherArrays(batch.features);
      for (const [rank, what] of about.entries()) {
        if (what.indices.length + what.skipped.length > 0)
          yield { ...what, features: rows[rank] as Float32Array };
      }
    }
  } finally {
    await batches.return();
  }
}

const NOTHING = new Float32Array(0);
