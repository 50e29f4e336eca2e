/** Operators of our own: native/torch/product.cc, perceptron.cc, attention.cc, groups.cc, convolution.cc, batch-norm.cc, orthogonalize.cc. */
import { Operator } from './dispatch.js';
import type { Tensor } from './tensor.js';

const operators = {
  perceptron: new Operator('dino::perceptron', ['']),
  perceptronResidual: new Operator('dino::perceptron_residual', ['']),
  attentionResidual: new Operator('dino::attention_residual', ['']),
  classAttention: new Operator('dino::class_attention', ['']),
  linear: new Operator('dino::linear', ['']),
  patches: new Operator('dino::patches', ['']),
  convolution: new Operator('dino::convolution', ['']),
  orthogonalized: new Operator('dino::orthogonalized', ['']),
  batchNorm: new Operator('dino::batch_norm', ['']),
  blocksInGroups: new Operator('dino::blocks_in_groups', ['']),
};

/**
 * x W^T + bias: ops.linear() except on processors for which libtorch has no fast kernel, in float32 or where float32 products
 * may be computed in bfloat16 (withMatmulPrecision()). There it packs its operands itself.
 *
 * @param x - (..., in)
 * @param weight - (out, in)
 * @param bias - (out)
 * @returns (..., out)
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  return operators.linear.call([x, weight, bias]) as Tensor;
}

/**
 * Patches of images, each projected to a token: ops.conv2d() with a stride of the kernel's size, except where float32 products may be
 * computed in bfloat16 and linear() packs its operands: there it is a product of the patches' pixels.
 *
 * @param x - (B, C, H, W); pixels that don't fill a patch at the right or bottom edge are left out
 * @param weight - (D, C, P, P)
 * @param bias - (D)
 * @returns (B, floor(H / P) * floor(W / P), D)
 */
export function patches(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  return operators.patches.call([x, weight, bias]) as Tensor;
}

/** A linear layer's parameters. */
export interface Affine {
  /** (outFeatures, inFeatures) */
  weight: Tensor;
  /** (outFeatures) */
  bias: Tensor;
}

/** A layer norm's parameters, over the last dimension. */
export interface NormParameters {
  /** (D) */
  weight: Tensor;
  /** (D) */
  bias: Tensor;
  eps: number;
}

/** What stochastic depth has drawn: which samples compute a branch, and the factor for its result. */
export interface KeptSamples {
  /** Rows of dimension 0, int64, ascending; null for all. */
  kept: Tensor | null;
  scale: number;
}

/**
 * GELU(x W1^T + b1) W2^T + b2 with the exact GELU: two linear layers with the activation between them. On the CPU in
 * float32 our own loops do everything except the products, and keep only one of the two wide activations; otherwise
 * libtorch's operators run in sequence. It has no second derivative.
 *
 * @param x - (..., D)
 * @param fc1 - D to F features.
 * @param fc2 - F to E features.
 * @returns (..., E)
 */
export function perceptron(x: Tensor, fc1: Affine, fc2: Affine): Tensor {
  return operators.perceptron.call([x, fc1.weight, fc1.bias, fc2.weight, fc2.bias]) as Tensor;
}

/**
 * x + scale * perceptron(norm(x)): the second half of a transformer's block. Like perceptron(); the norm's output isn't
 * kept for the backward pass either, but recomputed there.
 *
 * @param x - (B, N, D)
 * @param fc2 - F to D features.
 * @returns (B, N, D); samples that are not kept are returned unchanged.
 */
export function perceptronResidual(
  x: Tensor,
  norm: NormParameters,
  fc1: Affine,
  fc2: Affine,
  { kept, scale }: KeptSamples,
): Tensor {
  return operators.perceptronResidual.call([
    x,
    norm.weight,
    norm.bias,
    norm.eps,
    fc1.weight,
    fc1.bias,
    fc2.weight,
    fc2.bias,
    kept,
    scale,
  ]) as Tensor;
}

/**
 * x + scale * attention(norm(x)): the first half of a transformer's block. Multi-head attention, softmax(q k^T /
 * sqrt(D / heads)) v, by a fused kernel (ours on the CPU in float32, otherwise libtorch's), which never holds the (N, N)
 * weights. It has no second derivative on the CPU.
 *
 * @param x - (B, N, D)
 * @param qkv - D to 3 D features: queries, keys and values, each head by head.
 * @param proj - D to D features.
 * @param heads - Must divide D.
 * @returns (B, N, D); samples that are not kept are returned unchanged.
 */
