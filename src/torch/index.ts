/**
 * libtorch for TypeScript: tensors, operators, autograd, generators, devices. The other rooms import only this file.
 */
import '../plain/disposal.js';
import { Operator } from './dispatch.js';
import type { TorchFunctions } from './generated/functions.js';
import { functionTable } from './generated/table.js';
import { native } from './native.js';
import type { VectorReport } from '../native-addons.js';

export type { DType, MemoryFormat, Scalar, TypedArray } from './dtype.js';
export {
  attentionResidual,
  batchNorm,
  blocksInGroups,
  classAttention,
  convolution,
  linear,
  orthogonalized,
  patches,
  perceptron,
  perceptronResidual,
  type Affine,
  type BatchNormParameters,
  type KeptSamples,
  type NormParameters,
} from './kernels.js';
export { elementSize, isDType } from './dtype.js';
export { Tensor, Parameter, widest } from './tensor.js';
export {
  arange,
  empty,
  eye,
  fromTypedArray,
  full,
  linspace,
  ones,
  rand,
  randn,
  tensor,
  zeros,
  withoutMemory,
} from './creation.js';
export type { NestedNumbers, RandomOptions, TensorOptions } from './creation.js';
export { scope } from './scope.js';
export { autocast, gradients, inferenceMode, isAutocast, noGrad, withMatmulPrecision } from './modes.js';
export type { AutocastOptions, MatmulPrecision } from './modes.js';
export { defaultGenerator, Generator, manualSeed, withGenerators } from './generator.js';
export {
  assertDevice,
  availableDevices,
  cudaDeviceCount,
  cudaDeviceOf,
  cudaUnavailableReason,
  mpsIsAvailable,
  hasStreams,
  isIdle,
  synchronize,
} from './device.js';

/** PyTorch's functions under their names in camelCase: `ops.layerNorm(x, [C], weight, bias)`. */
export const ops: TorchFunctions = Object.fromEntries(
  functionTable.map(([name, aten, overloads]) => {
    const operator = new Operator(aten, overloads.split(','));
    return [name, (...args: unknown[]) => operator.call(args)];
  }),
) as unknown as TorchFunctions;

/** Version of the loaded libtorch, such as '2.15.0'. */
export const torchVersion: string = native.version;

/** The level of vector instructions that our own loops use (native/torch), and those that the machine supports. */
export const torchVectors = (): VectorReport => native.vectors;

export { instructionLevels } from './instructions.js';

/** The vector instructions that libtorch's kernels use here: 'AVX2', 'AVX512', 'DEFAULT'. */
export const cpuCapability = (): string => native.cpuCapability();

/** Threads that one operator may use. */
export const getNumThreads = (): number => native.getNumThreads();
export const setNumThreads = (threads: number): void => native.setNumThreads(threads);

/** Number of tensors that JavaScript has not freed: constant over the steps of a loop that doesn't leak. */
export const liveTensors = (): number => native.liveTensors();
export { measureMatmul } from './speed.js';
export { dtypeOf, precisionProblem, precisionRemarks, withPrecision, withProductsOf } from './precision.js';
export { exitNow, GradientReducer, Heartbeat, ProcessGroup, Store, syncBatchNorm } from './distributed.js';
export type { GroupOptions, SyncBatchNormOptions, TcpStoreOptions } from './distributed.js';
