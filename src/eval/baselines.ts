/**
 * What images say without any network, to judge features against: their pixels, and histograms of oriented gradients (HOG;
 * Dalal and Triggs 2005). Features that do not beat both have learned little that comparing pixels would not give.
 */
import { EvalLoader, type ImageItems } from '../data/index.js';
import type { FeatureTable } from './features.js';

export interface BaselineOptions {
  /** Images are brought to this side, pixels: the shorter side resized, the centre cut out. Default 64. */
  size?: number;
  /** Images per batch, default 256. */
  batchSize?: number;
  /** Default 1. */
  numWorkers?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

const SIZE = 64;

/** Side of a cell in pixels, directions over half a turn, cells along the side of a block. */
const CELL = 8;
const DIRECTIONS = 9;
const BLOCK = 2;
/** No value of a normalized block is above this before it is normalized again (L2-Hys). */
const CLIP = 0.2;
const EPSILON = 1e-5;

/** The pixels of each image: rows of 3 * size * size values, 0 to 255, channel by channel. */
export function pixelFeatures(items: ImageItems, options: BaselineOptions = {}): Promise<FeatureTable> {
  const { size = SIZE } = options;
  return table(items, options, 3 * size * size, (image) => image);
}

/** hog() of each image. The side is rounded down to whole cells of 8 pixels there. */
export function hogFeatures(items: ImageItems, options: BaselineOptions = {}): Promise<FeatureTable> {
  const { size = SIZE } = options;
  return table(items, options, hogWidth(size, size), (image) => hog(image, size, size));
}

/** Values of hog(). */
export function hogWidth(width: number, height: number): number {
  const blocks = (side: number): number => Math.max(0, Math.floor(side / CELL) - BLOCK + 1);
  return blocks(width) * blocks(height) * BLOCK * BLOCK * DIRECTIONS;
}

/**
 * Histograms of oriented gradients, as skimage.feature.hog(image, orientations=9, pixels_per_cell=(8, 8),
 * cells_per_block=(2, 2), block_norm='L2-Hys', channel_axis=-1) defines them: gradients are central differences (0 on the
 * border) of the channel in which they are largest; each pixel adds its magnitude to one of 9 directions of its cell; blocks
 * of 2 x 2 cells, one cell apart, are scaled to length 1, clipped at 0.2 and scaled again.
 *
 * @param image - (3, height, width), 0 to 255. A rest that is less than a cell is left out.
 * @returns (blocks down, blocks across, 2, 2, 9), row-major.
 */
export function hog(image: ArrayLike<number>, width: number, height: number): Float32Array {
  const [across, down] = [Math.floor(width / CELL), Math.floor(height / CELL)];
  const cells = new Float32Array(down * across * DIRECTIONS); // (cells down, cells across, directions)
  const plane = width * height;
  for (let y = 0; y < down * CELL; y++) {
    for (let x = 0; x < across * CELL; x++) {
      let [most, dx, dy] = [0, 0, 0];
      for (let c = 0; c < 3; c++) {
        const at = c * plane + y * width + x;
        const gx = x > 0 && x < width - 1 ? image[at + 1]! - image[at - 1]! : 0;
        const gy = y > 0 && y < height - 1 ? image[at + width]! - image[at - width]! : 0;
        const squared = gx * gx + gy * gy;
        if (squared > most) [most, dx, dy] = [squared, gx, gy];
      }
      if (most === 0) continue;
      const turn = Math.atan2(dy, dx) / Math.PI; // in half turns, -1 to 1
      const direction = Math.floor((turn - Math.floor(turn)) * DIRECTIONS) % DIRECTIONS;
      const cell = Math.floor(y / CELL) * across + Math.floor(x / CELL);
      cells[cell * DIRECTIONS + direction]! += Math.sqrt(most) / (CELL * CELL);
    }
  }
  return normalizeBlocks(cells, across, down);
}

function normalizeBlocks(cells: Float32Array, across: number, down: number): Float32Array {
  const width = BLOCK * BLOCK * DIRECTIONS;
  const blocksAcross = Math.max(0, across - BLOCK + 1);
  const blocksDown = Math.max(0, down - BLOCK + 1);
  const out = new Float32Array(blocksDown * blocksAcross * width);
  for (let row = 0; row < blocksDown; row++) {
    for (let column = 0; column < blocksAcross; column++) {
      const start = (row * blocksAcross + column) * width;
      const block = out.subarray(start, start + width);
      for (let i = 0; i < BLOCK; i++) {
        const from = ((row + i) * across + column) * DIRECTIONS;
        block.set(cells.subarray(from, from + BLOCK * DIRECTIONS), i * BLOCK * DIRECTIONS);
      }
      scaleToLengthOne(block);
      for (let i = 0; i < width; i++) block[i] = Math.min(CLIP, block[i]!);
      scaleToLengthOne(block);
    }
  }
  return out;
}

function scaleToLengthOne(values: Float32Array): void {
  let sum = EPSILON * EPSILON;
  for (const value of values) sum += value * value;
  const scale = 1 / Math.sqrt(sum);
  for (let i = 0; i < values.length; i++) values[i]! *= scale;
}

/** One row for each image that can be read. */
async function table(
  items: ImageItems,
  options: BaselineOptions,
  width: number,
  row: (image: Uint8Array) => ArrayLike<number>,
): Promise<FeatureTable> {
  const { size = SIZE, batchSize = 256, numWorkers = 1, signal, onProgress } = options;
  const loader = new EvalLoader({
    ...{ items, resize: size, crop: size, batchSize, numWorkers },
    ...(signal === undefined ? {} : { signal }),
  }); // closed when the loop ends
  const features = new Float32Array(items.length * width);
  const indices: number[] = [];
  const skipped: FeatureTable['skipped'] = [];
  const bytes = 3 * size * size;
  for await (const batch of loader) {
    signal?.throwIfAborted();
    batch.indices.forEach((index, i) => {
      features.set(row(batch.images.subarray(i * bytes, (i + 1) * bytes)), indices.length * width);
      indices.push(index);
    });
    skipped.push(...batch.skipped);
    batch.release();
    onProgress?.(indices.length + skipped.length, items.length);
  }
  return { features: features.subarray(0, indices.length * width), width, indices, skipped };
}
