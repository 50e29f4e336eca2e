/** torchvision's Resize of a float tensor: bilinear, antialiased, without rounding to bytes. */
import { ops, type Tensor } from '../torch/index.js';

/**
 * Resizes in float64: libtorch keeps the places of the filter in the tensor's own type, and in float32 these are off by
 * some 1e-5 of a pixel far from the origin. MPS has no float64; there the CPU does it.
 *
 * @param image - (C, H, W) float32.
 * @returns (C, height, width) float32 on the same device; the image itself when it has that size.
 */
export function resizeTensor(image: Tensor, height: number, width: number): Tensor {
  const { device } = image;
  if (image.size(1) === height && image.size(2) === width) return image;
  const exact = (device.startsWith('mps') ? image.to('cpu') : image).to('float64').unsqueeze(0); // (1, C, H, W)
  return ops._upsampleBilinear2dAa(exact, [height, width], false).squeeze(0).to('float32').to(device);
}
