/**
 * The backgrounds of the demo's scenes: ground and sky or a wall, in many colours and textures. Every kind of object appears
 * before all of them, so that a background says nothing about the object.
 */
import type { Canvas } from './canvas.js';
import { between, pickOne, type Random } from './random.js';

type Colour = readonly [red: number, green: number, blue: number];

interface Surface {
  /** The colours between which its texture varies, 0 to 255. */
  readonly light: Colour;
  readonly dark: Colour;
  /** How much longer than high its texture is: 1 for grass, 4 for water. */
  readonly stretch: number;
}

const surface = (light: Colour, dark: Colour, stretch = 1): Surface => ({ light, dark, stretch });

const GROUNDS: readonly Surface[] = [
  surface([132, 178, 76], [62, 112, 48], 1.5), // grass
  surface([206, 188, 112], [150, 126, 66], 1.5), // dry grass
  surface([233, 212, 168], [198, 168, 120], 2), // sand
  surface([244, 247, 252], [202, 214, 232], 2), // snow
  surface([128, 130, 136], [84, 86, 92]), // asphalt
  surface([148, 108, 76], [92, 64, 46], 1.5), // earth
  surface([112, 184, 212], [38, 98, 150], 4), // water
  surface([216, 132, 58], [132, 64, 36]), // fallen leaves
  surface([180, 174, 164], [122, 120, 114]), // stone
  surface([168, 128, 176], [92, 82, 118]), // heather
  surface([196, 148, 98], [136, 92, 54], 6), // planks
  surface([176, 74, 72], [118, 42, 48]), // carpet
];

/** From the top to the horizon. */
const SKIES: readonly Surface[] = [
  surface([210, 230, 246], [92, 160, 228], 3), // clear
  surface([226, 230, 234], [166, 178, 190], 3), // overcast
  surface([252, 184, 122], [104, 86, 146], 3), // sunset
  surface([252, 226, 200], [226, 164, 176], 3), // dawn
  surface([134, 112, 150], [44, 52, 92], 3), // dusk
  surface([120, 134, 146], [72, 84, 98], 3), // storm
  surface([112, 148, 88], [42, 76, 48]), // a wood
  surface([236, 226, 204], [206, 192, 166]), // a pale wall
  surface([124, 176, 172], [80, 132, 134]), // a green wall
  surface([192, 112, 86], [140, 74, 58]), // a brick wall
];

export interface BackgroundPlan {
  ground: Surface;
  sky: Surface;
  /** Where ground and sky meet: 0 top, 1 bottom; 0 or less is all ground, 1 or more all sky. */
  horizon: number;
  /** Slope of the horizon: its rise from the left to the right side, as a fraction of the side. */
  slope: number;
  /** How strong the texture is, and its size in pixels of the tile per side of the scene. */
  contrast: number;
  detail: number;
  /** Where the tile of noise begins. */
  offset: readonly [x: number, y: number];
}

/** @param highest - The horizon is above this, as a fraction of the side. */
export function planBackground(random: Random, highest: number): BackgroundPlan {
  const kind = random();
  return {
    ground: pickOne(random, GROUNDS),
    sky: pickOne(random, SKIES),
    // seen from above, before a wall, or with a horizon
    horizon: kind < 0.2 ? 0 : kind < 0.35 ? 1 : between(random, 0.15, Math.max(0.25, highest)),
    slope: between(random, -0.12, 0.12),
    contrast: between(random, 0.5, 2.5),
    detail: between(random, 80, 500),
    offset: [TILE * random(), TILE * random()],
  };
}

const TILE = 256;
let tile: Float32Array | undefined;

/** Noise of several sizes that repeats every 256 pixels, -1 to 1; a fixed one, of which scenes show different parts. */
function noiseTile(): Float32Array {
  if (tile !== undefined) return tile;
  tile = new Float32Array(TILE * TILE); // (256, 256)
  let weights = 0;
  for (const [octave, cells] of [4, 8, 16, 32, 64, 128].entries()) {
    const weight = 0.7 ** octave;
    weights += weight;
    const corner = (x: number, y: number): number => {
      let hash = Math.imul((x % cells) * 374761393 + (y % cells) * 668265263 + octave * 974711, 0x85ebca6b);
      hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
      return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 31 - 1;
    };
    for (let y = 0; y < TILE; y++) {
      for (let x = 0; x < TILE; x++) {
        const [u, v] = [(x * cells) / TILE, (y * cells) / TILE];
        const [i, j] = [Math.floor(u), Math.floor(v)];
        const [a, b] = [smooth(u - i), smooth(v - j)];
        const above = corner(i, j) * (1 - a) + corner(i + 1, j) * a;
        const below = corner(i, j + 1) * (1 - a) + corner(i + 1, j + 1) * a;
        tile[y * TILE + x]! += weight * (above * (1 - b) + below * b);
      }
    }
  }
  for (let i = 0; i < tile.length; i++) tile[i]! *= 1.8 / weights;
  return tile;
}

const smooth = (t: number): number => t * t * (3 - 2 * t);

function noiseAt(noise: Float32Array, x: number, y: number): number {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [a, b] = [x - left, y - top];
  const at = (i: number, j: number): number => noise[(j & (TILE - 1)) * TILE + (i & (TILE - 1))]!;
  return (
    (at(left, top) * (1 - a) + at(left + 1, top) * a) * (1 - b) +
    (at(left, top + 1) * (1 - a) + at(left + 1, top + 1) * a) * b
  );
}

/** Fills the canvas. */
export function drawBackground({ size, rgb }: Canvas, plan: BackgroundPlan): void {
  const noise = noiseTile();
  const step = plan.detail / size;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const line = plan.horizon + plan.slope * (x / size - 0.5);
      const depth = (y + 0.5) / size - line; // below the horizon is ground
      const isGround = plan.horizon <= 0 || (plan.horizon < 1 && depth > 0);
      const { light, dark, stretch } = isGround ? plan.ground : plan.sky;
      const n = noiseAt(noise, plan.offset[0] + (x * step) / stretch, plan.offset[1] + y * step);
      // far away things are paler and show less texture; the sky is lightest at the horizon
      const near = isGround
        ? plan.horizon <= 0
          ? 0.5
          : Math.min(1, 2 * depth)
        : 1 + depth / Math.max(0.3, line);
      const base = isGround ? 0.75 - 0.35 * near : near;
      const strength = plan.contrast * (isGround ? 0.35 + 0.65 * near : 0.3);
      const t = Math.min(1.15, Math.max(-0.15, base + 0.5 * strength * n));
      for (let c = 0; c < 3; c++) rgb[3 * (y * size + x) + c] = (dark[c]! + (light[c]! - dark[c]!) * t) / 255;
    }
  }
}
