/** Checks of the images that public functions take, for plain/check-options.ts. */
import { being, show } from '../plain/check-options.js';
import { z } from 'zod';
import { isImageBytes } from './read/encoded-image.js';

const isName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && !value.includes('\0');

const isItem = (value: unknown): boolean => {
  const { path, label } = Object(value) as Record<string, unknown>;
  return isName(path) && (label === null || Number.isInteger(label));
};

/** The items of an array are checked; a list that makes its items on demand is trusted. */
const isItems = (value: unknown): boolean => {
  if (Array.isArray(value)) return value.every(isItem);
  const { length, at, map } = Object(value) as Record<string, unknown>;
  return Number.isInteger(length) && typeof at === 'function' && typeof map === 'function';
};

const isImageList = (value: unknown): boolean => {
  const { items, classes } = Object(value) as Record<string, unknown>;
  return isItems(items) && (classes === null || Array.isArray(classes));
};

const isListed = (value: unknown): boolean =>
  isImageList(value) &&
  isName((value as { source: unknown }).source) &&
  isName((value as { root: unknown }).root);

const isImage = (value: unknown): boolean => isName(value) || isImageBytes(value);

/** What listImages() takes. */
export const listSource = being('a folder of images, a text file of paths, or shards', isName);

/** The same, or what listImages() returned. */
export const imagesOrList = being(
  'a folder of images, a text file of paths, shards, or a list made by listImages()',
  (value) => isName(value) || isListed(value),
);

export const image = being('the path of an image, or the bytes of its file', isImage);

/**
 * A list; the error names the first wrong entry.
 * @param is - Whether an entry is right.
 * @param otherwise - Whether the value is something other than a list that is accepted too.
 */
const listed = (what: string, is: (value: unknown) => boolean, otherwise: (value: unknown) => boolean) =>
  z.custom((value) => otherwise(value) || (Array.isArray(value) && value.every(is)), {
    error: ({ input }) => {
      const wrong = Array.isArray(input) ? input.findIndex((entry) => !is(entry)) : -1;
      return `expected ${what}${wrong < 0 || !Array.isArray(input) ? '' : `, but [${wrong}] is ${show(input[wrong])}`}`;
    },
  });

const never = (): boolean => false;

export const images = listed('a list of paths and bytes of image files', isImage, never);

/** Images, and rows of an index. */
export const imagesOrRows = listed(
  'a list of paths, bytes of image files and rows of the index',
  (value) => isImage(value) || (Number.isSafeInteger(value) && Number(value) >= 0),
  never,
);

/** What embed() takes. */
export const embeddable = listed(
  'a folder, a text file of paths, the bytes of an image file, a list of paths and bytes, or what listImages() returned',
  isImage,
  (value) => isImage(value) || (!Array.isArray(value) && isImageList(value)),
);

/** Paths, or the items of a list. */
export const pathsOrItems = listed(
  'a list of paths, or the items of what listImages() returned',
  isName,
  (value) => isItems(value),
);
