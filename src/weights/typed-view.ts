/** Typed arrays over part of a file's bytes. */
import { elementSize, type DType, type TypedArray } from '../torch/index.js';

/**
 * `count` elements of `dtype` from byte `begin` of a buffer: a view where they are aligned, else a copy.
 */
export function typedView(
  buffer: ArrayBuffer | SharedArrayBuffer,
  dtype: DType,
  begin: number,
  count: number,
): TypedArray {
  const size = elementSize[dtype];
  const isAligned = begin % size === 0;
  const source = isAligned ? buffer : buffer.slice(begin, begin + count * size);
  const offset = isAligned ? begin : 0;
  switch (dtype) {
    case 'float64':
      return new Float64Array(source, offset, count);
    case 'float32':
      return new Float32Array(source, offset, count);
    case 'float16':
    case 'bfloat16':
    case 'uint16':
      return new Uint16Array(source, offset, count);
    case 'int64':
      return new BigInt64Array(source, offset, count);
    case 'int32':
      return new Int32Array(source, offset, count);
    case 'uint8':
    case 'bool':
      return new Uint8Array(source, offset, count);
  }
}
