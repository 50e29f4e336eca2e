/**
 * What dispatch.ts and scope.ts need to know about tensors and generators: that they own a handle. The classes themselves
 * import those files, so they can't be imported there.
 */
import type { GeneratorHandle, TensorHandle } from './handles.js';

/** Base of Tensor. */
export abstract class TensorOwner {
  abstract readonly handle: TensorHandle;
  abstract get isDisposed(): boolean;
  /** Frees the memory now. */
  abstract dispose(): void;
  /** dtype, shape and device, for messages. */
  abstract toString(): string;
}

/** Base of Generator. */
export abstract class GeneratorOwner {
  abstract readonly handle: GeneratorHandle;
}

let makeTensor: ((handle: TensorHandle) => TensorOwner) | undefined;

/** tensor.ts registers here how a result becomes a Tensor. */
export function setTensorMaker(make: (handle: TensorHandle) => TensorOwner): void {
  makeTensor = make;
}

export function tensorFromHandle(handle: TensorHandle): TensorOwner {
  if (makeTensor === undefined) throw new Error('internal: an operator ran before tensor.ts was loaded');
  return makeTensor(handle);
}
