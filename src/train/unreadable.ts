/** Reports what could not be listed or was left out: the user must know which images are missing from a training. */
import type { ImageList } from '../data/index.js';
import type { TrainEvent } from './events.js';
import { printable } from '../plain/printable.js';
import { appendLine, readLines } from '../files/json-lines.js';
import { skippedPath } from '../run/run-folder.js';

/** The images that a run's skipped.jsonl names already. */
export const loggedBefore = (run: string): Set<unknown> =>
  new Set(readLines(skippedPath(run)).map((line) => line['path']));

/** Number of warnings that are printed; the file lists all. */
const SHOWN = 5;

/** Writes what can't be read to the run's skipped.jsonl, once per run, and warns of that and of what was left out. */
export function reportUnreadable(
  { unreadable, remarks }: ImageList,
  run: { output: string; resume: boolean },
  emit: (event: TrainEvent) => void,
): void {
  if (!run.resume) for (const place of unreadable) appendLine(skippedPath(run.output), place);
  for (const { path, offset, reason } of unreadable.slice(0, SHOWN)) {
    emit({
      type: 'warning',
      message: printable(`${path}${offset === undefined ? '' : ` at byte ${offset}`}: ${reason}`),
    });
  }
  if (unreadable.length > SHOWN) {
    const message = `${unreadable.length - SHOWN} more places can't be read: see ${printable(skippedPath(run.output))}`;
    emit({ type: 'warning', message });
  }
  for (const message of remarks) emit({ type: 'warning', message });
}
