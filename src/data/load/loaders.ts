/**
 * The loaders: shuffled multi-crop batches for training (DataLoader with DataAugmentationDINO in the reference's
 * main_dino.py), resized centre crops in order for evaluation (with Resize and CenterCrop in its eval_knn.py), and random
 * crops for a linear classifier (eval_linear.py).
 *
 * The batches of a loader depend only on its arguments, to the bit, and not on the number of workers or on timing. A loader
 * that starts at any epoch and batch has the batches that an uninterrupted run would have had there.
 */
import { ConfigError, DataError } from '../../errors.js';
import { augmentationAt, augmentationFor, type AugmentationSettings } from '../crops/augmentation.js';
import { decodedSize } from '../read/decode.js';
import { DecodedCache } from '../read/decoded-cache.js';
import type { ImageItems } from '../list/image-items.js';
import { PackedImages } from '../list/packed-images.js';
import { epochPermutation } from '../crops/philox.js';
import type { BatchPlan, FilledSlot, PoolOptions } from './pool.js';
import { defaultNumWorkers, defaultSlots, PooledLoader } from './pooled-loader.js';
import {
  pixelBytes,
  planesBytes,
  reductionFor,
  slotBytes,
  type Box,
  type CropJob,
  type EvalJob,
  type Fit,
  type ResizedCropJob,
  type ViewJob,
  type SkippedImage,
} from './render.js';

/** A batch for training. Its pixels are valid until release(). */
export interface CropBatch {
  epoch: number;
  /** Index in the epoch, from 0. */
  batch: number;
  /** The index of the image at each position (of the replacement, where an image could not be read). */
  indices: number[];
  /**
   * (2 * batchSize, 3, S, S) bytes, 0 to 255, in shared memory: crop 0 of all images, then crop 1. With `channels`, the bytes
   * of (2 * batchSize, channels, S, S) 16-bit values.
   */
  globals: Uint8Array;
  /** (localCropsNumber * batchSize, 3, s, s) bytes, the same way; null without local crops. */
  locals: Uint8Array | null;
  /** S and s: the sizes of the settings, or half of them in the epochs of `lowResEpochs`. */
  globalSize: number;
  localSize: number;
  /** Milliseconds that the consumer waited for this batch. */
  waitMs: number;
  /** Images that could not be read for this batch, with the reason. */
  skipped: SkippedImage[];
  /** Returns the memory to the loader. Call it once, when nothing reads the pixels any more. */
  release: () => void;
}

/** A batch for evaluation. Its pixels are valid until release(). */
export interface EvalBatch {
  /** The index of each image in the items; images that can't be read are left out. */
  indices: number[];
  /**
   * (indices.length, 3, crop, crop) bytes, 0 to 255, in shared memory. With `fit: 'inside'`, each image begins where it
   * would in that array, but is (3, height, width) with its own size. With `channels`, the bytes of
   * (indices.length, channels, crop, crop) 16-bit values.
   */
  images: Uint8Array;
  /** Size of each image in pixels: crop x crop, except with `fit: 'inside'`. */
  sizes: { width: number; height: number }[];
  labels: (number | null)[];
  waitMs: number;
  skipped: SkippedImage[];
  release: () => void;
}

const wholeNumber = (value: number, least: number) => Number.isSafeInteger(value) && value >= least;

/** What images become. */
export interface PixelOptions {
  /**
   * Channels of images that are taken as they are, 16 bits each; images of another number are skipped. Default: every image
   * becomes 8-bit RGB.
   */
  channels?: number | undefined;
}

export interface MultiCropLoaderOptions extends PixelOptions {
  items: ImageItems;
  /** Images in a batch. The last images of an epoch that don't fill a batch are left out (drop_last in the reference). */
  batchSize: number;
  /** A non-negative integer below 2^53. */
  seed: number;
  /** The defaults are those of the paper. */
  augmentation?: Partial<AugmentationSettings>;
  /** Loader threads; 0 makes each batch in this thread when it is asked for. Default: cores - 1, 1 to 8. */
  numWorkers?: number;
  /** First epoch. Default 0. */
  startEpoch?: number;
  /** First batch of the first epoch. Default 0. */
  startBatch?: number;
  /** Epochs in all: the last one is epochs - 1. Default: endless. */
  epochs?: number;
  /** This one of `count` processes: each takes every count-th image of an epoch's order. Default { rank: 0, count: 1 }. */
  shard?: { rank: number; count: number };
  /** Batches in memory at once, at least 2. Default 3 (2 without workers). */
  slots?: number;
  /** Most bytes of decoded images that are kept over the epochs. Default 0. Does not change any byte of a batch. */
  decodedCache?: number;
  signal?: AbortSignal;
  /** The worker's file, which only tests replace. */
  workerFile?: URL;
}

