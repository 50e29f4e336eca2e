/** Images and their masks: PNGs of the same names, in a folder of their own or beside the images. */
import path from 'node:path';
import { DataError } from '../errors.js';
import { type ImageItem, listImages, type ListNotes, notesOf, skippedPlace } from '../data/index.js';

export interface MaskPair {
  image: ImageItem;
  /** The mask's file. */
  mask: string;
}

export interface MaskPairs extends ListNotes {
  /** In the order of the images. */
  found: MaskPair[];
  /** Paths of images without a mask, and of masks without an image. */
  withoutMask: string[];
  withoutImage: string[];
  /** Folders of images that can't be read. */
  unreadable: { path: string; reason: string }[];
  /** The folder that the images' paths are relative to. */
  root: string;
}

/** Path without the folder and the ending, as the key of an image and its mask. */
const keyOf = (root: string, file: string): string =>
  path.join(path.relative(root, path.dirname(file)), path.basename(file, path.extname(file)));

/**
 * Finds each image's mask: by its path within `masks`, or only by its name.
 * @throws DataError when no image has one.
 */
export async function maskPairs(images: string, masks: string): Promise<MaskPairs> {
  const [pictures, labels] = [await listImages(images), await listImages(masks)];
  const byKey = new Map(
    [...labels.items]
      .filter((item) => path.extname(item.path).toLowerCase() === '.png')
      .map((item) => [keyOf(labels.root, item.path), item.path]),
  );
  const unused = new Set(byKey.values());
  const found: MaskPair[] = [];
  const withoutMask: string[] = [];
  for (const image of pictures.items) {
    const mask =
      byKey.get(keyOf(pictures.root, image.path)) ?? byKey.get(keyOf(path.dirname(image.path), image.path));
    if (mask === undefined) withoutMask.push(image.path);
    else {
      found.push({ image, mask });
      unused.delete(mask);
    }
  }
  if (found.length === 0) {
    throw new DataError(
      `none of the ${pictures.items.length} images in ${images} has a mask in ${masks}: expected PNGs of the same names, ` +
        `as ${path.basename(keyOf('', pictures.items.at(0)!.path))}.png`,
    );
  }
  return {
    ...{ found, withoutMask, withoutImage: [...unused], root: pictures.root },
    ...{ unreadable: pictures.unreadable.map(skippedPlace), ...notesOf(pictures) },
  };
}
