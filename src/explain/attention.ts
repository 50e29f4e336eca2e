/**
 * What the class token looks at: its attention in the last block, head by head (paper, figure 1; reference:
 * visualize_attention.py). Departures: the image keeps its proportions unless both sides are given, every size works
 * (the rest that does not fill a patch is cut off at the right and the bottom, as there), and the mean over heads and an
 * overlay are drawn too.
 */
import path from 'node:path';
import sharp from 'sharp';
import { writeFileWhole } from '../files/atomic-file.js';
import { makeFolder } from '../files/guarded.js';
import { z } from 'zod';
import { image as imageFile } from '../data/arguments.js';
import { modelArgument } from '../models/model-argument.js';
import { checkCall, count, filePath, finite, instanceOf, optionsOf, pixels } from '../plain/check-options.js';
import { decodeImage, type EncodedImage, resizeImage, type RgbImage } from '../data/index.js';
import { ConfigError } from '../errors.js';
import {
  architectureEntry,
  type AttentiveBackbone,
  hasTokens,
  imageTensor,
  isAttentive,
  normalizeImages,
} from '../models/index.js';
import { inferenceMode, ones, scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { attentionSize, type AttentionSize, type SizedModel } from '../plain/attention-size.js';
import { heatMap, scaleToUnit } from '../plain/colors.js';
import { attentionNames, checkPictures, marked } from './own-pictures.js';

export interface AttentionOptions {
  /**
   * Shorter side in pixels, or [height, width]. Default: 480/224 of the size that the model was made for (the
   * reference's 480 for a model of 224), less when that would be more than 4,096 patches.
   */
  imageSize?: number | readonly [height: number, width: number];
  /** The most patches; default 8,192. The cost grows with their square, and nothing interrupts it. */
  maxPatches?: number;
  /** Also make masks of the patches that together hold this share of a head's attention, above 0 and at most 1. */
  threshold?: number;
}

export interface AttentionResult extends PreparedImage {
  /** Number of heads. */
  heads: number;
  /** Register tokens, which are left out of the maps; 0 for most models. */
  registers: number;
  /** What the registers take of the class token's attention, mean over heads, 0 to 1. */
  registerShare: number;
  /**
   * (heads, rows, columns): attention of the class token; a head's patches, the class token itself and registers sum to 1.
   */
  maps: Float32Array;
  /** (rows, columns): mean over heads. */
  mean: Float32Array;
  /** (heads, rows, columns) of 0 and 1; null without a threshold. */
  masks: Uint8Array | null;
}

/**
 * Keeps the largest values of each row that together hold `threshold` of its sum.
 * @param maps - (heads, patches).
 * @returns (heads, patches) float32 of 0 and 1.
 */
export function massMasks(maps: Tensor, threshold: number): Tensor {
  const [values, order] = maps.sort(-1); // smallest first
  const share = values.div(values.sum([1], true)).cumsum(1); // (heads, patches)
  const isKept = share.gt(1 - threshold).to('float32');
  // back to the patches' own order
  return ones(maps.shape, { device: maps.device }).scatter_(1, order, isKept);
}

/** Why a model shows no attention, and what to try. */
export const noAttention = (arch: string): string =>
  architectureEntry(arch)?.family === 'convnext'
    ? `${arch} has no attention to show: it is made of convolutions. Use a vision transformer (such as dinov3_vits16) or an ` +
      'XCiT; what its patches are like, patchPca() and embed --features patches show'
    : `${arch} has no attention to show: use a vision transformer, an XCiT or a resnet_class_attention`;

/** An image as a model sees it. */
export interface PreparedImage {
  /** Patches down and across. */
  rows: number;
  columns: number;
  patchSize: number;
  /** (rows * patchSize, columns * patchSize, 3) bytes. */
  image: Uint8Array;
  width: number;
  height: number;
  /** Size of the whole image before it was resized. */
  originalWidth: number;
  originalHeight: number;
  /** The longer side was shortened to keep the number of patches down: the proportions have changed. */
  isSqueezed: boolean;
}

/**
 * Decodes, resizes (bilinear) and cuts an image to whole patches.
 * @throws DataError for an unreadable image or more patches than `maxPatches`, ConfigError for a size below a patch.
 */
export async function prepareImage(
  model: SizedModel,
  input: EncodedImage,
  imageSize: AttentionOptions['imageSize'],
  maxPatches?: number,
): Promise<PreparedImage> {
  const decoded = await decodeImage(input);
  const { width, height } = decoded;
  return prepareDecoded(model, decoded, attentionSize(width, height, model, imageSize, maxPatches));
}

/** Says that a picture's proportions are not the image's. @param what - The image, for the message. */
export const squeezedNote = (what: string, { rows, columns }: { rows: number; columns: number }): string =>
  `${what}: too long for its proportions to be kept, so its longer side is shortened to ${Math.max(rows, columns)} patches ` +
  '(--image-size sets another size)';

/** Resizes and cuts a decoded image. @param target - At least a patch wide and high. */
export function prepareDecoded(model: SizedModel, decoded: RgbImage, target: AttentionSize): PreparedImage {
  const resized = resizeImage(decoded, { ...target, filter: 'bilinear' }); // (H, W, 3)
  const { patchSize } = model.architecture;
  const rows = Math.floor(target.height / patchSize);
  const columns = Math.floor(target.width / patchSize);
  const height = rows * patchSize;
  const width = columns * patchSize;
  const image = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    image.set(resized.subarray(y * target.width * 3, (y * target.width + width) * 3), y * width * 3);
  }
  const original = { originalWidth: decoded.width, originalHeight: decoded.height };
  return { rows, columns, patchSize, image, width, height, ...original, isSqueezed: target.isSqueezed };
}

