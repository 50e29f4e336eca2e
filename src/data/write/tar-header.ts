/** Headers of tar members: ustar, after a pax header for names that don't fit. They don't depend on time or machine. */
import { BLOCK_SIZE } from '../list/shards/tar.js';

/** The zeros that pad a member of `size` bytes to whole blocks. */
export const padding = (size: number): Buffer =>
  Buffer.alloc((BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE);

/** The end-of-archive mark. */
export const END = Buffer.alloc(2 * BLOCK_SIZE);

function block(name: Buffer, prefix: Buffer, size: number, type: string): Buffer {
  const header = Buffer.alloc(BLOCK_SIZE);
  name.copy(header, 0, 0, 100);
  header.write('0000644\0', 100, 'latin1'); // mode
  header.write('0000000\0', 108, 'latin1'); // owner
  header.write('0000000\0', 116, 'latin1'); // group
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('00000000000\0', 136, 'latin1'); // time: shards of the same images have the same bytes
  header.write('        ', 148, 'latin1'); // the checksum field counts as spaces
  header.write(type, 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  prefix.copy(header, 345, 0, 155);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** `length key=value\n`, where the length includes its own digits. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

/**
 * The header of a regular file of less than 8 GiB.
 * @param name - With `/` between folders.
 */
export function tarHeader(name: string, size: number): Buffer {
  const bytes = Buffer.from(name);
  const none = Buffer.alloc(0);
  if (bytes.length <= 100) return block(bytes, none, size, '0');
  // the name is split at a slash, if both parts fit
  for (
    let at = bytes.indexOf(47, bytes.length - 101);
    at !== -1 && at <= 155;
    at = bytes.indexOf(47, at + 1)
  ) {
    if (at > 0 && bytes.length - at - 1 <= 100) {
      return block(bytes.subarray(at + 1), bytes.subarray(0, at), size, '0');
    }
  }
  const record = paxRecord('path', name);
  return Buffer.concat([
    block(Buffer.from('pax_header'), none, record.length, 'x'),
    record,
    padding(record.length),
    block(bytes.subarray(0, 100), none, size, '0'),
  ]);
}
