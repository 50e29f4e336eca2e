/**
 * Which TIFFs are read, by whom, and why the others are not. libvips takes some of them for something else without an error
 * (YCbCr for RGB, half floats for integers), so that what it is given is decided here, by the tags.
 */
import { DataError } from '../../errors.js';
import { MAX_PIXELS } from './image-format.js';
import { TAG, type TiffDirectory } from './tiff-header.js';

/** What the samples of a pixel mean. */
export type TiffColours = 'gray' | 'rgb' | 'palette' | 'cmyk' | 'ycbcr' | 'lab';

/** What a TIFF's tags say of its first image. */
export interface TiffVariant {
  width: number;
  height: number;
  colours: TiffColours;
  /** Gray where 0 is white. */
  isInverted: boolean;
  /** Of each sample; all samples have as many. */
  bits: number;
  samples: number;
  sampleFormat: 'unsigned' | 'signed' | 'float';
  /** Whether the first extra sample is an alpha that the colours are multiplied by. */
  isPremultiplied: boolean;
  /** Whether it is an alpha, multiplied or not. */
  hasAlpha: boolean;
  isPlanar: boolean;
  compression: number;
  orientation: number | undefined;
}

/** Those that libvips is given; all others are read by tiff-pixels.ts, or refused. */
const [NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS] = [1, 5, 7, 8, 32946, 32773];
const READ_BY_LIBVIPS = [NONE, 2, 3, 4, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, 32771, 50001];
/** Those that tiff-pixels.ts unpacks. */
const READ_HERE = [NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS];

const COMPRESSIONS: Readonly<Record<number, string>> = {
  6: 'old-style JPEG',
  ...{ 32766: 'NeXT RLE', 32809: 'ThunderScan', 32908: 'PixarFilm', 32909: 'PixarLog', 34661: 'JBIG' },
  ...{ 33003: 'JPEG 2000', 33004: 'JPEG 2000', 33005: 'JPEG 2000', 34712: 'JPEG 2000', 33007: 'JPEG-LS' },
  ...{ 34676: 'SGI LogLuv', 34677: 'SGI LogLuv', 34887: 'LERC', 34892: 'lossy JPEG of DNG', 34925: 'LZMA' },
  ...{
    34926: 'Zstandard',
    50000: 'Zstandard',
    34927: 'WebP',
    34933: 'PNG',
    34934: 'JPEG XR',
    22610: 'JPEG XR',
  },
  ...{ 50002: 'JPEG XL', 52546: 'JPEG XL', 48124: 'Jetraw' },
};

const SPACES: Readonly<Record<number, string>> = {
  ...{ 4: 'a transparency mask', 9: 'ICC L*a*b* colours', 10: 'ITU L*a*b* colours' },
  ...{ 32803: 'raw sensor data (CFA)', 34892: 'raw sensor data (linear)' },
  ...{ 32844: 'CIE Log L brightness', 32845: 'CIE Log Luv colours', 51177: 'depths' },
};

const COLOURS: Readonly<Record<number, TiffColours>> = {
  ...{ 0: 'gray', 1: 'gray', 2: 'rgb', 3: 'palette', 5: 'cmyk', 6: 'ycbcr', 8: 'lab' },
};

const NAMES: Readonly<Record<TiffColours, string>> = {
  ...{ gray: 'gray', rgb: 'RGB', palette: 'palette', cmyk: 'CMYK', ycbcr: 'YCbCr', lab: 'CIELAB' },
};

/** Samples of a pixel that make its colour. */
export const COLOUR_SAMPLES: Readonly<Record<TiffColours, number>> = {
  ...{ gray: 1, rgb: 3, palette: 1, cmyk: 4, ycbcr: 3, lab: 3 },
};

const notRead = (what: string) => new DataError(`TIFF ${what}, which is not read`);

/**
 * What the tags say.
 * @throws DataError with only the reason, for a compression or a colour space that is not read
 */
export function tiffVariant(tags: TiffDirectory): TiffVariant {
  const [width, height] = [tags.number(TAG.width) ?? 0, tags.number(TAG.height) ?? 0];
  if (width < 1 || height < 1) throw new DataError('damaged TIFF: it has no width or height');
  if (width * height > MAX_PIXELS)
    throw new DataError(`TIFF of more than ${MAX_PIXELS} pixels, refused before decoding (pixel limit)`);
  const compression = tags.number(TAG.compression) ?? NONE;
  if (!READ_BY_LIBVIPS.includes(compression))
    throw notRead(`compressed with ${COMPRESSIONS[compression] ?? `method ${compression}`}`);
  const photometric = tags.number(TAG.photometric) ?? 0;
  const colours = COLOURS[photometric];
  if (colours === undefined) throw notRead(`of ${SPACES[photometric] ?? `colour space ${photometric}`}`);
  const samples = tags.number(TAG.samples) ?? (compression === JPEG && photometric > 1 ? 3 : 1);
  const bits = sameForAll(tags.numbers(TAG.bits, samples), 'bits', 1);
  const format = sameForAll(tags.numbers(TAG.sampleFormat, samples), 'sample formats', 1);
  if (format === 5 || format === 6) throw notRead('of complex numbers');
  return {
    ...{ width, height, colours, bits, samples, compression },
    isInverted: photometric === 0,
    // 4 means that nobody knows: libtiff and Pillow take it for unsigned
    sampleFormat: format === 2 ? 'signed' : format === 3 ? 'float' : 'unsigned',
    isPremultiplied: tags.number(TAG.extraSamples) === 1 && samples > COLOUR_SAMPLES[colours],
    hasAlpha: [1, 2].includes(tags.number(TAG.extraSamples) ?? 0) && samples > COLOUR_SAMPLES[colours],
    isPlanar: tags.number(TAG.planar) === 2 && samples > 1,
    orientation: tags.number(TAG.orientation),
  };
}

