/** The images of a web export: their pictures, and the features among which the page finds neighbours. */
import path from 'node:path';
import { imageThumbnail, type ListNotes, modelPicture, readImageFile } from '../../data/index.js';
import { DataError } from '../../errors.js';
import { transformRows } from '../../eval/fit-transform.js';
import { type FeatureTransform, NO_TRANSFORM } from '../../plain/feature-transform.js';
import { printable } from '../../plain/printable.js';
import type { GalleryImage, WebGallery } from '../../plain/web-manifest.js';
import { variedRows } from './samples.js';

/** Images whose features were computed before; see galleryOfIndex() in src/explore/gallery.ts. */
export interface GallerySource extends Partial<ListNotes> {
  /** The folder that the names are relative to. */
  root: string;
  /** Absolute. */
  paths: readonly string[];
  /** Class folders; null without them. */
  labels: readonly (string | null)[];
  /** (images, D): features by this model's embed(), not necessarily of length 1. */
  features: Float32Array;
  /** How they are transformed before they are compared; default: not at all. */
  transform?: FeatureTransform;
  /** Images that were skipped earlier. */
  skipped: readonly { path: string; reason: string }[];
}

/** Longer side of a small picture, pixels. */
const THUMBNAIL_SIDE = 192;
/** Longer side of a picture that the model looks at, pixels. */
const PICTURE_SIDE = 1024;
/** Images to begin with. */
const SAMPLES = 12;
/** Of a gallery of more images, only the samples have a picture for the model. */
const MOST_PICTURES = 500;
/** Pictures per folder, so that no server or file browser has to list a hundred thousand. */
const PER_FOLDER = 1000;

export const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** The values of a transform, one after the other. */
export const transformBytes = ({ mean, matrix }: FeatureTransform): Uint8Array =>
  Buffer.concat([mean ?? new Float32Array(), matrix ?? new Float32Array()].map(bytesOf));

export interface GalleryWriter {
  embedDim: number;
  signal: AbortSignal | undefined;
  write: (name: string, bytes: Uint8Array) => void;
}

/** The place of a picture among those of its kind. */
const placeOf = (number: number): string =>
  `${Math.floor(number / PER_FOLDER)}/${String(number % PER_FOLDER).padStart(3, '0')}.webp`;
const thumbnailAt = (number: number): string => `gallery/${placeOf(number)}`;
const pictureAt = (number: number): string => `pictures/${placeOf(number)}`;

/** Whether an image is no larger than its small picture, so that it needs no other. */
const isWhole = ({ width, height }: { width: number; height: number }): boolean =>
  Math.max(width, height) < THUMBNAIL_SIDE;

const FEATURES_FILE = 'gallery/features.bin';
const TRANSFORM_FILE = 'gallery/transform.bin';
const NAMES_FILE = 'gallery/images.json';

/** Every file that a gallery of at most so many images may have. */
export const galleryFiles = (images: number): string[] => [
  ...[FEATURES_FILE, TRANSFORM_FILE, NAMES_FILE],
  ...Array.from({ length: images }, (_, i) => thumbnailAt(i)),
  ...Array.from({ length: Math.min(images, MOST_PICTURES) }, (_, i) => pictureAt(i)),
];

/** Some rows of features, one after the other. */
function rowsOf(features: Float32Array, width: number, rows: readonly number[]): Float32Array {
  const some = new Float32Array(rows.length * width);
  rows.forEach((row, i) => some.set(features.subarray(row * width, (row + 1) * width), i * width));
  return some;
}

export interface AddedGallery {
  gallery: WebGallery;
  /** Images that have features but can't be read any more. */
  skipped: { path: string; reason: string }[];
}

/**
 * Writes pictures, features of length 1, and what a query must go through before it is compared with them.
 * @throws DataError when none of the images can be read.
 */
export async function addGallery(
  found: GallerySource,
  { embedDim, signal, write }: GalleryWriter,
): Promise<AddedGallery> {
  const { transform = NO_TRANSFORM, root, paths, labels } = found;
  const hasAllPictures = paths.length <= MOST_PICTURES;
  const skipped: AddedGallery['skipped'] = [];
  /** Of the source's images, those that can be read. */
  const rows: number[] = [];
  const entries: GalleryImage[] = [];
  let pictures = 0;
  const addPicture = (data: Uint8Array): string => {
    const picture = pictureAt(pictures++);
    write(picture, data);
    return picture;
  };
  for (const [row, file] of paths.entries()) {
    signal?.throwIfAborted();
    let small: Awaited<ReturnType<typeof imageThumbnail>>;
    let large: Uint8Array | null = null;
    try {
      const bytes = await readImageFile(file);
      small = await imageThumbnail(bytes, THUMBNAIL_SIDE, 80);
      // then it is what the model looks at
      if (isWhole(small)) small = await modelPicture(bytes, THUMBNAIL_SIDE, 80);
      else if (hasAllPictures) large = (await modelPicture(bytes, PICTURE_SIDE, 90)).data;
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      skipped.push({ path: file, reason: error.message });
      continue;
    }
    const { data, width, height } = small;
    const thumbnail = thumbnailAt(rows.length);
    write(thumbnail, data);
    const picture = isWhole(small) ? thumbnail : large === null ? null : addPicture(large);
    const name = path.relative(root, file).split(path.sep).join('/');
    // a list of paths may reach outside its folder: then only the name, which does not expose the machine's folders
    entries.push({
      name: name.startsWith('..') ? path.basename(file) : name,
      label: labels[row] ?? null,
      ...{ thumbnail, width, height, picture },
    });
    rows.push(row);
  }
  const [bad] = skipped;
  if (rows.length === 0 && bad !== undefined)
    throw new DataError(
      `none of the ${paths.length} images can be read: ${printable(bad.path)}: ${bad.reason}`,
    );
  const units = transformRows(transform, rowsOf(found.features, embedDim, rows), embedDim);
  const samples = variedRows(units, embedDim, SAMPLES);
  for (const sample of samples) {
    const entry = entries[sample]!;
    if (entry.picture !== null) continue;
    signal?.throwIfAborted();
    try {
      entry.picture = addPicture((await modelPicture(paths[rows[sample]!]!, PICTURE_SIDE, 90)).data);
    } catch (error) {
      // gone since its small picture was made, which the page then shows, and says so
      if (!(error instanceof DataError)) throw error;
    }
  }
  const { mode, mean } = transform;
  write(FEATURES_FILE, bytesOf(units));
  if (mean !== null) write(TRANSFORM_FILE, transformBytes(transform));
  write(NAMES_FILE, new TextEncoder().encode(JSON.stringify(entries)));
  return {
    gallery: {
      ...{ count: entries.length, features: FEATURES_FILE, images: NAMES_FILE, samples },
      transform: mode === 'none' ? null : { mode, file: TRANSFORM_FILE },
    },
    skipped,
  };
}
