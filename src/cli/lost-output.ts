/**
 * Output that nobody reads any more: a pipe whose reader has exited (`dino ... | head -1`), a terminal that was closed. By
 * default Node would end the process in the middle of its work, with a stack trace.
 */
import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';

const LOST: ReadonlySet<string | undefined> = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);
/** As when SIGPIPE ends a program: 128 + 13. */
const EXIT_CODE = 141;

const lost = new Set<NodeJS.WriteStream>();
const listeners = new Set<() => void>();

/** Makes writes to lost streams harmless from here on. Called once, before anything is printed. */
export function watchOutput(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  process.on('exit', () => {
    // at exit Node restores the terminals' settings, and aborts when one has gone away; it skips closed descriptors
    for (const descriptor of terminals) if (!isatty(descriptor)) closeSync(descriptor);
  });
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (lost.has(stream)) return;
      if (!LOST.has(error.code)) throw error; // such as a full disk, which is not a reader that has exited
      lost.add(stream);
      for (const listener of listeners) listener();
      process.exitCode = exitCodeAfter(Number(process.exitCode ?? 0));
    });
  }
}

/** Calls `listener` when stdout or stderr is lost. @returns A function that stops listening. */
export function onLostOutput(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** `code`, or the exit code that says that nobody read the result. */
export const exitCodeAfter = (code: number): number =>
  code === 0 && lost.has(process.stdout) ? EXIT_CODE : code;
