/** For tests: a small training run on drawn images that watches two of them, one with a different shape. */
import path from 'node:path';
import sharp from 'sharp';
import { train } from '../train/train.js';
import { makeImageFolder } from './image-folder.js';
import { TINY_SETTINGS } from './tiny-run.js';

/** The paths of everything in a test's folder. */
export const watchedPaths = (folder: string) => {
  const images = path.join(folder, 'images');
  return {
    images,
    run: path.join(folder, 'runs', 'first'),
    picture: path.join(images, 'class-0', 'image-0.png'),
    wide: path.join(images, 'wide.png'),
  };
};

/** Draws the images and trains. */
export async function trainWatchedRun(folder: string): Promise<void> {
  const { images, run, picture, wide } = watchedPaths(folder);
  await makeImageFolder(images, { classes: 2, perClass: 6 });
  await sharp(path.join(images, 'class-1', 'image-2.png'))
    .resize(90, 60, { fit: 'fill' })
    .toFile(wide);
  const settings = { ...TINY_SETTINGS, watchImages: [picture, wide] };
  await train({ images: path.join(images, 'class-0'), output: run, settings });
}
