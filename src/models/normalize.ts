/** Pixels as the networks take them, and vectors of length 1. */
import { DEEP_WHITE } from '../plain/channels.js';
import { fromTypedArray, scope, tensor, type Tensor } from '../torch/index.js';

/** Mean and standard deviation of ImageNet's channels in [0, 1], by which the reference normalizes every image. */
export const IMAGENET_MEAN = [0.485, 0.456, 0.406] as const;
export const IMAGENET_STD = [0.229, 0.224, 0.225] as const;

/** How channels in [0, 1] are normalized: less the mean, over the standard deviation. */
export interface Normalization {
  /** As many as there are channels: red, green and blue, or whatever an image has. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** The images that a network takes. */
export interface ImageInput {
  /** Channels of images that are taken as they are stored, up to 16 bits each; null for 8-bit RGB, made of any image. */
  readonly channels: number | null;
  readonly normalization: Normalization;
}

export const IMAGENET: Normalization = { mean: IMAGENET_MEAN, std: IMAGENET_STD };
/** What most networks take. */
export const RGB_INPUT: ImageInput = { channels: null, normalization: IMAGENET };
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
    fromTypedArray(rgb, [1, height, width, 3]).permute([0, 3, 1, 2]).contiguous().upload(device),
  );
}

/**
 * What a loader has written for a network's input, on the device: (images, 3, height, width) uint8, or with channels that are
 * taken as they are (images, channels, height, width) uint16.
 */
export function pixelTensor(
  bytes: Uint8Array,
  { channels }: Pick<ImageInput, 'channels'>,
  { height, width }: { width: number; height: number },
  device: string,
): Tensor {
  const images = bytes.length / ((channels === null ? 3 : 2 * channels) * width * height);
  return scope(() =>
    channels === null
      ? fromTypedArray(bytes, [images, 3, height, width]).upload(device)
      : fromTypedArray(
          new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2),
          [images, channels, height, width],
          'uint16',
        ).upload(device),
  );
}

/**
 * (B, C, H, W) uint8 or uint16 to normalized float32 on the same device (torchvision's ToTensor and Normalize); white, 255 or
 * 65535, is 1.
 */
export function normalizeImages(images: Tensor, normalization: Normalization = IMAGENET): Tensor {
  const white = images.dtype === 'uint16' ? DEEP_WHITE : 255;
  return scope(() => normalizeUnit(images.to('float32').div_(white), normalization));
}

/** Normalizes (..., C, H, W) in [0, 1] in place. */
export function normalizeUnit(images: Tensor, { mean, std }: Normalization): Tensor {
  const { device } = images;
  const channels = (values: readonly number[]): Tensor => tensor(values, { device }).view([-1, 1, 1]);
  return images.sub_(channels(mean)).div_(channels(std));
}

/** Scales vectors along a dimension to length 1; those of zeros stay as they are (torch.nn.functional.normalize). */
export const unitLength = (x: Tensor, dim = -1): Tensor => x.div(x.norm(2, [dim], true).clampMin(1e-12));
