/** Measures the teacher's targets for the collapse monitor; apart from it, which also runs where libtorch is not loaded. */
import { inferenceMode, scope, type Tensor } from '../torch/index.js';
import type { TeacherStatistics } from './collapse-monitor.js';

/**
 * @param targets - (N, K) the teacher's softmax.
 * @param center - (1, K).
 */
export function teacherStatistics(targets: Tensor, center: Tensor): TeacherStatistics {
  return scope(() =>
    inferenceMode(() => {
      const entropyOf = (p: Tensor) => p.xlogy(p).sum([-1]).neg().mean(); // x log x is 0 at 0
      const entropy = entropyOf(targets).item();
      // KL(p || mean) averaged over p is the entropy of the mean less the mean of the entropies
      const kl = entropyOf(targets.mean([0], true)).item() - entropy;
      return { entropy, kl: Math.max(0, kl), centerNorm: center.norm().item() };
    }),
  );
}
