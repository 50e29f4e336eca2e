/**
 * Output that nobody takes any more: a pipe whose reader is gone (`dino ... | head -1`), a terminal that was closed. Node
 * would end the process in the middle of its work, with a stack.
 */
import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';

const LOST: ReadonlySet<string | undefined> = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);
/** As when SIGPIPE ends a program: 128 + 13. */
const EXIT_CODE = 141;

const lost = new Set<NodeJS.WriteStream>();
const listeners = new Set<() => void>();

/** From here on a write to a lost stream is a write to nowhere. Once, before anything is printed. */
export function watchOutput(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  process.on('exit', () => {
    // Node puts the terminals' settings back, and aborts when one is gone; of a descriptor that is closed it wants nothing
    for (const descriptor of terminals) if (!isatty(descriptor)) closeSync(descriptor);
  });
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (lost.has(stream)) return;
      if (!LOST.has(error.code)) throw error; // a full disk is no reader that has seen enough
      lost.add(stream);
      for (const listener of listeners) listener();
      process.exitCode = exitCodeAfter(Number(process.exitCode ?? 0));
    });
  }
}

/** Calls `listener` when stdout or stderr is lost. @returns A function that ends this. */
export function onLostOutput(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** `code`, or what says that the result reached nobody. */
export const exitCodeAfter = (code: number): number =>
  code === 0 && lost.has(process.stdout) ? EXIT_CODE : code;
