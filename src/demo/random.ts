/** The scenes' random numbers. */

/** A source of numbers in [0, 1). */
export type Random = () => number;

export const between = (random: Random, low: number, high: number): number => low + (high - low) * random();

export const pickOne = <T>(random: Random, values: readonly T[]): T =>
  values[Math.floor(random() * values.length)]!;

/** A number of mean 0 and variance 1, nearly normal: the sum of the four bytes of one random word. */
export function gaussian(random: Random): number {
  const word = Math.floor(random() * 2 ** 32);
  const sum = (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
  return (sum - 510) / 147.8; // a byte has a variance of (256 * 256 - 1) / 12
}

/**
 * A separate generator for every scene, from seed, kind and number, so that no scene depends on which others are made:
 * SplitMix32 seeded with a hash of the three.
 */
export function sceneRandom(seed: number, kind: number, index: number): Random {
  let state = mix32((mix32((mix32(seed ^ 0x9e3779b9) + kind) | 0) + index) | 0);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return mix32(state) / 2 ** 32;
  };
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. Result in [0, 2^32). */
function mix32(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
