/**
 * libtorch for TypeScript: tensors, operators, autograd, generators, devices. The other rooms import from here alone.
 */
import { Operator } from './dispatch.js';
import type { TorchFunctions } from './generated/functions.js';
import { functionTable } from './generated/table.js';
import { native } from './native.js';
import type { VectorReport } from '../native-addons.js';

export type { DType, MemoryFormat, Scalar, TypedArray } from './dtype.js';
export {
  attentionResidual,
  blocksInGroups,
  classAttention,
  perceptron,
  perceptronResidual,
  type Affine,
  type KeptSamples,
  type NormParameters,
} from './kernels.js';
export { elementSize, isDType } from './dtype.js';
export { Tensor, Parameter } from './tensor.js';
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
export { autocast, gradients, inferenceMode, noGrad } from './modes.js';
export type { AutocastOptions } from './modes.js';
export { defaultGenerator, Generator, manualSeed, withGenerators } from './generator.js';
export {
  assertDevice,
  availableDevices,
  cudaDeviceCount,
  cudaUnavailableReason,
  mpsIsAvailable,
  synchronize,
} from './device.js';

/** PyTorch's functions by their names in camelCase: `ops.layerNorm(x, [C], weight, bias)`. */
export const ops: TorchFunctions = Object.fromEntries(
  functionTable.map(([name, aten, overloads]) => {
    const operator = new Operator(aten, overloads.split(','));
    return [name, (...args: unknown[]) => operator.call(args)];
  }),
) as unknown as TorchFunctions;

/** Version of the libtorch that is loaded, such as '2.15.0'. */
export const torchVersion: string = native.version;

/** The level of vector instructions that our own loops run at (native/torch), and those that the machine has. */
export const torchVectors = (): VectorReport => native.vectors;

/** The vector instructions that libtorch's kernels use here: 'AVX2', 'AVX512', 'DEFAULT'. */
export const cpuCapability = (): string => native.cpuCapability();

/** Threads that one operator may use. */
export const getNumThreads = (): number => native.getNumThreads();
export const setNumThreads = (threads: number): void => native.setNumThreads(threads);

/** Tensors that JavaScript holds and has not freed: flat over the steps of a loop that leaks nothing. */
export const liveTensors = (): number => native.liveTensors();
export { measureMatmul } from './speed.js';
export { exitNow, GradientReducer, Heartbeat, ProcessGroup, Store, syncBatchNorm } from './distributed.js';
export type { GroupOptions, SyncBatchNormOptions, TcpStoreOptions } from './distributed.js';
