/** Numbers to colours: viridis and inferno, the maps of the reference's pictures and videos (matplotlib's). */

/** Polynomials in t for red, green and blue: a fit to matplotlib's table, within 0.015 of it. */
const VIRIDIS = [
  [0.2777273272, 0.1050930431, -0.3308618287, -4.634230499, 6.2282699363, 4.7763849977, -5.4354558559],
  [0.0054073445, 1.4046135299, 0.2148475595, -5.7991009734, 14.1799333668, -13.7451453777, 4.6458526122],
  [0.3340998053, 1.3845901626, 0.095095163, -19.3324409563, 56.6905526007, -65.3530326334, 26.3124352496],
] as const;

/** @param t - 0 to 1. @returns Red, green, blue, 0 to 255. */
export function viridis(t: number): [number, number, number] {
  const x = Math.min(1, Math.max(0, t));
  const channel = (c: (typeof VIRIDIS)[number]): number => {
    const value = c.reduceRight((sum, coefficient) => sum * x + coefficient, 0);
    return Math.round(255 * Math.min(1, Math.max(0, value)));
  };
  return [channel(VIRIDIS[0]), channel(VIRIDIS[1]), channel(VIRIDIS[2])];
}

/** Inferno (matplotlib), the map of the reference's videos: RGB at 33 even steps, interpolated linearly, within 2 of 255. */
const INFERNO = Array.from(
  (
    '0000040403120b0724150b37210c4a2e0a5a3c09654a0c6b57106d63146e70196e7d1e6d89226a962766a32b61af315cbb3755c63e4d' +
    'd14644db4f3be35932eb6528f1711ef67f14f98d0afb9c06fcab0ffbba1ff9ca32f5d949f2e865f3f586fcffa4'
  ).matchAll(/../g),
  ([byte]) => parseInt(byte, 16),
);

/** @param t - 0 to 1. @returns Red, green, blue, 0 to 255. */
export function inferno(t: number): [number, number, number] {
  const place = Math.min(1, Math.max(0, t)) * 32;
  const step = Math.min(31, Math.floor(place));
  const share = place - step;
  const channel = (c: number): number =>
    Math.round(INFERNO[step * 3 + c]! * (1 - share) + INFERNO[step * 3 + 3 + c]! * share);
  return [channel(0), channel(1), channel(2)];
}

export const COLOUR_MAPS = ['viridis', 'inferno'] as const;
export type ColourMap = (typeof COLOUR_MAPS)[number];

const tableOf = (colour: (t: number) => [number, number, number]): [number, number, number][] =>
  Array.from({ length: 256 }, (_, i) => colour(i / 255));
const tables = { viridis: tableOf(viridis), inferno: tableOf(inferno) };

/** Values scaled from their smallest (0) to their largest (1); all 0 when they are equal. */
export function scaleToUnit(values: Float32Array): Float32Array {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const range = high - low;
  return values.map((value) => (range > 0 ? (value - low) / range : 0));
}

/** One pixel for each value, coloured from the smallest to the largest. @returns RGB bytes. */
export function heatMap(values: Float32Array, map: ColourMap = 'viridis'): Uint8Array {
  const table = tables[map];
  const out = new Uint8Array(values.length * 3);
  scaleToUnit(values).forEach((value, i) => out.set(table[Math.round(value * 255)]!, i * 3));
  return out;
}