/**
 * The class token's attention to each patch in the last block, (heads, rows * columns). Call it in a scope, without
 * gradients.
 */
export const classAttention = (
  backbone: AttentiveBackbone,
  prepared: Omit<PreparedImage, 'isSqueezed'>,
  device: string,
): Tensor => patchAttention(classRow(backbone, prepared, device));

/** (heads, 1 + N) to (heads, N). */
const patchAttention = (row: Tensor): Tensor => row.slice(1, 1).contiguous();

/** The same, the class token itself first, (heads, 1 + rows * columns). */
function classRow(
  backbone: AttentiveBackbone,
  prepared: Omit<PreparedImage, 'isSqueezed'>,
  device: string,
): Tensor {
  const { image, rows, columns } = prepared;
  const pixels = imageTensor(image, prepared, device); // (1, 3, H, W)
  const images = normalizeImages(pixels, backbone.normalization);
  const weights = backbone.getLastClassAttention(images); // (1, heads, 1, 1 + N)
  return weights
    .select(0, 0)
    .select(1, 0)
    .narrow(1, 0, 1 + rows * columns)
    .to('float32'); // (heads, 1 + N)
}

const attentionOptions = optionsOf<AttentionOptions>(
  {},
  { imageSize: pixels, maxPatches: count(1), threshold: finite },
);

/**
 * Attention maps of one image.
 * @param input - A path, or the bytes of an image file.
 * @throws DataError for an unreadable image or one that needs more than `maxPatches`, ConfigError for options out of range.
 */
export async function attention(
  model: LoadedModel,
  input: EncodedImage,
  options: AttentionOptions = {},
): Promise<AttentionResult> {
  checkCall(
    'attention()',
    modelArgument(model),
    ['image', imageFile, input],
    ['options', attentionOptions, options],
  );
  const { threshold } = options;
  if (threshold !== undefined && !(threshold > 0 && threshold <= 1)) {
    throw new ConfigError(`threshold ${threshold}; expected a share of the attention, above 0 and at most 1`);
  }
  const { backbone } = model;
  if (!isAttentive(backbone)) {
    const { arch } = model.architecture;
    throw new ConfigError(noAttention(arch));
  }
  const prepared = await prepareImage(model, input, options.imageSize, options.maxPatches);
  const registers = hasTokens(backbone) ? backbone.prefixTokens - 1 : 0;
  return scope(() =>
    inferenceMode(() => {
      const row = classRow(backbone, prepared, model.device); // (heads, 1 + N)
      const maps = patchAttention(row); // (heads, N)
      const masks = threshold === undefined ? null : massMasks(maps, threshold).to('uint8');
      return {
        ...prepared,
        heads: maps.size(0),
        registers,
        registerShare: registers === 0 ? 0 : 1 - Number(row.sum([1]).mean().item()),
        maps: maps.toTypedArray() as Float32Array,
        mean: maps.mean([0]).toTypedArray() as Float32Array,
        masks: masks === null ? null : (masks.toTypedArray() as Uint8Array),
      };
    }),
  );
}

/** Enlarges every patch's value to its pixels (nearest, as the reference does). */
function enlarge<T extends Float32Array | Uint8Array>(map: T, result: AttentionResult): T {
  const { rows, columns, patchSize, width } = result;
  const out = (
    map instanceof Float32Array
      ? new Float32Array(rows * columns * patchSize ** 2)
      : new Uint8Array(rows * columns * patchSize ** 2)
  ) as T;
  for (let i = 0; i < out.length; i++) {
    const y = Math.floor(i / width / patchSize);
    const x = Math.floor((i % width) / patchSize);
    out[i] = map[y * columns + x]!;
  }
  return out;
}

