/** Reading many small pieces, one after the other, at the cost of the reading alone. */
import { read, readFileSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { DataError } from '../errors.js';

/** A read of this many milliseconds or more came from a slow disk or over a network. */
const SLOW_MS = 2;
/** How often a slow storage is tried again, in reads. */
const RETRY_EVERY = 32;

let usualMs = 0;
let asked = 0;

/**
 * Reading in this thread takes a tenth of what asking for it costs (four changes of thread), when the file is in memory
 * or on a fast disk. On a slow one the thread would wait instead of rendering the image before: then it is asked for.
 * Which it is shows while reading.
 */
async function quickly<T>(now: () => T, later: () => Promise<T>): Promise<T> {
  if (usualMs >= SLOW_MS && ++asked % RETRY_EVERY !== 0) return later();
  const from = performance.now();
  const bytes = now();
  // a running mean over about eight reads, in which a single slow one does not count much
  usualMs += (Math.min(performance.now() - from, 4 * SLOW_MS) - usualMs) / 8;
  return bytes;
}

/** A file's bytes. @throws As readFile() of node:fs */
export const readQuickly = (path: string): Promise<Buffer> =>
  quickly(
    () => readFileSync(path),
    () => readFile(path),
  );

const readLater = promisify(read);

/**
 * Bytes of an open file.
 * @throws DataError when the file ends before; else as read() of node:fs
 */
export function readPlaceQuickly(descriptor: number, offset: number, length: number): Promise<Buffer> {
  // its own memory: one of the pool would be handed on together with its neighbours
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
