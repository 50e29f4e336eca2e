/** How long the training would take and how much memory, from trial steps. */
import { choosePrecision } from '../../train/choose-precision.js';
import { trialSteps } from '../../train/trial.js';
import type { TrialResult } from '../../plain/studio-api/index.js';
import { planOf } from './start-plan.js';
import type { JobFunction } from './job.js';

const STEPS = 12;
/** Large networks take minutes for a step: after this long, the steps timed so far must do. */
const ENOUGH_SECONDS = 45;

export const run: JobFunction<'start-trial'> = async (request, { signal, progress }) => {
  const { settings: given, images, steps: planned, seconds } = await planOf(request);
  const length = seconds === null ? { steps: planned } : { seconds };
  const chosen =
    given.precision === 'auto' ? (await choosePrecision(given, { length, signal })).precision : null;
  const settings = chosen === null ? given : { ...given, precision: chosen };
  const trial = await trialSteps(images, settings, {
    ...{ steps: STEPS, seconds: ENOUGH_SECONDS, signal },
    onStep: (done, total) => progress({ done, total, message: `trial step ${done} of ${total}` }),
  });
  const { parameters, device, precision, steps, secondsPerStep, dataWaitPercent } = trial;
  const totalSteps = seconds === null ? planned : Math.floor(seconds / secondsPerStep);
  return {
    ...{ parameters, device, precision, steps, secondsPerStep, dataWaitPercent },
    imagesPerSecond: settings.batchSize / secondsPerStep,
    memoryMiB: process.resourceUsage().maxRSS / 1024,
    checkpointMiB: trial.checkpointBytes / 2 ** 20,
    totalSteps,
    totalSeconds: secondsPerStep * totalSteps,
  } satisfies TrialResult;
};
