/** Pixels as the networks take them, and vectors of length 1. */
import { fromTypedArray, scope, tensor, type Tensor } from '../torch/index.js';

/** Mean and standard deviation of ImageNet's channels in [0, 1], by which the reference normalizes every image. */
export const IMAGENET_MEAN = [0.485, 0.456, 0.406] as const;
export const IMAGENET_STD = [0.229, 0.224, 0.225] as const;

/** How channels in [0, 1] are normalized: less the mean, over the standard deviation. */
export interface Normalization {
  readonly mean: readonly [red: number, green: number, blue: number];
  readonly std: readonly [red: number, green: number, blue: number];
}

export const IMAGENET: Normalization = { mean: IMAGENET_MEAN, std: IMAGENET_STD };
/** Of DINOv3's networks for satellite images (its README). */
export const SAT493M: Normalization = { mean: [0.43, 0.411, 0.296], std: [0.213, 0.156, 0.143] };

/**
 * One image as the networks have it before it is normalized: (1, 3, height, width) uint8.
 * @param rgb - Its pixels, (height, width, 3).
 */
export function imageTensor(
  rgb: Uint8Array,
  { width, height }: { width: number; height: number },
  device: string,
): Tensor {
  return scope(() =>
    fromTypedArray(rgb, [1, height, width, 3]).permute([0, 3, 1, 2]).contiguous().to(device),
  );
}

/** (B, 3, H, W) uint8 to normalized float32 on the same device (torchvision's ToTensor and Normalize). */
export function normalizeImages(images: Tensor, normalization: Normalization = IMAGENET): Tensor {
  return scope(() => normalizeUnit(images.to('float32').div_(255), normalization));
}

/** Normalizes (..., 3, H, W) in [0, 1] in place. */
export function normalizeUnit(images: Tensor, { mean, std }: Normalization): Tensor {
  const { device } = images;
  const channels = (values: readonly number[]): Tensor => tensor(values, { device }).view([3, 1, 1]);
  return images.sub_(channels(mean)).div_(channels(std));
}

/** Scales vectors along a dimension to length 1; those of zeros stay as they are (torch.nn.functional.normalize). */
export const unitLength = (x: Tensor, dim = -1): Tensor => x.div(x.norm(2, [dim], true).clampMin(1e-12));
