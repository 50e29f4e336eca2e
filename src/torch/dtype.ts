/**
 * Element types: PyTorch's names, their numbers in libtorch (c10/core/ScalarType.h) and the typed array for each in
 * JavaScript.
 */
import { ShapeError } from '../errors.js';

/**
 * An element type. bfloat16 and float16 are exchanged as raw 16-bit patterns in a Uint16Array, bool as 0 and 1. uint16 is for
 * pixels: libtorch converts it to other types, and has few operators for it.
 */
export type DType =
  'float32' | 'float64' | 'float16' | 'bfloat16' | 'int64' | 'int32' | 'uint16' | 'uint8' | 'bool';

/** A value that an operator accepts as a number; a whole number is an integer scalar, as in Python. */
export type Scalar = number | bigint | boolean;

export type MemoryFormat = 'contiguous_format' | 'preserve_format' | 'channels_last' | 'channels_last_3d';

/** The typed arrays that can view a tensor's memory. */
export type TypedArray =
  Float32Array | Float64Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array | Uint8ClampedArray;

const dtypeCodes: Record<DType, number> = {
  uint8: 0,
  int32: 3,
  int64: 4,
  float16: 5,
  float32: 6,
  float64: 7,
  bool: 11,
  bfloat16: 15,
  uint16: 27,
};

const dtypeNames = new Map(Object.entries(dtypeCodes).map(([name, code]) => [code, name as DType]));

const memoryFormatCodes: Record<MemoryFormat, number> = {
  contiguous_format: 0,
  preserve_format: 1,
  channels_last: 2,
  channels_last_3d: 3,
};

/** Bytes of one element. */
export const elementSize: Record<DType, number> = {
  uint8: 1,
  bool: 1,
  float16: 2,
  bfloat16: 2,
  uint16: 2,
  int32: 4,
  float32: 4,
  int64: 8,
  float64: 8,
};

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(dtypeCodes, value);
}

/** libtorch's number for a dtype. @throws ShapeError for an unknown name; it lists the known ones. */
export function dtypeCode(dtype: string): number {
  if (isDType(dtype)) return dtypeCodes[dtype];
  throw new ShapeError(`dtype: expected one of ${Object.keys(dtypeCodes).join(', ')}, got '${dtype}'`);
}

export function dtypeName(code: number): DType {
  const name = dtypeNames.get(code);
  if (name === undefined)
    throw new ShapeError(`internal: libtorch returned a tensor of dtype number ${code}`);
  return name;
}

export function memoryFormatCode(format: string): number {
  if (Object.hasOwn(memoryFormatCodes, format)) return memoryFormatCodes[format as MemoryFormat];
  const known = Object.keys(memoryFormatCodes).join(', ');
  throw new ShapeError(`memory format: expected one of ${known}, got '${format}'`);
}

/** The dtype of a typed array's elements, without conversion. */
export function dtypeOfArray(array: TypedArray): DType {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Float64Array) return 'float64';
  if (array instanceof BigInt64Array) return 'int64';
  if (array instanceof Int32Array) return 'int32';
  if (array instanceof Uint16Array) return 'bfloat16';
  return 'uint8';
}

/** A typed array of the right type over a buffer with elements of `dtype`. */
export function viewOf(buffer: ArrayBuffer, dtype: DType): TypedArray {
  switch (dtype) {
    case 'float32':
      return new Float32Array(buffer);
    case 'float64':
      return new Float64Array(buffer);
    case 'float16':
    case 'bfloat16':
    case 'uint16':
      return new Uint16Array(buffer);
    case 'int64':
      return new BigInt64Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    case 'uint8':
    case 'bool':
      return new Uint8Array(buffer);
  }
}
