/** For tests: reproducible random numbers. */

/** Numbers in [0, 1). */
export type Random = () => number;

/** mulberry32: numbers in [0, 1) from a 32-bit seed. */
export function generator(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A whole number in [0, end). */
export const below = (random: Random, end: number): number => Math.floor(random() * end);

export const choose = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T;
