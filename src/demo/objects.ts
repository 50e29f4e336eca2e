/**
 * What the demo's scenes are made of: drawings from the npm package `@lobehub/fluent-emoji-3d` (MIT; the drawings are
 * Microsoft's Fluent Emoji, also MIT). Each is a 256 x 256 WebP with an alpha channel, from which the ground-truth masks are
 * made.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { DataError } from '../errors.js';

/** A drawing, by its code point in the package. */
export interface Drawing {
  readonly name: string;
  readonly code: string;
}

/** One kind of object: a class of the set. */
export interface Kind {
  readonly name: string;
  /** Each scene shows one of them. */
  readonly drawings: readonly string[];
  /** Objects that stand on the ground have a shadow below them, and the horizon behind them. */
  readonly stands: boolean;
  /** Largest rotation of the hue in either direction, degrees: cars are painted in any colour, elephants are not. */
  readonly hues: number;
}

export const KINDS: readonly Kind[] = [
  { name: 'airplane', drawings: ['2708-fe0f'], stands: false, hues: 180 },
  { name: 'butterfly', drawings: ['1f98b'], stands: false, hues: 180 },
  { name: 'car', drawings: ['1f697', '1f699'], stands: true, hues: 180 },
  { name: 'cat', drawings: ['1f408'], stands: true, hues: 25 },
  { name: 'elephant', drawings: ['1f418'], stands: true, hues: 25 },
  { name: 'house', drawings: ['1f3e0', '1f3da-fe0f'], stands: true, hues: 180 },
  { name: 'mushroom', drawings: ['1f344'], stands: true, hues: 60 },
  { name: 'parrot', drawings: ['1f99c'], stands: false, hues: 180 },
  { name: 'sunflower', drawings: ['1f33b'], stands: true, hues: 30 },
  { name: 'turtle', drawings: ['1f422'], stands: true, hues: 60 },
];

/** What else is in the scenes: behind the object and out of focus, or in front of it. None of it is a kind. */
export const CLUTTER: readonly Drawing[] = [
  { name: 'tree', code: '1f333' },
  { name: 'evergreen', code: '1f332' },
  { name: 'palm', code: '1f334' },
  { name: 'rock', code: '1faa8' },
  { name: 'herb', code: '1f33f' },
  { name: 'fallen leaves', code: '1f342' },
  { name: 'maple leaf', code: '1f341' },
  { name: 'wood', code: '1fab5' },
  { name: 'sheaf', code: '1f33e' },
  { name: 'potted plant', code: '1fab4' },
];

/** Those that may stand in front of the object. */
export const FOREGROUND: readonly string[] = ['rock', 'herb', 'fallen leaves', 'maple leaf', 'wood', 'sheaf'];

/** A drawing with premultiplied alpha at one size; values 0 to 1. */
export interface SpriteLevel {
  readonly width: number;
  readonly height: number;
  /** (height, width, 4), row-major, red, green and blue already multiplied by alpha. */
  readonly pixels: Float32Array;
}

/** A drawing cropped to its visible box, at repeatedly halved sizes, so that small copies are sampled without aliasing. */
export interface Sprite {
  /** Full size first; each next one has half the width and height. */
  readonly levels: readonly SpriteLevel[];
}

/**
 * Reads a drawing.
 * @throws DataError when the package with the drawings isn't installed or lacks this one.
 */
export async function loadSprite({ name, code }: Drawing): Promise<Sprite> {
  let file: Buffer;
  try {
    const packageJson = createRequire(import.meta.url).resolve('@lobehub/fluent-emoji-3d/package.json');
    file = await readFile(join(dirname(packageJson), 'assets', `${code}.webp`));
  } catch (error) {
    throw new DataError(
      `The drawing of the ${name} (${code}.webp in the npm package @lobehub/fluent-emoji-3d) can't be ` +
        'read. Install the packages again with `npm install`.',
      { cause: error },
    );
  }
  const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  const first = cropToVisible(data, info.width, info.height);
  const levels = [first];
  for (let level = first; Math.min(level.width, level.height) >= 8;) {
    level = halve(level);
    levels.push(level);
  }
  return { levels };
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
