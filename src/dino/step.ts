/**
 * One training step (paper, algorithm 1; reference: main_dino.py train_one_epoch): forward passes of teacher and student,
 * loss, the student's update, the teacher's and the centre's.
 */
import { cancelLastLayerGradients, clipGradients, type LossScaler, type Optimizer } from '../optim/index.js';
import { autocast, inferenceMode, scope, type DType, type Tensor } from '../torch/index.js';
import { teacherStatistics, type TeacherStatistics } from './collapse-monitor.js';
import type { DINOLoss } from './loss.js';
import type { MultiCropWrapper } from './multi-crop.js';
import { updateTeacher } from './teacher.js';

/** What a training changes. */
export interface TrainingState {
  student: MultiCropWrapper;
  teacher: MultiCropWrapper;
  optimizer: Optimizer;
  loss: DINOLoss;
  scaler: LossScaler;
  /** Whose generator draws the random numbers, besides the CPU's. */
  device: string;
}

/** The step's place on every schedule. */
export interface StepSettings {
  epoch: number;
  lr: number;
  weightDecay: number;
  /** EMA momentum of the teacher. */
  momentum: number;
  teacherTemp: number;
  /** Largest norm of a parameter's gradient; 0 for no limit. */
  clipGrad: number;
  /** Epochs in which the last layer does not learn. */
  freezeLastLayer: number;
  /** What the forward passes compute in; the loss is float32 always. */
  dtype: DType;
  /** Whether to measure the teacher's outputs. */
  measure: boolean;
}

export interface StepResult {
  loss: number;
  /** Norms of the gradients before clipping, one a parameter that has one. */
  norms: number[];
  /** Null unless asked for. */
  statistics: TeacherStatistics | null;
  /** False when loss or gradients were not finite and nothing was changed. */
  finite: boolean;
}

/**
 * @param crops - Normalised batches, all crops of one size each, crop by crop: (2 * B, 3, S, S) global ones, then
 *   (L * B, 3, s, s) local ones, when there are any.
 */
export function dinoStep(
  state: TrainingState,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): StepResult {
  const { student, teacher, optimizer, loss: dinoLoss, scaler, device } = state;
  const half = { device, dtype: settings.dtype, enabled: settings.dtype !== 'float32' };
  const parameters = [...student.namedParameters()];
  return scope(() => {
    // the teacher sees the global crops alone; a clone may enter the student's graph, inference's own result may not
    const teacherOutput = inferenceMode(() => autocast(half, () => teacher.forward([crops[0]]))).clone(); // (2 * B, K)
    const studentOutput = autocast(half, () => student.forward(crops)); // (V * B, K)
    const { loss, targets } = dinoLoss.forward(studentOutput, teacherOutput, settings.teacherTemp);
    const value = loss.item();
    if (!Number.isFinite(value)) return { loss: value, norms: [], statistics: null, finite: false };

    // student
    scaler.scaleLoss(loss).backward();
    scaler.unscale(parameters);
    const norms = clipGradients(parameters, settings.clipGrad || Infinity);
    const overflowed = !norms.every(Number.isFinite);
    scaler.update(overflowed);
    if (overflowed && !scaler.enabled) {
      optimizer.zeroGrad();
      return { loss: value, norms, statistics: null, finite: false };
    }
    cancelLastLayerGradients(parameters, settings.epoch, settings.freezeLastLayer);
    if (!overflowed) optimizer.step(settings);
    optimizer.zeroGrad(); // gradients live no longer than their step

    // teacher and centre
    updateTeacher(student, teacher, settings.momentum);
    dinoLoss.updateCenter(teacherOutput);
    const statistics = settings.measure ? teacherStatistics(targets, dinoLoss.center) : null;
    return { loss: value, norms, statistics, finite: true };
  });
}
