/** The size at which attention is drawn. */
import { ConfigError, DataError } from '../errors.js';

/** The part of a model that the size of a picture depends on. */
export interface SizedModel {
  architecture: { readonly imgSize: number; readonly patchSize: number };
}

/** The cost is quadratic in the number of patches; the reference's largest picture (480, patches of 8) has 3,600. */
export const MAX_DEFAULT_PATCHES = 4096;

/**
 * The most patches of a size that is asked for, unless the caller sets another limit: the network computes in one call that
 * nothing interrupts, and this many take seconds on a CPU where 30,000 take minutes.
 */
export const MAX_PATCHES = 8192;

export interface AttentionSize {
  width: number;
  height: number;
  /** The longer side was shortened, because the image would not fit in any other way: its proportions are not kept. */
  isSqueezed: boolean;
}

/** Whole patches of a size. */
export const patchesOf = ({ width, height }: { width: number; height: number }, patchSize: number): number =>
  Math.floor(height / patchSize) * Math.floor(width / patchSize);

/**
 * Reduces a size to `maxPatches` in its proportions. The shorter side keeps at least one patch; an image for which that is
 * still too many (a strip of 5000 x 1) is squeezed along its longer side.
 */
export function fitPatches(
  size: { width: number; height: number },
  patchSize: number,
  maxPatches: number,
): AttentionSize {
  const { width, height } = size;
  const patches = (width * height) / patchSize ** 2;
  const most = maxPatches * patchSize;
  const scale = patches > maxPatches ? Math.sqrt(maxPatches / patches) : 1;
  if (Math.round(Math.min(width, height) * scale) >= patchSize)
    return { width: Math.round(width * scale), height: Math.round(height * scale), isSqueezed: false };
  const whole = patchSize / Math.min(width, height);
  const long = Math.max(patchSize, Math.round(Math.max(width, height) * whole));
  const along = Math.min(long, most);
  const isWide = width > height;
  return {
    width: isWide ? along : patchSize,
    height: isWide ? patchSize : along,
    isSqueezed: along < long,
  };
}

/** @throws DataError for more patches than `maxPatches`. */
export function checkPatches(
  size: { width: number; height: number },
  patchSize: number,
  maxPatches = MAX_PATCHES,
): void {
  const patches = patchesOf(size, patchSize);
  if (patches <= maxPatches) return;
  throw new DataError(
    `${size.width} x ${size.height} pixels are ${patches} patches, more than the ${maxPatches} that are computed here ` +
      '(maxPatches): use a smaller size',
  );
}

/**
 * Size that an image is resized to, before incomplete patches at its edges are cut off.
 * @param maxPatches - The most patches; default 4,096 for the size that is chosen when none is given, 8,192 for a given one.
 * @throws ConfigError for sizes below a patch, DataError for a given size of more than `maxPatches`.
 */
export function attentionSize(
  width: number,
  height: number,
  model: SizedModel,
  wanted: number | readonly [height: number, width: number] | undefined,
  maxPatches?: number,
): AttentionSize {
  const { imgSize, patchSize } = model.architecture;
  if (wanted === undefined) {
    const scale = (imgSize * 480) / 224 / Math.min(width, height);
    const most = Math.min(maxPatches ?? MAX_DEFAULT_PATCHES, MAX_DEFAULT_PATCHES);
    return fitPatches({ width: width * scale, height: height * scale }, patchSize, most);
  }
  let target: { width: number; height: number };
  if (typeof wanted === 'object') {
    target = { height: wanted[0], width: wanted[1] };
  } else {
    const scale = wanted / Math.min(width, height);
    target = { width: Math.round(width * scale), height: Math.round(height * scale) };
  }
  for (const side of [target.width, target.height]) {
    if (!Number.isInteger(side) || side < patchSize) {
      throw new ConfigError(
        `image size ${target.height} x ${target.width}: expected whole numbers, at least ${patchSize} (one patch)`,
      );
    }
  }
  checkPatches(target, patchSize, maxPatches);
  return { ...target, isSqueezed: false };
}

export interface FittedSize extends AttentionSize {
  /** The most patches, where these are why the image is smaller than was asked for; else null. */
  limit: number | null;
}

/**
 * The same for a page where a resolution is chosen that then stays for other images: each has a size that is computed. Where the
 * one that is asked for has more than `maxPatches` or less than one, it is the nearest that fits.
 * @param wanted - As in {@link attentionSize}, which both sides are left to, and none.
 */
export function fittedSize(
  width: number,
  height: number,
  model: SizedModel,
  wanted: number | readonly [height: number, width: number] | undefined,
  maxPatches = MAX_PATCHES,
): FittedSize {
  if (typeof wanted !== 'number')
    return { ...attentionSize(width, height, model, wanted, maxPatches), limit: null };
  const { patchSize } = model.architecture;
  const scale = wanted / Math.min(width, height);
  const asked = { width: Math.round(width * scale), height: Math.round(height * scale) };
  const isWhole = Math.min(asked.width, asked.height) >= patchSize;
  if (isWhole && patchesOf(asked, patchSize) <= maxPatches)
    return { ...asked, isSqueezed: false, limit: null };
  const fitted = fitPatches(asked, patchSize, maxPatches);
  const isLess = fitted.isSqueezed || Math.min(fitted.width, fitted.height) < wanted;
  return { ...fitted, limit: isLess ? maxPatches : null };
}

/**
 * The part of an image, from its top left, that whole patches cover, as shares of its width and height: incomplete patches at
 * the right and bottom edges were cut off.
 * @param target - The size that it was resized to.
 */
export function coveredShares(
  target: { width: number; height: number },
  { rows, columns, patchSize }: { rows: number; columns: number; patchSize: number },
): [width: number, height: number] {
  const share = (patches: number, side: number): number => Math.min(1, (patches * patchSize) / side);
  return [share(columns, target.width), share(rows, target.height)];
}
