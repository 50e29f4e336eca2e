/** What a preset needs to know and what comes of it: facts, choices with their reasons, settings that were checked together. */
import { ONLY_FOR_RGB } from '../data/crops/augmentation.js';
import { ConfigError } from '../errors.js';
import { hasAttention } from '../models/architectures.js';
import type { PartialSettings, SettingName, TrainSettings } from '../run/settings.js';
import { checkSettings, checkTogether, warningsAbout } from './config.js';

/** What `auto` takes into account. */
export interface MachineFacts {
  /** Where the training will run. */
  device: 'cpu' | 'cuda' | 'mps';
  /** Cores that this process may use. */
  cores: number;
  /** Main memory that this process may use, GiB. */
  memoryGiB: number;
  /** Processes that train together; default 1. */
  processes?: number;
}

export interface TrainFacts extends MachineFacts {
  /** Number of images. */
  images: number;
  /** Typical (median) width and height of an image, pixels. */
  width: number;
  height: number;
}

/** A setting that `auto` chose, and why. */
export interface Choice {
  name: SettingName;
  value: unknown;
  reason: string;
}

export interface Resolved {
  settings: TrainSettings;
  /** What the preset chose; settings given by flags or a file are not included. */
  choices: Choice[];
  warnings: string[];
}

/** Rounded to so many digits. */
export const round = (value: number, digits: number): number => Number(value.toPrecision(digits));

/** The nearest multiple of `of`, at least `of`. */
export const multiple = (value: number, of: number): number => Math.max(of, Math.round(value / of) * of);

/** Whole batches of all processes in the images. */
export const wholeBatches = ({ images, processes = 1 }: TrainFacts, batchSize: number): number =>
  Math.max(1, Math.floor(images / (batchSize * processes)));

/** Checks what a preset chose. @throws ConfigError when settings contradict each other. */
export function finish(settings: PartialSettings, choices: Choice[]): Resolved {
  if (settings.channels !== undefined) {
    settings = { ...settings };
    for (const name of ONLY_FOR_RGB) {
      settings[name] = 0;
      choices.push({ name, value: 0, reason: 'left out: it has a meaning for 8-bit RGB only' });
    }
  }
  // transformers have attention; a custom backbone may not
  const isWatchable = settings.channels === undefined && hasAttention(settings.arch) === true;
  if (settings.watchImages === undefined && isWatchable) {
    settings = { ...settings, watchImages: ['auto'] };
    choices.push({
      name: 'watchImages',
      value: settings.watchImages,
      reason: "a few images' attention is saved at every checkpoint",
    });
  }
  const problems = checkTogether(settings);
  if (problems.length > 0) throw new ConfigError(problems);
  const whole = checkSettings(settings);
  return { settings: whole, choices, warnings: warningsAbout(whole) };
}
