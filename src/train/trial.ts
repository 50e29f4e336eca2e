/** Trial steps: train() itself makes the first steps of a training, in a run folder that is deleted afterwards. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ImageList } from '../data/index.js';
import { CheckpointError, DataError } from '../errors.js';
import { alsoReadBelow } from '../files/read-below.js';
import type { TrainSettings } from '../run/settings.js';
import type { Precision } from '../plain/precisions.js';
import { train } from './train.js';

/** The first steps warm up caches and the loader. */
const WARM_UP = 3;

export interface TrialOptions {
  /** Timed steps at most. */
  steps: number;
  /** After this many seconds of steps, those timed so far must do: large networks take minutes for a step. */
  seconds: number;
  signal?: AbortSignal | undefined;
  /** Called after each step, the `step`th of `wanted`. */
  onStep?: ((step: number, wanted: number) => void) | undefined;
}

export interface Trial {
  parameters: number;
  device: string;
  precision: Precision;
  /** Steps that were timed. */
  steps: number;
  /** Median of them. */
  secondsPerStep: number;
  /** Mean share of their time that was spent waiting for images. */
  dataWaitPercent: number;
  /** From the start to the end of the first step: networks, loader workers, the first images. */
  startSeconds: number;
  /** What a checkpoint takes, and its size in bytes. */
  checkpointSeconds: number;
  checkpointBytes: number;
}

const sizeOf = (folder: string): number =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] as number;

/**
 * Times a few steps of a training, exactly as it would make them.
 * @throws As train(), and the signal's reason.
 */
export async function trialSteps(
  images: ImageList,
  settings: TrainSettings,
  { steps, seconds, signal, onStep }: TrialOptions,
): Promise<Trial> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-trial-'));
  alsoReadBelow(folder);
  const stop = new AbortController();
  const end = (): void => stop.abort();
  signal?.addEventListener('abort', end, { once: true });
  const wanted = WARM_UP + steps;
  const times: number[] = [];
  let about: Pick<Trial, 'parameters' | 'device' | 'precision'> | null = null;
  let [wait, checkpointSeconds, startSeconds] = [0, 0, 0];
  const asked = performance.now();
  let [begin, last] = [asked, asked];
  try {
    signal?.throwIfAborted();
    const { checkpoint } = await train({
      images,
      output: path.join(folder, 'run'),
      settings: {
        ...settings,
        // ends after the timed steps, with a line for each and no evaluation; nothing else changes
        ...{
          steps: wanted,
          for: undefined,
          logEvery: 1,
          knnEvery: 0,
          judgeEvery: 0,
          untilStalled: undefined,
          saveEverySteps: 0,
          watchImages: ['none'],
          lowResEpochs: 0, // the slower part of the run
        },
        resumeFrom: undefined, // its steps would count
      },
      signal: stop.signal,
      onEvent: (event) => {
        const now = performance.now();
        if (event.type === 'start') {
          const { parameters, device, precision } = event;
          about = { parameters, device, precision };
          begin = last = now;
        } else if (event.type === 'step') {
          if (event.step === 1) startSeconds = (now - asked) / 1000;
          const isLate = now - begin > 1000 * seconds;
          // a trial that has time for one step must make do with it
          if (event.step > WARM_UP || (isLate && times.length === 0)) {
            times.push(now - last);
            wait += event.metrics?.dataWaitPercent ?? 0;
          }
          last = now;
          onStep?.(event.step, wanted);
          if (isLate) stop.abort();
        } else if (event.type === 'checkpoint') {
          checkpointSeconds = (event.copyMs + event.writeMs) / 1000;
          last = performance.now();
        }
      },
    });
    signal?.throwIfAborted();
    if (about === null || times.length === 0) throw new DataError('The trial made no step.');
    return {
      ...(about as Pick<Trial, 'parameters' | 'device' | 'precision'>),
      steps: times.length,
      secondsPerStep: median(times) / 1000,
      dataWaitPercent: wait / times.length,
      startSeconds,
      checkpointSeconds,
      checkpointBytes: sizeOf(checkpoint),
    };
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CheckpointError(
      `The trial steps' checkpoint can't be written: ${error.message} Set TMPDIR to a folder with more space.`,
      { cause: error },
    );
  } finally {
    signal?.removeEventListener('abort', end);
    rmSync(folder, { recursive: true, force: true });
  }
}
