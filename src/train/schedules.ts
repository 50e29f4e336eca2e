/**
 * The schedules of a run (reference: main_dino.py), also of one whose length was changed: `--resume RUN --epochs N`, or a
 * run for a time whose steps turned out faster or slower than planned.
 *
 * Such a run goes over to the schedules of its new length, as they would have been from the beginning. It doesn't jump there:
 * from the step at which it was changed it moves linearly from its earlier schedule to the new one, over as many epochs as
 * the warm-up of the learning rate has, at most half of what is left. The reference can't change a run's length; its
 * schedules would jump.
 */
import { cosineSchedule, scaleLearningRate, teacherTemperatureSchedule } from '../optim/index.js';
import { type RunLength, stepsOf, type TrainSettings } from '../run/settings.js';
import type { Extension } from '../run/run-folder.js';

/** One value per step. */
export interface Schedules {
  lr: Float64Array;
  weightDecay: Float64Array;
  momentum: Float64Array;
  teacherTemp: Float64Array;
}

export interface ScheduleSizes {
  /** Images per step, of all processes together. */
  batchSize: number;
  stepsPerEpoch: number;
}

/** How many steps an extension at `step` takes to reach the new schedule. */
function transition(
  settings: TrainSettings,
  { stepsPerEpoch }: ScheduleSizes,
  step: number,
  total: number,
): number {
  const wanted = Math.round(Math.max(1, settings.warmupEpochs) * stepsPerEpoch);
  return Math.min(wanted, Math.floor((total - step) / 2));
}

/** From `step` on, `before` (which stays at its last value after its end) goes over to `after` within `steps` steps. */
function goOver(before: Float64Array, after: Float64Array, step: number, steps: number): Float64Array {
  return after.map((value, i) => {
    const old = before[Math.min(i, before.length - 1)] as number;
    if (i < step) return old;
    const share = i < step + steps ? 1 - (i - step) / steps : 0;
    return share === 0 ? value : share * old + (1 - share) * value;
  });
}

/**
 * The teacher's temperature changes once per epoch, as in the reference; with a warm-up of a fraction of epochs it changes at
 * every step.
 */
function teacherTemperatures(settings: TrainSettings, stepsPerEpoch: number): Float64Array {
  const { warmupTeacherTemp: warmup, teacherTemp: final, warmupTeacherTempEpochs } = settings;
  const total = stepsOf(settings, stepsPerEpoch);
  const perValue = Number.isInteger(warmupTeacherTempEpochs) ? stepsPerEpoch : 1;
  const warmupEpochs = Math.round((warmupTeacherTempEpochs * stepsPerEpoch) / perValue);
  // a run that was shortened keeps the warm-up that it began with
  const epochs = Math.max(warmupEpochs, Math.ceil(total / perValue));
  const values = teacherTemperatureSchedule({ warmup, final, warmupEpochs, epochs });
  return Float64Array.from({ length: total }, (_, step) => values[Math.floor(step / perValue)] as number);
}

/** @param extensions - Those of the run so far, in their order. */
export function buildSchedules(
  settings: TrainSettings,
  sizes: ScheduleSizes,
  extensions: readonly Extension[] = [],
): Schedules {
  const { batchSize, stepsPerEpoch } = sizes;
  const { lr, minLr, weightDecay, weightDecayEnd, momentumTeacher, warmupEpochs } = settings;
  // the lengths that were planned, and the step from which each counted
  const lengths = [...extensions, settings].map((length) => stepsOf(length, stepsPerEpoch));
  const starts = extensions.map(({ step }) => step);
  const cosine = (base: number, final: number, warmup = 0): Float64Array =>
    lengths
      .map((epochs) =>
        cosineSchedule({ base, final, epochs, stepsPerEpoch: 1, warmupEpochs: Math.min(warmup, epochs) }),
      )
      .reduce((before, after, i) => {
        const step = starts[i - 1] as number;
        return goOver(before, after, step, transition(settings, sizes, step, after.length));
      });
  return {
    lr: cosine(scaleLearningRate(lr, batchSize), minLr, Math.round(warmupEpochs * stepsPerEpoch)),
    weightDecay: cosine(weightDecay, weightDecayEnd),
    momentum: cosine(momentumTeacher, 1),
    teacherTemp: teacherTemperatures(settings, stepsPerEpoch),
  };
}

/**
 * The extensions of a run that goes on to another length than was planned. One that was made at a later step, because the run
 * was then resumed from an earlier checkpoint, or that no step has followed, is replaced.
 * @param planned - The length planned so far.
 * @param step - Steps done.
 */
export function extended(extensions: readonly Extension[], planned: RunLength, step: number): Extension[] {
  const kept = extensions.filter((one) => one.step < step);
  const { epochs, steps } = extensions[kept.length] ?? planned;
  return step === 0 ? [] : [...kept, { step, epochs, ...(steps === undefined ? {} : { steps }) }];
}
