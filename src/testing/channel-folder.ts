/** Folders of images of four bands, 16 bits each, for tests. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { tiffOf } from './tiff.js';

/** Values between 0 and 1 that only depend on where they are. */
function noise(x: number, y: number, c: number, seed: number): number {
  let h = Math.imul(x + 1, 2654435761) ^ Math.imul(y + 1, 2246822519) ^ Math.imul(c + 1, 3266489917);
  h = Math.imul(h ^ Math.imul(seed + 1, 668265263), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/**
 * (height, width, channels) of a satellite's 16-bit numbers: of white only the lowest part, as reflectances are stored. The
 * last band alone shows the class: its mean is 2000, and 2600 for class 1.
 */
export function bands(size: number, channels: number, seed: number, kind: number): Uint16Array {
  const values = new Uint16Array(size * size * channels);
  for (let i = 0; i < values.length; i++) {
    const [c, x, y] = [i % channels, Math.floor(i / channels) % size, Math.floor(i / channels / size)];
    const level = c === channels - 1 ? 2000 + 600 * kind : 1000 * (c + 1);
    values[i] = Math.round(level + 900 * (noise(x >> 2, y >> 2, c, seed) - 0.5) + 200 * noise(x, y, c, seed));
  }
  return values;
}

export interface ChannelFolderOptions {
  perClass?: number;
  size?: number;
  channels?: number;
  /** Another number is another set of images. */
  seed?: number;
}

/** Writes `<folder>/class-<0 or 1>/image-<i>.tif`. */
export function makeChannelFolder(folder: string, options: ChannelFolderOptions = {}): void {
  const { perClass = 9, size = 40, channels = 4, seed = 0 } = options;
  for (const kind of [0, 1]) {
    const directory = path.join(folder, `class-${kind}`);
    mkdirSync(directory, { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const values = bands(size, channels, 1000 * seed + 2 * i + kind, kind);
      const bytes = tiffOf(values, { width: size, height: size, channels, isDeflated: i % 2 === 0 });
      writeFileSync(path.join(directory, `image-${i}.tif`), bytes);
    }
  }
}
