/** A training run small enough for a test: a second or two, with everything that makes resuming hard. */
import type { TrainSettings } from '../run/settings.js';
import { PAPER } from '../train/presets.js';

/** Drop path and batch norm have hidden state, several epochs test the schedules, and an odd batch the position. */
export const TINY_SETTINGS: TrainSettings = {
  ...PAPER,
  arch: 'vit',
  patchSize: 8,
  embedDim: 32,
  depth: 2,
  numHeads: 2,
  dropPathRate: 0.3,
  outDim: 64,
  useBnInHead: true,
  headHiddenDim: 32,
  headBottleneckDim: 16,
  precision: 'fp32',
  batchSize: 5,
  epochs: 3,
  lr: 0.02,
  warmupEpochs: 1,
  warmupTeacherTemp: 0.02,
  teacherTemp: 0.04,
  warmupTeacherTempEpochs: 2,
  globalCropsSize: 32,
  localCropsSize: 16,
  localCropsNumber: 2,
  numWorkers: 1,
  device: 'cpu',
  threads: 2,
  saveckpFreq: 1,
  logEvery: 1,
};