/**
 * Shuffled multi-crop batches, epoch after epoch.
 *
 * ```ts
 * const loader = new MultiCropLoader({ items, batchSize: 64, seed: 0, epochs: 100 });
 * for await (const batch of loader) {
 *   ...
 *   batch.release();
 * }
 * ```
 *
 * A loader is iterated once. Leaving the loop, the abort signal or close() ends its workers.
 */
export class MultiCropLoader extends PooledLoader<CropBatch> {
  /** Batches in an epoch. */
  readonly batchesPerEpoch: number;
  readonly augmentation: AugmentationSettings;
  readonly #job: CropJob;
  readonly #cache: DecodedCache | null;

  /**
   * @throws ConfigError for settings out of range; DataError when there are fewer images than in a batch
   */
  constructor(options: MultiCropLoaderOptions) {
    const { items, batchSize, seed, startEpoch = 0, startBatch = 0, epochs = Infinity } = options;
    const { numWorkers = defaultNumWorkers(), shard = { rank: 0, count: 1 } } = options;
    const { slots = defaultSlots(numWorkers), decodedCache = 0, channels } = options;
    const problems: string[] = [];
    if (!wholeNumber(batchSize, 1))
      problems.push(`batchSize must be a whole number above 0, but is ${batchSize}`);
    if (!wholeNumber(seed, 0)) problems.push(`seed must be a whole number, 0 or more, but is ${seed}`);
    if (!wholeNumber(numWorkers, 0)) problems.push(`numWorkers must be 0 or more, but is ${numWorkers}`);
    if (!wholeNumber(slots, 2)) problems.push(`slots must be 2 or more, but is ${slots}`);
    if (!wholeNumber(decodedCache, 0))
      problems.push(`decodedCache must be a number of bytes, 0 or more, but is ${decodedCache}`);
    if (!wholeNumber(startEpoch, 0) || !wholeNumber(startBatch, 0)) {
      problems.push(`startEpoch and startBatch must be 0 or more, but are ${startEpoch} and ${startBatch}`);
    }
    if (!wholeNumber(shard.count, 1) || !wholeNumber(shard.rank, 0) || shard.rank >= shard.count) {
      problems.push(`shard must have 0 <= rank < count, but is ${JSON.stringify(shard)}`);
    }
    if (problems.length > 0) throw new ConfigError(problems);

    const augmentation = augmentationFor(options.augmentation, channels);
    const own = Math.floor(items.length / shard.count);
    const batchesPerEpoch = Math.floor(own / batchSize);
    if (batchesPerEpoch === 0) {
      const each = shard.count > 1 ? ` for each of ${shard.count} processes` : '';
      throw new DataError(
        `There are ${items.length} images, fewer than one batch of ${batchSize}${each}. ` +
          `Add images, or set --batch-size to ${Math.max(1, own)} or less.`,
      );
    }
    if (startBatch > batchesPerEpoch) {
      throw new ConfigError(`startBatch is ${startBatch}, but an epoch has ${batchesPerEpoch} batches`);
    }
    const job: CropJob = { kind: 'crops', seed, batchSize, augmentation, channels };
    const cache = decodedCache > 0 ? DecodedCache.create(decodedCache, items.length) : null;
    function* plans(): Generator<BatchPlan> {
      for (let epoch = startEpoch; epoch < epochs; epoch++) {
        const order = shardOrder(epochPermutation(items.length, seed, epoch), shard);
        for (let batch = epoch === startEpoch ? startBatch : 0; batch < batchesPerEpoch; batch++) {
          yield { epoch, batch, indices: order.subarray(batch * batchSize, (batch + 1) * batchSize) };
        }
      }
    }
    super({
      ...{ job, numWorkers, slots, plans: plans(), signal: options.signal, workerFile: options.workerFile },
      ...{ images: PackedImages.from(items), cache },
    });
    this.augmentation = augmentation;
    this.batchesPerEpoch = batchesPerEpoch;
    this.#job = job;
    this.#cache = cache;
  }

