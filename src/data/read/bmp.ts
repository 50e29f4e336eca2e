/**
 * Reads Windows and OS/2 bitmaps, to the level as Pillow's BmpImagePlugin does: 1, 4 or 8 bits with a palette, 16, 24 or 32
 * bits, RLE4 and RLE8. Others (JPEG or PNG within, other bit masks) are refused, as there.
 */
import { DataError } from '../../errors.js';
import type { PixelImage } from '../crops/crops.js';
import { checkPixels } from './image-format.js';

/** Values of the field "compression". */
const [RAW, RLE8, RLE4, BITFIELDS] = [0, 1, 2, 3];
const METHODS: Readonly<Record<number, string>> = { 4: 'JPEG within', 5: 'PNG within' };

export interface BmpHeader {
  width: number;
  height: number;
  isTopDown: boolean;
  bits: number;
  compression: number;
  /** Where the pixels begin. */
  start: number;
  /** Where the palette begins, its entries and bytes of each. */
  palette: { at: number; count: number; step: number };
  /** Red, green, blue: where each begins in a pixel, in bits, and how many it has. */
  masks: { shift: number; bits: number }[];
}

const damaged = (what: string) => new DataError(`damaged BMP: ${what}`);
const notRead = (what: string) => new DataError(`BMP with ${what}, which is not read`);

/** @throws DataError with only the reason, also for images of too many pixels */
export function bmpHeader(bytes: Uint8Array): BmpHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const size = view.getUint32(14, true);
    if (![12, 40, 52, 56, 64, 108, 124].includes(size)) throw notRead(`a header of ${size} bytes`);
    const header = size === 12 ? coreHeader(view) : infoHeader(view, size);
    const { width, height, bits } = header;
    if (width < 1 || height < 1) throw damaged('it has no width or height');
    checkPixels('BMP', width, height);
    if (![1, 4, 8, 16, 24, 32].includes(bits)) throw notRead(`${bits} bits per pixel`);
    return header;
  } catch (error) {
    if (error instanceof RangeError) throw damaged('the end of the file is missing');
    throw error;
  }
}

const MASKS_15 = [10, 5, 0].map((shift) => ({ shift, bits: 5 }));
const MASKS_24 = [16, 8, 0].map((shift) => ({ shift, bits: 8 }));
const masksOf = (bits: number) => (bits === 16 ? MASKS_15 : MASKS_24);

function coreHeader(view: DataView): BmpHeader {
  const bits = view.getUint16(24, true);
  const palette = { at: 26, count: bits <= 8 ? 1 << bits : 0, step: 3 };
  return {
    ...{ width: view.getUint16(18, true), height: view.getUint16(20, true), isTopDown: false },
    ...{ bits, compression: RAW, palette, masks: masksOf(bits) },
    start: startOf(view, 26, palette),
  };
}

function infoHeader(view: DataView, size: number): BmpHeader {
  const height = view.getInt32(22, true);
  const [bits, compression] = [view.getUint16(28, true), view.getUint32(30, true)];
  if (compression > BITFIELDS) throw notRead(METHODS[compression] ?? `compression ${compression}`);
  if ((compression === RLE8 && bits !== 8) || (compression === RLE4 && bits !== 4))
    throw damaged(`run-length compression of ${bits} bits`);
  const masks = compression === BITFIELDS ? bitMasks(view, size, bits) : masksOf(bits);
  const colours = view.getUint32(46, true);
  if (bits <= 8 && colours > 65536) throw damaged(`a palette of ${colours} colours`);
  const palette = { at: 14 + size, count: bits > 8 ? 0 : colours === 0 ? 1 << bits : colours, step: 4 };
  return {
    ...{ width: view.getInt32(18, true), height: Math.abs(height), isTopDown: height < 0 },
    ...{ bits, compression, palette, masks },
    start: startOf(view, 14 + size, palette),
  };
}

/** Where the pixels begin, as Pillow has it: a header that leaves no room for the palette is taken to mean its end. */
function startOf(view: DataView, after: number, { count, step }: BmpHeader['palette']): number {
  const start = view.getUint32(10, true);
  return start === after || start === 0 ? after + count * step : start;
}

/** The masks that Pillow knows, by the bits of a pixel: red, green, blue. */
const KNOWN_MASKS: Readonly<Record<number, readonly (readonly number[])[]>> = {
  16: [
    [0xf800, 0x7e0, 0x1f],
    [0x7c00, 0x3e0, 0x1f],
  ],
  24: [[0xff0000, 0xff00, 0xff]],
  32: [
    [0xff0000, 0xff00, 0xff],
    [0xff000000, 0xff0000, 0xff00],
    [0xff000000, 0xff00, 0xff],
    [0xff, 0xff00, 0xff0000],
    [0, 0, 0],
  ],
};

function bitMasks(view: DataView, size: number, bits: number): BmpHeader['masks'] {
  // they follow the shortest header, and are part of the longer ones at the same place
  const masks = [54, 58, 62].map((at) => view.getUint32(at, true));
  const isKnown = (KNOWN_MASKS[bits] ?? []).some((known) => known.join() === masks.join());
  if (!isKnown || size === 64) {
    const shown = masks.map((mask) => mask.toString(16)).join(', ');
    throw notRead(`the bit masks ${shown} in ${bits} bits`);
  }
  if (masks.every((mask) => mask === 0)) return MASKS_24;
  return masks.map((mask) => {
    const shift = 31 - Math.clz32(mask & -mask);
    return { shift, bits: 32 - Math.clz32(mask >>> shift) };
  });
}

