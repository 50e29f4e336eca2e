/**
 * Reads PBM, PGM and PPM (P1 to P6), to the level as Pillow's PpmImagePlugin does, but for gray of more than 8 bits, which
 * keeps its high byte (decode.ts says why). Of several images in a file the first is read.
 */
import { DataError } from '../../errors.js';
import { roundHalfEven } from '../../plain/rounding.js';
import type { DeepImage, PixelImage } from '../crops/crops.js';
import { checkPixels } from './image-format.js';

export interface PnmHeader {
  width: number;
  height: number;
  /** 'bits' for PBM. */
  kind: 'bits' | 'gray' | 'rgb';
  isText: boolean;
  /** The value of white. */
  most: number;
  /** Where the pixels begin. */
  start: number;
}

const damaged = (what: string) => new DataError(`damaged PNM: ${what}`);
const isSpace = (byte: number | undefined) =>
  byte !== undefined && (byte === 32 || (byte >= 9 && byte <= 13));
const isLineEnd = (byte: number | undefined) => byte === 10 || byte === 13;
const HASH = 35;
/** Longest number, and longest header with its comments. */
const MOST_DIGITS = 10;
const MOST_HEADER = 65536;

/** @throws DataError with only the reason, also for images of too many pixels */
export function pnmHeader(bytes: Uint8Array): PnmHeader {
  const number = bytes[1]! - 48;
  let at = 2;
  const next = (): number => {
    let digits = '';
    for (; at < Math.min(bytes.length, MOST_HEADER); at++) {
      const byte = bytes[at]!;
      if (byte === HASH) {
        while (at < bytes.length && !isLineEnd(bytes[at])) at++;
      } else if (!isSpace(byte)) digits += String.fromCharCode(byte);
      else if (digits !== '') break;
    }
    at++; // one white space ends the header
    if (!/^[0-9]+$/.test(digits) || digits.length > MOST_DIGITS) throw damaged('its header has no size');
    return Number(digits);
  };
  const [width, height] = [next(), next()];
  const kind = number % 3 === 1 ? 'bits' : number % 3 === 2 ? 'gray' : 'rgb';
  const most = kind === 'bits' ? 1 : next();
  if (width < 1 || height < 1) throw damaged('it has no width or height');
  if (most < 1 || most > 65535) throw damaged(`the maximum value ${most}, expected 1 to 65535`);
  checkPixels('PNM', width, height);
  return { width, height, kind, isText: number <= 3, most, start: at };
}

/** For each stored value the 16 bits that it becomes, 65535 for the highest. */
const deepLevels = ({ most }: PnmHeader): Uint16Array =>
  Uint16Array.from({ length: most + 1 }, (_, value) => roundHalfEven((value / most) * 65535));

/** For each stored value the byte that it becomes. */
function levels({ kind, most }: PnmHeader): Uint8Array {
  const isDeep = kind === 'gray' && most > 255;
  return Uint8Array.from({ length: most + 1 }, (_, value) =>
    isDeep ? roundHalfEven((value / most) * 65535) >> 8 : roundHalfEven((value / most) * 255),
  );
}

/** @throws DataError with only the reason */
export function readPnm(bytes: Uint8Array): PixelImage {
  const header = pnmHeader(bytes);
  return readValues(bytes, header, levels(header), Uint8Array);
}

/** The same at 16 bits. @throws DataError with only the reason */
export function readDeepPnm(bytes: Uint8Array): DeepImage {
  const header = pnmHeader(bytes);
  return readValues(bytes, header, deepLevels(header), Uint16Array);
}

/** @param table - For each stored value the one that it becomes. */
function readValues<Values extends Uint8Array | Uint16Array>(
  bytes: Uint8Array,
  header: PnmHeader,
  table: Values,
  Values: new (length: number) => Values,
): { data: Values; width: number; height: number; channels: 1 | 3 } {
  const { width, height, kind, isText, most, start } = header;
  const channels = kind === 'rgb' ? 3 : 1;
  const count = width * height * channels;
  const rowBytes = Math.ceil(width / 8);
  const least = isText
    ? kind === 'bits'
      ? count
      : 2 * count - 1 // a digit and a space
    : kind === 'bits'
      ? rowBytes * height
      : count * (most > 255 ? 2 : 1);
  if (start + least > bytes.length) throw damaged('the end of the file is missing');
  const data = new Values(count);
  if (isText) readText(bytes, header, table, data);
  else if (kind === 'bits') {
    for (let i = 0; i < count; i++) {
      const [y, x] = [Math.floor(i / width), i % width];
      data[i] = table[1 - ((bytes[start + y * rowBytes + (x >> 3)]! >> (7 - (x & 7))) & 1)]!;
    }
  } else {
    const at = (i: number) =>
      most > 255 ? (bytes[start + 2 * i]! << 8) | bytes[start + 2 * i + 1]! : bytes[start + i]!;
    // a value above the maximum is white
    for (let i = 0; i < count; i++) data[i] = table[Math.min(at(i), most)]!;
  }
  return { data, width, height, channels };
}

/** Numbers with white space between them; the digits of a PBM may stand side by side. */
function readText<Values extends Uint8Array | Uint16Array>(
  bytes: Uint8Array,
  { kind, most, start }: PnmHeader,
  table: Values,
  data: Values,
): void {
  let at = start;
  for (let i = 0; i < data.length; i++) {
    for (; isSpace(bytes[at]) || bytes[at] === HASH; at++)
      if (bytes[at] === HASH) while (at < bytes.length && !isLineEnd(bytes[at])) at++;
    if (at >= bytes.length) throw damaged('the end of the file is missing');
    let value = 0;
    const first = at;
    for (; at < bytes.length && !isSpace(bytes[at]) && bytes[at] !== HASH; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9 || at - first === MOST_DIGITS) throw damaged('a value is not a number');
      value = value * 10 + digit;
      if (kind === 'bits') {
        at++;
        break;
      }
    }
    if (value > most) throw damaged(`the value ${value}, above the maximum ${most}`);
    data[i] = table[kind === 'bits' ? 1 - value : value]!;
  }
}
