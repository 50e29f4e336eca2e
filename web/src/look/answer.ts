/** What the server sees in images, unpacked from its reply. */
import { meanMap } from '../../../src/plain/maps.ts';
import { unpackArrays } from '../../../src/plain/packed.ts';
import type { LookFacts, LookImage } from '../api.ts';
import type { Attention } from '../attention/heads.tsx';
import { canvasOf, withAlpha } from '../attention/pixels.ts';

/** An image that was chosen: from the folders, or uploaded. */
export interface Chosen {
  source: LookImage;
  name: string;
}

/** An image of the reply, ready to be drawn. */
export interface Seen extends Attention {
  name: string;
  picture: HTMLCanvasElement;
  /** (rows * columns, embedDim), of length 1; null where patches have none. */
  features: Float32Array | null;
  /** (rows, columns, 3) */
  colors: Uint8Array | null;
}

export interface Answer extends Omit<LookFacts, 'images'> {
  images: Seen[];
  /** Shorter side of the smallest picture, pixels. */
  side: number;
}

/** @param names - Of the images that were asked about. */
export function unpack(bytes: Uint8Array, names: readonly string[]): Answer {
  const { facts, arrays } = unpackArrays(bytes as Uint8Array<ArrayBuffer>);
  const { images, ...rest } = facts as LookFacts;
  let at = 0;
  const seen = images.map(({ rows, columns, width, height, heads, hasFeatures, hasColours }, i): Seen => {
    const picture = canvasOf(withAlpha(arrays[at++] as Uint8Array), width, height);
    const maps = arrays[at++] as Float32Array;
    const features = hasFeatures ? (arrays[at++] as Float32Array) : null;
    const colors = hasColours ? (arrays[at++] as Uint8Array) : null;
    const mean = meanMap(maps, heads);
    return { name: names[i] ?? '', picture, rows, columns, heads, maps, mean, features, colors };
  });
  const side = Math.min(...images.map(({ width, height }) => Math.min(width, height)));
  return { ...rest, images: seen, side };
}
