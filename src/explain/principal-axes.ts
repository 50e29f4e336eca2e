/** Principal component analysis. */
import { ops, type Tensor } from '../torch/index.js';

/**
 * The axes of largest variance, the largest first, in float64 on the CPU: not every device has a solver, and small
 * differences of a covariance drown in float32.
 *
 * @param covariance - (D, D), up to a factor. Call this in a scope().
 * @param count - How many; all by default.
 * @returns Their variances (count), the axes as columns of length 1 (D, count) with arbitrary signs, and the sum of all
 *   variances.
 */
export function principalAxes(
  covariance: Tensor,
  count = covariance.size(0),
): { variances: Tensor; axes: Tensor; total: number } {
  const [ascending, vectors] = ops.linalgEigh(covariance.to('cpu').to('float64')); // (D), (D, D)
  const first = vectors.size(1) - count;
  return {
    variances: ascending.narrow(0, first, count).flip([0]),
    axes: vectors.narrow(1, first, count).flip([1]),
    total: ascending.sum().item(),
  };
}
