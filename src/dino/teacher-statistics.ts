/** Measures the teacher's targets for the collapse monitor, which is a separate file because it also runs without libtorch. */
import { noGrad, ops, scope, type Tensor } from '../torch/index.js';
import type { TeacherStatistics } from './collapse-monitor.js';

const entropyOf = (p: Tensor): Tensor => p.xlogy(p).sum([-1]).neg().mean(); // x log x is 0 at 0

/** What the statistics need of a batch. Both are means, so that averaging those of equal parts gives the whole batch's. */
export interface TargetMeans {
  /** () mean entropy of the targets. */
  entropy: Tensor;
  /** (1, K) mean target. */
  target: Tensor;
}

/** @param targets - (N, K) the teacher's softmax. */
export function targetMeans(targets: Tensor): TargetMeans {
  return noGrad(() => ({ entropy: entropyOf(targets), target: targets.mean([0], true) }));
}

/** @param center - (1, K). @returns (3) what readStatistics() takes, on the device. */
export function unreadStatistics(means: TargetMeans, center: Tensor): Tensor {
  return scope(() => noGrad(() => ops.stack([means.entropy, entropyOf(means.target), center.norm()])));
}

/** @param values - Those of unreadStatistics(). */
export function readStatistics(values: readonly number[]): TeacherStatistics {
  const [entropy = NaN, entropyOfMean = NaN, centerNorm = NaN] = values;
  // KL(p || mean) averaged over p is the entropy of the mean minus the mean of the entropies
  return { entropy, kl: Math.max(0, entropyOfMean - entropy), centerNorm };
}

/** @param center - (1, K). */
export function teacherStatistics(means: TargetMeans, center: Tensor): TeacherStatistics {
  return scope(() => readStatistics(unreadStatistics(means, center).toArray()));
}
