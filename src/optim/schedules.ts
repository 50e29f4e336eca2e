/**
 * Schedules by step and by epoch, as the reference computes them: utils.py cosine_scheduler and the teacher temperature
 * of main_dino.py DINOLoss. Values agree to 1e-12.
 */
import { ConfigError } from '../errors.js';

/** numpy.linspace: `count` values from start to end, both included. */
function linspace(start: number, end: number, count: number): number[] {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => (i === count - 1 && count > 1 ? end : start + i * step));
}

export interface CosineSchedule {
  /** Value after the warm-up. */
  base: number;
  /** Value at the end of the cosine. */
  final: number;
  epochs: number;
  stepsPerEpoch: number;
  /** Default 0. */
  warmupEpochs?: number;
  /** Value at the start of the warm-up; default 0. */
  startWarmup?: number;
}

/**
 * A linear warm-up, then half a cosine from `base` to `final` (paper, section 3.2 "Implementation details").
 *
 * @returns One value per step, `epochs * stepsPerEpoch` in all.
 * @throws ConfigError when the warm-up is longer than the training.
 */
export function cosineSchedule(options: CosineSchedule): Float64Array {
  const { base, final, epochs, stepsPerEpoch, warmupEpochs = 0, startWarmup = 0 } = options;
  const total = epochs * stepsPerEpoch;
  const warmup = warmupEpochs * stepsPerEpoch;
  if (warmup > total) {
    throw new ConfigError(
      `warmupEpochs: expected at most the ${epochs} epochs of the training, got ${warmupEpochs}`,
    );
  }
  const schedule = new Float64Array(total);
  schedule.set(linspace(startWarmup, base, warmup));
  const length = total - warmup;
  for (let i = 0; i < length; i++) {
    schedule[warmup + i] = final + 0.5 * (base - final) * (1 + Math.cos((Math.PI * i) / length));
  }
  return schedule;
}

export interface TeacherTemperature {
  /** First value of the linear warm-up. */
  warmup: number;
  /** Value after it. */
  final: number;
  warmupEpochs: number;
  epochs: number;
}

/**
 * The teacher's temperature: linear over the warm-up epochs, then constant. It changes once per epoch, where everything else
 * changes every step.
 *
 * @returns One value per epoch.
 */
export function teacherTemperatureSchedule(options: TeacherTemperature): Float64Array {
  const { warmup, final, warmupEpochs, epochs } = options;
  if (warmupEpochs > epochs) {
    throw new ConfigError(
      `warmupTeacherTempEpochs: expected at most the ${epochs} epochs of the training, got ${warmupEpochs}`,
    );
  }
  const schedule = new Float64Array(epochs).fill(final);
  schedule.set(linspace(warmup, final, warmupEpochs));
  return schedule;
}

/** The linear scaling rule (Goyal et al. 2017; paper, section 3.2): `lr` is for a batch of 256. */
export const scaleLearningRate = (lr: number, totalBatch: number): number => (lr * totalBatch) / 256;
