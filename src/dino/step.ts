/**
 * One training step (paper, algorithm 1; reference: main_dino.py train_one_epoch): forward passes of teacher and student,
 * loss, the student's update, the teacher's and the centre's.
 */
import {
  cancelBackboneGradients,
  cancelLastLayerGradients,
  clipGradients,
  isOfBackbone,
  type LossScaler,
  type NamedParameter,
  type Optimizer,
} from '../optim/index.js';
import { ActivationCheckpoints } from '../nn/index.js';
import {
  inferenceMode,
  noGrad,
  ops,
  scope,
  widest,
  withGenerators,
  withPrecision,
  withProductsOf,
  type Generator as RandomGenerator,
  type Tensor,
} from '../torch/index.js';
import type { Precision } from '../plain/precisions.js';
import type { TeacherStatistics } from './collapse-monitor.js';
import type { DataParallel } from './data-parallel.js';
import { HiddenState } from './hidden-state.js';
import type { LowRankUpdates } from './low-rank.js';
import { koleoLoss } from './koleo.js';
import type { Objective } from './objective.js';
import type { MultiCropWrapper } from './multi-crop.js';
import {
  readStatistics,
  targetMeans,
  teacherStatistics,
  unreadStatistics,
  type TargetMeans,
} from './teacher-statistics.js';
import { updateTeacher } from './teacher.js';
import type { UnreadSteps } from './unread-steps.js';

/** Everything that training changes. */
export interface TrainingState {
  student: MultiCropWrapper;
  teacher: MultiCropWrapper;
  optimizer: Optimizer;
  loss: Objective;
  scaler: LossScaler;
  /** Where the networks are. Random numbers come from its generator and the CPU's. */
  device: string;
  /** Used in place of the default generators, so that nothing else in this process disturbs them. */
  generators?: readonly RandomGenerator[];
  /** Set when the backbone changes by low-rank updates only; the optimizer's parameters are then theirs. */
  lowRank?: LowRankUpdates | undefined;
  /** Set when other processes have the rest of the batch. */
  parallel?: DataParallel | undefined;
}

/** The value of every schedule at this step, and how to compute the step. */
export interface StepSettings {
  epoch: number;
  lr: number;
  weightDecay: number;
  /** EMA momentum of the teacher. */
  momentum: number;
  teacherTemp: number;
  /** Largest norm of a parameter's gradient; 0 for no limit. */
  clipGrad: number;
  /** Number of first epochs in which the last layer is not trained. */
  freezeLastLayer: number;
  /** Share of its learning rate that the backbone has; at 0 only the head is trained. Default 1. */
  backboneShare?: number;
  /** Factor of a parameter's learning rate, by its name in the student; default 1. */
  layerRates?: ReadonlyMap<string, number>;
  /** Weight of the KoLeo regularizer on the student's features of the global crops; default 0, none. */
  koleoWeight?: number;
  /** Of the forward and backward passes; the loss itself is always float32. */
  precision: Precision;
  /**
   * Images that go through the networks at once, 0 for the whole batch. Gradients accumulate over the parts, so the
   * result is the same (except for batch normalisation) while the memory is that of one part.
   */
  microBatchSize: number;
  /** Recompute the student's blocks in the backward pass instead of keeping their activations. */
  activationCheckpointing: boolean;
  /** Whether to measure the teacher's outputs. */
  measure: boolean;
}

export interface StepResult {
  loss: number;
  /** Norms of the gradients before clipping, one for each parameter that has a gradient; none after queueStep(). */
  norms: number[];
  /** Null unless `measure` is set. */
  statistics: TeacherStatistics | null;
  /** False when the loss or the gradients were not finite; nothing was changed then. */
  finite: boolean;
}

/**
 * When it throws, or the result is not finite, the state is unchanged.
 *
 * @param crops - Normalized batches, one for each crop size, crop by crop: (2 * B, 3, S, S) global crops, then
 *   (L * B, 3, s, s) local crops if there are any. B is this process's share of the images.
 */
export function dinoStep(
  state: TrainingState,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): StepResult {
  return withGenerators(state.generators ?? [], () => scope(() => stepIn(state, crops, settings)));
}

