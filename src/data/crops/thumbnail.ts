/**
 * Pillow's Image.thumbnail(size, LANCZOS), with which the reference's eval_image_retrieval.py resizes photographs: the whole
 * image within a square, never enlarged; a much larger one is first reduced by a whole factor (Image.reduce), then
 * resampled. Bit-equal to Pillow 13 (Reduce.c, Resample.c).
 */
import { resizeImage, toRgb, type PixelImage } from './crops.js';

/** The least factor left to the resampling after reduce(): the default `reducing_gap` of Image.thumbnail. */
const REDUCING_GAP = 2;

/** The size of the result of Image.thumbnail((side, side)). */
export function thumbnailShape(
  width: number,
  height: number,
  side: number,
): { width: number; height: number } {
  if (side >= width && side >= height) return { width, height };
  const aspect = width / height;
  // of the two whole numbers around it the one that keeps the aspect ratio better; on a tie the lower one
  const nearest = (value: number, distance: (n: number) => number): number => {
    const [low, high] = [Math.floor(value), Math.ceil(value)];
    return Math.max(distance(high) < distance(low) ? high : low, 1);
  };
  if (1 >= aspect) return { width: nearest(side * aspect, (n) => Math.abs(aspect - n / side)), height: side };
  const height2 = nearest(side / aspect, (n) => (n === 0 ? 0 : Math.abs(aspect - side / n)));
  return { width: side, height: height2 };
}

/** Pillow's Image.reduce: each output pixel is the mean of a factorX x factorY block; blocks at the edges are smaller. */
export function reduceImage(
  image: PixelImage,
  factorX: number,
  factorY: number,
): PixelImage & { channels: 3 } {
  const source = toRgb(image);
  const width = Math.ceil(image.width / factorX);
  const height = Math.ceil(image.height / factorY);
  const data = new Uint8Array(width * height * 3);
  const sums = new Float64Array(width * 3);
  for (let y = 0; y < height; y++) {
    const rows = Math.min(factorY, image.height - y * factorY);
    sums.fill(0);
    for (let row = 0; row < rows; row++) {
      let at = (y * factorY + row) * image.width * 3;
      for (let x = 0; x < width; x++) {
        const columns = Math.min(factorX, image.width - x * factorX);
        let [r, g, b] = [0, 0, 0];
        for (let column = 0; column < columns; column++, at += 3) {
          r += source[at]!;
          g += source[at + 1]!;
          b += source[at + 2]!;
        }
        sums[3 * x]! += r;
        sums[3 * x + 1]! += g;
        sums[3 * x + 2]! += b;
      }
    }
    for (let x = 0; x < width; x++) {
      const count = rows * Math.min(factorX, image.width - x * factorX);
      // division as multiplication by a fixed-point number of 24 bits, which Pillow computes in float
      const multiplier = Math.trunc(Math.fround(2 ** 24 / count));
      const half = Math.floor(count / 2);
      for (let c = 0; c < 3; c++) {
        data[(y * width + x) * 3 + c] = Math.floor(((sums[3 * x + c]! + half) * multiplier) / 2 ** 24);
      }
    }
  }
  return { data, width, height, channels: 3 };
}

/**
 * Writes the thumbnail within side x side pixels into `out`.
 * @returns its size
 */
export function thumbnail(
  image: PixelImage,
  side: number,
  target: { planar?: boolean; out: Uint8Array; offset?: number },
): { width: number; height: number } {
  const shape = thumbnailShape(image.width, image.height, side);
  const factor = (from: number, to: number) => Math.max(1, Math.trunc(from / to / REDUCING_GAP));
  const factorX = factor(image.width, shape.width);
  const factorY = factor(image.height, shape.height);
  const reduced = factorX > 1 || factorY > 1 ? reduceImage(image, factorX, factorY) : image;
  const box = { x: 0, y: 0, width: image.width / factorX, height: image.height / factorY };
  resizeImage(reduced, { ...shape, box, filter: 'lanczos', ...target });
  return shape;
}
