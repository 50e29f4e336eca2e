/**
 * Patch features of an image, and logits on the grid of its patches as labels of its pixels. An image is resized so that whole
 * patches cover all of it, and logits are interpolated bilinearly between the patches' centres, as PyTorch's interpolate() with
 * align_corners=False does.
 */
import { resizeImage, type RgbImage } from '../data/index.js';
import { batchFeatures } from '../eval/features.js';
import type { Size } from '../eval/resample.js';
import { imageTensor, normalizeImages } from '../models/index.js';
import { fitPatches, MAX_DEFAULT_PATCHES } from '../plain/attention-size.js';
import { inferenceMode, scope } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';

export interface PatchGrid {
  rows: number;
  columns: number;
  /** (rows * columns, width) */
  features: Float32Array;
  width: number;
}

/**
 * The size at which an image is computed: about `side` on its shorter side, each side a multiple of the patch, at most 4,096
 * patches.
 */
export function gridSize({ width, height }: Size, side: number, patchSize: number): Size {
  const scale = side / Math.min(width, height);
  const target = fitPatches({ width: width * scale, height: height * scale }, patchSize, MAX_DEFAULT_PATCHES);
  const whole = (length: number): number => Math.max(1, Math.round(length / patchSize)) * patchSize;
  return { width: whole(target.width), height: whole(target.height) };
}

/** The shorter side for a model, pixels: as for pictures of attention, 480 for a model of 224. */
export const usualSide = (imgSize: number): number => Math.round((imgSize * 480) / 224);

/** @param side - Shorter side, pixels. @throws ConfigError for a backbone without patches. */
export function patchGrid(model: LoadedModel, image: RgbImage, side: number, layers: number): PatchGrid {
  const { patchSize } = model.architecture;
  const size = gridSize(image, side, patchSize);
  const pixels = resizeImage(image, { ...size, filter: 'bilinear' });
  const { features, width } = scope(() =>
    inferenceMode(() => {
      const images = normalizeImages(imageTensor(pixels, size, model.device), model.backbone.normalization); // (1, 3, H, W)
      const found = batchFeatures(model.backbone, images, 'patches', layers); // (1, N, D)
      return { features: found.to('float32').toTypedArray() as Float32Array, width: found.size(2) };
    }),
  );
  return { rows: size.height / patchSize, columns: size.width / patchSize, features, width };
}

/** For each of `to` positions, the two of `from` that it lies between and the share of the second. */
function taps(from: number, to: number): { first: Int32Array; second: Int32Array; share: Float64Array } {
  const [first, second, share] = [new Int32Array(to), new Int32Array(to), new Float64Array(to)];
  for (let i = 0; i < to; i++) {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    first[i] = Math.min(Math.floor(at), from - 1);
    second[i] = Math.min(first[i]! + 1, from - 1);
    share[i] = at - first[i]!;
  }
  return { first, second, share };
}

/**
 * The class of the largest logit at each pixel; of equals the first. Row by row, so that a large image takes little memory.
 * @param logits - (rows * columns, classes).
 * @returns (height, width) class numbers, below 256.
 */
export function labelPixels(
  logits: Float32Array,
  { rows, columns }: { rows: number; columns: number },
  classes: number,
  { width, height }: Size,
): Uint8Array {
  const [down, across] = [taps(rows, height), taps(columns, width)];
  const labels = new Uint8Array(height * width);
  const row = new Float64Array(columns * classes);
  for (let y = 0; y < height; y++) {
    const [above, below] = [down.first[y]! * columns * classes, down.second[y]! * columns * classes];
    const weight = down.share[y]!;
    for (let i = 0; i < row.length; i++)
      row[i] = logits[above + i]! * (1 - weight) + logits[below + i]! * weight;
    for (let x = 0; x < width; x++) {
      const [left, right] = [across.first[x]! * classes, across.second[x]! * classes];
      const share = across.share[x]!;
      let best = -Infinity;
      let label = 0;
      for (let c = 0; c < classes; c++) {
        const value = row[left + c]! * (1 - share) + row[right + c]! * share;
        if (value > best) {
          best = value;
          label = c;
        }
      }
      labels[y * width + x] = label;
    }
  }
  return labels;
}