/** The image, with the heat map shining through where attention is. */
function overlay(result: AttentionResult): Uint8Array {
  const mean = enlarge(result.mean, result);
  const colours = heatMap(mean);
  const strength = scaleToUnit(mean);
  return result.image.map((value, i) => {
    const alpha = 0.25 + 0.5 * strength[Math.floor(i / 3)]!;
    return Math.round(value * (1 - alpha) + colours[i]! * alpha);
  });
}

/** The image with a mask in half-transparent red and its outline in full red. */
function maskPicture(mask: Uint8Array, result: AttentionResult): Uint8Array {
  const { width, height } = result;
  const out = result.image.slice();
  const large = enlarge(mask, result);
  const at = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : large[y * width + x]!;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (at(x, y) === 0) continue;
      const isEdge = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) < 4;
      const alpha = isEdge ? 1 : 0.5;
      const i = (y * width + x) * 3;
      out[i] = Math.round(out[i]! * (1 - alpha) + 255 * alpha);
      out[i + 1] = Math.round(out[i + 1]! * (1 - alpha));
      out[i + 2] = Math.round(out[i + 2]! * (1 - alpha));
    }
  }
  return out;
}

/** Small models use small images: pictures are enlarged by a whole factor until they are this high and wide. */
const MIN_PICTURE_SIDE = 240;
/** Nothing is enlarged beyond this: a strip one patch high is thousands of patches long. */
const MAX_ENLARGED_SIDE = 8192;

const bytes = instanceOf(Uint8Array, 'a Uint8Array');
const floats = instanceOf(Float32Array, 'a Float32Array');
/** The parts of attention()'s result that are drawn. */
const attentionResult = z.looseObject({
  ...{ heads: count(1), rows: count(1), columns: count(1), width: count(1), height: count(1) },
  ...{ patchSize: count(1), image: bytes, maps: floats, mean: floats, masks: bytes.nullable() },
});
const drawOptions = optionsOf<{ threshold?: number }>({}, { threshold: finite.min(0).max(1) });

/**
 * Draws a result: `img.png`, `attn-head0.png` and so on, `attn-mean.png`, `overlay.png`, and with a threshold
 * `mask_th0.6_head0.png` and so on (the reference's names). Pictures that were drawn here before are replaced.
 * @returns The files written.
 * @throws ConfigError when something else has one of these names, DataError when the folder can't be written.
 */
export async function writeAttention(
  result: AttentionResult,
  folder: string,
  options: { threshold?: number } = {},
): Promise<string[]> {
  checkCall(
    'writeAttention()',
    ['result', attentionResult, result],
    ['folder', filePath, folder],
    ['options', drawOptions, options],
  );
  const { heads, rows, columns, width, height } = result;
  const patches = rows * columns;
  const drawn: Uint8Array[] = [result.image];
  for (let head = 0; head < heads; head++) {
    const map = result.maps.slice(head * patches, (head + 1) * patches);
    drawn.push(heatMap(enlarge(map, result)));
  }
  drawn.push(heatMap(enlarge(result.mean, result)), overlay(result));
  for (let head = 0; result.masks !== null && head < heads; head++) {
    const mask = result.masks.slice(head * patches, (head + 1) * patches);
    drawn.push(maskPicture(mask, result));
  }
  const names = attentionNames(heads, result.masks === null ? null : (options.threshold ?? ''));
  const pictures = names.map((name, i) => [name, drawn[i]!] as const);
  return writePictures(pictures, width, height, folder);
}

/** Writes RGB pictures of one size as PNGs, small ones enlarged. @returns The files. @throws As writeAttention(). */
export async function writePictures(
  pictures: readonly (readonly [name: string, rgb: Uint8Array])[],
  width: number,
  height: number,
  folder: string,
): Promise<string[]> {
  const wanted = Math.ceil(MIN_PICTURE_SIDE / Math.min(width, height));
  const factor = Math.max(1, Math.min(wanted, Math.floor(MAX_ENLARGED_SIDE / Math.max(width, height))));
  const enlarged = { width: width * factor, height: height * factor, kernel: 'nearest' } as const;
  const files: string[] = [];
  makeFolder(folder, { within: folder });
  checkPictures(
    [folder],
    pictures.map(([name]) => name),
    folder,
  );
  for (const [name, rgb] of pictures) {
    const file = path.join(folder, name);
    const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
      .resize(enlarged)
      .png()
      .toBuffer();
    writeFileWhole(file, marked(png), { flush: false });
    files.push(file);
  }
  return files;
}
