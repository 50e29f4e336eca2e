/**
 * For tests: computes the input pictures of test/fixtures/augment by a formula, so that only outputs are stored there. The
 * same formula is in tools/fixtures/fixture_image.py.
 */

/** A picture with slopes, edges, noise, saturated and gray places: (height, width, 3) bytes. */
export function fixtureImage(width: number, height: number, seed: number): Uint8Array {
  const data = new Uint8Array(width * height * 3);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        let h = Math.imul(x, 2654435761) ^ Math.imul(y, 2246822519) ^ Math.imul(c, 3266489917);
        h ^= Math.imul(seed, 668265263);
        h ^= h >>> 16;
        h = Math.imul(h, 0x85ebca6b);
        h ^= h >>> 13;
        h = Math.imul(h, 0xc2b2ae35);
        h ^= h >>> 16;
        const noise = (h & 63) - 32;
        const turn = (x * (5 + 2 * c) + y * (7 - 3 * c) + seed * 17) % 320;
        const slope = turn - 32;
        const edge = ((Math.floor(x / 6) + Math.floor(y / 5) + c * (seed & 1)) & 1) === 0 ? 60 : -60;
        data[at++] = Math.min(Math.max(slope + edge + noise, 0), 255);
      }
    }
  }
  return data;
}
