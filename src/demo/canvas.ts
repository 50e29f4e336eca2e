/** A picture in floating point, and how drawings are put on it. Pure arithmetic: a seed gives the same pixels everywhere. */
import type { Sprite, SpriteLevel } from './objects.js';

export interface Canvas {
  /** Side in pixels. */
  readonly size: number;
  /** (size, size, 3), row-major, 0 to 1. */
  readonly rgb: Float32Array;
}

/** Where and how a drawing appears. */
export interface Placement {
  /** Its longer side before rotation, as a fraction of the canvas's side. */
  scale: number;
  /** Radians, counter-clockwise. */
  angle: number;
  flip: boolean;
  /** Width, of the drawing's own: below 1 it looks turned away. */
  squeeze: number;
  /** Rotation of the hue, radians. */
  hue: number;
  /** Centre, as fractions of the canvas's side. */
  x: number;
  y: number;
  /** How far out of focus: 0 is sharp, each 1 more doubles the size of a blurred dot. */
  blur: number;
}

/** Width and height of a drawing's rotated box, as fractions of the canvas's side. */
export function rotatedBox(
  sprite: Sprite,
  { scale, angle, squeeze }: Pick<Placement, 'scale' | 'angle' | 'squeeze'>,
): [number, number] {
  const { width: full, height } = sprite.levels[0] as SpriteLevel;
  const unit = scale / Math.max(full, height);
  const width = full * squeeze;
  const [cos, sin] = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
  return [(cos * width + sin * height) * unit, (sin * width + cos * height) * unit];
}

/**
 * Draws with four samples per pixel.
 *
 * @param onPixel - Called with the index and the coverage, 0 to 1, of every pixel that is touched.
 */
export function drawSprite(
  { size, rgb }: Canvas,
  sprite: Sprite,
  placement: Placement,
  onPixel?: (pixel: number, alpha: number) => void,
): void {
  const full = sprite.levels[0] as SpriteLevel;
  const shrink = Math.max(full.width, full.height) / (placement.scale * size); // sprite pixels per canvas pixel
  const cos = Math.cos(placement.angle);
  const sin = Math.sin(placement.angle);
  const [centreX, centreY] = [placement.x * size, placement.y * size];
  // the level at which four samples per pixel are at most one pixel apart, or a coarser one
  const wanted = Math.max(0, Math.floor(Math.log2(shrink / 2))) + placement.blur;
  const depth = Math.min(sprite.levels.length - 1, Math.round(wanted));
  const level = sprite.levels[depth] as SpriteLevel;
  const toLevel = shrink / 2 ** depth;
  const across = ((placement.flip ? -1 : 1) * toLevel) / placement.squeeze;
  const hue = hueRotation(placement.hue);
  const [boxWidth, boxHeight] = rotatedBox(sprite, placement);
  const margin = 1 + 1 / toLevel; // bilinear sampling reaches a pixel of the level further
  const range = (centre: number, length: number): [number, number] => [
    Math.max(0, Math.floor(centre - (length * size) / 2 - margin)),
    Math.min(size, Math.ceil(centre + (length * size) / 2 + margin)),
  ];
  const [left, right] = range(centreX, boxWidth);
  const [top, bottom] = range(centreY, boxHeight);

  const sum = new Float32Array(4);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      sum.fill(0);
      for (let sub = 0; sub < 4; sub++) {
        const dx = x + 0.25 + 0.5 * (sub & 1) - centreX;
        const dy = y + 0.25 + 0.5 * (sub >> 1) - centreY;
        const u = (cos * dx - sin * dy) * across + level.width / 2 - 0.5;
        const v = (sin * dx + cos * dy) * toLevel + level.height / 2 - 0.5;
        addSample(level, u, v, sum);
      }
      const alpha = (sum[3] as number) / 4;
      if (alpha === 0) continue;
      const pixel = y * size + x;
      for (let c = 0; c < 3; c++) {
        let colour = 0;
        for (let k = 0; k < 3; k++) colour += ((hue[3 * c + k] as number) * (sum[k] as number)) / 4;
        const below = rgb[3 * pixel + c] as number;
        rgb[3 * pixel + c] = Math.min(alpha, Math.max(0, colour)) + (1 - alpha) * below;
      }
      onPixel?.(pixel, alpha);
    }
  }
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
