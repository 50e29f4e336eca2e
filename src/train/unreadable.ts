/** Reports folders and parts of shards that could not be listed: the user must know that their images are missing. */
import type { ImageList } from '../data/index.js';
import type { TrainEvent } from './events.js';
import { printable } from '../plain/printable.js';
import { appendLine } from '../files/json-lines.js';
import { skippedPath } from '../run/run-folder.js';

/** Number of warnings that are printed; the file lists all. */
const SHOWN = 5;

/** Writes them to the run's skipped.jsonl, once per run, and warns. */
export function reportUnreadable(
  { unreadable }: ImageList,
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
}
