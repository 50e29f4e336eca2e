/**
 * Reads the TIFFs that libvips takes for something else, or refuses: more bands than an image has, colours multiplied by
 * their alpha, palettes with alpha, CMYK of 16 bits, YCbCr that is not JPEG, CIELAB, 12 bits. Values are Pillow's where it
 * reads such a file; of 12 and 16 bits the highest 8 are kept (decode.ts says why), signed 16-bit gray is clipped to 0 to
 * 255. readDeepTiff() gives all bands at 16 bits, for images whose channels are taken as they are. YCbCr and CIELAB are computed by formulas, where Pillow looks them up in tables: docs/data.md has the differences.
 */
import { DataError } from '../../errors.js';
import { cmykToRgb, type DeepImage, type PixelImage } from '../crops/crops.js';
import { MOST_CHANNELS } from '../../plain/channels.js';
import { MAX_IMAGE_BYTES, MAX_PIXELS } from './image-format.js';
import { TAG, type TiffDirectory } from './tiff-header.js';
import { COLOUR_SAMPLES, type TiffVariant } from './tiff-variant.js';
import { unpackTiff } from './unpack-tiff.js';

/** How the pixels are cut: into strips over the whole width, or into tiles. */
interface Blocks {
  width: number;
  height: number;
  across: number;
  down: number;
  isTiled: boolean;
  offsets: number[];
  bytes: number[];
}

const damaged = (what: string) => new DataError(`damaged TIFF: ${what}`);

function blocksOf(tags: TiffDirectory, { width, height, isPlanar, samples }: TiffVariant): Blocks {
  const tileWidth = tags.number(TAG.tileWidth);
  const isTiled = tileWidth !== undefined;
  const size = isTiled
    ? { width: tileWidth, height: tags.number(TAG.tileHeight) ?? 0 }
    : { width, height: Math.min(tags.number(TAG.rowsPerStrip) ?? height, height) };
  if (size.width < 1 || size.height < 1) throw damaged('its strips or tiles have no size');
  const [across, down] = [Math.ceil(width / size.width), Math.ceil(height / size.height)];
  const count = across * down * (isPlanar ? samples : 1);
  const offsets = tags.numbers(isTiled ? TAG.tileOffsets : TAG.stripOffsets, count);
  const bytes = tags.numbers(isTiled ? TAG.tileBytes : TAG.stripBytes, count);
  if (offsets.length < count || bytes.length < count) throw damaged('strips or tiles are missing');
  if (offsets.some((offset, i) => offset + bytes[i]! > tags.bytes.length))
    throw damaged('the end of the file is missing');
  return { ...size, across, down, isTiled, offsets, bytes };
}

/** Unsigned samples of a block at 16 bits, 65535 for the highest value. */
function toDeep(
  block: Uint8Array,
  rows: number,
  perRow: number,
  { bits }: TiffVariant,
  little: boolean,
): Uint16Array {
  const out = new Uint16Array(rows * perRow);
  if (bits === 8) for (let i = 0; i < out.length; i++) out[i] = block[i]! * 257;
  else if (bits === 16) {
    const [low, high] = little ? [0, 1] : [1, 0];
    for (let i = 0; i < out.length; i++) out[i] = (block[2 * i + high]! << 8) | block[2 * i + low]!;
  } else {
    const rowBytes = Math.ceil((perRow * 12) / 8);
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < perRow; i++) {
        const at = row * rowBytes + ((3 * i) >> 1);
        const [first, second] = [block[at]!, block[at + 1]!];
        const value = (i & 1) === 0 ? (first << 4) | (second >> 4) : ((first & 15) << 8) | second;
        out[row * perRow + i] = (value << 4) | (value >> 8);
      }
  }
  return out;
}

