/**
 * How long the training would take and how much memory: train() itself makes its first steps, in a run folder that is
 * deleted afterwards.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { train } from '../../train/train.js';
import { DataError } from '../../errors.js';
import { alsoReadBelow } from '../../files/read-below.js';
import type { TrialResult } from '../../plain/studio-api.js';
import { planOf } from './start-plan.js';
import type { JobFunction } from './job.js';

/** The first steps warm up caches and the loader. */
const WARM_UP = 3;
const STEPS = 12;
/** Large networks take minutes for a step: after this long, the steps timed so far must do. */
const ENOUGH_MS = 45_000;

const sizeOf = (folder: string): number =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);

export const run: JobFunction<'start-trial'> = async (request, { signal, progress }) => {
  const { settings, images, steps: totalSteps } = await planOf(request);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-trial-'));
  alsoReadBelow(folder);
  const stop = new AbortController();
  signal.addEventListener('abort', () => stop.abort(), { once: true });
  const times: number[] = [];
  let about: { parameters: number; device: string; precision: string } | null = null;
  let [wait, last, begin] = [0, 0, 0];
  try {
    const wanted = Math.min(WARM_UP + STEPS, totalSteps);
    const result = await train({
      images,
      output: path.join(folder, 'run'),
      // a line for each step and no evaluation; nothing else changes
      settings: { ...settings, logEvery: 1, knnEvery: 0, judgeEvery: 0, saveEverySteps: 0 },
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type === 'start') {
          const { parameters, device, precision } = event;
          about = { parameters, device, precision };
          last = begin = performance.now();
        } else if (event.type === 'step') {
          const now = performance.now();
          if (event.step > Math.min(WARM_UP, wanted - 1)) {
            times.push(now - last);
            wait += event.metrics?.dataWaitPercent ?? 0;
          }
          last = now;
          progress({ done: event.step, total: wanted, message: `trial step ${event.step} of ${wanted}` });
          if (event.step >= wanted || (times.length > 0 && now - begin > ENOUGH_MS)) stop.abort();
        } else if (event.type === 'checkpoint') last = performance.now();
      },
    });
    signal.throwIfAborted();
    if (about === null || times.length === 0) throw new DataError('The trial made no step.');
    const secondsPerStep = [...times].sort((a, b) => a - b)[times.length >> 1]! / 1000;
    return {
      ...(about as { parameters: number; device: string; precision: string }),
      steps: times.length,
      secondsPerStep,
      imagesPerSecond: settings.batchSize / secondsPerStep,
      dataWaitPercent: wait / times.length,
      memoryMiB: process.resourceUsage().maxRSS / 1024,
      checkpointMiB: sizeOf(result.checkpoint) / 2 ** 20,
      totalSteps,
      totalSeconds: secondsPerStep * totalSteps,
    } satisfies TrialResult;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
