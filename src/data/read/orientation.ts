/**
 * The orientation that libvips doesn't see: where EXIF has none, Pillow's exif_transpose takes that of the XMP, and of a PNG
 * also that of an EXIF block kept as text ("Raw profile type exif", as ImageMagick writes it).
 */
import { inflateSync } from 'node:zlib';
import type { DeepImage, PixelImage } from '../crops/crops.js';
import { TAG, TiffDirectory } from './tiff-header.js';

/** EXIF's numbers: 1 upright, 2 to 8 mirrored, turned, or both. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const asOrientation = (value: number | undefined): Orientation =>
  value !== undefined && value >= 2 && value <= 8 ? (value as Orientation) : 1;

/** Metadata of a file that may hold an orientation. */
interface Found {
  exif?: Uint8Array | undefined;
  /** An EXIF block that libvips does not look at. */
  rawExif?: Uint8Array | undefined;
  xmp?: Uint8Array | undefined;
}

/** The orientation in an EXIF block; undefined when it has none. */
function exifOrientation(exif: Uint8Array): number | undefined {
  const start = latin1(exif, 0, 4) === 'Exif' ? exif.subarray(6) : exif;
  try {
    return new TiffDirectory(start).number(TAG.orientation);
  } catch {
    return undefined;
  }
}

/** The orientation in an XMP packet, found as Pillow does. */
export function xmpOrientation(xmp: Uint8Array): Orientation {
  const text = latin1(xmp, 0, Math.min(xmp.length, 2 ** 20));
  return asOrientation(Number(/tiff:Orientation(?:="|>)([0-9])/.exec(text)?.[1] ?? 1));
}

const latin1 = (bytes: Uint8Array, from: number, to: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1', from, to);

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const XMP_OF_JPEG = 'http://ns.adobe.com/xap/1.0/\0';

/** Looks through the segments before the pixels. */
function inJpeg(bytes: Uint8Array): Found {
  const found: Found = {};
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at++; // fill byte
      continue;
    }
    if (marker === 0xda || marker === 0xd9) break;
    const end = at + 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (marker === 0xe1 && end <= bytes.length) {
      const start = latin1(bytes, at + 4, Math.min(at + 4 + XMP_OF_JPEG.length, end));
      if (start.startsWith('Exif\0')) found.exif ??= bytes.subarray(at + 4, end);
      else if (start === XMP_OF_JPEG) found.xmp = bytes.subarray(at + 4 + XMP_OF_JPEG.length, end);
    }
    at = end;
  }
  return found;
}

function inWebp(bytes: Uint8Array): Found {
  const found: Found = {};
  // only an extended file has metadata
  if (latin1(bytes, 12, 16) !== 'VP8X') return found;
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length;) {
    const [name, size] = [latin1(bytes, at, at + 4), view.getUint32(at + 4, true)];
    const content = bytes.subarray(at + 8, at + 8 + size);
    if (name === 'EXIF') found.exif ??= content;
    if (name === 'XMP ') found.xmp ??= content;
    at += 8 + size + (size & 1);
  }
  return found;
}

/** Texts that unpack to more than this are passed over. */
const MOST_TEXT = 2 ** 22;

function inflated(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return inflateSync(bytes, { maxOutputLength: MOST_TEXT });
  } catch {
    return undefined;
  }
}

const IDAT = 0x49444154;

function inPng(bytes: Uint8Array): Found {
  const found: Found = {};
  const view = viewOf(bytes);
  for (let at = 8; at + 12 <= bytes.length;) {
    const size = view.getUint32(at);
    if (view.getUint32(at + 4) === IDAT) {
      at += 12 + size; // there may be thousands of them
      continue;
    }
    const name = latin1(bytes, at + 4, at + 8);
    const content = bytes.subarray(at + 8, at + 8 + size);
    if (name === 'eXIf') found.exif ??= content;
    else if (name === 'iTXt' || name === 'zTXt' || name === 'tEXt') addText(found, name, content);
    at += 12 + size;
  }
  return found;
}

const XMP_OF_PNG = 'XML:com.adobe.xmp';
const RAW_EXIF = 'Raw profile type exif';