/** Samples of a block as bytes: the highest 8 bits of each, or signed ones clipped. */
function toBytes(
  block: Uint8Array,
  rows: number,
  perRow: number,
  variant: TiffVariant,
  little: boolean,
): Uint8Array {
  const { bits, sampleFormat } = variant;
  if (bits === 8) return block;
  const out = new Uint8Array(rows * perRow);
  if (bits === 16) {
    const high = little ? 1 : 0;
    if (sampleFormat === 'unsigned') for (let i = 0; i < out.length; i++) out[i] = block[2 * i + high]!;
    else {
      const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
      for (let i = 0; i < out.length; i++) out[i] = Math.min(Math.max(view.getInt16(2 * i, little), 0), 255);
    }
    return out;
  }
  // 12 bits: two samples in three bytes, rows are filled to whole bytes
  const rowBytes = Math.ceil((perRow * 12) / 8);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < perRow; i++) {
      const at = row * rowBytes + ((3 * i) >> 1);
      out[row * perRow + i] = (i & 1) === 0 ? block[at]! : ((block[at]! << 4) | (block[at + 1]! >> 4)) & 255;
    }
  return out;
}

/** Undoes horizontal differences, in place: each sample was stored as what it differs from the pixel before. */
function addUp(
  block: Uint8Array,
  rows: number,
  perRow: number,
  step: number,
  bits: number,
  little: boolean,
): void {
  if (bits === 8) {
    for (let row = 0; row < rows; row++)
      for (let i = row * perRow + step; i < (row + 1) * perRow; i++) block[i] = block[i]! + block[i - step]!;
    return;
  }
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  for (let row = 0; row < rows; row++)
    for (let i = row * perRow + step; i < (row + 1) * perRow; i++)
      view.setUint16(2 * i, view.getUint16(2 * i, little) + view.getUint16(2 * (i - step), little), little);
}

/** YCbCr whose colours are stored for several pixels at once: units of the pixels' Y, then one Cb and one Cr. */
function spread(block: Uint8Array, width: number, rows: number, across: number, down: number): Uint8Array {
  const out = new Uint8Array(width * rows * 3);
  const unit = across * down + 2;
  const units = Math.ceil(width / across);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < width; x++) {
      const from = (Math.floor(y / down) * units + Math.floor(x / across)) * unit;
      const to = 3 * (y * width + x);
      out[to] = block[from + (y % down) * across + (x % across)]!;
      out[to + 1] = block[from + unit - 2]!;
      out[to + 2] = block[from + unit - 1]!;
    }
  return out;
}

/** How many pixels, across and down, share their colours. */
function subsampling(tags: TiffDirectory, { colours, isPlanar }: TiffVariant): [number, number] {
  if (colours !== 'ycbcr') return [1, 1];
  const [across = 2, down = 2] = tags.numbers(TAG.subsampling, 2);
  if (![1, 2, 4].includes(across) || ![1, 2, 4].includes(down))
    throw damaged(`YCbCr with subsampling ${across} x ${down}`);
  const isShared = across * down > 1;
  if (isShared && (isPlanar || (tags.number(TAG.predictor) ?? 1) !== 1))
    throw new DataError('TIFF of subsampled YCbCr in planes or with a predictor, which is not read');
  const range = tags.numbers(TAG.referenceBlackWhite, 6);
  if (range.length > 0 && range.join() !== '0,255,128,255,128,255')
    throw new DataError(`TIFF of YCbCr with the range ${range.join(' ')}, which is not read`);
  return [across, down];
}

/**
 * The samples of a pixel that are wanted, (height, width, `wanted`).
 * @param convert - Makes samples of a block's bytes.
 * @param out - Receives them.
 */
