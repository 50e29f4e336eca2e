/**
 * One training step (paper, algorithm 1; reference: main_dino.py train_one_epoch): forward passes of teacher and student,
 * loss, the student's update, the teacher's and the centre's.
 */
import { cancelLastLayerGradients, clipGradients, type LossScaler, type Optimizer } from '../optim/index.js';
import { ActivationCheckpoints } from '../nn/index.js';
import { autocast, inferenceMode, ops, scope, type DType, type Tensor } from '../torch/index.js';
import type { TeacherStatistics } from './collapse-monitor.js';
import type { DINOLoss } from './loss.js';
import type { MultiCropWrapper } from './multi-crop.js';
import { updateTeacher } from './teacher.js';
import { teacherStatistics } from './teacher-statistics.js';

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
  /**
   * Images that go through the networks at once, 0 for the whole batch: gradients add up over the parts, so that the
   * result is the same (batch normalisation aside) and the memory that of a part.
   */
  microBatchSize: number;
  /** Compute the student's blocks again in the backward pass instead of keeping their activations. */
  activationCheckpointing: boolean;
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
    let loss = 0;
    const teacherOutputs: Tensor[] = []; // (2 * b, K) each
    const targets: Tensor[] = [];
    for (const { crops: part, share } of microBatches(crops, settings.microBatchSize)) {
      const result = scope(() => {
        // the teacher sees the global crops alone; a clone may enter the student's graph, inference's own result may not
        const teacherOutput = inferenceMode(() => autocast(half, () => teacher.forward([part[0]]))).clone(); // (2 * b, K)
        const checkpoints = settings.activationCheckpointing
          ? new ActivationCheckpoints({ device, around: (fn) => autocast(half, fn) })
          : null;
        const forward = () => autocast(half, () => student.forward(part)); // (V * b, K)
        const studentOutput = checkpoints === null ? forward() : checkpoints.forward(forward);
        const answer = dinoLoss.forward(studentOutput, teacherOutput, settings.teacherTemp);
        const value = answer.loss.item();
        if (!Number.isFinite(value)) return { value };
        const scaled = scaler.scaleLoss(answer.loss.mul(share));
        if (checkpoints === null) scaled.backward();
        else checkpoints.backward(scaled);
        return { value, teacherOutput, targets: answer.targets };
      });
      loss += result.value * share;
      if (result.teacherOutput === undefined) {
        optimizer.zeroGrad();
        return { loss, norms: [], statistics: null, finite: false };
      }
      teacherOutputs.push(result.teacherOutput);
      if (settings.measure) targets.push(result.targets);
    }

    // student
    scaler.unscale(parameters);
    const norms = clipGradients(parameters, settings.clipGrad || Infinity);
    const overflowed = !norms.every(Number.isFinite);
    scaler.update(overflowed);
    if (overflowed && !scaler.enabled) {
      optimizer.zeroGrad();
      return { loss, norms, statistics: null, finite: false };
    }
    cancelLastLayerGradients(parameters, settings.epoch, settings.freezeLastLayer);
    if (!overflowed) optimizer.step(settings);
    optimizer.zeroGrad(); // gradients live no longer than their step

    // teacher and centre
    updateTeacher(student, teacher, settings.momentum);
    dinoLoss.updateCenter(ops.cat(teacherOutputs));
    const statistics = settings.measure ? teacherStatistics(ops.cat(targets), dinoLoss.center) : null;
    return { loss, norms, statistics, finite: true };
  });
}

interface MicroBatch {
  crops: [Tensor, ...Tensor[]];
  /** Of the whole batch's images. */
  share: number;
}

/** The batch in parts of at most `size` images (0: in one), each laid out as the whole. */
function* microBatches(crops: readonly [Tensor, ...Tensor[]], size: number): Generator<MicroBatch> {
  const images = crops[0].size(0) / 2;
  if (size === 0 || size >= images) {
    yield { crops: [...crops], share: 1 };
    return;
  }
  for (let from = 0; from < images; from += size) {
    const count = Math.min(size, images - from);
    const part = crops.map((batch) => {
      const [rows = 0, ...shape] = batch.shape; // (n * B, 3, S, S)
      return batch
        .view([rows / images, images, ...shape])
        .slice(1, from, from + count)
        .flatten(0, 1); // (n * b, 3, S, S)
    }) as [Tensor, ...Tensor[]];
    yield { crops: part, share: count / images };
  }
}
