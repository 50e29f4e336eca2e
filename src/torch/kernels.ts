/** Operators of our own: native/torch/kernels.cc. */
import { Operator } from './dispatch.js';
import type { Tensor } from './tensor.js';

const operators = { linearGelu: new Operator('dino::linear_gelu', ['']) };

/**
 * GELU(x W^T + b), exact: a linear layer and its activation. On the CPU in float32 one kernel does all but the product;
 * elsewhere the two operators run one after the other.
 *
 * @param x - (..., D)
 * @param weight - (F, D)
 * @param bias - (F)
 * @returns (..., F)
 */
export function linearGelu(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  return operators.linearGelu.call([x, weight, bias]) as Tensor;
}
