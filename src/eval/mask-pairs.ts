/** Images and their masks: PNGs of the same names, in a folder of their own or beside the images. */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import { DataError } from '../errors.js';
import {
  type ImageItem,
  type ImageList,
  kindsOf,
  LeftOutCounter,
  listImages,
  type ListNotes,
  notesOf,
  skippedPlace,
} from '../data/index.js';
import { isBelow } from '../files/read-below.js';
import { printable } from '../plain/printable.js';

/** Ambiguities that one message names. */
const NAMED = 5;

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
  /** Folders of images or of masks that can't be read. */
  unreadable: { path: string; reason: string }[];
  /** The folder that the images' paths are relative to. */
  root: string;
}

/** Path without the folder and the ending, as the key of an image and its mask. */
const keyOf = (root: string, file: string): string =>
  path.join(path.relative(root, path.dirname(file)), path.basename(file, path.extname(file)));

const nameOf = (file: string): string => keyOf(path.dirname(file), file);

function grouped<T>(all: Iterable<T>, keyOfOne: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOfOne(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}

/** Gives a file's path with the links of its folder resolved, once for each folder. */
function resolver(): (file: string) => string {
  const folders = new Map<string, string>();
  return (file) => {
    const folder = path.dirname(path.resolve(file));
    let real = folders.get(folder);
    if (real === undefined) {
      try {
        real = realpathSync(folder);
      } catch {
        real = folder; // in a shard
      }
      folders.set(folder, real);
    }
    return path.join(real, path.basename(file));
  };
}

/**
 * What is listed as an image and as a mask is a mask, so that masks may lie beside the images; only where the images' folder
 * lies within the masks' is it an image.
 */
function apart(
  realOf: (file: string) => string,
  pictures: { root: string; items: Iterable<ImageItem> },
  labels: { root: string; items: readonly string[] },
): { images: ImageItem[]; masks: string[]; leftOut: string[] } {
  const [ofImages, ofMasks] = [pictures, labels].map(({ root }) => realOf(path.join(root, '.png')));
  const [imageFolder, maskFolder] = [path.dirname(ofImages!), path.dirname(ofMasks!)];
  if (imageFolder !== maskFolder && isBelow(maskFolder, imageFolder)) {
    const taken = new Set([...pictures.items].map((item) => realOf(item.path)));
    const masks = labels.items.filter((file) => !taken.has(realOf(file)));
    return { images: [...pictures.items], masks, leftOut: [] };
  }
  const taken = new Set(labels.items.map(realOf));
  const images: ImageItem[] = [];
  const leftOut: string[] = [];
  for (const item of pictures.items)
    if (taken.has(realOf(item.path))) leftOut.push(item.path);
    else images.push(item);
  return { images, masks: [...labels.items], leftOut };
}

/**
 * Lines on what a listing of masks leaves out: what it says itself, unless the folder lies in that of the images, whose listing
 * has said it, and images that are no PNGs.
 */
function maskRemarks(realOf: (file: string) => string, pictures: ImageList, labels: ImageList): string[] {
  const [imageFolder, maskFolder] = [pictures, labels].map(({ root }) =>
    path.dirname(realOf(path.join(root, '.png'))),
  );
  const below = path.relative(imageFolder!, maskFolder!).split(path.sep);
  const isListed =
    pictures.root === pictures.source && isBelow(imageFolder!, maskFolder!) && !below.some(isHidden);
  const others = new LeftOutCounter();
  const taken = new Set<string>();
  for (const { path: file } of pictures.items) taken.add(realOf(file));
  for (const { path: file } of labels.items) if (!isPng(file) && !taken.has(realOf(file))) others.add(file);
  const leftOut = others.finish();
  return [
    ...(isListed ? [] : labels.remarks),
    ...(leftOut.count === 0
      ? []
      : [
          `${printable(labels.source)}: ${leftOut.count} ${leftOut.count === 1 ? 'image was' : 'images were'} left out as masks ` +
            `(${kindsOf(leftOut)}): expected PNGs, which keep labels as they are`,
        ]),
  ];
}

const isHidden = (name: string): boolean => name.startsWith('.');
const isPng = (file: string): boolean => path.extname(file).toLowerCase() === '.png';

const both = (files: readonly string[]): string =>
  files.length === 2
    ? files.map(printable).join(' and ')
    : `${files.slice(0, 2).map(printable).join(', ')} and ${files.length - 2} more`;

/**
 * Finds each image's mask: by its path within `masks`, else by its name where no other image has that name. A mask is that of
 * one image: a picture that is trained or judged on another one's mask would be wrong without a word.
 *
 * @throws DataError when no image has one, or several images could have one mask or several masks one image: it names them.
 */
export async function maskPairs(images: string, masks: string): Promise<MaskPairs> {
  const [pictures, labels] = [await listImages(images), await listImages(masks)];
  const pngs = [...labels.items].map((item) => item.path).filter(isPng);
  const realOf = resolver();
  const { leftOut, ...those } = apart(realOf, pictures, { root: labels.root, items: pngs });
  const byKey = grouped(those.masks, (file) => keyOf(labels.root, file));
  const imagesByKey = grouped(those.images, ({ path: file }) => keyOf(pictures.root, file));
  const imagesByName = grouped(those.images, ({ path: file }) => nameOf(file));
  const maskOf = new Map<ImageItem, string>();
  const problems: string[] = [];
  const unused: string[] = [];
  for (const [key, files] of byKey) {
    const exact = imagesByKey.get(key) ?? [];
    // only masks without a folder stand for a name
    const named = key === path.basename(key) ? (imagesByName.get(key) ?? []) : [];
    const candidates = (exact.length > 0 ? exact : named).map((image) => image.path);
    // a name that another mask's image has too is no help
    const isServed = exact.length === 0 && named.some((image) => byKey.has(keyOf(pictures.root, image.path)));
    if (candidates.length === 0 || isServed) unused.push(...files);
    else if (files.length > 1)
      problems.push(`${printable(candidates[0]!)} could have the masks ${both(files)}`);
    else if (candidates.length > 1)
      problems.push(`${printable(files[0]!)} could be the mask of ${both(candidates)}`);
    else maskOf.set((exact[0] ?? named[0])!, files[0]!);
  }
  if (problems.length > 0) {
    const more = problems.length > NAMED ? [`and ${problems.length - NAMED} more`] : [];
    throw new DataError(
      `${[...problems.slice(0, NAMED), ...more].join('\n')}\n` +
        "a mask is that of one image: put masks into folders named as the images' are, or give files names of their own",
    );
  }
  const found: MaskPair[] = [];
  const withoutMask: string[] = [];
  for (const image of those.images) {
    const mask = maskOf.get(image);
    if (mask === undefined) withoutMask.push(image.path);
    else found.push({ image, mask });
  }
  const places = [...pictures.unreadable, ...labels.unreadable].map(skippedPlace);
  const unreadable = [...new Map(places.map((place) => [place.path, place])).values()];
  const { length } = pictures.items;
  if (found.length === 0) {
    const name = path.basename(keyOf('', (those.images[0] ?? pictures.items.at(0))!.path));
    const why =
      those.images.length === 0
        ? `all of them are masks of ${masks} themselves; expected images of another kind than .png beside them, or a folder of their own`
        : `expected PNGs of the same names, as ${name}.png`;
    const [closed] = unreadable;
    const more = closed === undefined ? '' : `; ${printable(closed.path)} can't be read: ${closed.reason}`;
    throw new DataError(`none of the ${length} images in ${images} has a mask in ${masks}: ${why}${more}`);
  }
  const remarks = [
    ...(leftOut.length === 0
      ? []
      : [
          `${printable(images)}: ${leftOut.length} of ${length} images were left out: they are masks of ${printable(masks)}`,
        ]),
    ...maskRemarks(realOf, pictures, labels),
  ];
  const asMasks = { count: leftOut.length, byExtension: { '.png': leftOut.length } };
  return {
    ...{ found, withoutMask, withoutImage: unused, root: pictures.root },
    unreadable,
    ...notesOf(pictures, leftOut.length === 0 ? { remarks } : { leftOut: asMasks, remarks }),
  };
}
