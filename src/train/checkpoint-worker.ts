/** The thread that writes checkpoints while the training goes on: hashes, writes, flushes, renames, prunes. */
import { parentPort } from 'node:worker_threads';
import { writeCheckpoint, type CheckpointImage } from './write-checkpoint.js';

/** What the thread answers to each image: null when it is on the disk, else what went wrong. */
export type WriteAnswer = { problem: string | null };

const port = parentPort!;
port.on('message', (image: CheckpointImage) => {
  let problem: string | null = null;
  try {
    writeCheckpoint(image);
  } catch (error) {
    problem = (error as Error).message;
  }
  port.postMessage({ problem } satisfies WriteAnswer);
});
