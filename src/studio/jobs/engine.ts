/** What the engine is. */
import os from 'node:os';
import { availableDevices, torchVersion } from '../../torch/index.js';
import type { JobFunction } from './index.js';

export const run: JobFunction<'engine'> = () =>
  Promise.resolve({ torch: torchVersion, devices: availableDevices(), cores: os.availableParallelism() });
