/** PatchDropout (Liu et al. 2022): the student's global crops lose a share of their patches. */
import { arange, ops, rand, scope, type Tensor } from '../torch/index.js';

/**
 * Keeps a share of each image's patches, others for each image, chosen by the default generator; at least one.
 * @param x - (B, P + N, C): prefix tokens, which are kept, then patches.
 * @param rate - The share that is dropped, from 0 to less than 1.
 * @returns (B, P + kept, C)
 */
export function dropPatches(x: Tensor, prefix: number, rate: number): Tensor {
  const [b = 0, all = 0, width = 0] = x.shape;
  const kept = Math.max(1, Math.trunc((all - prefix) * (1 - rate)));
  return scope(() => {
    const chosen = rand([b, all - prefix])
      .argsort(1)
      .slice(1, 0, kept)
      .add(prefix); // (B, kept)
    const first = arange(0, prefix, 1, { dtype: 'int64' }).expand([b, prefix]); // class token and registers
    const index = ops.cat([first, chosen], 1).upload(x.device).unsqueeze(2).expand([-1, -1, width]);
    return ops.gather(x, 1, index);
  });
}