/** (palette size, 3): colours as they are stored, or grays where Pillow takes the palette for gray. */
function paletteOf(bytes: Uint8Array, { palette: { at, count, step } }: BmpHeader): Uint8Array {
  const colours = new Uint8Array(3 * 256);
  if (at + count * step > bytes.length) throw damaged('the end of the file is missing');
  let isGray = true;
  for (let i = 0; i < count; i++) {
    const [blue, green, red] = bytes.subarray(at + i * step, at + i * step + 3) as unknown as [
      number,
      number,
      number,
    ];
    if (i < 256) colours.set([red, green, blue], 3 * i);
    const gray = count === 2 ? 255 * i : i;
    if (red !== gray || green !== gray || blue !== gray) isGray = false;
  }
  // an index beyond a gray palette is a gray too
  if (isGray && count > 2) for (let i = 0; i < 256; i++) colours.fill(i, 3 * i, 3 * i + 3);
  return colours;
}

/** @throws DataError with only the reason */
export function readBmp(bytes: Uint8Array): PixelImage {
  const header = bmpHeader(bytes);
  const { width, height, bits, compression, start, isTopDown } = header;
  const isPacked = compression === RLE8 || compression === RLE4;
  const rowBytes = isPacked ? width : Math.ceil((width * bits) / 32) * 4;
  // the last row need not be filled to four bytes
  const least = rowBytes * (height - 1) + Math.ceil((width * bits) / 8);
  if (!isPacked && start + least > bytes.length) throw damaged('the end of the file is missing');
  const stored = isPacked ? unpackRuns(bytes, header) : bytes.subarray(start);
  const palette = bits <= 8 ? paletteOf(bytes, header) : null;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = stored.subarray((isTopDown ? y : height - 1 - y) * rowBytes);
    const out = data.subarray(y * width * 3, (y + 1) * width * 3);
    if (palette !== null) paletteRow(row, out, isPacked ? 8 : bits, palette);
    else colourRow(row, out, header);
  }
  return { data, width, height, channels: 3 };
}

function paletteRow(row: Uint8Array, out: Uint8Array, bits: number, palette: Uint8Array): void {
  const perByte = 8 / bits;
  for (let x = 0; 3 * x < out.length; x++) {
    const shift = 8 - bits * (1 + (x % perByte));
    const index = 3 * ((row[Math.floor(x / perByte)]! >> shift) & ((1 << bits) - 1));
    for (let i = 0; i < 3; i++) out[3 * x + i] = palette[index + i]!;
  }
}

function colourRow(row: Uint8Array, out: Uint8Array, { bits, masks }: BmpHeader): void {
  const step = bits / 8;
  for (let x = 0; 3 * x < out.length; x++) {
    const at = x * step;
    const low = row[at]! | (row[at + 1]! << 8);
    const pixel = step === 2 ? low : low | (row[at + 2]! << 16) | (step === 4 ? row[at + 3]! << 24 : 0);
    for (let i = 0; i < 3; i++) {
      const { shift, bits: own } = masks[i]!;
      const most = (1 << own) - 1;
      const value = (pixel >>> shift) & most;
      out[3 * x + i] = own === 8 ? value : Math.floor((value * 255) / most);
    }
  }
}

/** RLE4 and RLE8 to one index a byte, rows from the bottom up. Runs end at their row, as in Pillow. */
function unpackRuns(bytes: Uint8Array, { width, height, start, compression }: BmpHeader): Uint8Array {
  const out = new Uint8Array(width * height);
  const isNibbles = compression === RLE4;
  let [at, done, x] = [start, 0, 0];
  while (done < out.length && at + 1 < bytes.length) {
    const [count, value] = [bytes[at]!, bytes[at + 1]!];
    at += 2;
    if (count > 0) {
      const run = Math.min(count, Math.max(0, width - x), out.length - done);
      for (let i = 0; i < run; i++)
        out[done + i] = !isNibbles ? value : i % 2 === 0 ? value >> 4 : value & 15;
      done += run;
      x += run;
    } else if (value === 0) {
      done = Math.ceil(done / width) * width;
      x = 0;
    } else if (value === 1) break;
    else if (value === 2) {
      if (at + 1 >= bytes.length) break;
      done = Math.min(out.length, done + bytes[at]! + bytes[at + 1]! * width);
      x = done % width;
      at += 2;
    } else {
      const pixels = Math.min(value, out.length - done);
      const size = isNibbles ? (pixels + 1) >> 1 : pixels;
      if (at + size > bytes.length) break;
      for (let i = 0; i < pixels; i++)
        out[done + i] = isNibbles ? (bytes[at + (i >> 1)]! >> (i % 2 === 0 ? 4 : 0)) & 15 : bytes[at + i]!;
      done += pixels;
      x += value;
      at += size + ((at + size) & 1); // to an even place of the file
    }
  }
  if (done < out.length) throw damaged('its runs end before the image does');
  return out;
}
