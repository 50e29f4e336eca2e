/** What could not be listed, or was left out: images that are missing from a training, which must be seen. */
import type { ImageList } from '../data/index.js';
import type { TrainEvent } from './events.js';
import { printable } from '../plain/printable.js';
import { appendLine, skippedPath } from '../run/run-folder.js';

/** Warnings that are printed; the file has all. */
const SHOWN = 5;

/** Writes what can't be read into the run's skipped.jsonl, once a run, and warns of it and of what was left out. */
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