function storedSamples<Samples extends Uint8Array | Uint16Array>(
  tags: TiffDirectory,
  variant: TiffVariant,
  wanted: number,
  convert: (
    block: Uint8Array,
    rows: number,
    perRow: number,
    variant: TiffVariant,
    little: boolean,
  ) => Samples,
  out: Samples,
): Samples {
  const { width, height, bits, samples, isPlanar, compression } = variant;
  const little = tags.isLittleEndian;
  const predictor = tags.number(TAG.predictor) ?? 1;
  const isPredicted = predictor !== 1 && compression !== 1;
  if (isPredicted && (predictor !== 2 || bits === 12))
    throw new DataError(`TIFF of ${bits} bits with predictor ${predictor}, which is not read`);
  if (tags.number(TAG.fillOrder) === 2)
    throw new DataError('TIFF with reversed bits (fill order 2), which is not read in this variant');
  const [across, down] = subsampling(tags, variant);
  const isShared = across * down > 1;
  const blocks = blocksOf(tags, variant);
  const perPixel = isPlanar ? 1 : samples;
  const perRow = blocks.width * perPixel;
  const rowBytes = Math.ceil((perRow * bits) / 8);
  const sizeOf = (rows: number): number =>
    isShared
      ? Math.ceil(blocks.width / across) * Math.ceil(rows / down) * (across * down + 2)
      : rowBytes * rows;
  if (sizeOf(blocks.height) > 2 * MAX_IMAGE_BYTES)
    throw damaged(`a strip or tile of ${sizeOf(blocks.height)} bytes`);
  const planes = isPlanar ? wanted : 1;
  for (let index = 0; index < planes * blocks.across * blocks.down; index++) {
    const column = index % blocks.across;
    const line = Math.floor(index / blocks.across) % blocks.down;
    const plane = Math.floor(index / (blocks.across * blocks.down));
    const [left, top] = [column * blocks.width, line * blocks.height];
    const visible = Math.min(blocks.height, height - top);
    const rows = blocks.isTiled ? blocks.height : visible;
    const from = blocks.offsets[index]!;
    const packed = tags.bytes.subarray(from, from + blocks.bytes[index]!);
    const unpacked = unpackTiff(packed, compression, sizeOf(blocks.height));
    if (unpacked.length < sizeOf(rows)) throw damaged('a strip or tile ends early');
    if (isPredicted) addUp(unpacked, rows, perRow, perPixel, bits, little);
    const whole = isShared ? spread(unpacked, blocks.width, rows, across, down) : unpacked;
    const block = convert(whole, rows, perRow, variant, little);
    const [count, shift] = isPlanar ? [1, plane] : [wanted, 0];
    const columns = Math.min(blocks.width, width - left);
    for (let y = 0; y < visible; y++)
      for (let x = 0; x < columns; x++) {
        const source = (y * blocks.width + x) * perPixel;
        const target = ((top + y) * width + left + x) * wanted + shift;
        for (let i = 0; i < count; i++) out[target + i] = block[source + i] as number;
      }
  }
  return out;
}

/** Divides colours by the alpha that follows them, and drops it. A transparent pixel is black, as in Pillow. */
function divided(stored: Uint8Array, colours: number): Uint8Array {
  const step = colours + 1;
  const out = new Uint8Array((stored.length / step) * colours);
  for (let at = 0, to = 0; at < stored.length; at += step) {
    const alpha = stored[at + colours]!;
    for (let i = 0; i < colours; i++, to++)
      out[to] = alpha === 0 ? 0 : Math.min(255, Math.floor((255 * stored[at + i]!) / alpha));
  }
  return out;
}

const clip = (value: number): number => Math.min(255, Math.max(0, Math.round(value)));

/** JFIF's equations, in place. */
function fromYcbcr(pixels: Uint8Array): Uint8Array {
  for (let at = 0; at < pixels.length; at += 3) {
    const [y, cb, cr] = [pixels[at]!, pixels[at + 1]! - 128, pixels[at + 2]! - 128];
    pixels[at] = clip(y + 1.402 * cr);
    pixels[at + 1] = clip(y - 0.344136 * cb - 0.714136 * cr);
    pixels[at + 2] = clip(y + 1.772 * cb);
  }
  return pixels;
}