export function attentionResidual(
  x: Tensor,
  norm: NormParameters,
  qkv: Affine,
  proj: Affine,
  heads: number,
  { kept, scale }: KeptSamples,
): Tensor {
  return operators.attentionResidual.call([
    x,
    norm.weight,
    norm.bias,
    norm.eps,
    qkv.weight,
    qkv.bias,
    proj.weight,
    proj.bias,
    heads,
    kept,
    scale,
  ]) as Tensor;
}

/**
 * The attention of the first token to all tokens, the first row of full attention: for the other tokens only keys and values
 * are projected.
 *
 * @param x - (B, N, D)
 * @param qkv - D to 3 D features: queries, keys and values, each head by head.
 * @param proj - D to D features.
 * @param heads - Must divide D.
 * @returns (B, 1, D)
 */
export function classAttention(x: Tensor, qkv: Affine, proj: Affine, heads: number): Tensor {
  return operators.classAttention.call([x, qkv.weight, qkv.bias, proj.weight, proj.bias, heads]) as Tensor;
}

/**
 * A transformer's blocks and last norm without gradients, a few images at a time in each thread: the same result as with
 * single operators, but without all threads waiting for each other after each of them. Only for float32 on the CPU, without
 * autocast, and with at least two images per thread.
 *
 * @param x - (B, N, C) tokens.
 * @param weights - Weight and bias of norm1, attn.qkv, attn.proj, norm2, mlp.fc1 and mlp.fc2 of each block, then of the last
 *   norm.
 * @param keep - For how many of the last blocks to return the tokens.
 * @param classOnly - Return only the class token, of the last block.
 * @returns (B, N, C) each, or (B, 1, C); the deepest last. Null when the conditions above don't hold.
 */
export function blocksInGroups(
  x: Tensor,
  weights: readonly Tensor[],
  options: { heads: number; eps: number; keep: number; classOnly: boolean },
): Tensor[] | null {
  const { heads, eps, keep, classOnly } = options;
  const outputs = operators.blocksInGroups.call([x, weights, heads, eps, keep, classOnly]) as Tensor[];
  return outputs.length === 0 ? null : outputs;
}

/**
 * ops.conv2d(), whose gradient of the weights is one product over all images in bfloat16 on the CPU where an image has few
 * positions. It then has no second derivative.
 *
 * @param x - (B, C, H, W)
 * @param weight - (D, C / groups, kernel rows, kernel columns)
 * @param bias - (D)
 * @returns (B, D, H', W')
 */
export function convolution(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  { stride, padding, groups }: { stride: number; padding: number; groups: number },
): Tensor {
  return operators.convolution.call([x, weight, bias, stride, padding, groups]) as Tensor;
}

/** A batch norm in training: its parameters and, where the batch is counted, its running statistics. */
export interface BatchNormParameters {
  /** (C) */
  weight: Tensor;
  /** (C) */
  bias: Tensor;
  /** (C) each, changed in place; null: this batch is not counted. */
  running: { mean: Tensor; variance: Tensor } | null;
  momentum: number;
  eps: number;
}

/**
 * norm(x) + skip or its ReLU, with the statistics of this batch. On the CPU in float32 or bfloat16, where channels lie beside
 * each other (channels-last), our own loops go over the activation twice forward and twice backward, in place of nine times;
 * otherwise libtorch's operators run in sequence. It has no second derivative on the CPU.
 *
 * @param x - (B, C) or (B, C, H, W), more than one value of each channel.
 * @param after - `skip`, as x, is added (default 0); `relu` (default false).
 * @returns As x.
 */
export function batchNorm(
  x: Tensor,
  norm: BatchNormParameters,
  after: { skip?: Tensor | null; relu?: boolean } = {},
): Tensor {
  const { weight, bias, running, momentum, eps } = norm;
  const { skip = null, relu = false } = after;
  const tracked = [running?.mean ?? null, running?.variance ?? null];
  return operators.batchNorm.call([x, weight, bias, ...tracked, momentum, eps, skip, relu]) as Tensor;
}

/**
 * Matrices through an iteration of Newton and Schulz, x <- a x + (b G + c G^2) x with G = x x^T, which moves all singular values
 * towards 1. On the CPU each thread takes whole matrices.
 *
 * @param matrices - (R, C) of any sizes, all of one dtype, in which they are computed. Not changed.
 * @param polynomial - `coefficients` a, b and c, and the number of `iterations`; a matrix is first divided by its norm, `eps` at least.
 * @returns Of the same sizes.
 */
export function orthogonalized(
  matrices: readonly Tensor[],
  polynomial: { coefficients: readonly [number, number, number]; iterations: number; eps: number },
): Tensor[] {
  const { coefficients, iterations, eps } = polynomial;
  return operators.orthogonalized.call([matrices, coefficients, iterations, eps]) as Tensor[];
}
