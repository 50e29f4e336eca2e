/** torchvision's Resize of a float tensor: bilinear, antialiased, without rounding to bytes. */
import { fromTypedArray, type Tensor } from '../torch/index.js';

/** (to, from): row i holds the share of each source position in position i. The filter is a triangle. */
function triangleWeights(from: number, to: number): Float32Array {
  const scale = from / to;
  const reach = Math.max(1, scale); // half the filter's width; made smaller it covers what it replaces
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const centre = scale * (i + 0.5);
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    let sum = 0;
    for (let j = first; j < end; j++) {
      const weight = Math.max(0, 1 - Math.abs((j - centre + 0.5) / reach));
      weights[i * from + j] = weight;
      sum += weight;
    }
    for (let j = first; j < end; j++) weights[i * from + j]! /= sum;
  }
  return weights;
}

/** @param image - (C, H, W) float32. @returns (C, height, width); the image itself when it has that size. */
export function resizeTensor(image: Tensor, height: number, width: number): Tensor {
  const [, fromHeight = 0, fromWidth = 0] = image.shape;
  let out = image;
  if (fromWidth !== width) {
    const along = fromTypedArray(triangleWeights(fromWidth, width), [width, fromWidth]).to(image.device);
    out = out.matmul(along.t()); // (C, H, width)
  }
  if (fromHeight !== height) {
    const down = fromTypedArray(triangleWeights(fromHeight, height), [height, fromHeight]).to(image.device);
    out = down.matmul(out); // (C, height, width)
  }
  return out;
}
