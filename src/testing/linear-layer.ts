/** A linear layer with its gradients, for the tests of its precisions. */
import { gradients, type Tensor } from '../torch/index.js';

/** Rows, inner length and columns: odd and even lengths; one and several blocks of the result and of the inner length. */
export const LINEAR_SHAPES = [
  [1, 2, 1],
  [3, 5, 2],
  [64, 64, 64],
  [70, 1131, 90],
  [197, 384, 33],
  [130, 2050, 17],
] as const;

type Layer = (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;

/** @returns The result, and the gradients of x, weight and bias from `upstream`, that of the result. */
export function linearWithGradients(
  layer: Layer,
  given: readonly [x: Tensor, weight: Tensor, bias: Tensor],
  upstream: Tensor,
): Tensor[] {
  const leaves = given.map((value) => {
    const leaf = value.detach().clone();
    leaf.requiresGrad = true;
    return leaf;
  }) as [Tensor, Tensor, Tensor];
  const out = layer(...leaves);
  return [out, ...(gradients([out], leaves, { gradOutputs: [upstream] }) as Tensor[])];
}
