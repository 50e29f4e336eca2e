/**
 * What a run is doing, judged only by its folder: a lock whose process lives is a running training, one whose process has
 * ended is a crash, and without a lock the steps decide between finished and stopped (by Ctrl-C or by an error: both release
 * the lock, and the folder doesn't tell which it was).
 */
import { shellPath } from '../plain/shell.js';
import { formatDuration } from '../plain/units.js';
import type { LockHolder } from '../files/folder-lock.js';
import { printable } from '../plain/printable.js';
import type { RunState } from '../plain/studio-api/index.js';

export interface RunSigns {
  lock: LockHolder | null;
  step: number | null;
  totalSteps: number | null;
  /** When the metrics were last written, ms; null without any. */
  changed: number | null;
  /** Usual time between two lines, ms; null while not known. */
  interval: number | null;
}

/** A training is called waiting after this many usual intervals without a line, and never before a minute. */
const SILENT_INTERVALS = 20;
const SILENT_MS = 60_000;

const count = new Intl.NumberFormat('en-US');

const ago = (ms: number): string => `${formatDuration(ms / 1000)} ago`;

/** State and sentence, which ends with the command that continues the run where there is something to continue. */
export function stateOf(
  signs: RunSigns,
  path: string,
  now = Date.now(),
): { state: RunState; sentence: string } {
  const { lock, step, totalSteps, changed, interval } = signs;
  const of = totalSteps === null ? '' : ` of ${count.format(totalSteps)}`;
  const at = `step ${count.format(step ?? 0)}${of}`;
  const all = step === 1 ? 'its only step is done' : `all ${count.format(step ?? 0)} steps are done`;
  const resume = `Continue with: dino train --resume ${shellPath(path)}`;
  const isDone = step !== null && totalSteps !== null && step >= totalSteps;
  const silent = changed === null ? null : now - changed;
  const isSilent = silent !== null && silent > Math.max(SILENT_MS, SILENT_INTERVALS * (interval ?? 0));
  if (lock !== null && lock.isAlive !== false) {
    const who = `process ${lock.pid}${lock.isAlive === null ? ` on ${printable(lock.host)}` : ''}`;
    if (lock.isAlive === null && isSilent) {
      return {
        state: 'waiting',
        sentence: `In use by ${who}, which can't be reached from here; its last line came ${ago(silent)}. At ${at}.`,
      };
    }
    if (step === null)
      return { state: 'preparing', sentence: `Getting ready: ${who} has not completed a step yet.` };
    if (isDone) return { state: 'running', sentence: `Training: ${all}, and ${who} is finishing.` };
    return isSilent
      ? {
          state: 'waiting',
          sentence: `Waiting: ${who} is alive, but its last line came ${ago(silent)}. At ${at}: this may be an evaluation or a slow disk, or it hangs.`,
        }
      : { state: 'running', sentence: `Training: ${at}, by ${who}.` };
  }
  if (isDone)
    return {
      state: 'finished',
      sentence: `Finished: ${all}.`,
    };
  if (lock !== null) {
    return {
      state: 'crashed',
      sentence: `Process ${lock.pid} exited without releasing the run's lock, at ${at}: it was killed, or the machine went down. ${resume}`,
    };
  }
  return {
    state: 'stopped',
    sentence:
      step === null
        ? `Stopped before its first line. ${resume}`
        : `Stopped at ${at}, by a person or by an error. ${resume}`,
  };
}
