/** What fits in a time, by a step's duration. */
import { stepsInTime } from './pace.js';
import type { Trial } from './trial.js';

/** With fewer steps than this a smaller batch learns more, down to a batch of {@link LEAST_BATCH}. */
const FEW_STEPS = 200;
const LEAST_BATCH = 8;

/** A batch with which enough steps fit: a step's time is taken to be proportional to its images. */
export function batchFor(batch: number, secondsLeft: number, secondsPerStep: number): number {
  let smaller = batch;
  while (smaller / 2 >= LEAST_BATCH && secondsLeft / (secondsPerStep * (smaller / batch)) < FEW_STEPS)
    smaller = Math.floor(smaller / 2);
  return smaller;
}

/** Steps that fit in the time that is left after the trial. */
export const planSteps = (
  secondsLeft: number,
  {
    secondsPerStep,
    startSeconds,
    checkpointSeconds,
  }: Pick<Trial, 'secondsPerStep' | 'startSeconds' | 'checkpointSeconds'>,
): number => stepsInTime(secondsLeft - startSeconds - checkpointSeconds, secondsPerStep);
