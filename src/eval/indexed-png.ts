/**
 * PNGs whose pixels are object numbers, not colours: the masks of DAVIS and Pascal VOC. sharp would apply the palette
 * and return colours, so fast-png decodes these.
 */
import type { FileHandle } from 'node:fs/promises';
import { inflateSync } from 'node:zlib';
import { decode, encode, hasPngSignature } from 'fast-png';
import { DataError } from '../errors.js';
import { writeFileWhole } from '../files/atomic-file.js';
import { openHandle } from '../files/guarded.js';
import { MAX_IMAGE_BYTES, MAX_PIXELS } from '../data/read/image-format.js';

export interface LabelImage {
  width: number;
  height: number;
  /** (height, width): the palette's index of each pixel, or the gray value of a picture without a palette. */
  labels: Uint8Array;
}

/** Red, green, blue of each index, 0 to 255. */
export type Palette = readonly (readonly [number, number, number])[];

/**
 * The colours of DAVIS's own annotations, which the reference reads from a web page: Pascal VOC's first 22 with 191 instead
 * of 192, then grays.
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

async function withMask(file: string, read: (handle: FileHandle) => Promise<Buffer>): Promise<Buffer> {
  try {
    const handle = await openHandle(file, { maxBytes: MAX_IMAGE_BYTES });
    return await read(handle).finally(() => handle.close());
  } catch (error) {
    throw new DataError(`Can't read the mask: ${(error as Error).message}`, { cause: error });
  }
}

/** Width and height from a PNG's first 24 bytes; null when it is not a PNG. */
function headerSize(bytes: Uint8Array): { width: number; height: number } | null {
  if (bytes.length < 24 || !hasPngSignature(bytes)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/**
 * Reads a PNG as numbers: indices of a palette, or gray values.
 *
 * @throws DataError that names the file: missing, damaged, not a PNG, too large, or in colours without a palette.
 */
export async function readLabelImage(file: string): Promise<LabelImage> {
  const bytes = await withMask(file, (handle) => handle.readFile());
  const size = headerSize(bytes);
  if (size === null) throw new DataError(`Can't read the mask ${file}: it is not a PNG`);
  const { width, height } = size;
  if (width * height > MAX_PIXELS) {
    throw new DataError(`Can't read the mask ${file}: ${width} x ${height} pixels, more than ${MAX_PIXELS}`);
  }
  let png: ReturnType<typeof decode>;
  try {
    png = decode(pixelsAlone(bytes, size));
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

/** What makes the pixels; texts and profiles, which may unpack to a thousand times their size, are not needed. */
const PIXEL_CHUNKS = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND'];

/**
 * A PNG without what isn't pixels.
 * @throws Error when it unpacks to more than its pixels take.
 */
function pixelsAlone(bytes: Uint8Array, { width, height }: { width: number; height: number }): Buffer {
  const png = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kept = [png.subarray(0, 8)];
  const packed: Buffer[] = [];
  for (let at = 8; at + 12 <= png.length;) {
    const end = at + 12 + png.readUInt32BE(at);
    const name = png.toString('latin1', at + 4, at + 8);
    if (PIXEL_CHUNKS.includes(name)) kept.push(png.subarray(at, end));
    if (name === 'IDAT') packed.push(png.subarray(at + 8, end - 4));
    at = end;
  }
  // four channels of 16 bits, a byte before each row, and rows of their own when it is interlaced
  const most = height * (8 * width + 16) + 2 ** 16;
  inflateSync(Buffer.concat(packed), { maxOutputLength: most });
  return Buffer.concat(kept);
}

/** Width and height of a PNG, read only from its header. @throws DataError as readLabelImage(). */
export async function labelImageSize(file: string): Promise<{ width: number; height: number }> {
  const bytes = await withMask(file, async (handle) => {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(24), 0, 24, 0);
    return buffer.subarray(0, bytesRead);
  });
  const size = headerSize(bytes);
  if (size === null) throw new DataError(`Can't read the mask ${file}: it is not a PNG`);
  return size;
}

/** Writes labels as an indexed PNG. @throws DataError when the file can't be written; an existing one is then untouched. */
export function writeLabelImage(file: string, image: LabelImage, palette: Palette = DAVIS_PALETTE): void {
  const { width, height, labels } = image;
  const colours = palette.map((colour) => [...colour] as [number, number, number]);
  const bytes = encode({ width, height, data: labels, channels: 1, depth: 8, palette: colours });
  writeFileWhole(file, bytes, { flush: false });
}
