/**
 * Checkpoints that stop training for no longer than a copy: the state is copied off the device into shared memory, and a
 * separate thread hashes, writes and flushes it while the next steps run. That memory is as large as one checkpoint
 * (student, teacher, two moments: about 16 bytes per parameter) and is reused for the next save.
 */
import { Worker } from 'node:worker_threads';
import type { TrainingState } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import { systemReason } from '../files/system-reason.js';
import { printable } from '../plain/printable.js';
import { copyState } from './checkpoint.js';
import { checkpointFolder, newestCheckpoint } from '../run/checkpoint-places.js';
import type { WriteAnswer } from './checkpoint-worker.js';
import type { TrainEvent } from './events.js';
import { type CheckpointImage, isNetwork, type KeepRule } from './write-checkpoint.js';

/** A wait for the disk that deserves a warning, milliseconds. */
const SLOW_DISK_MS = 1000;

export interface CheckpointWriterOptions {
  /** The run folder, whose lock this process holds. */
  run: string;
  state: TrainingState;
  keep: KeepRule;
  /** What the networks' files say of themselves: recordOfRun(). */
  record?: Readonly<Record<string, string>>;
  emit: (event: TrainEvent) => void;
}

/**
 * One write at a time: save() waits for the previous one. A failed write is a warning while training continues (the next
 * save tries again, and best weights are kept in memory for that); it is an error in settle(), after which there is no next save.
 */
export class CheckpointWriter implements AsyncDisposable {
  readonly #options: CheckpointWriterOptions;
  readonly #memory = new Map<string, SharedArrayBuffer>();
  #worker: Worker | null = null;
  #pending: Promise<void> | null = null;
  /** Why the last write failed; null if it succeeded. */
  #failure: string | null = null;
  /** The best weights, where they couldn't be written: training has gone on from them. */
  #owed: Pick<CheckpointImage, 'step' | 'files'> | null = null;
  #hasWarned = false;

  #run: string;

  constructor(options: CheckpointWriterOptions) {
    this.#options = options;
    this.#run = options.run;
  }

  /** The run folder was moved: the next save goes there. */
  moveTo(run: string): void {
    this.#run = run;
  }

  /**
   * Copies the state after `step` steps and starts writing it. The event `checkpoint` reports that it is on disk.
   * @param as - As the newest checkpoint (default), as the best weights, or both.
   * @throws CheckpointError when there is not enough memory for the copy.
   */
  async save(step: number, as: NonNullable<CheckpointImage['as']> = ['step']): Promise<void> {
    const { state, keep, record } = this.#options;
    const run = this.#run;
    const asked = performance.now();
    await this.#pending;
    const began = performance.now();
    if (began - asked > SLOW_DISK_MS && !this.#hasWarned) {
      this.#hasWarned = true;
      const seconds = ((began - asked) / 1000).toFixed(1);
      this.#warn(
        `the checkpoint before step ${step} was still being written: training waited ${seconds} s for it. ` +
          'Save less often (--save-every-steps), or to a faster disk',
      );
    }
    let files: CheckpointImage['files'];
    try {
      files = copyState(state, (name, bytes) => this.#allocate(name, bytes), record);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new CheckpointError(
        `The checkpoint at step ${step} can't be copied: ${error.message}. The copy takes as much memory as a checkpoint ` +
          'takes on disk; a smaller --micro-batch-size leaves more memory for it.',
        { cause: error },
      );
    }
    const copied = performance.now();
    const image: CheckpointImage = { run, step, files, keep, as };
    this.#pending = this.#write(image).then(async (problem) => {
      const written = performance.now();
      this.#failure = problem;
      if (as.includes('best')) this.#owe(problem === null ? null : image);
      if (problem !== null) {
        this.#warn(`${problem} Training continues and tries again at the next checkpoint.`);
        return;
      }
      if (as.includes('step'))
        this.#options.emit({
          type: 'checkpoint',
          step,
          folder: checkpointFolder(run, step),
          copyMs: copied - began,
          writeMs: written - copied,
        });
      const still = await this.#writeOwed();
      if (still !== null)
        this.#warn(`${still} The best weights are kept in memory until they can be written.`);
    });
    this.#pending.catch(() => undefined); // what the listener throws is rethrown by the next save() or by settle()
  }

  /**
   * Waits until nothing is left to write.
   * @returns Folder of the newest checkpoint.
   * @throws CheckpointError when the last write failed, or that of the best weights.
   */
  async settle(): Promise<string> {
    await this.#pending;
    if (this.#failure !== null)
      throw new CheckpointError(`${this.#failure} Then continue with \`dino train --resume\`.`);
    const lost = await this.#writeOwed();
    if (lost !== null) throw new CheckpointError(`${lost} These were the best weights, which are lost.`);
    const newest = newestCheckpoint(this.#run);
    if (newest === null) throw new CheckpointError(`internal: ${printable(this.#run)} has no checkpoint`);
    return newest;
  }

  /** Waits for the pending write and ends the thread. Doesn't throw: a failed write was a warning, and another error may be propagating. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pending?.catch(() => undefined);
    await this.#worker?.terminate();
    this.#worker = null;
    this.#memory.clear();
  }

  /** Keeps best weights for later; their memory is not used again. */
  #owe(best: CheckpointImage | null): void {
    this.#owed = best && { step: best.step, files: best.files.filter(isNetwork) };
    if (best !== null) this.#memory.clear();
  }

  /** @returns Why best weights that are owed can't be written, or null. */
  async #writeOwed(): Promise<string | null> {
    if (this.#owed === null) return null;
    const { keep } = this.#options;
    const problem = await this.#write({ run: this.#run, ...this.#owed, keep, as: ['best'] });
    if (problem === null) this.#owed = null;
    return problem;
  }

  #warn(message: string): void {
    this.#options.emit({ type: 'warning', message });
  }

  /** Reuses the memory of the last save if it is large enough: fresh pages would cost as much as the copy. */
  #allocate(name: string, bytes: number): SharedArrayBuffer {
    let memory = this.#memory.get(name);
    if (memory === undefined || memory.byteLength < bytes) {
      this.#memory.delete(name); // allows the old memory to be freed before the new is allocated
      memory = new SharedArrayBuffer(bytes);
      this.#memory.set(name, memory);
    }
    return memory;
  }

  /** @returns Why it failed, or null. */
  #write(image: CheckpointImage): Promise<string | null> {
    const worker = (this.#worker ??= new Worker(new URL('./checkpoint-worker.js', import.meta.url)));
    return new Promise((resolve) => {
      const lost = (why: string): void => {
        this.#worker = null; // the next save starts a new one
        finish(
          `The checkpoint at step ${image.step} was not written: its thread ${why}. Earlier checkpoints are intact.`,
        );
      };
      const onMessage = ({ problem }: WriteAnswer): void => finish(problem);
      const onError = (error: Error): void => lost(`failed (${systemReason(error)})`);
      const onExit = (code: number): void => lost(`exited with code ${code}`);
      const finish = (problem: string | null): void => {
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        worker.unref(); // an idle thread must not keep the process alive
        resolve(problem);
      };
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      worker.ref();
      worker.postMessage(image);
    });
  }
}
