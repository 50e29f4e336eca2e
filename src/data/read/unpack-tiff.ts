/** The compressions of TIFF that need no decoder of images: none, deflate, PackBits, LZW (TIFF 6.0, sections 9 and 13). */
import { inflateSync } from 'node:zlib';
import { DataError } from '../../errors.js';

const damaged = (what: string) => new DataError(`damaged TIFF: ${what}`);

/**
 * Unpacks a strip or a tile.
 * @param most - Bytes that it may have when unpacked, which bounds the memory.
 * @returns at most so many bytes
 * @throws DataError with only the reason
 */
export function unpackTiff(bytes: Uint8Array, compression: number, most: number): Uint8Array {
  if (compression === 1) return bytes.subarray(0, most);
  if (compression === 5) return unpackLzw(bytes, most);
  if (compression === 32773) return unpackBits(bytes, most);
  try {
    return inflateSync(bytes, { maxOutputLength: most });
  } catch (error) {
    throw new DataError('damaged TIFF', { cause: error });
  }
}

function unpackBits(bytes: Uint8Array, most: number): Uint8Array {
  const out = new Uint8Array(most);
  let done = 0;
  for (let at = 0; at + 1 < bytes.length && done < most;) {
    const control = bytes[at++]!;
    if (control === 128) continue;
    if (control < 128) {
      const literal = bytes.subarray(at, Math.min(at + control + 1, at + most - done));
      out.set(literal, done);
      done += literal.length;
      at += control + 1;
    } else {
      out.fill(bytes[at++]!, done, done + 257 - control);
      done = Math.min(done + 257 - control, most);
    }
  }
  return out.subarray(0, done);
}

const CLEAR = 256;
const END = 257;
const MOST_CODES = 4096;

/** Each code stands for a piece of the output: that of an earlier code, and the byte after it. */
function unpackLzw(bytes: Uint8Array, most: number): Uint8Array {
  if (bytes[0] === 0 && (bytes[1]! & 1) === 1)
    throw new DataError('TIFF compressed with old-style LZW, which is not read');
  const out = new Uint8Array(most);
  const starts = new Uint32Array(MOST_CODES);
  const lengths = new Uint32Array(MOST_CODES);
  let [done, next, width, previous] = [0, END + 1, 9, -1];
  let [held, bits, at] = [0, 0, 0];
  while (done < most) {
    while (bits < width) {
      if (at === bytes.length) return out.subarray(0, done);
      held = ((held << 8) | bytes[at++]!) & 0xffffff;
      bits += 8;
    }
    const code = (held >> (bits - width)) & ((1 << width) - 1);
    bits -= width;
    if (code === END) break;
    if (code === CLEAR) {
      [next, width, previous] = [END + 1, 9, -1];
      continue;
    }
    const from = done;
    if (code < CLEAR) out[done++] = code;
    else {
      if (code >= next || previous < 0) throw damaged('its LZW codes are out of order');
      // byte by byte: the newest code's piece overlaps what it makes
      const end = Math.min(done + lengths[code]!, most);
      for (let source = starts[code]!; done < end; source++) out[done++] = out[source]!;
    }
    // the code after this one stands for this piece and the first byte of the next
    if (next < MOST_CODES) {
      starts[next] = from;
      lengths[next] = (code < CLEAR ? 1 : lengths[code]!) + 1;
      next++;
    }
    previous = code;
    // widths grow one code early, as all writers do
    width = next > 2047 ? 12 : next > 1023 ? 11 : next > 511 ? 10 : 9;
  }
  return out.subarray(0, done);
}