/** The palette holds all reds, all greens, all blues, 16 bits each; an index beyond it is black. */
function lookedUp(indices: Uint8Array, tags: TiffDirectory): Uint8Array {
  const map = tags.numbers(TAG.colorMap, 768);
  const size = map.length / 3;
  const out = new Uint8Array(indices.length * 3);
  for (const [at, index] of indices.entries())
    if (index < size) for (let i = 0; i < 3; i++) out[3 * at + i] = map[i * size + index]! >> 8;
  return out;
}

/** The D50 white of colour profiles, and from its XYZ to linear sRGB (the inverse of the sRGB profile's colorants). */
const WHITE = [0.9642, 1, 0.8249] as const;
const TO_SRGB = [
  [3.1338561, -1.6168667, -0.4906146],
  [-0.9787684, 1.9161415, 0.033454],
  [0.0719453, -0.2289914, 1.4052427],
] as const;

/** CIELAB of 8 bits to sRGB, in place: L of 0 to 255, a and b signed. */
function fromLab(pixels: Uint8Array): Uint8Array {
  const cube = (t: number) => (t > 6 / 29 ? t ** 3 : (t - 16 / 116) * 3 * (6 / 29) ** 2);
  const gamma = (v: number) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
  for (let at = 0; at < pixels.length; at += 3) {
    const y = ((pixels[at]! / 255) * 100 + 16) / 116;
    const [a, b] = [(pixels[at + 1]! << 24) >> 24, (pixels[at + 2]! << 24) >> 24];
    const xyz = [WHITE[0] * cube(y + a / 500), WHITE[1] * cube(y), WHITE[2] * cube(y - b / 200)] as const;
    for (const [i, row] of TO_SRGB.entries())
      pixels[at + i] = clip(255 * gamma(row[0] * xyz[0] + row[1] * xyz[1] + row[2] * xyz[2]));
  }
  return pixels;
}

/**
 * The pixels of a TIFF, not yet turned.
 * @throws DataError with only the reason
 */
export function readTiffPixels(tags: TiffDirectory, variant: TiffVariant): PixelImage {
  const { width, height, colours, isPremultiplied, isInverted } = variant;
  const own = COLOUR_SAMPLES[colours];
  const isDivided = isPremultiplied && (colours === 'gray' || colours === 'rgb');
  const stored = own + (isDivided ? 1 : 0);
  let data = storedSamples(tags, variant, stored, toBytes, new Uint8Array(width * height * stored));
  if (isDivided) data = divided(data, own);
  if (colours === 'gray') {
    if (isInverted) for (let i = 0; i < data.length; i++) data[i] = 255 - data[i]!;
    return { data, width, height, channels: 1 };
  }
  if (colours === 'cmyk') data = cmykToRgb(data, width, height);
  else if (colours === 'ycbcr') data = fromYcbcr(data);
  else if (colours === 'lab') data = fromLab(data);
  else if (colours === 'palette') data = lookedUp(data, tags);
  return { data, width, height, channels: 3 };
}

/** Most values of an image whose channels are kept: as many as the largest RGB image has. */
const MOST_VALUES = 3 * MAX_PIXELS;

/**
 * All samples of a TIFF at 16 bits, not yet turned, for variants that deepReader() says are read here.
 * @throws DataError with only the reason
 */
export function readDeepTiff(tags: TiffDirectory, variant: TiffVariant): DeepImage {
  const { width, height, samples, isInverted } = variant;
  const count = width * height * samples;
  if (samples > MOST_CHANNELS)
    throw new DataError(`TIFF of ${samples} channels, more than the ${MOST_CHANNELS} that are read`);
  if (count > MOST_VALUES)
    throw new DataError(`TIFF of more than ${MOST_VALUES} values, refused before decoding (pixel limit)`);
  const data = storedSamples(tags, variant, samples, toDeep, new Uint16Array(count));
  if (isInverted) for (let i = 0; i < count; i += samples) data[i] = 65535 - data[i]!;
  return { data, width, height, channels: samples };
}
