/** Small folders of real image files for tests. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

export interface ImageFolderOptions {
  classes?: number;
  perClass?: number;
  /** Side in pixels. */
  size?: number;
}

/** Writes `<folder>/class-<c>/image-<i>.png`: a coloured disc, with a different colour for each class and a different position for each image. */
export async function makeImageFolder(folder: string, options: ImageFolderOptions = {}): Promise<void> {
  const { classes = 2, perClass = 8, size = 40 } = options;
  for (let c = 0; c < classes; c++) {
    const directory = path.join(folder, `class-${c}`);
    mkdirSync(directory, { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const x = size * (0.3 + (0.4 * ((i * 7) % 11)) / 11);
      const y = size * (0.3 + (0.4 * ((i * 5) % 13)) / 13);
      const hue = (360 * c) / classes + i;
      const svg =
        `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}">` +
        `<rect width="100%" height="100%" fill="hsl(${hue + 180} 30% 80%)"/>` +
        `<circle cx="${x}" cy="${y}" r="${size * 0.25}" fill="hsl(${hue} 80% 45%)"/></svg>`;
      await sharp(Buffer.from(svg))
        .png()
        .toFile(path.join(directory, `image-${i}.png`));
    }
  }
}

/** Writes a square image of black and white squares, too fine for the size at which small models see it. */
export async function writeCheckerboard(file: string, side = 640, square = 6): Promise<void> {
  const pixels = Uint8Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [i % side, Math.floor(i / side)];
    return (Math.floor(x / square) + Math.floor(y / square)) % 2 === 0 ? 255 : 0;
  });
  await sharp(pixels, { raw: { width: side, height: side, channels: 1 } })
    .png()
    .toFile(file);
}
