/** Operators of our own: native/torch/kernels.cc. */
import { Operator } from './dispatch.js';
import type { Tensor } from './tensor.js';

const operators = {
  perceptron: new Operator('dino::perceptron', ['']),
  attention: new Operator('dino::attention', ['']),
};

/**
 * GELU(x W1^T + b1) W2^T + b2, GELU the exact one: two linear layers with the activation between them. On the CPU in
 * float32 its own kernels do all but the products, and keep one of the two wide activations; elsewhere libtorch's
 * operators run one after the other. It has no second derivative.
 *
 * @param x - (..., D)
 * @param w1 - (F, D)
 * @param b1 - (F)
 * @param w2 - (E, F)
 * @param b2 - (E)
 * @returns (..., E)
 */
export function perceptron(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor): Tensor {
  return operators.perceptron.call([x, w1, b1, w2, b2]) as Tensor;
}

/**
 * Multi-head attention of projected tokens: softmax(q k^T / sqrt(C / heads)) v, by libtorch's fused kernel, which never
 * holds the (N, N) weights. It has no second derivative on the CPU.
 *
 * @param qkv - (B, N, 3 * C): queries, keys and values, each head by head.
 * @param heads - Must divide C.
 * @returns (B, N, C)
 */
export function multiHeadAttention(qkv: Tensor, heads: number): Tensor {
  return operators.attention.call([qkv, heads]) as Tensor;
}
