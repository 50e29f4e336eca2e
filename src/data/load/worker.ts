/**
 * The thread of a loader's worker. It imports only what rendering needs (sharp, the crops addon, the sampling), so that it
 * starts in a fraction of a second, and works without the main thread: while that is busy inside libtorch, the workers fill
 * every slot that they were given.
 */
import { parentPort, workerData } from 'node:worker_threads';
import sharp from 'sharp';
import { DataError } from '../../errors.js';
import { DecodedCache } from '../read/decoded-cache.js';
import { ImageReader } from '../read/image-reader.js';
import { ImageDecoder } from '../read/image-decoder.js';
import { PackedImages } from '../list/packed-images.js';
import { renderPosition, type PositionResult } from './render.js';
import {
  Control,
  type BatchMessage,
  type DoneMessage,
  type FailedMessage,
  type WorkerSetup,
} from './shared.js';

/** Images in flight in a worker: one is decoded (on a thread of sharp) while another one is rendered here. */
const LANES = 2;

const port = parentPort!;
const setup = workerData as WorkerSetup;
const { job } = setup;
const cache = setup.cache === null ? null : new DecodedCache(setup.cache);
const images = new ImageDecoder(new ImageReader(new PackedImages(setup.images)), cache);
const slots = setup.slots.map((buffer) => new Uint8Array(buffer));
const control = new Control(setup.control, job.batchSize);

// there are many workers, so one thread is enough for an image; no image is decoded twice, so a cache is of no use
sharp.concurrency(1);
sharp.cache(false);

async function lane(batch: BatchMessage, results: PositionResult[]): Promise<void> {
  for (;;) {
    const position = control.claim(batch.slot, batch.use, batch.count);
    if (position === null) return;
    const imageIndex = control.imageIndex(batch.slot, position);
    const place = { epoch: batch.epoch, imageIndex, position };
    results.push(await renderPosition(job, images, place, slots[batch.slot]!));
  }
}

async function run(batch: BatchMessage): Promise<void> {
  const results: PositionResult[] = [];
  await Promise.all(Array.from({ length: LANES }, () => lane(batch, results)));
  if (results.length > 0) port.postMessage({ slot: batch.slot, results } satisfies DoneMessage);
}

let queue = Promise.resolve();
port.on('message', (message: BatchMessage | 'stop') => {
  if (message === 'stop') {
    void queue.then(() => port.close());
    return;
  }
  queue = queue
    .then(() => run(message))
    .catch((error: unknown) => {
      const failed = error instanceof Error ? error.message : String(error);
      port.postMessage({ failed, isData: error instanceof DataError } satisfies FailedMessage);
    });
});
