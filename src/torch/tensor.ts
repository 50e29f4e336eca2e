/**
 * Tensor: libtorch's tensor, with the operators as methods (generated, see generated/methods.ts) and, written by hand here,
 * metadata, reading plain values, conversion between dtypes and devices, gradients, and freeing.
 */
import { EngineError, ShapeError } from '../errors.js';
import { assertDevice, hasStreams } from './device.js';
import { dtypeCode, dtypeName, isDType, viewOf, type DType, type TypedArray } from './dtype.js';
import { Operator, operatorError } from './dispatch.js';
import { methodTable } from './generated/table.js';
import type { TensorMethods } from './generated/methods.js';
import { setTensorMaker, TensorOwner } from './handle-owner.js';
import type { TensorHandle } from './handles.js';
import { native } from './native.js';
import { scope, track, untrack } from './scope.js';

/** An n-dimensional array on a device, with autograd. Made by the functions of creation.ts and by operators. */
// The generated operators are merged in by declaration and put on the prototype below.
// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging
export class Tensor extends TensorOwner implements Disposable {
  /** @internal */
  readonly handle: TensorHandle;
  #shape: readonly number[] | undefined;

  /** @internal */
  constructor(handle: TensorHandle) {
    super();
    this.handle = handle;
    track(this);
  }

  /** Sizes of the dimensions; [] for a scalar. */
  get shape(): readonly number[] {
    return (this.#shape ??= native.shape(this.handle));
  }
  /** Number of dimensions. */
  get ndim(): number {
    return this.shape.length;
  }
  /** Number of elements. */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }
  get strides(): readonly number[] {
    return native.strides(this.handle);
  }
  get dtype(): DType {
    return dtypeName(native.dtype(this.handle));
  }
  /** 'cpu', 'cuda:0', 'mps:0'. */
  get device(): string {
    return native.device(this.handle);
  }
  get isContiguous(): boolean {
    return native.isContiguous(this.handle);
  }

  /** Size of one dimension; negative numbers count from the end. @throws ShapeError when the dimension doesn't exist. */
  size(dim: number): number {
    const size = this.shape.at(dim);
    if (size === undefined)
      throw new ShapeError(`size(${dim}): ${this.toString()} has ${this.ndim} dimensions`);
    return size;
  }

  /** The value of a tensor with one element. @throws ShapeError when there are more. */
  item(): number {
    try {
      return Number(native.item(this.handle));
    } catch (error) {
      throw operatorError('item', this, [], error);
    }
  }

  /**
   * The elements as a typed array over the tensor's own memory, without a copy: writes change the tensor. The tensor must be
   * on the CPU and contiguous. bfloat16 and float16 are given as 16-bit patterns.
   */
  data(): TypedArray {
    try {
      return viewOf(native.dataBuffer(this.handle), this.dtype);
    } catch (error) {
      throw operatorError('data', this, [], error);
    }
  }

  /** A copy of the elements, in row-major order, from any device and layout. 16-bit floats become float32. */
  toTypedArray(): TypedArray {
    return scope(() => {
      let plain = this.detach().to('cpu');
      if (this.dtype === 'float16' || this.dtype === 'bfloat16') plain = plain.to('float32');
      return plain.contiguous().data().slice();
    });
  }

  /** The elements as numbers, flat, in row-major order. */
  toArray(): number[] {
    return Array.from(this.toTypedArray(), Number);
  }

  /** The tensor in another dtype or on another device; the tensor itself if it already is. */
  to(target: DType | (string & {}), options: { copy?: boolean } = {}): Tensor {
    const copy = options.copy ?? false;
    if (isDType(target)) return toDtype.callMethod(this, [target, false, copy]) as Tensor;
    assertDevice(target);
    return toDevice.callMethod(this, [{ device: target, copy }]) as Tensor;
  }

  /**
   * A copy of a CPU tensor on a device, for which nothing waits but what is computed with it: it goes through pinned memory,
   * on a stream of its own, and overlaps what the device computes meanwhile. This tensor's memory may be overwritten at once.
   * To the CPU it is the tensor itself, and to a device without streams to(device).
   */
  upload(device: string): Tensor {
    if (device === this.device) return this;
    assertDevice(device);
    if (!hasStreams(device)) return this.to(device);
    try {
      return new Tensor(native.upload(this.handle, device));
    } catch (error) {
      throw operatorError('upload', this, [device], error);
    }
  }

