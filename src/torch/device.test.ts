/** Which CUDA device a process takes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../errors.js';
import { cudaDeviceOf } from './device.js';

test('each process of a machine takes the CUDA device of its rank, or the only one that it is shown', () => {
  assert.deepEqual(
    [0, 1, 3].map((rank) => cudaDeviceOf(rank, 4, undefined)),
    ['cuda:0', 'cuda:1', 'cuda:3'],
  );
  // Slurm's --gpus-per-task=1
  assert.deepEqual(
    [0, 1, 3].map((rank) => cudaDeviceOf(rank, 1, '2')),
    ['cuda:0', 'cuda:0', 'cuda:0'],
  );
  assert.throws(() => cudaDeviceOf(1, 1, undefined), EngineError);
  assert.throws(
    () => cudaDeviceOf(2, 2, '0,1'),
    /^EngineError: process 2 of this machine \(counted from 0\) has no CUDA device of its own: it sees 2 \(CUDA_VISIBLE_DEVICES is 0,1\)/,
  );
});
