/** Warns of files that a command leaves out because their partners are missing. */
import { printable } from '../plain/printable.js';
import type { Output } from './output.js';

/** Files that are named. */
const NAMED = 5;

/** @param kind - One of them: image, mask. @param what - What they are: without a mask. */
export function warnOfUnpaired(io: Output, paths: readonly string[], kind: string, what: string): void {
  const { length } = paths;
  if (length === 0) return;
  const shown = paths.slice(0, NAMED).map(printable).join(', ');
  io.warn(
    `${length} ${kind}${length === 1 ? '' : 's'} ${what} left out: ${shown}${length > NAMED ? ', ...' : ''}`,
  );
}