  /** The tensor itself if it is stored row by row, else a copy that is. */
  contiguous(): Tensor {
    return contiguous.callMethod(this, []) as Tensor;
  }

  /** The same values outside the gradient's graph; the memory is shared. */
  detach(): Tensor {
    return detach.callMethod(this, []) as Tensor;
  }

  get requiresGrad(): boolean {
    return native.requiresGrad(this.handle);
  }
  set requiresGrad(value: boolean) {
    try {
      native.setRequiresGrad(this.handle, value);
    } catch (error) {
      throw operatorError('requiresGrad', this, [value], error);
    }
  }
  get isLeaf(): boolean {
    return native.isLeaf(this.handle);
  }

  /** The gradient that backward() has accumulated in this leaf, or null. */
  get grad(): Tensor | null {
    const handle = native.getGrad(this.handle);
    return handle === null ? null : new Tensor(handle);
  }
  set grad(value: Tensor | null) {
    native.setGrad(this.handle, value === null ? null : value.handle);
  }

  /** Adds the gradients of this tensor to its leaves' `grad`. `gradient` is required unless this is a scalar. */
  backward(gradient?: Tensor, options: { retainGraph?: boolean } = {}): void {
    try {
      native.backward([this.handle], [gradient?.handle ?? null], options.retainGraph ?? false);
    } catch (error) {
      throw operatorError('backward', this, gradient ? [gradient] : [], error);
    }
  }

  /** Takes this tensor out of the scope() that would free it, and returns it. */
  keep(): this {
    untrack(this);
    return this;
  }

  /** Frees the memory now (when no other tensor shares it). Using the tensor afterwards is an error; disposing of it again is not. */
  override dispose(): void {
    native.dispose(this.handle);
    untrack(this);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
  get isDisposed(): boolean {
    return native.isDisposed(this.handle);
  }

  /** `float32[2, 3] on cpu` */
  override toString(): string {
    if (this.isDisposed) return 'disposed tensor';
    const device = this.device;
    return `${this.dtype}[${this.shape.join(', ')}]${device === 'cpu' ? '' : ` on ${device}`}`;
  }
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging, @typescript-eslint/no-empty-object-type
export interface Tensor extends TensorMethods<Tensor> {}

/** In float64, as JavaScript's numbers are; MPS has none, and gives float32. */
export const widest = (x: Tensor): Tensor => (x.device.startsWith('mps') ? x : x.to('float64'));

/** A trained tensor: a leaf with requiresGrad. Modules register it under the name of its field. */
export class Parameter extends Tensor {
  /** Takes over `tensor`, which is disposed of. */
  constructor(tensor: Tensor, requiresGrad = true) {
    const leaf = tensor.detach();
    super(leaf.handle);
    untrack(leaf);
    untrack(this); // a parameter lives as long as its module, whichever scope built it
    tensor.dispose();
    this.requiresGrad = requiresGrad;
  }
}

setTensorMaker((handle) => new Tensor(handle));

const toDtype = new Operator('to', ['dtype']);
const toDevice = new Operator('to', ['dtype_layout']);
const contiguous = new Operator('contiguous', ['']);
const detach = new Operator('detach', ['']);

for (const [name, aten, overloads] of methodTable) {
  const operator = new Operator(aten, overloads.split(','));
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...args: unknown[]): unknown {
      return operator.callMethod(this, args);
    },
    writable: true,
    configurable: true,
  });
}

/** A tensor over a typed array's memory. @internal */
export function fromMemory(array: TypedArray, shape: readonly number[], dtype: DType): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  if (count !== array.length) {
    throw new ShapeError(
      `fromTypedArray: shape [${shape.join(', ')}] needs ${count} elements, got ${array.length}`,
    );
  }
  try {
    return new Tensor(native.fromBuffer(array, shape, dtypeCode(dtype)));
  } catch (error) {
    throw new EngineError(`fromTypedArray: ${(error as Error).message}`, { cause: error });
  }
}
