/** Reads many small pieces, one after the other, without the overhead of asynchronous calls where that is faster. */
import { closeSync, fstatSync, openSync, read, readSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { DataError } from '../../errors.js';
import { kindOf, READ_FLAGS } from '../../files/guarded.js';
import { leadsOutside, OUTSIDE } from '../../files/read-below.js';
import { checkImageBytes, imageFormat, SNIFFED_BYTES } from './image-format.js';

/** A read that takes this many milliseconds or more comes from a slow disk or over a network. */
const SLOW_MS = 2;
/** After how many asynchronous reads a slow storage is tried synchronously again. */
const RETRY_EVERY = 32;

let usualMs = 0;
let asked = 0;

/**
 * When the file is in memory or on a fast disk, a synchronous read takes a tenth of the time of an asynchronous one (four
 * switches of threads). On a slow disk the thread would wait instead of rendering the image before: then the read is
 * asynchronous. Which of them it is, is measured while reading.
 */
async function quickly<T>(now: () => T, later: () => Promise<T>): Promise<T> {
  if (usualMs >= SLOW_MS && ++asked % RETRY_EVERY !== 0) return later();
  const from = performance.now();
  const bytes = now();
  // a running mean over about eight reads, in which a single slow one does not count much
  usualMs += (Math.min(performance.now() - from, 4 * SLOW_MS) - usualMs) / 8;
  return bytes;
}

/** Files of up to so many bytes are read in one go; of a larger one first the bytes that show whether it is an image. */
const AT_ONCE = 2 ** 20;

/** Bytes of an open image file. @throws DataError with only the reason when it is not a regular file, or too long */
function sizeOfImage(stat: Stats): number {
  if (stat.isDirectory()) throw new DataError('is a folder, not a file');
  if (!stat.isFile()) throw new DataError(`is ${kindOf(stat)}, not a regular file`);
  checkImageBytes(stat.size);
  return stat.size;
}

/** @throws DataError with only the reason for a path that this process may not read */
function refuseOutside(path: string): void {
  if (leadsOutside(path)) throw new DataError(OUTSIDE);
}

function readNow(path: string): Buffer {
  const descriptor = openSync(path, READ_FLAGS);
  try {
    const size = sizeOfImage(fstatSync(descriptor));
    const head = Buffer.allocUnsafeSlow(size <= AT_ONCE ? size : SNIFFED_BYTES);
    let done = fill(descriptor, head, 0);
    if (size <= AT_ONCE) return head.subarray(0, done);
    imageFormat(head);
    const bytes = Buffer.allocUnsafeSlow(size);
    head.copy(bytes);
    done = fill(descriptor, bytes, done);
    return bytes.subarray(0, done);
  } finally {
    closeSync(descriptor);
  }
}

/** Reads into `bytes` from here on, at the same place of the file. @returns where what could be read ends */
function fill(descriptor: number, bytes: Buffer, from: number): number {
  let done = from;
  for (let count = -1; done < bytes.length && count !== 0; done += count)
    count = readSync(descriptor, bytes, done, bytes.length - done, done);
  return done;
}

async function readAsked(path: string): Promise<Buffer> {
  const handle = await open(path, READ_FLAGS);
  try {
    const size = sizeOfImage(await handle.stat());
    const bytes = Buffer.allocUnsafeSlow(size);
    const until = async (end: number, from: number): Promise<number> => {
      let done = from;
      for (let count = -1; done < end && count !== 0; done += count)
        count = (await handle.read(bytes, done, end - done, done)).bytesRead;
      return done;
    };
    let done = 0;
    if (size > AT_ONCE) {
      done = await until(SNIFFED_BYTES, 0);
      imageFormat(bytes.subarray(0, done));
    }
    return bytes.subarray(0, await until(size, done));
  } finally {
    await handle.close();
  }
}

/**
 * Reads an image file.
 * @throws DataError with only the reason when it is not a regular file, is too long, or has more than 1 MiB and is not an
 *   image; else as open() of node:fs
 */
export async function readQuickly(path: string): Promise<Buffer> {
  refuseOutside(path);
  return quickly(
    () => readNow(path),
    () => readAsked(path),
  );
}

/**
 * Opens a shard; the caller closes it.
 * @throws DataError with only the reason when it is not a regular file; else as open() of node:fs
 */
export function openShardFile(path: string): { descriptor: number; size: number; mtimeMs: number } {
  refuseOutside(path);
  const descriptor = openSync(path, READ_FLAGS);
  const stat = fstatSync(descriptor);
  if (stat.isFile()) return { descriptor, size: stat.size, mtimeMs: stat.mtimeMs };
  closeSync(descriptor);
  throw new DataError(`is ${kindOf(stat)}, not a regular file`);
}

const readLater = promisify(read);

/**
 * Reads bytes of an open shard.
 * @throws DataError when the file ends before them; else as read() of node:fs
 */
export function readPlaceQuickly(descriptor: number, offset: number, length: number): Promise<Buffer> {
  // not from Node's pool: memory of the pool would be transferred to another thread together with its neighbours
  const buffer = Buffer.allocUnsafeSlow(length);
  const endsAt = (done: number) => new DataError(`the shard ends at byte ${offset + done}, within the image`);
  return quickly(
    () => {
      for (let done = 0; done < length;) {
        const count = readSync(descriptor, buffer, done, length - done, offset + done);
        if (count === 0) throw endsAt(done);
        done += count;
      }
      return buffer;
    },
    async () => {
      for (let done = 0; done < length;) {
        const { bytesRead } = await readLater(descriptor, buffer, done, length - done, offset + done);
        if (bytesRead === 0) throw endsAt(done);
        done += bytesRead;
      }
      return buffer;
    },
  );
}
