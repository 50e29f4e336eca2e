/** The thread that writes checkpoints while training continues: it hashes, writes, flushes, renames and prunes. */
import { parentPort } from 'node:worker_threads';
import { writeCheckpoint, type CheckpointImage } from './write-checkpoint.js';

/** The thread's answer to each image: null once it is on disk, else what went wrong. */
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