/**
 * dinoStep() for a device, without waiting for it: only a step that is measured reads its results, and with them whether
 * those before it were finite. Not for float16, whose loss scale depends on every step.
 *
 * @returns Null for a step that is not measured. Where `finite` is false, the last `undone` steps have changed nothing.
 */
export function queueStep(
  state: TrainingState,
  unread: UnreadSteps,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): QueuedResult | null {
  return withGenerators(state.generators ?? [], () => scope(() => queueIn(state, unread, crops, settings)));
}

export interface QueuedResult extends Omit<StepResult, 'norms'> {
  /** Steps of those that were queued, this one included, that were not taken. */
  undone: number;
}

function stepIn(
  state: TrainingState,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): StepResult {
  const { student, teacher, loss: dinoLoss, scaler } = state;
  const hidden = new HiddenState([student, teacher], state.device);
  const seen = gradientsOrUndo(state, hidden, crops, settings);

  // student
  const loss = seen.loss.item();
  const parameters = trainedParameters(state);
  state.lowRank?.pullBack();
  scaler.unscale(parameters);
  const norms = clipGradients(parameters, settings.clipGrad || Infinity)?.toArray() ?? [];
  const overflowed = !norms.every(Number.isFinite);
  if (!Number.isFinite(loss) || (overflowed && !scaler.enabled)) {
    undo(state, hidden);
    return { loss, norms, statistics: null, finite: false };
  }
  scaler.update(overflowed);
  updateStudent(state, settings, overflowed ? 'not' : 'always');

  // teacher and centre
  updateTeacher(student, teacher, settings.momentum);
  dinoLoss.updateCenter(seen.teacher);
  const statistics = seen.targets === null ? null : teacherStatistics(seen.targets, dinoLoss.center);
  return { loss, norms, statistics, finite: true };
}

function queueIn(
  state: TrainingState,
  unread: UnreadSteps,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): QueuedResult | null {
  const { student, teacher, loss: dinoLoss } = state;
  const hidden = new HiddenState([student, teacher], state.device);
  const seen = gradientsOrUndo(state, hidden, crops, settings);

  state.lowRank?.pullBack();
  const norms = clipGradients(trainedParameters(state), settings.clipGrad || Infinity);
  const taken = unread.add(seen.loss, norms, hidden.generators);
  hidden.takeBack(taken);
  updateStudent(state, settings, taken);
  updateTeacher(student, teacher, settings.momentum, taken);
  dinoLoss.updateCenter(seen.teacher, taken);
  if (seen.targets === null) return null;
  const { undone, loss, values } = unread.read(unreadStatistics(seen.targets, dinoLoss.center));
  const finite = undone === 0;
  return { loss, statistics: finite ? readStatistics(values) : null, finite, undone };
}

const trainedParameters = ({ lowRank, student }: TrainingState): NamedParameter[] =>
  lowRank?.parametersOf(student) ?? [...student.namedParameters()];

/** What is left of a step that can't be completed. */
function undo({ optimizer, lowRank }: TrainingState, hidden: HiddenState): void {
  optimizer.zeroGrad();
  lowRank?.zeroGrad();
  hidden.restore();
}

function gradientsOrUndo(
  state: TrainingState,
  hidden: HiddenState,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): BatchMeans {
  try {
    return gradients(state, crops, settings);
  } catch (error) {
    undo(state, hidden);
    throw error;
  }
}

/** The optimizer's step, as the device decides when it is given `taken`; and the end of the gradients. */
function updateStudent(state: TrainingState, settings: StepSettings, when: 'always' | 'not' | Tensor): void {
  const { optimizer, lowRank } = state;
  const parameters = trainedParameters(state);
  cancelLastLayerGradients(parameters, settings.epoch, settings.freezeLastLayer);
  const { backboneShare = 1, layerRates } = settings;
  if (backboneShare === 0) cancelBackboneGradients(parameters);
  const rateOf = (name: string): number =>
    (layerRates?.get(name) ?? 1) * (isOfBackbone(name) ? backboneShare : 1);
  const taken = typeof when === 'string' ? undefined : when;
  if (when !== 'not') {
    withProductsOf(settings.precision, () => optimizer.step({ ...settings, rateOf, taken }));
    if (backboneShare > 0) lowRank?.merge();
  }
  optimizer.zeroGrad(); // gradients don't outlive their step
}

