/** The public way to decode one image: decode.ts is also what loader workers start with, and checks no arguments. */
import { checkCall, finite, optionsOf } from '../../plain/check-options.js';
import { image } from '../arguments.js';
import { decodeImage as decode, type DecodeImageOptions, type RgbImage } from './decode.js';
import type { EncodedImage } from './encoded-image.js';

const decodeOptions = optionsOf<DecodeImageOptions>({}, { maxSide: finite.min(1) });

/**
 * Decodes an image to RGB as Pillow's `convert("RGB")` would (departures: see the top of src/data/read/decode.ts).
 * @param input a path, or the bytes of a file
 * @throws ConfigError for what is neither, DataError that names the file and the reason
 */
export async function decodeImage(input: EncodedImage, options: DecodeImageOptions = {}): Promise<RgbImage> {
  checkCall('decodeImage()', ['input', image, input], ['options', decodeOptions, options]);
  return decode(input, options);
}
