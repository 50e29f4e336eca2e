/** A training in a worker thread, for tests of several in one process; `workerData` is what train() takes. */
import { parentPort, workerData } from 'node:worker_threads';
import { train, type TrainOptions } from '../train/train.js';

const { loss } = await train(workerData as TrainOptions);
parentPort?.postMessage(loss);
