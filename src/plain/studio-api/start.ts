/** What the studio's section Start asks and is told, and its routes. */
import type { FlagKind } from '../flag-values.js';
import type { RunSummary, SkippedEntry } from './runs.js';
import type { Task } from './everywhere.js';

/** What a preset chose, and why. */
export interface ChosenSetting {
  name: string;
  value: unknown;
  reason: string;
}

/** What a folder of images holds. */
export interface ImagesReport {
  /** As listed: the folder or text file. */
  source: string;
  count: number;
  /** By class; null when the source has no classes. */
  classes: { name: string; count: number }[] | null;
  /** Images whose headers were read for what follows; all, or a sample spread evenly. */
  checked: number;
  /** Those of them that can't be read, the first ones with the reason. */
  broken: { count: number; first: SkippedEntry[] };
  /** Links that lead outside the given folders: training on them is refused here. */
  outside: number;
  width: { least: number; median: number; greatest: number };
  height: { least: number; median: number; greatest: number };
  /** Bytes of the files that were checked, taken to all. */
  bytes: number;
  /** Formats of those that were checked, by name. */
  formats: Record<string, number>;
  /** Files that are not images, by extension. */
  leftOut: { count: number; byExtension: Record<string, number> };
  /** Lines on what was left out, or taken in a way that may not be meant. */
  remarks: string[];
  unreadableFolders: SkippedEntry[];
}

export type PresetChoice = 'auto' | 'paper';

/** What a training would be begun with. */
export interface StartRequest {
  images: string;
  preset: PresetChoice;
  /** Settings by flag name or camelCase, as typed. */
  overrides: Record<string, string>;
}

/** A setting that a training has. */
export interface SettingField {
  name: string;
  kind: FlagKind;
  /** What it is, as in the help of `dino train`. */
  help: string;
}

/** GET of what the preset chooses, and why. */
export interface StartPlan {
  settings: Record<string, unknown>;
  /** All there are, in the order of the help. */
  fields: SettingField[];
  choices: ChosenSetting[];
  warnings: string[];
  device: string;
  steps: number;
  /** How long the training may take; then how many steps fit is measured when it starts. */
  seconds: number | null;
  stepsPerEpoch: number;
}

/** Crops of a few images, as training would see them: each a WebP in base64. */
export interface CropSamples {
  images: { path: string; globals: string[]; locals: string[] }[];
}

/** What a few steps took. */
export interface TrialResult {
  /** Steps that were timed, after the first ones. */
  steps: number;
  secondsPerStep: number;
  imagesPerSecond: number;
  dataWaitPercent: number;
  /** Most resident memory of the process, MiB. */
  memoryMiB: number;
  /** A checkpoint's size and time. */
  checkpointMiB: number;
  parameters: number;
  device: string;
  precision: string;
  /** The whole training at this speed, seconds; without checkpoints and evaluations. */
  totalSeconds: number;
  totalSteps: number;
}

/** The section Start. */
export interface StartApi {
  'POST /api/start/inspect': { body: { images: string }; reply: Task };
  'POST /api/start/plan': { body: StartRequest; reply: StartPlan };
  'POST /api/start/crops': { body: StartRequest & { seed: number }; reply: CropSamples };
  'POST /api/start/trial': { body: StartRequest; reply: Task };
  'POST /api/start/train': { body: StartRequest & { output: string }; reply: { run: string } };
  'POST /api/runs/:run/stop': { params: { run: string }; reply: RunSummary };
  'POST /api/runs/:run/resume': { params: { run: string }; reply: RunSummary };
}
