/** What training reports to its caller while it runs. */
import type { KnnResult } from '../eval/knn.js';
import type { LeftOut } from '../data/index.js';
import type { QualityMeasures } from '../eval/quality-of-networks.js';
import type { MeasureName } from '../plain/quality.js';
import type { RunTime } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import type { MeasuredChannels } from './settle-channels.js';
import type { WhitenedPatches } from './whiten-patches.js';
import type { Precision } from '../plain/precisions.js';

/** A line of metrics.jsonl. */
export interface StepMetrics {
  /** Steps done, counted from 1 over the whole training. */
  step: number;
  /** Epoch of this step, from 0. */
  epoch: number;
  /** Loss of this step, nats. */
  loss: number;
  lr: number;
  wd: number;
  /** EMA momentum of the teacher. */
  momentum: number;
  teacherTemp: number;
  /** Mean entropy of the teacher's targets, nats; at most ln K. */
  teacherEntropy: number;
  /** Mean KL divergence of the targets from their batch mean, nats. */
  kl: number;
  /** L2 norm of the loss's centre. */
  centerNorm: number;
  imagesPerSecond: number;
  /** Percentage of the time since the last line that was spent waiting for images. */
  dataWaitPercent: number;
  /** Resident memory of the process, MiB. */
  memoryMiB: number;
}

/** A judgement of the teacher's features without labels, as its line of metrics.jsonl has it. */
export interface JudgementLine {
  step: number;
  /** Epoch of this step, from 0. */
  epoch: number;
  judge: {
    /** The measure that judges, and its value turned so that higher is better. */
    measure: MeasureName;
    score: number;
    /** The same of the untrained network and of raw pixels. */
    untrained: number;
    pixels: number;
    measures: QualityMeasures;
    /** Images that were compared, the same each time. */
    images: number;
    /** Of each image of the sample, how many of its nearest images its two views agree on: a digit, or `-` if it can't be read. */
    shared: string;
    isBest: boolean;
    /** Step of the best weights so far. */
    bestStep: number;
    /** Whether the last judgements brought no gain. */
    stalled: boolean;
    /** What it is not better than; null when it is better than both. */
    fallsShortOf: 'untrained' | 'pixels' | null;
  };
}

export type TrainEvent =
  | {
      type: 'start';
      images: number;
      stepsPerEpoch: number;
      totalSteps: number;
      /** Steps already done by a resumed run. */
      startStep: number;
      device: string;
      precision: Precision;
      /** Seconds that the run may take and has taken; null for one whose length is not a time. */
      time: RunTime | null;
      /** Memory for decoded images, bytes, and about how many fit in it; null without a cache. */
      decodedCache: { bytes: number; images: number } | null;
      /** Trained parameters of the student. */
      parameters: number;
      settings: TrainSettings;
    }
  /** Before the start, when the setting was `auto`: what was chosen and why, in words. */
  | { type: 'precision'; precision: Precision; reason: string }
  /** Before the start of a run with `channels`: mean and deviation of each, and what was measured, null where nothing was. */
  | {
      type: 'channels';
      channels: number;
      mean: readonly number[];
      std: readonly number[];
      measured: MeasuredChannels | null;
    }
  /** Before the start of a new run with `patchInit` whitened. */
  | ({ type: 'whitened' } & WhitenedPatches)
  /**
   * After every step; `metrics` is set every logEvery steps, at the end of an epoch and at the last step. On a GPU `loss` is
   * null between these lines: reading it would make the host wait for the device.
   */
  | { type: 'step'; step: number; epoch: number; loss: number | null; metrics: StepMetrics | null }
  /** A checkpoint is on disk: how long its copy stopped training, and how long its write took meanwhile. */
  | { type: 'checkpoint'; step: number; folder: string; copyMs: number; writeMs: number }
  /** A run for a time has looked at its pace: steps that it now has in all, and seconds until its end. */
  | { type: 'length'; step: number; totalSteps: number; secondsLeft: number }
  /** `numWorkers` auto has found a number of loader workers, perhaps again; and the remaining waiting time in per cent. */
  | { type: 'workers'; workers: number; dataWaitPercent: number }
  /** After the first full epoch: how many images the cache of decoded images holds, and their bytes. */
  | { type: 'decoded-cache'; images: number; bytes: number }
  /** The reference's scores, and those of centred and of whitened features. */
  | ({ type: 'knn'; step: number; epoch: number } & Pick<
      KnnResult,
      'top1' | 'top5' | 'center' | 'pca' | 'classes'
    >)
  /** After a judgement (`judgeEvery`), and before the first step. */
  | ({ type: 'judge' } & JudgementLine)
  | { type: 'skipped'; path: string; offset?: number; reason: string }
  | { type: 'warning'; message: string };

export interface TrainResult {
  /** The run folder. */
  output: string;
  /** Its architecture: an entry of the table, or `custom`. */
  arch: TrainSettings['arch'];
  /** Total number of steps done. */
  steps: number;
  /** Loss of the last step; null when no step was left to do. */
  loss: number | null;
  /** Folder of the newest checkpoint. */
  checkpoint: string;
  /** `checkpoints/best`, where the judge takes other weights than the last for the best; else null. */
  best: string | null;
  /** Whether the signal stopped it before its end. */
  interrupted: boolean;
  /** Seconds that a run for a time may take and has taken, its last checkpoint included; null for other runs. */
  time: RunTime | null;
  /** Distinct images that could not be read. */
  skipped: number;
  /** Files beside the images that were not taken. */
  leftOut: LeftOut;
}