/** Means over the whole batch, that of all processes together. */
interface BatchMeans {
  /** () */
  loss: Tensor;
  /** (1, K) mean of the teacher's raw outputs. */
  teacher: Tensor;
  /** Null unless measured. */
  targets: TargetMeans | null;
}

/** Forward passes of teacher and student, and the student's gradients. All of the step's collectives happen here. */
function gradients(
  state: TrainingState,
  crops: readonly [Tensor, ...Tensor[]],
  settings: StepSettings,
): BatchMeans {
  const { student, teacher, loss: dinoLoss, scaler, device, parallel } = state;
  const { koleoWeight = 0, precision } = settings;
  const inPrecision = <T>(fn: () => T): T => withPrecision(precision, device, fn);
  const losses: Tensor[] = []; // () each, its part's share of the batch's
  const teacherOutputs: Tensor[] = []; // (2 * b, K) each
  const targets: Tensor[] = [];
  for (const { crops: part, share, isLast } of microBatches(crops, settings.microBatchSize)) {
    const result = scope(() => {
      // the teacher sees only the global crops; a clone may enter the student's graph, an inference tensor may not
      const teacherOutput = inferenceMode(() => inPrecision(() => teacher.forward([part[0]]))).clone(); // (2 * b, K)
      const checkpoints = settings.activationCheckpointing
        ? new ActivationCheckpoints({ device, around: inPrecision })
        : null;
      const forward = () =>
        inPrecision(() => {
          const features = student.features(part); // (V * b, D)
          return { features, output: student.head.forward(features) }; // (V * b, K)
        });
      const seen = checkpoints === null ? forward() : checkpoints.forward(forward);
      const answer = dinoLoss.forward(seen.output, teacherOutput, settings.teacherTemp, parallel);
      const regularized =
        koleoWeight === 0
          ? answer.loss
          : answer.loss.add(koleoLoss(seen.features, part[0].size(0) / 2, parallel).mul(koleoWeight));
      const scaled = scaler.scaleLoss(regularized.mul(share));
      withProductsOf(precision, () => {
        if (checkpoints === null) {
          if (isLast) parallel?.prepareBackward();
          scaled.backward();
        } else {
          checkpoints.backward(scaled); // a parameter's gradient arrives in parts; it is reduced once it is complete
        }
      });
      const value = noGrad(() => widest(answer.loss.detach()).mul(share));
      return { value, teacherOutput, targets: answer.targets };
    });
    losses.push(result.value);
    teacherOutputs.push(result.teacherOutput);
    if (settings.measure) targets.push(result.targets);
  }
  parallel?.finishBackward();
  const own = {
    loss: noGrad(() => losses.reduce((sum, value) => sum.add(value))).to('float32'),
    teacher: dinoLoss.batchCenter(ops.cat(teacherOutputs)), // (1, K)
    targets: settings.measure ? targetMeans(ops.cat(targets)) : null,
  };
  if (parallel === undefined) return own;
  const parts = [
    own.loss,
    own.teacher,
    ...(own.targets === null ? [] : [own.targets.entropy, own.targets.target]),
  ];
  const [mean, center, entropy, target] = parallel.means(parts) as [Tensor, Tensor, Tensor?, Tensor?];
  const isMeasured = entropy !== undefined && target !== undefined;
  return { loss: mean, teacher: center, targets: isMeasured ? { entropy, target } : null };
}

interface MicroBatch {
  crops: [Tensor, ...Tensor[]];
  /** Fraction of the whole batch's images. */
  share: number;
  isLast: boolean;
}

/** The batch in parts of at most `size` images (0: a single part), each laid out like the whole. */
function* microBatches(crops: readonly [Tensor, ...Tensor[]], size: number): Generator<MicroBatch> {
  const images = crops[0].size(0) / 2;
  if (size === 0 || size >= images) {
    yield { crops: [...crops], share: 1, isLast: true };
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
    yield { crops: part, share: count / images, isLast: from + size >= images };
  }
}
