/**
 * Philox4x32-10, the counter-based random generator of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"
 * (SC 2011); its numbers equal those of the Random123 library. A block of four numbers is a pure function of a counter and
 * a key, so that a crop of an image depends only on (seed, epoch, image, crop), and not on the number of loader workers or
 * on the images that came before.
 */

/** What a stream of numbers is for: with two purposes, the same counters give unrelated numbers. */
export const Purpose = {
  augmentation: 0,
  permutation: 1,
  replacement: 2,
  watching: 3,
  step: 4,
  view: 5,
  sample: 6,
} as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9; // golden ratio
const W1 = 0xbb67ae85; // sqrt(3) - 1
const ROUNDS = 10;

/** The high 32 bits of an unsigned 32 x 32 bit product, computed from 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16); // below 2^32
  const middle2 = a0 * b1 + (middle & 0xffff); // below 2^32
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(middle2 / 65536)) >>> 0;
}

/**
 * One block: four 32-bit numbers from a counter and a key.
 * @param counter - Four unsigned 32-bit numbers.
 * @param key - Two unsigned 32-bit numbers.
 * @param out - Receives the four results; may be the counter itself.
 */
export function philox4x32(
  counter: ArrayLike<number>,
  key: ArrayLike<number>,
  out: Uint32Array,
): Uint32Array {
  let c0 = counter[0]! >>> 0;
  let c1 = counter[1]! >>> 0;
  let c2 = counter[2]! >>> 0;
  let c3 = counter[3]! >>> 0;
  let k0 = key[0]! >>> 0;
  let k1 = key[1]! >>> 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(M0, c0);
    const low0 = Math.imul(M0, c0);
    const high1 = multiplyHigh(M1, c2);
    const low1 = Math.imul(M1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
  return out;
}

/** A stream of numbers for one (seed, purpose, a, b, c); the last word of the counter counts the blocks. */
export class PhiloxStream {
  readonly #key: Uint32Array;
  readonly #counter: Uint32Array;
  readonly #block = new Uint32Array(4);
  #used = 4;

  /**
   * @param seed - A non-negative integer below 2^53.
   * @param purpose - What the numbers are for.
   * @param a - For example the epoch: an integer below 2^32.
   * @param b - For example the image: an integer below 2^32.
   * @param c - For example the crop: an integer below 2^29.
   */
  constructor(seed: number, purpose: Purpose, a: number, b = 0, c = 0) {
    this.#key = Uint32Array.of(seed >>> 0, Math.floor(seed / 2 ** 32));
    this.#counter = Uint32Array.of(a, b, c * 8 + purpose, 0);
  }

  /** The next 32 random bits, as an integer. */
  next(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.#key, this.#block);
      this.#counter[3]!++;
      this.#used = 0;
    }
    return this.#block[this.#used++]!;
  }

  /** Uniform in [0, 1), a multiple of 2^-32. */
  random(): number {
    return this.next() / 2 ** 32;
  }

  /** Uniform in [low, high). */
  uniform(low: number, high: number): number {
    return low + this.random() * (high - low);
  }

  /** An integer, uniform in [0, count); count at most 2^32. 53 random bits keep the bias below 1e-6 of a count. */
  integer(count: number): number {
    const high = this.next() >>> 5; // 27 bits
    const low = this.next() >>> 6; // 26 bits
    return Math.floor(((high * 2 ** 26 + low) / 2 ** 53) * count);
  }

  /** Shuffles in place (Fisher and Yates). Returns the same array. */
  shuffle<T extends Uint32Array | number[]>(values: T): T {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = values[i]!;
      values[i] = values[j]!;
      values[j] = swap;
    }
    return values;
  }
}

/**
 * The order in which an epoch visits `count` images: a permutation that depends only on seed and epoch.
 */
export function epochPermutation(count: number, seed: number, epoch: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  return new PhiloxStream(seed, Purpose.permutation, epoch).shuffle(order);
}

/** The seed of libtorch's generator for one step in one of several processes: 64 bits. */
export function stepSeed(seed: number, step: number, rank: number): bigint {
  const stream = new PhiloxStream(seed, Purpose.step, step, rank);
  return (BigInt(stream.next()) << 32n) | BigInt(stream.next());
}
