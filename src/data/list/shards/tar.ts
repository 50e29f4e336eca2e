/**
 * Finds the members of a tar archive without reading their contents: POSIX.1-2001 (ustar, pax) and GNU tar's long names
 * and base-256 numbers. Nothing is ever written to disk, and a name is only a name: links are not followed.
 *
 * An archive is not trusted. A header must have the right checksum and a size that is a number, and the bytes that it
 * announces must be there. At the first header that fails, reading ends with a problem; what came before is kept.
 */
import { isUtf8 } from 'node:buffer';
import type { ByteSource, ShardProblem } from './scanned-shard.js';

export const BLOCK_SIZE = 512;

/** Longest name that is accepted, in bytes; file systems allow 4,096. */
export const MAX_NAME = 16384;
/** Largest pax header or label file, in bytes. */
export const MAX_SMALL_FILE = 2 ** 20;

/** A regular file in an archive. */
export interface TarMember {
  /** As in the archive, without what a path doesn't need: `./` and doubled slashes. */
  name: string;
  /** Where its content begins, in bytes from the start of the archive. */
  offset: number;
  size: number;
  /** Which archive of the file it belongs to, from 0: several may follow one another, as `cat` joins them. */
  archive: number;
}

/** Zeros between two archives, in bytes: tar fills an archive up to 10 KiB, for tapes to 1 MiB. */
const MAX_ZEROS = 2 ** 24;

/** A text: UTF-8, or what isn't UTF-8 as Latin-1, so that names that differ stay different. */
function decoded(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  return text.includes('\ufffd') && !isUtf8(bytes) ? bytes.toString('latin1') : text;
}

function ascii(block: Buffer, from: number, to: number): string {
  const end = block.indexOf(0, from);
  return decoded(block.subarray(from, end === -1 || end > to ? to : end));
}

/** A number field: octal digits, or GNU's base-256. null when it is neither, negative, or beyond 2^53. */
export function tarNumber(block: Buffer, from: number, length: number): number | null {
  const first = block[from]!;
  if (first === 0x80) {
    let value = 0;
    for (let i = from + 1; i < from + length; i++) value = value * 256 + block[i]!;
    return Number.isSafeInteger(value) ? value : null;
  }
  if (first > 0x80) return null; // negative, or not a number
  const text = block
    .toString('latin1', from, from + length)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (text === '') return 0;
  return /^[0-7]+$/.test(text) ? parseInt(text, 8) : null;
}

/** The checksum is the sum of the header's bytes, with its own field as spaces; old tars summed signed bytes. */
function checksumFits(block: Buffer): boolean {
  const stated = tarNumber(block, 148, 8);
  let [unsigned, signed] = [256, 256];
  for (let i = 0; i < BLOCK_SIZE; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[i]!;
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  return stated === unsigned || stated === signed;
}

const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);

