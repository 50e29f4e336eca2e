/** Saving the state when a process is lost: normally rank 0 does it; when rank 0 itself is lost, rank 1 does. */
import type { TrainingState } from '../dino/index.js';
import type { World } from '../processes/world.js';
import { readLock } from '../files/folder-lock.js';
import { CheckpointWriter } from './checkpoint-writer.js';
import type { StepMetrics, TrainEvent } from './events.js';
import { appendLine, readLines } from '../files/json-lines.js';
import { metricsPath, truncateLog } from '../run/run-folder.js';
import type { KeepRule } from './write-checkpoint.js';

export interface Inheritance {
  run: string;
  state: TrainingState;
  /** Steps done. */
  step: number;
  keep: KeepRule;
  /** What the networks' files say of themselves. */
  record: Readonly<Record<string, string>>;
  /** The last line of metrics, which rank 0 may not have written yet. */
  metrics: StepMetrics | null;
  emit: (event: TrainEvent) => void;
}

/**
 * Writes the state in place of rank 0, if rank 0 is lost and this is rank 1 and can see the run folder as rank 0 left it.
 * @returns Whether it was saved.
 */
export async function saveAsHeir(
  world: World,
  { run, state, step, keep, record, metrics, emit }: Inheritance,
): Promise<boolean> {
  const first = await world.predecessor();
  if (first === null) return false;
  const lock = readLock(run); // released, or taken by a restarted process: not ours to write to
  if (lock?.pid !== first.pid || lock.host !== first.host) return false;
  await using writer = new CheckpointWriter({ run, state, keep, record, emit });
  await writer.save(step);
  try {
    await writer.settle();
  } catch {
    return false; // a warning has said why
  }
  const log = metricsPath(run);
  truncateLog(log, step); // a killed process may leave half a line
  if (metrics !== null && !readLines(log).some((line) => line['step'] === metrics.step))
    appendLine(log, metrics);
  return true;
}

/** The batches; before an error of the loader is passed on, the state is kept. */
export async function* keepingState<T>(
  batches: AsyncIterable<T>,
  keepState: () => Promise<void>,
): AsyncIterable<T> {
  try {
    yield* batches;
  } catch (error) {
    await keepState();
    throw error;
  }
}
