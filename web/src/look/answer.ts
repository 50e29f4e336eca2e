/** What the server sees in images, unpacked from its reply. */
import { meanMap } from '../../../src/plain/maps.ts';
import { unpackArrays } from '../../../src/plain/packed.ts';
import { type LookFacts, type LookImage, pictureOf, uploadedPictureOf } from '../api.ts';
import { canvasOf, withAlpha } from '../attention/pixels.ts';
import type { Seen } from '../attention/seen.tsx';
import { lastPart } from '../ui/format.ts';

/** An image that was chosen: from the folders, or uploaded. */
export interface Chosen {
  source: LookImage;
  name: string;
  /** Of its picture, larger than the model sees it. */
  address: string;
}

/** How an uploaded image is written in the address: `upload:ID:NAME`. */
const UPLOAD = /^upload:([^:]+):(.*)$/s;
export const uploadText = (id: string, name: string): string => `upload:${id}:${name}`;

/** The image that the address names: a path, or an upload. */
export function chosenOf(text: string): Chosen {
  const [, upload, name] = UPLOAD.exec(text) ?? [];
  if (upload !== undefined)
    return { source: { upload }, name: name || 'the given image', address: uploadedPictureOf(upload, 1024) };
  return { source: { path: text }, name: lastPart(text), address: pictureOf(text, 1024) };
}

export interface Answer extends Omit<LookFacts, 'images'> {
  images: Seen[];
  /** Shorter side of the smallest picture, pixels. */
  side: number;
}

/** @param chosen - The images that were asked about. */
export function unpack(bytes: Uint8Array, chosen: readonly Chosen[]): Answer {
  const { facts, arrays } = unpackArrays(bytes as Uint8Array<ArrayBuffer>);
  const { images, ...rest } = facts as LookFacts;
  let at = 0;
  const seen = images.map((image, i): Seen => {
    const { rows, columns, width, height, heads, limit, isSqueezed, original } = image;
    const picture = canvasOf(withAlpha(arrays[at++] as Uint8Array), width, height);
    const maps = arrays[at++] as Float32Array;
    const features = image.hasFeatures ? (arrays[at++] as Float32Array) : null;
    const colors = image.hasColours ? (arrays[at++] as Uint8Array) : null;
    const allColors = image.hasColours ? (arrays[at++] as Uint8Array) : null;
    const { name, address } = chosen[i]!;
    const drawn = { picture, rows, columns, heads, maps, mean: meanMap(maps, heads), limit, isSqueezed };
    return { ...drawn, features, colors, allColors, name, address, original };
  });
  const side = Math.min(...images.map(({ width, height }) => Math.min(width, height)));
  return { ...rest, images: seen, side };
}
