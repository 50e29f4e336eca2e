/**
 * The 20 objects of the demo's scenes: drawings from the npm package `@lobehub/fluent-emoji-3d` (MIT; the drawings are
 * Microsoft's Fluent Emoji, also MIT), one from each of 20 kinds of things, so that "the same object" is a fair label. Each
 * is a 256 x 256 WebP with an alpha channel, from which the ground-truth masks are made.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { DataError } from '../errors.js';

/** Class name and the drawing's code point in the package. */
export const OBJECTS: readonly { readonly name: string; readonly code: string }[] = [
  { name: 'airplane', code: '2708-fe0f' },
  { name: 'alarm-clock', code: '23f0' },
  { name: 'butterfly', code: '1f98b' },
  { name: 'cactus', code: '1f335' },
  { name: 'camera', code: '1f4f7' },
  { name: 'car', code: '1f697' },
  { name: 'crown', code: '1f451' },
  { name: 'dog', code: '1f436' },
  { name: 'fish', code: '1f41f' },
  { name: 'guitar', code: '1f3b8' },
  { name: 'hamburger', code: '1f354' },
  { name: 'house', code: '1f3e0' },
  { name: 'key', code: '1f511' },
  { name: 'mushroom', code: '1f344' },
  { name: 'parrot', code: '1f99c' },
  { name: 'pineapple', code: '1f34d' },
  { name: 'sailboat', code: '26f5' },
  { name: 'shoe', code: '1f45f' },
  { name: 'turtle', code: '1f422' },
  { name: 'umbrella', code: '2614' },
];

/** A drawing with premultiplied alpha at one size; values 0 to 1. */
export interface SpriteLevel {
  readonly width: number;
  readonly height: number;
  /** (height, width, 4), row-major, red, green and blue already multiplied by alpha. */
  readonly pixels: Float32Array;
}

/** A drawing cropped to its visible box, at repeatedly halved sizes, so that small copies are sampled without aliasing. */
export interface Sprite {
  readonly name: string;
  /** Full size first; each next one has half the width and height. */
  readonly levels: readonly SpriteLevel[];
}

/**
 * Reads the drawing of one object.
 * @throws DataError when the package with the drawings isn't installed or lacks this one.
 */
export async function loadSprite(object: { readonly name: string; readonly code: string }): Promise<Sprite> {
  let file: Buffer;
  try {
    const packageJson = createRequire(import.meta.url).resolve('@lobehub/fluent-emoji-3d/package.json');
    file = await readFile(join(dirname(packageJson), 'assets', `${object.code}.webp`));
  } catch (error) {
    throw new DataError(
      `The drawing of the ${object.name} (${object.code}.webp in the npm package @lobehub/fluent-emoji-3d) can't be ` +
        'read. Install the packages again with `npm install`.',
      { cause: error },
    );
  }
  const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  const first = cropToVisible(data, info.width, info.height);
  const levels = [first];
  for (let level = first; Math.min(level.width, level.height) >= 16;) {
    level = halve(level);
    levels.push(level);
  }
  return { name: object.name, levels };
}

/** Crops to the bounding box of all pixels with an alpha above a twentieth, and premultiplies. */
function cropToVisible(rgba: Uint8Array, width: number, height: number): SpriteLevel {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((rgba[4 * (y * width + x) + 3] as number) <= 12) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  const [w, h] = [right - left + 1, bottom - top + 1];
  const pixels = new Float32Array(4 * w * h); // (h, w, 4)
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const from = 4 * ((y + top) * width + x + left);
      const to = 4 * (y * w + x);
      const alpha = (rgba[from + 3] as number) / 255;
      for (let c = 0; c < 3; c++) pixels[to + c] = ((rgba[from + c] as number) / 255) * alpha;
      pixels[to + 3] = alpha;
    }
  }
  return { width: w, height: h, pixels };
}

/** Means of 2 x 2 pixels; an odd last row or column is padded with transparent pixels. */
function halve(level: SpriteLevel): SpriteLevel {
  const [width, height] = [Math.ceil(level.width / 2), Math.ceil(level.height / 2)];
  const pixels = new Float32Array(4 * width * height); // (h / 2, w / 2, 4)
  for (let y = 0; y < level.height; y++) {
    for (let x = 0; x < level.width; x++) {
      const from = 4 * (y * level.width + x);
      const to = 4 * ((y >> 1) * width + (x >> 1));
      for (let c = 0; c < 4; c++) {
        pixels[to + c] = (pixels[to + c] as number) + (level.pixels[from + c] as number) / 4;
      }
    }
  }
  return { width, height, pixels };
}
