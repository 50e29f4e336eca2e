/** Training in a worker thread, for tests of several in one process; `workerData` is the argument of train(). */
import { parentPort, workerData } from 'node:worker_threads';
import type { TrainOptions } from '../train/options.js';
import { train } from '../train/train.js';

const { loss } = await train(workerData as TrainOptions);
parentPort?.postMessage(loss);
