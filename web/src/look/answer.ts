/** What the server sees in images, unpacked from its reply. */
import { meanMap } from '../../../src/plain/maps.ts';
import { unpackArrays } from '../../../src/plain/packed.ts';
import { type LookFacts, type LookImage, pictureOf } from '../api.ts';
import type { Attention } from '../attention/heads.tsx';
import { canvasOf, withAlpha } from '../attention/pixels.ts';

/** An image that was chosen: from the folders, or uploaded. */
export interface Chosen {
  source: LookImage;
  name: string;
  /** Of its picture, larger than the model sees it. */
  address: string;
}

/** An image of the studio's folders. */
export const ofFolders = (path: string): Chosen => ({
  source: { path },
  name: path.split(/[\\/]/).at(-1)!,
  address: pictureOf(path, 1024),
});

/** An image of the reply, ready to be drawn. */
export interface Seen extends Attention {
  name: string;
  /** (rows * columns, embedDim), of length 1; null where patches have none. */
  features: Float32Array | null;
  /** (rows, columns, 3): principal components of the foreground, black elsewhere. */
  colors: Uint8Array | null;
  /** The same of all patches. */
  allColors: Uint8Array | null;
  /** Of the original's picture, and the shares of its sides that the patches cover. */
  address: string;
  original: readonly [width: number, height: number];
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
    const { rows, columns, width, height, heads, original } = image;
    const picture = canvasOf(withAlpha(arrays[at++] as Uint8Array), width, height);
    const maps = arrays[at++] as Float32Array;
    const features = image.hasFeatures ? (arrays[at++] as Float32Array) : null;
    const colors = image.hasColours ? (arrays[at++] as Uint8Array) : null;
    const allColors = image.hasColours ? (arrays[at++] as Uint8Array) : null;
    const { name, address } = chosen[i]!;
    const drawn = { picture, rows, columns, heads, maps, mean: meanMap(maps, heads) };
    return { ...drawn, features, colors, allColors, name, address, original };
  });
  const side = Math.min(...images.map(({ width, height }) => Math.min(width, height)));
  return { ...rest, images: seen, side };
}
