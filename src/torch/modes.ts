/** Modes that apply while a function runs: no gradients, inference, autocast. Each restores the previous mode. */
import { bf16Problem } from './bf16.js';
import { assertDevice } from './device.js';
import { dtypeCode, type DType } from './dtype.js';
import type { TensorHandle } from './handles.js';
import { native } from './native.js';
import { operatorError } from './dispatch.js';
import { Tensor } from './tensor.js';

/** @internal */
export function synchronous<T>(name: string, result: T): T {
  if (result instanceof Promise) {
    throw new TypeError(`${name}(): expected a synchronous function, got one that returns a promise`);
  }
  return result;
}

/** Runs `fn` without recording for gradients. */
export function noGrad<T>(fn: () => T): T {
  const before = native.isGradEnabled();
  native.setGradEnabled(false);
  try {
    return synchronous('noGrad', fn());
  } finally {
    native.setGradEnabled(before);
  }
}

/** Like noGrad() and slightly faster; its tensors can't be used in a gradient graph afterwards. */
export function inferenceMode<T>(fn: () => T): T {
  native.enterInferenceMode();
  try {
    return synchronous('inferenceMode', fn());
  } finally {
    native.leaveInferenceMode();
  }
}

export interface AutocastOptions {
  device: string;
  /** 'bfloat16' or 'float16'. */
  dtype: DType;
  /** Default true; with false it does nothing, so that callers need no branch. */
  enabled?: boolean;
}

/** How many calls of autocast() are running. */
let autocasts = 0;

/** Whether products are computed in half precision here. */
export const isAutocast = (): boolean => autocasts > 0;

/** Runs `fn` with matrix products in `dtype`, and operators that need float32 in float32, as torch.autocast does. */
export function autocast<T>(options: AutocastOptions, fn: () => T): T {
  if (options.enabled === false) return fn();
  assertDevice(options.device);
  const before = native.setAutocast(options.device, true, dtypeCode(options.dtype));
  autocasts++;
  try {
    return synchronous('autocast', fn());
  } finally {
    autocasts--;
    native.setAutocast(options.device, before.enabled, before.dtype);
    if (!before.enabled) native.clearAutocastCache();
  }
}

/**
 * How float32 products, those of matrices and convolutions, are computed on the CPU, by PyTorch's names
 * (torch.backends.mkldnn.matmul.fp32_precision): `ieee` in float32 throughout; `bf16` with operands rounded to bfloat16 and
 * sums in float32, if the CPU has instructions for it. Tensors stay float32. With AMX these are all products; with only
 * avx512_bf16 those of linear layers and of a transformer's blocks (native/torch/product.cc).
 */
export type MatmulPrecision = 'ieee' | 'bf16';

/**
 * Runs `fn` with float32 products in this precision. Other threads are not affected: while theirs differs, their operators
 * and these take turns.
 *
 * @param fn - Must be synchronous.
 */
export function withMatmulPrecision<T>(precision: MatmulPrecision, fn: () => T): T {
  const before = native.allowBf16Products(precision === 'bf16' && bf16Problem() === null);
  try {
    return synchronous('withMatmulPrecision', fn());
  } finally {
    native.allowBf16Products(before);
  }
}

/**
 * Gradients of `outputs` with respect to `inputs`, without changing any tensor's `grad`.
 *
 * @returns One tensor for each input; null for an input that the outputs don't depend on.
 */
export function gradients(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  options: { gradOutputs?: readonly (Tensor | null)[]; retainGraph?: boolean; createGraph?: boolean } = {},
): (Tensor | null)[] {
  let handles: (TensorHandle | null)[];
  try {
    handles = native.gradients(
      outputs.map((tensor) => tensor.handle),
      inputs.map((tensor) => tensor.handle),
      outputs.map((_, i): TensorHandle | null => options.gradOutputs?.[i]?.handle ?? null),
      options.retainGraph ?? options.createGraph ?? false,
      options.createGraph ?? false,
    );
  } catch (error) {
    throw operatorError('gradients', undefined, [...outputs, ...inputs], error);
  }
  return handles.map((handle) => (handle === null ? null : new Tensor(handle)));
}
