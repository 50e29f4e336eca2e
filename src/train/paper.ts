/** The settings of the paper's code. */
import { DEFAULT_AUGMENTATION } from '../data/crops/augmentation.js';
import type { TrainSettings } from '../run/settings.js';

/** main_dino.py's defaults, including `numWorkers` and `logEvery`. */
export const PAPER: Readonly<TrainSettings> = {
  arch: 'vit_small',
  patchSize: 16,
  dropPathRate: 0.1,
  outDim: 65536,
  normLastLayer: true,
  useBnInHead: false,
  headNlayers: 3, // DINOHead's own defaults, as are the next two
  headHiddenDim: 2048,
  headBottleneckDim: 256,
  momentumTeacher: 0.996,
  warmupTeacherTemp: 0.04,
  teacherTemp: 0.04,
  warmupTeacherTempEpochs: 0,
  precision: 'fp16', // use_fp16 is true there; without CUDA it is `auto`, see paperPreset
  optimizer: 'adamw',
  microBatchSize: 0,
  activationCheckpointing: false,
  batchSize: 64,
  epochs: 100,
  lr: 0.0005,
  warmupEpochs: 10,
  minLr: 1e-6,
  weightDecay: 0.04,
  weightDecayEnd: 0.4,
  clipGrad: 3,
  freezeLastLayer: 1,
  ...DEFAULT_AUGMENTATION,
  seed: 0,
  numWorkers: 10,
  device: 'auto',
  threads: 0,
  saveckpFreq: 20,
  keepCheckpoints: 2,
  saveEverySteps: 0,
  logEvery: 10,
  knnEvery: 0,
  maxBadShare: 0.1,
};
