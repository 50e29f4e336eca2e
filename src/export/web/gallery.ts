/** The images of a web export: their pictures, and the features among which the page finds neighbours. */
import path from 'node:path';
import { imageThumbnail, type ListNotes, readImageFile } from '../../data/index.js';
import { transformRows } from '../../eval/fit-transform.js';
import { type FeatureTransform, NO_TRANSFORM } from '../../plain/feature-transform.js';
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

/** Writes pictures, features of length 1, and what a query must go through before it is compared with them. */
export async function addGallery(
  found: GallerySource,
  { embedDim, signal, write }: GalleryWriter,
): Promise<WebGallery> {
  const { transform = NO_TRANSFORM } = found;
  const units = transformRows(transform, found.features, embedDim);
  const samples = variedRows(units, embedDim, SAMPLES);
  const isLarge = found.paths.length <= MOST_PICTURES ? () => true : (row: number) => samples.includes(row);
  const entries: GalleryImage[] = [];
  for (const [row, file] of found.paths.entries()) {
    signal?.throwIfAborted();
    const place = `${Math.floor(row / PER_FOLDER)}/${String(row % PER_FOLDER).padStart(3, '0')}.webp`;
    const bytes = await readImageFile(file);
    const { data, width, height } = await imageThumbnail(bytes, THUMBNAIL_SIDE, 80);
    const thumbnail = `gallery/${place}`;
    write(thumbnail, data);
    // an image that is no larger needs no other picture
    let picture = Math.max(width, height) < THUMBNAIL_SIDE ? thumbnail : null;
    if (picture === null && isLarge(row)) {
      picture = `pictures/${place}`;
      write(picture, (await imageThumbnail(bytes, PICTURE_SIDE, 90)).data);
    }
    const name = path.relative(found.root, file).split(path.sep).join('/');
    // a list of paths may reach outside its folder: then only the name, which does not expose the machine's folders
    entries.push({
      name: name.startsWith('..') ? path.basename(file) : name,
      label: found.labels[row] ?? null,
      ...{ thumbnail, width, height, picture },
    });
  }
  const { mode, mean } = transform;
  const features = 'gallery/features.bin';
  write(features, bytesOf(units));
  const transformFile = 'gallery/transform.bin';
  if (mean !== null) write(transformFile, transformBytes(transform));
  const names = 'gallery/images.json';
  write(names, new TextEncoder().encode(JSON.stringify(entries)));
  return {
    ...{ count: entries.length, features, images: names, samples },
    transform: mode === 'none' ? null : { mode, file: transformFile },
  };
}
