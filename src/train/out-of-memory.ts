/** What helps when a step doesn't fit into a device's memory. */
import { EngineError } from '../errors.js';
import type { TrainSettings } from '../run/settings.js';

/** Whether libtorch had no memory left. */
export const isOutOfMemory = (error: unknown): boolean =>
  error instanceof EngineError && /out of memory/i.test(error.message);

/** The error with what to try, of a step that ran out of memory; any other as it is. */
export function withMemoryAdvice(error: unknown, settings: TrainSettings): unknown {
  if (!isOutOfMemory(error)) return error;
  const { batchSize, microBatchSize, activationCheckpointing, precision } = settings;
  const each = microBatchSize > 0 ? microBatchSize : batchSize;
  const advice = [
    ...(each > 1 ? [`--micro-batch-size ${Math.ceil(each / 2)} (the same step in parts)`] : []),
    ...(activationCheckpointing ? [] : ['--activation-checkpointing true']),
    ...(precision === 'fp32' ? ['--precision bf16'] : []),
    `a --batch-size below ${batchSize}`,
  ];
  return new EngineError(
    `A step doesn't fit into the memory of ${settings.device}. Start a new run with ${advice.join(', ')}. ${(error as Error).message}`,
    { cause: error },
  );
}
