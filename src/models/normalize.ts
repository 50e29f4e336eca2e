/** Pixels as the networks take them, and vectors of length 1. */
import { scope, tensor, type Tensor } from '../torch/index.js';

/** Mean and standard deviation of ImageNet's channels in [0, 1], by which the reference normalizes every image. */
export const IMAGENET_MEAN = [0.485, 0.456, 0.406] as const;
export const IMAGENET_STD = [0.229, 0.224, 0.225] as const;

/** (B, 3, H, W) uint8 to normalized float32 on the same device (torchvision's ToTensor and Normalize). */
export function normalizeImages(images: Tensor): Tensor {
  return scope(() => {
    const { device } = images;
    const mean = tensor(IMAGENET_MEAN, { device }).view([3, 1, 1]);
    const std = tensor(IMAGENET_STD, { device }).view([3, 1, 1]);
    return images.to('float32').div_(255).sub_(mean).div_(std);
  });
}

/** Scales vectors along a dimension to length 1; those of zeros stay as they are (torch.nn.functional.normalize). */
export const unitLength = (x: Tensor, dim = -1): Tensor => x.div(x.norm(2, [dim], true).clampMin(1e-12));
