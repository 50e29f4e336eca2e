/**
 * From an image file to the channels that it stores, 16 bits each, where `--channels` asks for that. decode.ts makes 8-bit RGB
 * of every image instead. Values of 8 bits are multiplied by 257, so that white is 65535 whatever a file's depth; nothing is
 * converted between colours, and nothing is decoded at reduced size. An alpha channel is dropped unless it is asked for.
 */
import sharp from 'sharp';
import { DataError } from '../../errors.js';
import { countChannels } from '../../plain/channels.js';
import type { DeepImage, PixelImage } from '../crops/crops.js';
import { asReason, decodeBytes, optionsFor } from './decode.js';
import { type ImageFormat, imageFormat } from './image-format.js';
import { openBytes } from './open-image.js';
import { tiffOrientation, turned } from './orientation.js';
import { readDeepPnm } from './pnm.js';
import { TiffDirectory } from './tiff-header.js';
import { readDeepTiff } from './tiff-pixels.js';
import { deepReader, tiffVariant } from './tiff-variant.js';

/** An image and what is known of its last channel. */
interface Stored {
  image: DeepImage;
  hasAlpha: boolean;
}

/**
 * Decodes the bytes of a file, upright.
 * @param channels - How many it must have.
 * @throws DataError with a one-line reason, also for an image of another number of channels
 */
export async function decodeDeep(bytes: Uint8Array, channels: number): Promise<DeepImage> {
  const format = imageFormat(bytes);
  try {
    const { image, hasAlpha } = await storedChannels(bytes, format);
    if (image.channels === channels) return image;
    if (hasAlpha && image.channels === channels + 1) return withoutLast(image);
    throw new DataError(`it has ${countChannels(image.channels)}, not the ${channels} of --channels`);
  } catch (error) {
    throw asReason(error, format, bytes);
  }
}

async function storedChannels(bytes: Uint8Array, format: ImageFormat): Promise<Stored> {
  if (format === 'PNM') return { image: readDeepPnm(bytes), hasAlpha: false };
  if (format === 'TIFF') {
    const tags = new TiffDirectory(bytes);
    const variant = tiffVariant(tags);
    if (deepReader(variant) === 'here') {
      const image = turned(readDeepTiff(tags, variant), tiffOrientation(tags, true));
      return { image, hasAlpha: variant.hasAlpha };
    }
  }
  const opened = openBytes(bytes);
  if (opened.own !== null || opened.isCmyk) return ofBytes(await decodeBytes(bytes));
  const { depth, space = '' } = await sharp(opened.bytes, optionsFor(format)).metadata();
  const isGray = space === 'b-w' || space === 'grey16';
  if (depth !== 'ushort' && !isGray) return ofBytes(await decodeBytes(bytes));
  // sharp would make RGB of gray, and 8 bits of 16
  const { data, info } = await sharp(opened.bytes, optionsFor(format))
    .toColourspace(depth === 'ushort' ? (isGray ? 'grey16' : 'rgb16') : 'b-w')
    .raw(depth === 'ushort' ? { depth: 'ushort' } : {})
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const hasAlpha = channels === 2 || channels === 4;
  if (depth !== 'ushort') {
    const { image } = ofBytes({ data, width, height, channels });
    return { image: turned(image, opened.turn), hasAlpha };
  }
  const values = new Uint16Array(new Uint8Array(data).buffer); // a copy, which begins at an even address
  return { image: turned({ data: values, width, height, channels }, opened.turn), hasAlpha };
}

/** 8-bit pixels at 16 bits. */
function ofBytes({ data, width, height, channels }: PixelImage): Stored {
  const count = width * height * channels;
  const values = new Uint16Array(count);
  for (let i = 0; i < count; i++) values[i] = data[i]! * 257;
  return { image: { data: values, width, height, channels }, hasAlpha: channels === 2 || channels === 4 };
}

function withoutLast({ data, width, height, channels }: DeepImage): DeepImage {
  const kept = channels - 1;
  const out = new Uint16Array(width * height * kept);
  for (let from = 0, to = 0; to < out.length; from += channels, to += kept)
    for (let i = 0; i < kept; i++) out[to + i] = data[from + i]!;
  return { data: out, width, height, channels: kept };
}
