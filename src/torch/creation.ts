/** New tensors: from JavaScript values and memory, filled, or random. Names and defaults (float32, cpu) are PyTorch's. */
import { ShapeError } from '../errors.js';
import { assertDevice } from './device.js';
import { dtypeOfArray, elementSize, type DType, type Scalar, type TypedArray } from './dtype.js';
import { Operator } from './dispatch.js';
import type { Generator } from './generator.js';
import { fromMemory, type Tensor } from './tensor.js';

export interface TensorOptions {
  /** Default 'float32'. */
  dtype?: DType;
  /** Default 'cpu'. */
  device?: string;
}
export interface RandomOptions extends TensorOptions {
  generator?: Generator;
}

/** Numbers nested to any depth; all entries of a level have the same length. */
export type NestedNumbers = number | boolean | readonly NestedNumbers[];

const operators = {
  zeros: new Operator('zeros', ['']),
  ones: new Operator('ones', ['']),
  empty: new Operator('empty', ['memory_format']),
  full: new Operator('full', ['']),
  eye: new Operator('eye', ['']),
  arange: new Operator('arange', ['start_step']),
  linspace: new Operator('linspace', ['']),
  rand: new Operator('rand', ['', 'generator']),
  randn: new Operator('randn', ['', 'generator']),
};

let defaultDevice = 'cpu';

/**
 * Runs `fn` with the meta device as the default for new tensors: they have shapes but neither memory nor values. This is a
 * fast way to find the names and shapes of a model's tensors.
 */
export function withoutMemory<T>(fn: () => T): T {
  const before = defaultDevice;
  defaultDevice = 'meta';
  try {
    return fn();
  } finally {
    defaultDevice = before;
  }
}

function create(operator: Operator, args: unknown[], options: RandomOptions): Tensor {
  const { dtype = 'float32', device = defaultDevice, generator } = options;
  if (device !== defaultDevice) assertDevice(device);
  const given = generator === undefined ? { dtype, device } : { dtype, device, generator };
  return operator.call([...args, given]) as Tensor;
}

export const zeros = (shape: readonly number[], options: TensorOptions = {}): Tensor =>
  create(operators.zeros, [shape], options);
export const ones = (shape: readonly number[], options: TensorOptions = {}): Tensor =>
  create(operators.ones, [shape], options);
/** Uninitialized memory. */
export const empty = (shape: readonly number[], options: TensorOptions = {}): Tensor =>
  create(operators.empty, [shape], options);
export const full = (shape: readonly number[], value: Scalar, options: TensorOptions = {}): Tensor =>
  create(operators.full, [shape, value], options);
/** The n x n identity. */
export const eye = (n: number, options: TensorOptions = {}): Tensor => create(operators.eye, [n], options);
/** start, start + step, ... below end. */
export const arange = (start: number, end: number, step = 1, options: TensorOptions = {}): Tensor =>
  create(operators.arange, [start, end, step], options);
/** `steps` values from start to end, both included. */
export const linspace = (start: number, end: number, steps: number, options: TensorOptions = {}): Tensor =>
  create(operators.linspace, [start, end, steps], options);
/** Uniform in [0, 1). */
export const rand = (shape: readonly number[], options: RandomOptions = {}): Tensor =>
  create(operators.rand, [shape], options);
/** Normal, mean 0 and standard deviation 1. */
export const randn = (shape: readonly number[], options: RandomOptions = {}): Tensor =>
  create(operators.randn, [shape], options);

/**
 * A tensor with a copy of the given numbers; float32 by default, but a typed array keeps its own dtype.
 *
 * @throws ShapeError when nested arrays have unequal lengths.
 */
export function tensor(values: NestedNumbers | TypedArray, options: TensorOptions = {}): Tensor {
  const { dtype, device = 'cpu' } = options;
  let made: Tensor;
  if (ArrayBuffer.isView(values)) {
    const array = values.slice();
    made = fromMemory(array, [array.length], dtypeOfArray(array));
    return move(made, dtype ?? made.dtype, device);
  }
  const shape: number[] = [];
  for (
    let level: NestedNumbers | undefined = values;
    Array.isArray(level);
    level = level[0] as NestedNumbers
  ) {
    shape.push(level.length);
  }
  const flat: number[] = [];
  flatten(values, shape, 0, flat);
  // by way of float64, which holds every JavaScript number
  made = fromMemory(Float64Array.from(flat), shape, 'float64');
  return move(made, dtype ?? 'float32', device);
}

function flatten(values: NestedNumbers, shape: readonly number[], depth: number, into: number[]): void {
  if (Array.isArray(values)) {
    if (values.length !== shape[depth]) {
      throw new ShapeError(
        `tensor(): expected equal lengths in dimension ${depth}, got ${shape[depth] ?? 0} and ${values.length}`,
      );
    }
    for (const entry of values as readonly NestedNumbers[]) flatten(entry, shape, depth + 1, into);
  } else {
    if (depth !== shape.length)
      throw new ShapeError(`tensor(): expected a list in dimension ${depth}, got a number`);
    into.push(Number(values));
  }
}

function move(from: Tensor, dtype: DType, device: string): Tensor {
  const typed = from.to(dtype);
  if (typed !== from && dtype !== from.dtype) from.dispose();
  const moved = typed.upload(device);
  if (moved !== typed) typed.dispose();
  return moved;
}

/**
 * A CPU tensor over a typed array's own memory, without a copy: writes to either are visible in both, and the array lives as
 * long as the tensor. The array may be over a SharedArrayBuffer.
 *
 * @param dtype - The element type, if the array's type leaves it open: a Uint16Array holds bfloat16 (default) or float16, a
 *   Uint8Array holds uint8 (default) or bool.
 * @throws ShapeError when the shape's product is not the array's length, or the dtype has a different element size.
 */
export function fromTypedArray(
  array: TypedArray,
  shape: readonly number[],
  dtype = dtypeOfArray(array),
): Tensor {
  if (elementSize[dtype] !== array.BYTES_PER_ELEMENT) {
    throw new ShapeError(
      `fromTypedArray: ${dtype} has ${elementSize[dtype]} bytes per element, but the array has ${array.BYTES_PER_ELEMENT}`,
    );
  }
  return fromMemory(array, shape, dtype);
}
