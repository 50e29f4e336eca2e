/** decodeImage() of the public API. It is not in decode.ts because loader workers load that, and don't check arguments. */
import { checkCall, finite, optionsOf } from '../../plain/check-options.js';
import { image } from '../arguments.js';
import { decodeImage as decode, type DecodeImageOptions, type RgbImage } from './decode.js';
import type { EncodedImage } from './encoded-image.js';

const decodeOptions = optionsOf<DecodeImageOptions>({}, { maxSide: finite.min(1) });

/**
 * Decodes an image to RGB as Pillow's `convert("RGB")` would (departures: see the top of src/data/read/decode.ts).
 * @param input - A path, or the bytes of a file.
 * @throws ConfigError when it is neither; DataError that names the file and the reason
 */
export async function decodeImage(input: EncodedImage, options: DecodeImageOptions = {}): Promise<RgbImage> {
  checkCall('decodeImage()', ['input', image, input], ['options', decodeOptions, options]);
  return decode(input, options);
}
