/** The size at which attention is drawn. */
import { ConfigError } from '../errors.js';

/** The part of a model that the size of a picture depends on. */
export interface SizedModel {
  architecture: { readonly imgSize: number; readonly patchSize: number };
}

/** The cost is quadratic in the number of patches; the reference's largest picture (480, patches of 8) has 3,600. */
export const MAX_DEFAULT_PATCHES = 4096;

/**
 * Size that an image is resized to, before incomplete patches at its edges are cut off.
 * @param maxPatches - Limits the size that is chosen when none is given.
 * @throws ConfigError for sizes below a patch.
 */
export function attentionSize(
  width: number,
  height: number,
  model: SizedModel,
  wanted: number | readonly [height: number, width: number] | undefined,
  maxPatches = MAX_DEFAULT_PATCHES,
): { width: number; height: number } {
  const { imgSize, patchSize } = model.architecture;
  let target: { width: number; height: number };
  if (typeof wanted === 'object') {
    target = { height: wanted[0], width: wanted[1] };
  } else {
    const short = Math.min(width, height);
    let scale = (wanted ?? (imgSize * 480) / 224) / short;
    if (wanted === undefined) {
      const patches = (width * height * scale * scale) / patchSize ** 2;
      if (patches > maxPatches) scale *= Math.sqrt(maxPatches / patches);
    }
    target = { width: Math.round(width * scale), height: Math.round(height * scale) };
  }
  for (const side of [target.width, target.height]) {
    if (!Number.isInteger(side) || side < patchSize) {
      throw new ConfigError(
        `image size ${target.height} x ${target.width}: expected whole numbers, at least ${patchSize} (one patch)`,
      );
    }
  }
  return target;
}
