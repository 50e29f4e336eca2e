/**
 * PNGs whose pixels are numbers of objects, not colours: the masks of DAVIS and Pascal VOC. sharp would look the palette
 * up and give colours, so these go through fast-png.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { decode, encode, hasPngSignature } from 'fast-png';
import { DataError } from '../errors.js';
import { MAX_PIXELS } from './decode.js';

export interface LabelImage {
  width: number;
  height: number;
  /** (height, width): the palette's index of each pixel, or the gray value of a picture without a palette. */
  labels: Uint8Array;
}

/** Red, green, blue of each index, 0 to 255. */
export type Palette = readonly (readonly [number, number, number])[];

/**
 * The colours of DAVIS's own annotations, which the reference reads from a web page: Pascal VOC's first 22 with 191 in
 * place of 192, then grays.
 */
export const DAVIS_PALETTE: Palette = Array.from({ length: 256 }, (_, index) => {
  if (index >= 22) return [index, index, index] as const;
  const channel = (bit: number): number => {
    // VOC spreads the index's bits over the channels: bits 0, 3 are red's two highest, 1, 4 green's, 2, 5 blue's
    const high = (index >> bit) & 1;
    const low = (index >> (bit + 3)) & 1;
    return high !== 0 && low !== 0 ? 191 : 128 * high + 64 * low;
  };
  return [channel(0), channel(1), channel(2)] as const;
});

/** Width and height from a PNG's first 24 bytes; null when it is none. */
function headerSize(bytes: Uint8Array): { width: number; height: number } | null {
  if (bytes.length < 24 || !hasPngSignature(bytes)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/**
 * Reads a PNG as numbers: indices of a palette, or gray values.
 *
 * @throws DataError that names the file: missing, damaged, no PNG, too large, or colours without a palette.
 */
export async function readLabelImage(file: string): Promise<LabelImage> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : String(error);
    throw new DataError(`Can't read the mask ${file}: ${reason}`, { cause: error });
  }
  const size = headerSize(bytes);
  if (size === null) throw new DataError(`Can't read the mask ${file}: it is not a PNG`);
  const { width, height } = size;
  if (width * height > MAX_PIXELS) {
    throw new DataError(`Can't read the mask ${file}: ${width} x ${height} pixels, more than ${MAX_PIXELS}`);
  }
  let png: ReturnType<typeof decode>;
  try {
    png = decode(bytes);
  } catch (error) {
    throw new DataError(`Can't read the mask ${file}: damaged PNG (${(error as Error).message})`, {
      cause: error,
    });
  }
  const packed = png.depth === 16 ? null : grayOf(png.data as Uint8Array, png.channels);
  if (packed === null) {
    throw new DataError(
      `Can't read the mask ${file}: ${png.channels} channels of ${png.depth} bits; ` +
        'expected indices of a palette or gray values, 8 bits at most',
    );
  }
  return { width, height, labels: png.depth === 8 ? packed : unpack(packed, width, height, png.depth) };
}

/** Masks are also saved as gray pictures of several channels: alpha is dropped; null when there are colours. */
function grayOf(data: Uint8Array, channels: number): Uint8Array | null {
  if (channels === 1) return data;
  const gray = data.filter((_, i) => i % channels === 0);
  const isGray =
    channels === 2 || gray.every((v, i) => v === data[i * channels + 1] && v === data[i * channels + 2]);
  return isGray ? gray : null;
}

/** Pixels of 1, 2 or 4 bits, rows padded to whole bytes, to one byte each. */
function unpack(packed: Uint8Array, width: number, height: number, depth: number): Uint8Array {
  const rowBytes = Math.ceil((width * depth) / 8);
  const perByte = 8 / depth;
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = packed[y * rowBytes + Math.floor(x / perByte)]!;
      labels[y * width + x] = (byte >> (8 - depth * (1 + (x % perByte)))) & (2 ** depth - 1);
    }
  }
  return labels;
}

/** Width and height of a PNG from its header alone. @throws DataError as readLabelImage(). */
export async function labelImageSize(file: string): Promise<{ width: number; height: number }> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new DataError(`Can't read the mask ${file}: ${(error as Error).message}`, { cause: error });
  }
  const size = headerSize(bytes);
  if (size === null) throw new DataError(`Can't read the mask ${file}: it is not a PNG`);
  return size;
}

/** Writes labels as an indexed PNG. @throws DataError when the file can't be written. */
export async function writeLabelImage(
  file: string,
  image: LabelImage,
  palette: Palette = DAVIS_PALETTE,
): Promise<void> {
  const { width, height, labels } = image;
  const colours = palette.map((colour) => [...colour] as [number, number, number]);
  const bytes = encode({ width, height, data: labels, channels: 1, depth: 8, palette: colours });
  try {
    await writeFile(file, bytes);
  } catch (error) {
    throw new DataError(`${file} can't be written: ${(error as Error).message}`, { cause: error });
  }
}
