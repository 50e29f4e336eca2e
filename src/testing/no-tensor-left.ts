/** That code leaves no tensor behind. */
import assert from 'node:assert/strict';
import { liveTensors } from '../torch/index.js';

/** @param before - liveTensors() before the code ran. There may be fewer now: what others left was collected meanwhile. */
export function noTensorLeft(before: number): void {
  const left = liveTensors() - before;
  assert.ok(left <= 0, `${left} tensors are left`);
}
