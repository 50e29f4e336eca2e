/** Measures the teacher's targets for the collapse monitor; apart from it, which also runs where libtorch is not loaded. */
import { noGrad, scope, type Tensor } from '../torch/index.js';
import type { TeacherStatistics } from './collapse-monitor.js';

const entropyOf = (p: Tensor): Tensor => p.xlogy(p).sum([-1]).neg().mean(); // x log x is 0 at 0

/** What of a batch the statistics need: means, so that those of a batch's equal parts have the whole batch's as theirs. */
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

/** @param center - (1, K). */
export function teacherStatistics(means: TargetMeans, center: Tensor): TeacherStatistics {
  return scope(() =>
    noGrad(() => {
      const entropy = means.entropy.item();
      // KL(p || mean) averaged over p is the entropy of the mean less the mean of the entropies
      const kl = entropyOf(means.target).item() - entropy;
      return { entropy, kl: Math.max(0, kl), centerNorm: center.norm().item() };
    }),
  );
}
