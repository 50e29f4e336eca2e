/**
 * Weights and inputs computed only from a name, so that fixtures contain only the reference's outputs. The same rule in
 * Python is in tools/fixtures/hash_fill.py; test/fixtures/reference/README.md states it in words.
 */

const encoder = new TextEncoder();

function fnv1a32(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of encoder.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Element `i` of the 32-bit words of a name: murmur3's finalizer over a multiplicative sequence. */
function word(hash: number, i: number): number {
  let x = (Math.imul(i, 2654435761) + hash) | 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** offset + scale * t, with t uniform in [-1, 1). */
function fill(name: string, length: number, scale: number, offset: number): Float32Array {
  const hash = fnv1a32(name);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = offset + scale * (2 * (word(hash, i) / 4294967296) - 1);
  return values;
}

/** Values in [-scale, scale). */
export const hashValues = (name: string, shape: readonly number[], scale = 1): Float32Array =>
  fill(name, count(shape), scale, 0);

/** The 32-bit words themselves. */
export function hashWords(name: string, length: number): Uint32Array {
  const hash = fnv1a32(name);
  return new Uint32Array(length).map((_, i) => word(hash, i));
}

/** Bytes 0 to 255. */
export function hashBytes(name: string, shape: readonly number[]): Uint8Array {
  const hash = fnv1a32(name);
  return new Uint8Array(count(shape)).map((_, i) => word(hash, i) >>> 24);
}

/**
 * A parameter or floating-point buffer by its state name. Norm weights, layer scales, temperatures and variances are near 1,
 * biases near 0, and matrices have the given standard deviation.
 */
export function hashWeight(name: string, shape: readonly number[], std: number): Float32Array {
  const isVector = shape.length === 1;
  if (
    /(running_var|weight_g|gamma_?\d|\.gamma|lambda1|temperature)$/.test(name) ||
    (isVector && name.endsWith('weight'))
  ) {
    return fill(name, count(shape), 0.1, 1);
  }
  return fill(name, count(shape), isVector ? 0.02 : std * Math.sqrt(3), 0);
}

interface Fillable {
  readonly shape: readonly number[];
  readonly dtype: string;
  data(): { set(values: ArrayLike<number>): void } | BigInt64Array;
}

/**
 * Fills a module's floating-point state on the CPU in place, each tensor from its own name. What is computed and never
 * learned stays: DINOv3's wavelengths and masks of biases. @returns The module.
 */
export function hashFill<M extends { stateDict(): ReadonlyMap<string, Fillable> }>(
  module: M,
  std: number,
): M {
  for (const [name, tensor] of module.stateDict()) {
    if (tensor.dtype !== 'float32' || /\.(periods|bias_mask)$/.test(name)) continue;
    (tensor.data() as Float32Array).set(hashWeight(name, tensor.shape, std));
  }
  return module;
}