/** Parses the records of a pax header, `length key=value\n`; null when they are damaged. */
function paxRecords(bytes: Buffer): Map<string, string> | null {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = space === -1 ? NaN : Number(bytes.toString('latin1', at, space));
    if (!(Number.isInteger(length) && length > space - at + 1 && at + length <= bytes.length)) return null;
    const record = decoded(bytes.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    if (equals < 1) return null;
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}

/** Why a name is not accepted; null for a good one. */
export function badName(name: string): string | null {
  if (name === '') return 'has no name';
  if (name.startsWith('/') || /^[A-Za-z]:[\\/]/.test(name)) return 'has an absolute path';
  if (name.split(/[\\/]/).includes('..')) return 'has a path that leaves the archive';
  return null;
}

/** `a/b.jpg` of `./a//./b.jpg`: the name by which paths are compared, and by which a member is then found again. */
export const plainName = (name: string): string => name.replace(/^(\.\/+)+/, '').replace(/\/+(\.\/+)*/g, '/');

function describeStart(block: Buffer): string {
  if (block[0] === 0x1f && block[1] === 0x8b) return 'is compressed (gzip): unpack it with gunzip';
  if (block.readUInt32LE(0) === 0xfd2fb528) return 'is compressed (Zstandard): unpack it with unzstd';
  if (block.toString('latin1', 0, 3) === 'BZh') return 'is compressed (bzip2): unpack it with bunzip2';
  if (block.toString('latin1', 0, 4) === 'PAR1') return 'is a Parquet file: name it .parquet';
  return 'is not a tar archive';
}

/** What the extra headers before a member say about it. */
interface Extra {
  name?: string;
  size?: number;
  isSparse?: boolean;
}

/**
 * Where the next archive begins after the end-of-archive mark of one.
 * @returns null when only zeros follow, or more of them than are read
 */
async function nextArchive(
  source: ByteSource,
  from: number,
  end: number,
  onProblem: (problem: ShardProblem) => void,
): Promise<number | null> {
  for (let at = from; at + BLOCK_SIZE <= end; at += BLOCK_SIZE) {
    if (at - from > MAX_ZEROS) {
      const reason = `more than ${MAX_ZEROS} zeros after the end-of-archive mark: what may follow is not read`;
      onProblem({ offset: at, reason });
      return null;
    }
    if (!isZero(await source.read(at, BLOCK_SIZE))) return at;
  }
  return null;
}

/**
 * The regular files of an archive, in order, and of those that follow it.
 * @param onProblem - Called for what is skipped, and for what ends the archive early.
 * @param range - Where the archive lies in the source; all of it by default.
 */
export async function* tarMembers(
  source: ByteSource,
  onProblem: (problem: ShardProblem) => void,
  { start: first = 0, end = source.size } = {},
): AsyncGenerator<TarMember, void> {
  let extra: Extra = {};
  let archive = 0;
  let begin = first;
  for (let at = first; ;) {
    const block = at + BLOCK_SIZE > end ? Buffer.alloc(0) : await source.read(at, BLOCK_SIZE);
    if (block.length < BLOCK_SIZE) {
      const reason =
        at === first
          ? 'is shorter than a tar header'
          : 'ends without an end-of-archive mark: the archive is cut off, the rest is missing';
      onProblem({ offset: at, reason });
      return;
    }
    if (isZero(block)) {
      const next = await nextArchive(source, at + BLOCK_SIZE, end, onProblem);
      if (next === null) return;
      at = begin = next;
      archive++;
      extra = {};
      continue;
    }
    if (!checksumFits(block)) {
      const what =
        at === first
          ? describeStart(block)
          : at === begin
            ? 'what follows the end-of-archive mark is not an archive: it is not read'
            : 'a damaged header: the rest is not read';
      onProblem({ offset: at, reason: what });
      return;
    }
    const type = String.fromCharCode(block[156]!);
    const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? ascii(block, 345, 500) : '';
    const stem = ascii(block, 0, 100);
    const name: string = plainName(extra.name ?? (prefix === '' ? stem : `${prefix}/${stem}`));
    const stated = extra.size ?? tarNumber(block, 124, 12);
    // links and devices have no bytes, whatever their header says
    const size: number | null = '123456'.includes(type) ? 0 : stated;
    const start: number = at + BLOCK_SIZE;
    if (size === null) {
      onProblem({ offset: at, reason: `${name}: its size is not a number: the rest is not read` });
      return;
    }
    if (start + size > end) {
      const there = end - start;
      onProblem({
        offset: at,
        reason: `${name}: ${size} bytes are announced, ${there} are there: the archive is cut off or damaged`,
      });
      return;
    }
    const isHeader = 'xgLKX'.includes(type);
    if (isHeader) {
      if (size > MAX_SMALL_FILE) {
        onProblem({
          offset: at,
          reason: `an extra header of ${size} bytes, more than the limit of ${MAX_SMALL_FILE}: the rest is not read`,
        });
        return;
      }
      const content = Buffer.from(await source.read(start, size));
      if (type === 'L') extra.name = ascii(content, 0, content.length);
      if (type === 'x' || type === 'X') {
        const records = paxRecords(content);
        if (records === null) {
          onProblem({ offset: at, reason: 'a damaged pax header: the rest is not read' });
          return;
        }
        const path = records.get('path');
        const paxSize = records.get('size');
        if (path !== undefined) extra.name = path;
        if (paxSize !== undefined) extra.size = /^\d{1,15}$/.test(paxSize) ? Number(paxSize) : NaN;
        if ([...records.keys()].some((key) => key.startsWith('GNU.sparse'))) extra.isSparse = true;
        if (Number.isNaN(extra.size)) {
          onProblem({ offset: at, reason: `${path ?? ''}: its size is not a number: the rest is not read` });
          return;
        }
      }
    } else {
      const isFile = type === '0' || type === '\0' || type === '7';
      const problem = Buffer.byteLength(name) > MAX_NAME ? 'has a name of more than 16 KiB' : badName(name);
      const shown = name.slice(0, 200);
      if (type === 'S' || extra.isSparse === true) {
        onProblem({ offset: at, reason: `${shown}: is a sparse file, which is not read` });
      } else if (isFile && !name.endsWith('/')) {
        if (problem !== null) onProblem({ offset: at, reason: `${shown}: ${problem}: skipped` });
        else yield { name, offset: start, size, archive };
      } else if (type === '1' || type === '2') {
        onProblem({ offset: at, reason: `${shown}: is a link, which is not followed` });
      }
      extra = {};
    }
    at = start + Math.ceil(size / BLOCK_SIZE) * BLOCK_SIZE;
  }
}
