/**
 * The schedules of a run (reference: main_dino.py), also of one whose training was extended: `--resume RUN --epochs N`.
 *
 * An extended run goes over to the schedules of N epochs, as they would have been from the beginning. It doesn't jump there:
 * from the step at which it was extended it moves linearly from its earlier schedule to the new one, over as many epochs as
 * the warm-up of the learning rate has. The reference can't extend a run; its schedules would jump.
 */
import { cosineSchedule, scaleLearningRate, teacherTemperatureSchedule } from '../optim/index.js';
import type { TrainSettings } from '../run/settings.js';
import type { Extension } from '../run/run-folder.js';

/** One value per step; the teacher's temperature has one per epoch. */
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
  const wanted = Math.max(1, settings.warmupEpochs) * stepsPerEpoch;
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

/** @param extensions - Those of the run so far, in their order. */
export function buildSchedules(
  settings: TrainSettings,
  sizes: ScheduleSizes,
  extensions: readonly Extension[] = [],
): Schedules {
  const { batchSize, stepsPerEpoch } = sizes;
  const { lr, minLr, weightDecay, weightDecayEnd, momentumTeacher, warmupEpochs } = settings;
  // the lengths that were planned, and the step from which each counted
  const lengths = [...extensions.map(({ epochs }) => epochs), settings.epochs];
  const starts = extensions.map(({ step }) => step);
  const cosine = (base: number, final: number, warmup = 0): Float64Array =>
    lengths
      .map((epochs) => cosineSchedule({ base, final, epochs, stepsPerEpoch, warmupEpochs: warmup }))
      .reduce((before, after, i) => {
        const step = starts[i - 1] as number;
        return goOver(before, after, step, transition(settings, sizes, step, after.length));
      });
  return {
    lr: cosine(scaleLearningRate(lr, batchSize), minLr, warmupEpochs),
    weightDecay: cosine(weightDecay, weightDecayEnd),
    momentum: cosine(momentumTeacher, 1),
    teacherTemp: teacherTemperatureSchedule({
      warmup: settings.warmupTeacherTemp,
      final: settings.teacherTemp,
      warmupEpochs: settings.warmupTeacherTempEpochs,
      epochs: settings.epochs,
    }),
  };
}

/**
 * The extensions of a run that goes on to other epochs than were planned. One that was made at a later step, because the run
 * was then resumed from an earlier checkpoint, or that no step has followed, is replaced.
 * @param planned - The epochs planned so far.
 * @param step - Steps done.
 */
export function extended(extensions: readonly Extension[], planned: number, step: number): Extension[] {
  const kept = extensions.filter((one) => one.step < step);
  const epochs = extensions[kept.length]?.epochs ?? planned;
  return step === 0 ? [] : [...kept, { step, epochs }];
}
