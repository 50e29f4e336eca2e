/**
 * Everything that the studio's page shows of images: every head's attention, the patches' features, from which similarity
 * is computed, and their principal components as colours, over all the images together.
 */
import { decodeImage } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { hasTokens, imageTensor, isAttentive, normalizeImages, patchTokens } from '../models/index.js';
import { onlyRgb } from '../models/model-argument.js';
import { inferenceMode, scope } from '../torch/index.js';
import { coveredShares, fittedSize, type FittedSize } from '../plain/attention-size.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import {
  type AttentionOptions,
  classAttention,
  noAttention,
  prepareDecoded,
  type PreparedImage,
} from './attention.js';
import { meanMap, unitRows } from '../plain/maps.js';
import { colourPatches } from './patch-pca.js';

/** An image for which a given shorter side would be more than `maxPatches` is made smaller; its `limit` says so. */
export interface LookOptions extends Pick<AttentionOptions, 'imageSize' | 'maxPatches'> {
  /** Principal components as colours, where the model has patch features; default true. */
  pca?: boolean;
  signal?: AbortSignal | undefined;
}

export interface LookedImage extends PreparedImage, Pick<FittedSize, 'limit'> {
  /** Shares of the whole image's width and height that the patches cover. */
  covered: [width: number, height: number];
  heads: number;
  /** (heads, rows, columns): the class token's attention in the last block. */
  maps: Float32Array;
  /** (rows * columns, D): the patches' features, rows of length 1; null without patch tokens. */
  features: Float32Array | null;
  /** (rows, columns, 3) bytes: principal components of the foreground, black in the background; null without. */
  colours: Uint8Array | null;
  /** (rows, columns, 3) bytes: principal components of all patches; null without. */
  allColours: Uint8Array | null;
}

export interface LookResult {
  images: LookedImage[];
  /** Width of the features. */
  embedDim: number;
  /** Register tokens, whose attention is left out; 0 for most models. */
  registers: number;
  /** Shares of the variance of all patches in the first three components, 0 to 1; empty without. */
  explained: number[];
}

/**
 * @param inputs - Paths, or bytes of image files.
 * @throws ConfigError for a backbone without attention or an impossible size, DataError for an unreadable image; the
 *   signal's reason when aborted.
 */
export async function lookAt(
  model: LoadedModel,
  inputs: readonly (string | Uint8Array)[],
  options: LookOptions = {},
): Promise<LookResult> {
  onlyRgb(model);
  const { backbone, device, embedDim } = model;
  if (!isAttentive(backbone)) {
    const { arch } = model.architecture;
    throw new ConfigError(noAttention(arch));
  }
  const images: LookedImage[] = [];
  const raw: Float32Array[] = []; // (rows * columns, D) each, as the model gives them
  for (const input of inputs) {
    options.signal?.throwIfAborted();
    const decoded = await decodeImage(input);
    const { width, height } = decoded;
    const target = fittedSize(width, height, model, options.imageSize, options.maxPatches);
    const prepared = prepareDecoded(model, decoded, target);
    const { rows, columns, image } = prepared;
    const { maps, features } = scope(() =>
      inferenceMode(() => {
        const weights = classAttention(backbone, prepared, device).to('cpu').toTypedArray() as Float32Array;
        if (!hasTokens(backbone)) return { maps: weights, features: null };
        const pixels = imageTensor(image, prepared, device); // (1, 3, H, W)
        const tokens = backbone.forwardTokens(normalizeImages(pixels, backbone.normalization)); // (1, prefix + N, D)
        const patches = patchTokens(backbone, tokens).select(0, 0).to('float32').to('cpu').contiguous(); // (N, D)
        return { maps: weights, features: patches.toTypedArray() as Float32Array };
      }),
    );
    if (features !== null) raw.push(features);
    images.push({
      ...prepared,
      limit: target.limit,
      covered: coveredShares(target, prepared),
      heads: maps.length / (rows * columns),
      maps,
      features: features === null ? null : unitRows(features, embedDim),
      colours: null,
      allColours: null,
    });
  }
  const registers = hasTokens(backbone) ? backbone.prefixTokens - 1 : 0;
  if (options.pca === false || raw.length === 0) return { images, embedDim, registers, explained: [] };
  options.signal?.throwIfAborted();
  const means = images.map(({ maps, heads }) => meanMap(maps, heads));
  const { images: coloured, explained } = colourPatches(images, raw, means, embedDim);
  coloured.forEach(({ colours }, i) => (images[i]!.colours = colours));
  const all = colourPatches(images, raw, means, embedDim, { foreground: false });
  all.images.forEach(({ colours }, i) => (images[i]!.allColours = colours));
  return { images, embedDim, registers, explained };
}
