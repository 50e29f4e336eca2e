/**
 * The patch features' first three principal components as red, green and blue (the picture of DINOv2, Oquab et al. 2023,
 * figure 1; the reference has no script for it). The first component of all patches of all images separates foreground
 * from background; the components of the foreground give the colours. All images share one basis and one scale, so that
 * the same colour means the same kind of thing.
 *
 * Where DINOv2's authors set the threshold and the sign by hand, here Otsu's method splits the first component, and the
 * side that the class token attends to more is the foreground. Of a network without attention (DINOv3's ConvNeXts) it is the
 * side whose patches are more like the image's feature.
 */
import { z } from 'zod';
import { images as imageFiles } from '../data/arguments.js';
import { modelArgument } from '../models/model-argument.js';
import {
  callback,
  checkCall,
  count,
  filePath,
  instanceOf,
  optionsOf,
  pixels,
  signal as abortSignal,
  yesOrNo,
} from '../plain/check-options.js';
import type { EncodedImage } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import {
  hasTokens,
  imageTensor,
  isAttentive,
  noPatchFeatures,
  normalizeImages,
  patchTokens,
  type TokenBackbone,
  unitLength,
} from '../models/index.js';
import { fromTypedArray, inferenceMode, ops, scope, tensor, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { prepareImage, writePictures, type AttentionOptions, type PreparedImage } from './attention.js';
import { COMPONENTS, scoreColours, splitForeground } from '../plain/patch-colours.js';
import { principalAxes } from './principal-axes.js';

export interface PatchPcaOptions extends Pick<AttentionOptions, 'imageSize' | 'maxPatches'> {
  /** Paint the background, by the first component, black; default true. */
  foreground?: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface PcaImage extends PreparedImage {
  /** (rows, columns, 3) bytes: colour of each patch; black in the background. */
  colours: Uint8Array;
  /** (rows, columns) of 0 and 1. */
  foreground: Uint8Array;
  /** (rows, columns, 3): the components of all patches, whose first one separated the foreground. */
  components: Float32Array;
}

export interface PatchPcaResult {
  images: PcaImage[];
  /** Shares of the variance of all patches in the first three components, 0 to 1. */
  explained: number[];
}

/** The most features that are held in memory: 4 GiB. */
const MAX_VALUES = 2 ** 30;

const pcaOptions = optionsOf<PatchPcaOptions>(
  {},
  { imageSize: pixels, maxPatches: count(1), foreground: yesOrNo, signal: abortSignal, onProgress: callback },
);

/**
 * Colours of the patches of images.
 *
 * @param inputs - Paths, or bytes of image files.
 * @throws ConfigError for a backbone without patches or a size below one; DataError for an unreadable image or too many;
 *   the signal's reason when aborted.
 */
export async function patchPca(
  model: LoadedModel,
  inputs: readonly EncodedImage[],
  options: PatchPcaOptions = {},
): Promise<PatchPcaResult> {
  checkCall(
    'patchPca()',
    modelArgument(model),
    ['images', imageFiles, inputs],
    ['options', pcaOptions, options],
  );
  const { backbone } = model;
  if (!hasTokens(backbone)) {
    throw new ConfigError(noPatchFeatures('a picture of principal components', model.architecture.arch));
  }
  if (inputs.length === 0) throw new DataError('no images for principal components');
  const images: PreparedImage[] = [];
  const features: Float32Array[] = []; // (rows * columns, D) each
  const attention: Float32Array[] = []; // (rows * columns) each
  let values = 0;
  for (const [i, input] of inputs.entries()) {
    options.signal?.throwIfAborted();
    const image = await prepareImage(model, input, options.imageSize, options.maxPatches);
    values += image.rows * image.columns * backbone.embedDim;
    if (values > MAX_VALUES) {
      throw new DataError(
        `the patch features of ${i + 1} images are more than 4 GiB; take fewer or smaller images`,
      );
    }
    const found = patchFeatures(backbone, image, model.device);
    images.push(image);
    features.push(found.features);
    attention.push(found.attention);
    options.onProgress?.({ done: i + 1, total: inputs.length });
  }
  return colourPatches(images, features, attention, backbone.embedDim, options);
}

function patchFeatures(
  backbone: TokenBackbone,
  prepared: PreparedImage,
  device: string,
): { features: Float32Array; attention: Float32Array } {
  return scope(() =>
    inferenceMode(() => {
      const pixels = imageTensor(prepared.image, prepared, device); // (1, 3, H, W)
      const normalized = normalizeImages(pixels, backbone.normalization);
      const tokens = backbone.getIntermediateLayers(normalized, 1)[0]!; // (1, prefix + N, D)
      const array = (values: Tensor): Float32Array =>
        values.to('float32').contiguous().toTypedArray() as Float32Array;
      const patches = patchTokens(backbone, tokens).select(0, 0); // (N, D)
      const attention = isAttentive(backbone)
        ? backbone.getLastClassAttention(normalized).select(0, 0).select(1, 0).mean([0]).slice(0, 1)
        : unitLength(patches).matmul(unitLength(tokens.select(0, 0).select(0, 0)));
      return { features: array(patches), attention: array(attention) }; // (N, D), (N)
    }),
  );
}

/** Unit vectors of largest variance of the rows, (D, 3), their mean (D), and their shares of the variance. */
function principalComponents(rows: Tensor): { basis: Tensor; mean: Tensor; explained: number[] } {
  // float64: the covariance's small differences would drown in float32
  const exact = rows.to('float64');
  const mean = exact.mean([0], true); // (1, D)
  const centred = exact.sub(mean);
  const covariance = centred.t().matmul(centred); // (D, D), up to a factor
  const { variances, axes, total } = principalAxes(covariance, COMPONENTS);
  // a component's sign is arbitrary: its largest entry is made positive, so that the same images give the same colours
  const [, places] = axes.abs().max(0, true); // (1, 3)
  const basis = axes.mul(axes.gather(0, places).sign()); // (D, 3)
  const shares = [...variances.toArray()].map(
    (value) => Math.max(0, Number(value)) / Math.max(total, Number.MIN_VALUE),
  );
  return { basis, mean, explained: shares };
}

const project = (rows: Tensor, { basis, mean }: { basis: Tensor; mean: Tensor }): Float32Array =>
  rows.to('float64').sub(mean).matmul(basis).to('float32').contiguous().toTypedArray() as Float32Array; // (N, 3)

/**
 * Colours of patches whose features are already computed.
 *
 * @param features - (rows * columns, dim) of each image.
 * @param attention - (rows * columns) of each image: the class token's, mean over heads.
 * @throws ConfigError for features of fewer than three numbers.
 */
export function colourPatches(
  images: readonly PreparedImage[],
  features: readonly Float32Array[],
  attention: readonly Float32Array[],
  dim: number,
  options: Pick<PatchPcaOptions, 'foreground'> = {},
): PatchPcaResult {
  return inferenceMode(() => scope(() => colour(images, features, attention, dim, options)));
}

function colour(
  images: readonly PreparedImage[],
  features: readonly Float32Array[],
  attention: readonly Float32Array[],
  dim: number,
  options: Pick<PatchPcaOptions, 'foreground'>,
): PatchPcaResult {
  if (dim < COMPONENTS) throw new ConfigError(`features of ${dim} numbers have no three components`);
  const rows = ops.cat(features.map((part) => fromTypedArray(part, [part.length / dim, dim]))); // (all N, D)
  const first = principalComponents(rows);
  const components = project(rows, first); // (all N, 3)
  const count = rows.size(0);
  let inFront = new Uint8Array(count).fill(1);
  if (options.foreground !== false) {
    const leading = Float32Array.from({ length: count }, (_, i) => components[i * COMPONENTS]!);
    inFront = splitForeground(leading, concatenated(attention));
  }
  const chosen = [...inFront.keys()].filter((i) => inFront[i] === 1);
  const colours = new Uint8Array(count * COMPONENTS);
  const indices = tensor(chosen, { dtype: 'int64' });
  const front = rows.indexSelect(0, indices); // (n, D)
  const scores = project(front, principalComponents(front)); // (n, 3)
  const painted = scoreColours(scores);
  chosen.forEach((patch, i) => colours.set(painted.subarray(i * 3, i * 3 + 3), patch * COMPONENTS));
  let at = 0;
  const parts = images.map((image) => {
    const from = at;
    at += image.rows * image.columns;
    return {
      ...image,
      colours: colours.slice(from * COMPONENTS, at * COMPONENTS),
      foreground: inFront.slice(from, at),
      components: components.slice(from * COMPONENTS, at * COMPONENTS),
    };
  });
  return { images: parts, explained: first.explained };
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The parts of patchPca()'s result that are drawn. */
const pcaImage = z.looseObject({
  ...{ columns: count(1), patchSize: count(1), width: count(1), height: count(1) },
  colours: instanceOf(Uint8Array, 'a Uint8Array'),
});

/** Draws a result as `pca.png`, every patch as large as its pixels. @returns The file. @throws As writeAttention(). */
export async function writePatchPca(image: PcaImage, folder: string): Promise<string> {
  checkCall('writePatchPca()', ['image', pcaImage, image], ['folder', filePath, folder]);
  const { columns, patchSize, width, height, colours } = image;
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const patch = Math.floor(y / patchSize) * columns + Math.floor(x / patchSize);
      rgb.set(colours.subarray(patch * 3, patch * 3 + 3), (y * width + x) * 3);
    }
  }
  const [file] = await writePictures([['pca.png', rgb]], width, height, folder);
  return file!;
}