function sameForAll(values: number[], what: string, otherwise: number): number {
  const first = values[0] ?? otherwise;
  if (values.some((value) => value !== first))
    throw notRead(`whose samples have different ${what} (${values.join(', ')})`);
  return first;
}

const describe = ({ colours, bits, sampleFormat, samples }: TiffVariant): string => {
  const numbers =
    sampleFormat === 'float'
      ? `${bits}-bit floats`
      : `${sampleFormat === 'signed' ? 'signed ' : ''}${bits}-bit integers`;
  const extra = samples - COLOUR_SAMPLES[colours];
  const bands = colours === 'gray' && extra > 1 ? `${samples} gray bands` : NAMES[colours];
  const more = colours !== 'gray' && extra > 0 ? ` and ${extra} more bands` : '';
  return `of ${bands}${more} in ${numbers}`;
};

/**
 * Who reads it.
 * @throws DataError with only the reason, when nobody does
 */
export function tiffReader(variant: TiffVariant): 'libvips' | 'here' {
  const { colours, bits, samples, sampleFormat, compression, isPlanar, isInverted, isPremultiplied } =
    variant;
  const extra = samples - COLOUR_SAMPLES[colours];
  if (extra < 0) throw new DataError(`damaged TIFF: ${NAMES[colours]} of ${samples} samples a pixel`);
  const here = (): 'here' => {
    if (READ_HERE.includes(compression)) return 'here';
    const method = compression === JPEG ? 'JPEG' : compression === 50001 ? 'WebP' : 'a fax method';
    throw notRead(`${describe(variant)}, compressed with ${method}`);
  };
  if (sampleFormat !== 'unsigned') {
    const isGray = colours === 'gray' && extra === 0 && !isInverted;
    // as Pillow: what lies outside of 0 to 255 is clipped
    if (isGray && bits === 32) return 'libvips';
    if (isGray && bits === 16 && sampleFormat === 'signed') return here();
    throw notRead(describe(variant));
  }
  switch (colours) {
    case 'gray':
      if (extra > 1) break;
      if (bits === 12 || (isPremultiplied && (bits === 8 || bits === 16))) return here();
      if (bits === 8 || bits === 16 || (extra === 0 && [1, 2, 4].includes(bits))) return 'libvips';
      if (bits === 32 && extra === 0 && !isInverted) return 'libvips';
      break;
    case 'palette':
      if (extra === 0 && [1, 2, 4, 8].includes(bits)) return 'libvips';
      if (extra === 1 && bits === 8 && !isPremultiplied) return here();
      break;
    case 'rgb':
      if (bits === 12 || ((bits === 8 || bits === 16) && (extra > 1 || isPremultiplied))) return here();
      if (bits === 8 || bits === 16) return 'libvips';
      break;
    case 'cmyk':
      if (bits === 8 && extra === 0) return 'libvips';
      if (bits === 8 || bits === 16) return here();
      break;
    case 'ycbcr':
      if (bits !== 8 || extra > 0) break;
      if (compression !== JPEG) return here();
      if (!isPlanar) return 'libvips';
      break;
    case 'lab':
      if (bits === 8 && extra === 0) return here();
  }
  throw notRead(describe(variant));
}

/**
 * Who reads it where all channels are to be kept, at up to 16 bits: the tags' own samples are read here, and what has only 8
 * bits and needs a decoder or a conversion is left to the usual way.
 * @throws DataError with only the reason, when nobody does
 */
export function deepReader(variant: TiffVariant): 'here' | 'as usual' {
  const { colours, bits, sampleFormat, compression } = variant;
  const isPlain = (colours === 'gray' || colours === 'rgb') && sampleFormat === 'unsigned';
  if (isPlain && [8, 12, 16].includes(bits) && READ_HERE.includes(compression)) return 'here';
  if (bits > 8 || sampleFormat !== 'unsigned') throw notRead(`${describe(variant)} whose channels are kept`);
  return 'as usual';
}
