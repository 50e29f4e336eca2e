/** What a training tells its caller while it runs. */
import type { LeftOut } from '../data/index.js';
import type { TrainSettings } from '../run/settings.js';

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
  /** Mean entropy of the teacher's targets, nats; ln K is the most. */
  teacherEntropy: number;
  /** Mean KL divergence of the targets from their batch mean, nats. */
  kl: number;
  /** L2 norm of the loss's centre. */
  centerNorm: number;
  imagesPerSecond: number;
  /** Share of the time since the last line that went on waiting for images, 0 to 100. */
  dataWaitPercent: number;
  /** Resident memory of the process, MiB. */
  memoryMiB: number;
}

export type TrainEvent =
  | {
      type: 'start';
      images: number;
      stepsPerEpoch: number;
      totalSteps: number;
      /** Steps that a resumed run has behind it. */
      startStep: number;
      device: string;
      precision: 'fp32' | 'bf16' | 'fp16';
      /** Memory for decoded images, bytes, and about how many it holds; null without. */
      decodedCache: { bytes: number; images: number } | null;
      /** Trained parameters of the student. */
      parameters: number;
      settings: TrainSettings;
    }
  /** Every step; `metrics` every logEvery steps, at the end of an epoch and at the last step. */
  | { type: 'step'; step: number; epoch: number; loss: number; metrics: StepMetrics | null }
  /** A checkpoint is on the disk: how long its copy stopped the training, and how long its write ran beside it. */
  | { type: 'checkpoint'; step: number; folder: string; copyMs: number; writeMs: number }
  /** `numWorkers` auto has found its number of loader workers, or another one; the rest of the waiting in per cent. */
  | { type: 'workers'; workers: number; dataWaitPercent: number }
  /** After the first whole epoch: how many images the cache of decoded images holds, and their bytes. */
  | { type: 'decoded-cache'; images: number; bytes: number }
  | { type: 'knn'; step: number; epoch: number; top1: Record<string, number>; top5: Record<string, number> }
  | { type: 'skipped'; path: string; offset?: number; reason: string }
  | { type: 'warning'; message: string };

export interface TrainResult {
  /** The run folder. */
  output: string;
  /** Steps behind the training in all. */
  steps: number;
  /** Loss of the last step that was made; null when there was none left to make. */
  loss: number | null;
  /** Folder of the newest checkpoint. */
  checkpoint: string;
  /** Stopped by the signal before its end. */
  interrupted: boolean;
  /** Distinct images that could not be read. */
  skipped: number;
  /** Files beside the images that were not taken. */
  leftOut: LeftOut;
}
