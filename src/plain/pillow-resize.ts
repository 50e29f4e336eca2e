/**
 * Pillow's Image.resize in plain TypeScript, for pages in a browser, where native/crops can't run: antialiased, 8 bits
 * between the two passes, equal to the bit (Pillow's src/libImaging/Resample.c).
 */

/** The kernel's radius in source pixels at scale 1, and its value at a distance. */
const FILTERS = {
  bilinear: { support: 1, at: (x: number) => (Math.abs(x) < 1 ? 1 - Math.abs(x) : 0) },
  bicubic: { support: 2, at: cubic },
} as const;

/** Keys' kernel with a = -0.5. */
function cubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Weights are fixed-point numbers with this many fractional bits. */
const PRECISION_BITS = 22;

interface Taps {
  /** First source pixel of each output pixel. */
  first: Int32Array;
  /** How many it takes. */
  count: Int32Array;
  /** (outputs, size) */
  weights: Int32Array;
  size: number;
}

function tapsOf(from: number, to: number, filter: keyof typeof FILTERS): Taps {
  const { support: radius, at } = FILTERS[filter];
  const scale = from / to;
  const filterScale = Math.max(scale, 1);
  const support = radius * filterScale;
  const size = Math.ceil(support) * 2 + 1;
  const taps: Taps = {
    first: new Int32Array(to),
    count: new Int32Array(to),
    weights: new Int32Array(to * size),
    size,
  };
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(from, Math.trunc(centre + support + 0.5)) - first;
    const values = Array.from({ length: count }, (_, x) =>
      at((x + first - centre + 0.5) * (1 / filterScale)),
    );
    const sum = values.reduce((total, value) => total + value, 0);
    values.forEach((value, x) => {
      const fixed = (sum === 0 ? value : value / sum) * 2 ** PRECISION_BITS;
      taps.weights[i * size + x] = Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5));
    });
    taps.first[i] = first;
    taps.count[i] = count;
  }
  return taps;
}

/** One pass along the axis whose neighbours are `step` bytes apart. */
function pass(
  source: Uint8Array,
  out: Uint8Array,
  taps: Taps,
  lines: { count: number; sourceStride: number; outStride: number; step: number },
): void {
  const { first, count, weights, size } = taps;
  const { step } = lines;
  const width = first.length;
  for (let line = 0; line < lines.count; line++) {
    const from = line * lines.sourceStride;
    const to = line * lines.outStride;
    for (let i = 0; i < width; i++) {
      const taken = count[i]!;
      const base = i * size;
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (PRECISION_BITS - 1);
        let place = from + first[i]! * step + c;
        for (let x = 0; x < taken; x++, place += step) sum += source[place]! * weights[base + x]!;
        const value = sum >> PRECISION_BITS;
        out[to + i * step + c] = value < 0 ? 0 : value > 255 ? 255 : value;
      }
    }
  }
}

/**
 * @param rgb - (height, width, 3) bytes.
 * @returns (to.height, to.width, 3) bytes.
 */
export function pillowResize(
  rgb: Uint8Array,
  from: { width: number; height: number },
  to: { width: number; height: number },
  filter: keyof typeof FILTERS,
): Uint8Array<ArrayBuffer> {
  let current: Uint8Array<ArrayBuffer> = new Uint8Array(rgb);
  if (to.width !== from.width) {
    const out = new Uint8Array(from.height * to.width * 3);
    const lines = { count: from.height, sourceStride: from.width * 3, outStride: to.width * 3, step: 3 };
    pass(current, out, tapsOf(from.width, to.width, filter), lines);
    current = out;
  }
  if (to.height !== from.height) {
    const stride = to.width * 3;
    const out = new Uint8Array(to.height * stride);
    // each column is a line whose pixels are one row apart
    const lines = { count: to.width, sourceStride: 3, outStride: 3, step: stride };
    pass(current, out, tapsOf(from.height, to.height, filter), lines);
    current = out;
  }
  return current;
}