  get numWorkers(): number {
    return this.pool.numWorkers;
  }

  /**
   * Changes the number of workers, to 1 or more; a loader that was made without workers stays so. Changes the speed, never a
   * batch.
   */
  setWorkers(count: number): void {
    this.pool.setWorkers(count);
  }

  /** What the cache holds at present; null without a cache. */
  get cached(): { images: number; bytes: number } | null {
    return this.#cache?.held ?? null;
  }

  /** Bytes that a JPEG of this size takes when it is decoded for the crops of this loader, on average over epochs. */
  decodedBytes(width: number, height: number): number {
    const epochs = 16;
    if (this.#job.channels !== undefined) return pixelBytes(this.#job) * width * height; // never reduced
    let bytes = 0;
    for (let epoch = 0; epoch < epochs; epoch++) {
      const size = decodedSize(width, height, reductionFor(this.#job, { epoch, imageIndex: 0, position: 0 }));
      bytes += 3 * size.width * size.height;
    }
    return bytes / epochs;
  }

  /** Starts the workers now, so that the first batch is ready sooner; otherwise the first next() does. */
  start(): void {
    this.pool.start();
  }

  protected override batchOf(filled: FilledSlot, release: () => void): CropBatch {
    const { epoch, batch, bytes, results, waitMs } = filled;
    const indices = results.map((result) => result.imageIndex!);
    const { globalCropsSize: globalSize, localCropsSize: localSize } = augmentationAt(
      this.augmentation,
      epoch,
    );
    const ends = slotBytes(this.#job, epoch);
    const globals = bytes.subarray(0, ends.globals);
    const locals = ends.locals > 0 ? bytes.subarray(ends.globals, ends.globals + ends.locals) : null;
    const skipped = results.flatMap((result) => result.skipped);
    return { epoch, batch, indices, globals, locals, globalSize, localSize, waitMs, skipped, release };
  }
}

/**
 * Deals out an epoch's order like cards: the batches of all processes together are those of one process whose batch is as
 * large as theirs together. Where the images can't be divided evenly, DistributedSampler repeats some; here the last few are
 * left out.
 */
export function shardOrder(order: Uint32Array, shard: { rank: number; count: number }): Uint32Array {
  if (shard.count === 1) return order;
  const own = new Uint32Array(Math.floor(order.length / shard.count));
  return own.map((_, i) => order[i * shard.count + shard.rank]!);
}

/** All images of an order, in batches; the last one may be smaller. */
function* wholeEpoch(order: Uint32Array, batchSize: number, epoch: number): Generator<BatchPlan> {
  for (let batch = 0; batch * batchSize < order.length; batch++) {
    yield { epoch, batch, indices: order.subarray(batch * batchSize, (batch + 1) * batchSize) };
  }
}

/** Batches of one crop for each image; images that can't be read are left out. */
abstract class SingleCropLoader extends PooledLoader<EvalBatch> {
  readonly #items: ImageItems;
  readonly #crop: number;
  readonly #bytes: number;

  constructor(
    job: EvalJob | ResizedCropJob | ViewJob,
    options: Omit<PoolOptions, 'job' | 'images' | 'slots'>,
    items: ImageItems,
  ) {
    super({ ...options, job, slots: defaultSlots(options.numWorkers), images: PackedImages.from(items) });
    this.#items = items;
    this.#crop = job.crop;
    this.#bytes = planesBytes(job, 1, job.crop);
  }

  protected override batchOf({ bytes, results, waitMs }: FilledSlot, release: () => void): EvalBatch {
    const size = this.#bytes;
    const good = results.filter((result) => result.imageIndex !== null);
    good.forEach(({ position }, i) => {
      if (position !== i) bytes.copyWithin(i * size, position * size, (position + 1) * size);
    });
    const indices = good.map((result) => result.imageIndex!);
    return {
      indices,
      images: bytes.subarray(0, indices.length * size),
      sizes: good.map((result) => result.shape ?? { width: this.#crop, height: this.#crop }),
      labels: indices.map((index) => this.#items.at(index)!.label),
      waitMs,
      skipped: results.flatMap((result) => result.skipped),
      release,
    };
  }
}

export interface EvalLoaderOptions extends PixelOptions {
  items: ImageItems;
  /** How images are resized. Default 'crop', the only one that uses `resize`. */
  fit?: Fit;
  /** Rectangles to cut out first, one for each item. */
  boxes?: readonly (Box | null)[];
  /** Length of the shorter side after resizing, in pixels. Default 256. */
  resize?: number;
  /** Side of the centre crop, in pixels, at most `resize`; with another `fit`, of the whole image. Default 224. */
  crop?: number;
  batchSize: number;
  /** Default: cores - 1, 1 to 8. */
  numWorkers?: number;
  signal?: AbortSignal;
}

/** All images in order, resized (Pillow's bicubic) and cropped at the centre; the last batch may be smaller. */
export class EvalLoader extends SingleCropLoader {
  /** @throws ConfigError for settings out of range */
  constructor(options: EvalLoaderOptions) {
    const { items, resize = 256, crop = 224, batchSize, numWorkers = defaultNumWorkers() } = options;
    const { fit = 'crop', boxes, channels } = options;
    const problems: string[] = [];
    if (!wholeNumber(batchSize, 1))
      problems.push(`batchSize must be a whole number above 0, but is ${batchSize}`);
    if (!wholeNumber(numWorkers, 0)) problems.push(`numWorkers must be 0 or more, but is ${numWorkers}`);
    if (!wholeNumber(crop, 1)) problems.push(`crop must be a whole number of pixels above 0, but is ${crop}`);
    if (!wholeNumber(resize, 1))
      problems.push(`resize must be a whole number of pixels above 0, but is ${resize}`);
    if (fit === 'crop' && crop > resize) {
      problems.push(
        `crop is ${crop}, but the shorter side has only resize = ${resize} pixels: give a larger resize`,
      );
    }
    if (problems.length > 0) throw new ConfigError(problems);
    const job: EvalJob = {
      ...{ kind: 'eval', batchSize, fit, resize, crop, channels },
      ...(boxes ? { boxes } : {}),
    };
    const order = new Uint32Array(items.length).map((_, i) => i);
    super(job, { numWorkers, plans: wholeEpoch(order, batchSize, 0), signal: options.signal }, items);
  }
}

export interface ResizedCropLoaderOptions extends PixelOptions {
  items: ImageItems;
  /** Side of the crops, in pixels. */
  crop: number;
  batchSize: number;
  /** A non-negative integer below 2^53. */
  seed: number;
  /** Which epoch: it determines the order and the crops. */
  epoch: number;
  /** Default: cores - 1, 1 to 8. */
  numWorkers?: number;
  signal?: AbortSignal;
}

/**
 * One epoch of randomly resized and flipped crops in random order, one for each image (torchvision's RandomResizedCrop and
 * RandomHorizontalFlip at their defaults); the last batch may be smaller.
 */
export class ResizedCropLoader extends SingleCropLoader {
  constructor(options: ResizedCropLoaderOptions) {
    const { items, crop, batchSize, seed, epoch, channels, numWorkers = defaultNumWorkers() } = options;
    const job: ResizedCropJob = { kind: 'resized-crop', seed, batchSize, crop, channels };
    const plans = wholeEpoch(epochPermutation(items.length, seed, epoch), batchSize, epoch);
    super(job, { numWorkers, plans, signal: options.signal }, items);
  }
}

export interface ViewLoaderOptions extends Omit<ResizedCropLoaderOptions, 'epoch'> {
  /** Which view of the images: another number gives other random crops. */
  view: number;
  /** The distribution of the views: that of a training's first global crop. */
  augmentation: Partial<AugmentationSettings>;
}

/** One randomly augmented view of each image, the images in order; the last batch may be smaller. */
export class ViewLoader extends SingleCropLoader {
  constructor(options: ViewLoaderOptions) {
    const { items, crop, batchSize, seed, view, channels, numWorkers = defaultNumWorkers() } = options;
    const augmentation = augmentationFor(
      { ...options.augmentation, globalCropsSize: crop, localCropsNumber: 0, lowResEpochs: 0 },
      channels,
    );
    const job: ViewJob = { kind: 'view', seed, batchSize, crop, augmentation, channels };
    const order = new Uint32Array(items.length).map((_, i) => i);
    super(job, { numWorkers, plans: wholeEpoch(order, batchSize, view), signal: options.signal }, items);
  }
}
