/** Pictures for the page: decoded, made small and written anew as WebP. */
import sharp from 'sharp';
import { DataError } from '../errors.js';

/** An image beyond this is not decoded, 16,000 x 16,000: a small file can claim any size. */
export const PIXEL_LIMIT = 2 ** 28;

/** @throws DataError when it can't be decoded. */
export async function thumbnailOf(
  source: string | Uint8Array,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const image = sharp(source, { limitInputPixels: PIXEL_LIMIT, failOn: 'error' }).rotate();
    const small = image.resize(size, size, { fit: 'inside', withoutEnlargement: true });
    return new Uint8Array(await small.webp({ quality: 82 }).toBuffer());
  } catch (error) {
    const name = typeof source === 'string' ? source : 'the image';
    throw new DataError(`${name} can't be decoded: ${(error as Error).message}`, { cause: error });
  }
}
