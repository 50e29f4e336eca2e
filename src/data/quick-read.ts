/** Reading many small files, one after the other, at the cost of the reading alone. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** A read of this many milliseconds or more came from a slow disk or over a network. */
const SLOW_MS = 2;
/** How often a slow storage is tried again, in reads. */
const RETRY_EVERY = 32;

let usualMs = 0;
let asked = 0;

/**
 * A file's bytes. Reading in this thread takes a tenth of what asking for it costs (four changes of thread), when the
 * file is in memory or on a fast disk. On a slow one the thread would wait instead of rendering the image before: then
 * it is asked for. Which it is shows while reading.
 * @throws As readFile() of node:fs
 */
export async function readQuickly(path: string): Promise<Buffer> {
  if (usualMs >= SLOW_MS && ++asked % RETRY_EVERY !== 0) return readFile(path);
  const from = performance.now();
  const bytes = readFileSync(path);
  // a running mean over about eight reads, in which a single slow one does not count much
  usualMs += (Math.min(performance.now() - from, 4 * SLOW_MS) - usualMs) / 8;
  return bytes;
}
