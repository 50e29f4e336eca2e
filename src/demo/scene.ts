/**
 * Draws one scene of the demo: an object that is rotated, mirrored, recoloured and placed on light grey noise, with the mask
 * of the pixels that it covers. It is pure arithmetic on a sprite, so that a seed gives the same pixels everywhere.
 */
import type { Sprite, SpriteLevel } from './objects.js';

/** What a scene looks like, apart from the object and the background's noise. */
export interface ScenePlan {
  /** The object's longer side before rotation, as a fraction of the scene's side. */
  scale: number;
  /** Radians, counter-clockwise. */
  angle: number;
  flip: boolean;
  /** Rotation of the hue, radians. */
  hue: number;
  /** Position of the object within the free space: 0 left or top, 1 right or bottom. */
  place: readonly [x: number, y: number];
  /** Grey of the background, 0 to 1. */
  grey: number;
  /** Standard deviation of the background's noise, 0 to 1. */
  noise: number;
}

/** A source of numbers in [0, 1). */
export type Random = () => number;

const DEGREES = Math.PI / 180;
const between = (random: Random, low: number, high: number): number => low + (high - low) * random();

/**
 * Degrees of hue in either direction: all hues, so that colour doesn't identify the object.
 */
const HUE = 180;

/**
 * The background is similar in all scenes. If it differed, it would be the easiest way to tell scenes apart, and a model that
 * must recognise crops of the same scene would learn it instead of the object.
 */
const GREY = 0.82;
const NOISE = 0.05;

/** Samples a scene: 45 to 85% of the side, anywhere, 25 degrees either way, mirrored or not, in any hue. */
export function planScene(random: Random): ScenePlan {
  return {
    scale: between(random, 0.45, 0.85),
    angle: between(random, -25, 25) * DEGREES,
    flip: random() < 0.5,
    hue: between(random, -HUE, HUE) * DEGREES,
    place: [random(), random()],
    grey: GREY,
    noise: NOISE,
  };
}

export interface Scene {
  /** (size, size, 3) uint8. */
  rgb: Uint8Array;
  /** (size, size) uint8: 255 where the object covers at least half of the pixel, else 0. */
  mask: Uint8Array;
}

/** Draws a scene of `size` x `size` pixels; `random` is used for the background's noise. */
export function drawScene(sprite: Sprite, plan: ScenePlan, size: number, random: Random): Scene {
  const full = sprite.levels[0] as SpriteLevel;
  const shrink = Math.max(full.width, full.height) / (plan.scale * size); // sprite pixels per scene pixel
  const cos = Math.cos(plan.angle);
  const sin = Math.sin(plan.angle);
  // the rotated box, in scene pixels, and its centre
  const width = (Math.abs(cos) * full.width + Math.abs(sin) * full.height) / shrink;
  const height = (Math.abs(sin) * full.width + Math.abs(cos) * full.height) / shrink;
  const centreX = width / 2 + plan.place[0] * (size - width); // a box too large for the scene is cut on both sides
  const centreY = height / 2 + plan.place[1] * (size - height);
  // four samples per pixel, from the level at which they are at most one pixel apart
  const depth = Math.min(sprite.levels.length - 1, Math.max(0, Math.floor(Math.log2(shrink / 2))));
  const level = sprite.levels[depth] as SpriteLevel;
  const toLevel = shrink / 2 ** depth;
  const hue = hueRotation(plan.hue);

  const rgb = new Uint8Array(3 * size * size); // (size, size, 3)
  const mask = new Uint8Array(size * size); // (size, size)
  const sum = new Float32Array(4);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      sum.fill(0);
      for (let sub = 0; sub < 4; sub++) {
        const dx = x + 0.25 + 0.5 * (sub & 1) - centreX;
        const dy = y + 0.25 + 0.5 * (sub >> 1) - centreY;
        const u = (cos * dx - sin * dy) * (plan.flip ? -1 : 1) * toLevel + level.width / 2 - 0.5;
        const v = (sin * dx + cos * dy) * toLevel + level.height / 2 - 0.5;
        addSample(level, u, v, sum);
      }
      const alpha = (sum[3] as number) / 4;
      const background = plan.grey + plan.noise * gaussian(random);
      for (let c = 0; c < 3; c++) {
        let colour = 0;
        for (let k = 0; k < 3; k++) colour += ((hue[3 * c + k] as number) * (sum[k] as number)) / 4;
        const value = Math.min(alpha, Math.max(0, colour)) + (1 - alpha) * background;
        rgb[3 * (y * size + x) + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
      }
      mask[y * size + x] = alpha >= 0.5 ? 255 : 0;
    }
  }
  return { rgb, mask };
}

/** Adds the level's bilinear value at (u, v) to `sum`; outside it is transparent. */
function addSample(level: SpriteLevel, u: number, v: number, sum: Float32Array): void {
  const left = Math.floor(u);
  const top = Math.floor(v);
  if (left < -1 || top < -1 || left >= level.width || top >= level.height) return;
  for (let j = 0; j < 2; j++) {
    const y = top + j;
    if (y < 0 || y >= level.height) continue;
    const wy = j === 0 ? 1 - (v - top) : v - top;
    for (let i = 0; i < 2; i++) {
      const x = left + i;
      if (x < 0 || x >= level.width) continue;
      const weight = wy * (i === 0 ? 1 - (u - left) : u - left);
      const at = 4 * (y * level.width + x);
      for (let c = 0; c < 4; c++) sum[c] = (sum[c] as number) + weight * (level.pixels[at + c] as number);
    }
  }
}

/**
 * The 3 x 3 matrix that rotates the hue and keeps the luma, as in SVG's feColorMatrix hueRotate. Its rows sum to 1, so greys
 * don't change.
 */
export function hueRotation(angle: number): readonly number[] {
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  const [r, g, b] = [0.213, 0.715, 0.072];
  return [
    [r + cos * (1 - r) - sin * r, g - cos * g - sin * g, b - cos * b + sin * (1 - b)],
    [r - cos * r + sin * 0.143, g + cos * (1 - g) + sin * 0.14, b - cos * b - sin * 0.283],
    [r - cos * r - sin * (1 - r), g - cos * g + sin * g, b + cos * (1 - b) + sin * b],
  ].flat();
}

/** A standard normal number (Box and Muller). */
function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