function addText(found: Found, kind: string, content: Uint8Array): void {
  const end = content.indexOf(0);
  const keyword = end < 0 || end > 79 ? '' : latin1(content, 0, end);
  if (keyword === XMP_OF_PNG && kind === 'iTXt') {
    // after the keyword: whether it is deflated, how, a language, the keyword in that language
    const language = content.indexOf(0, end + 3);
    const text = content.subarray(content.indexOf(0, language + 1) + 1);
    found.xmp = content[end + 1] === 1 ? inflated(text) : text;
  }
  if (keyword === RAW_EXIF && kind !== 'iTXt') {
    const text = kind === 'zTXt' ? inflated(content.subarray(end + 2)) : content.subarray(end + 1);
    // three lines: nothing, the profile's name, its length; then hexadecimal numbers
    if (text !== undefined && text.length <= MOST_TEXT)
      found.rawExif = Buffer.from(latin1(text, 0, text.length).split('\n').slice(3).join(''), 'hex');
  }
}

/** The orientation that is left to apply to what libvips gives, which has applied that in EXIF. */
export function hiddenOrientation(bytes: Uint8Array, format: 'JPEG' | 'PNG' | 'WebP'): Orientation {
  const find = { JPEG: inJpeg, PNG: inPng, WebP: inWebp }[format];
  const { exif, rawExif, xmp } = find(bytes);
  const raw = exif === undefined && rawExif !== undefined ? exifOrientation(rawExif) : undefined;
  if (raw !== undefined) return asOrientation(raw);
  const said = xmp === undefined ? 1 : xmpOrientation(xmp);
  // the EXIF block is looked at last: most photographs have one, few have an orientation elsewhere
  return said !== 1 && exif !== undefined && exifOrientation(exif) !== undefined ? 1 : said;
}

/**
 * The orientation that is left to apply to a TIFF.
 * @param isOwn - Whether nobody has applied that of its tag.
 */
export function tiffOrientation(tags: TiffDirectory, isOwn: boolean): Orientation {
  const own = tags.number(TAG.orientation);
  if (own !== undefined) return isOwn ? asOrientation(own) : 1;
  const xmp = tags.content(TAG.xmp);
  return xmp === undefined ? 1 : xmpOrientation(xmp);
}

/** The orientation that is left to apply to an AVIF: its decoder applies the one that the container has, and no other. */
export function avifOrientation(bytes: Uint8Array): Orientation {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const xmp = file.indexOf('tiff:Orientation');
  if (xmp < 0) return 1;
  const pixels = file.indexOf('mdat');
  const isTurned = ['irot', 'imir'].some((box) => {
    const at = file.indexOf(box);
    return at >= 0 && at < pixels;
  });
  if (isTurned) return 1;
  const exif = file.indexOf('Exif\0\0');
  if (exif >= 0 && exifOrientation(file.subarray(exif)) !== undefined) return 1;
  return xmpOrientation(file.subarray(xmp, xmp + 64));
}

/** An image as it looks upright: its pixels in another order. */
export function turned<Image extends PixelImage | DeepImage>(image: Image, orientation: Orientation): Image {
  if (orientation === 1) return image;
  const { width, height, channels, data } = image;
  const isSwapped = orientation >= 5;
  const [outWidth, outHeight] = isSwapped ? [height, width] : [width, height];
  const size = width * height * channels;
  const out = data instanceof Uint16Array ? new Uint16Array(size) : new Uint8Array(size);
  // of a pixel of the result: which of the stored image's
  const isMirroredX = [2, 3, 7, 8].includes(orientation);
  const isMirroredY = [3, 4, 6, 7].includes(orientation);
  for (let y = 0, to = 0; y < outHeight; y++)
    for (let x = 0; x < outWidth; x++) {
      const [column, row] = isSwapped ? [y, x] : [x, y];
      const from =
        ((isMirroredY ? height - 1 - row : row) * width + (isMirroredX ? width - 1 - column : column)) *
        channels;
      for (let i = 0; i < channels; i++) out[to++] = data[from + i]!;
    }
  return { ...image, data: out, width: outWidth, height: outHeight };
}
