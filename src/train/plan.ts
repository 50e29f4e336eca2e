/** The settings of a new training: what the preset chooses for these images on this machine, flags and files over it. */
import type { ImageList } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { formatDuration, parseDuration } from '../plain/units.js';
import { type PartialSettings, type TrainSettings } from '../run/settings.js';
import { readOverrides, type SettingsSources } from './config.js';
import { gatherFacts, machineFacts } from './facts.js';
import { chooseDevice } from './hardware.js';
import { settingsOfInit } from './init.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import { batchFor, planSteps } from './plan-steps.js';
import { type Choice, type PresetName, type Resolved, resolveSettings, type TrainFacts } from './presets.js';
import { type Trial, trialSteps } from './trial.js';

export interface PlanOptions {
  sources: SettingsSources;
  preset: PresetName;
  /** How many processes train together; default 1. */
  processes?: number;
  /** Lets all processes choose by what one of them finds out: machines may differ a little. */
  share?: <T>(what: string, make: () => Promise<T>) => Promise<T>;
  /** When the time of `for` began, by performance.now(); default: now. */
  startedAt?: number;
  /** Whether trial steps show how many fit in the time of `for`; default true. */
  measures?: boolean;
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
}

export interface TrainingPlan extends Resolved {
  facts: TrainFacts;
  /** What the weights settle that the run begins with; null for a run that begins with none. */
  weights: PartialSettings | null;
  settings: TrainSettings & { device: string };
}

/** What the weights settle that a run begins with; null without any. */
function settledByWeights(
  overrides: PartialSettings,
  onWarning: (message: string) => void,
): PartialSettings | null {
  const { init, resumeFrom, numHeads } = overrides;
  if (resumeFrom !== undefined) return settingsOfCheckpoint(resumeFrom, { numHeads, onWarning });
  return init === undefined ? null : settingsOfInit(overrides, onWarning);
}

/** Trial steps take at most this share of the time, and these seconds. */
const TRIAL_SHARE = 0.03;
const TRIAL_SECONDS = 6;
const TRIAL_STEPS = 40;

/** What fits in the time of `for`, by trial steps. */
interface Fit {
  steps: number;
  /** When a smaller batch than the usual one was chosen. */
  batchSize?: Choice & { value: number };
  trial: Trial;
}

/** @throws ConfigError with every problem of the settings, DataError for images that can't be read. */
export async function planTraining(list: ImageList, options: PlanOptions): Promise<TrainingPlan> {
  const { sources, preset, processes, onWarning = () => undefined } = options;
  const { share = (_, make) => make(), startedAt = performance.now(), measures = true } = options;
  const overrides = readOverrides(sources);
  const device = chooseDevice(overrides.device ?? 'auto');
  const kind = device.startsWith('cuda') ? 'cuda' : device === 'mps' ? 'mps' : 'cpu';
  const machine = { ...machineFacts(kind), ...(processes === undefined ? {} : { processes }) };
  const facts = await share('facts about the images and the machine', () => gatherFacts(list.items, machine));
  const weights = settledByWeights(overrides, onWarning);
  const resolve = (steps?: number, flags: PartialSettings = {}): Resolved =>
    resolveSettings({
      ...{ ...sources, flags: { ...sources.flags, ...flags }, preset, facts, weights: weights ?? {} },
      ...(steps === undefined ? {} : { steps }),
    });
  const usual = resolve();
  const seconds = parseDuration(usual.settings.for ?? '');
  const resolved =
    seconds === null || !measures
      ? usual
      : withTime(
          await share('how much fits in the time', () =>
            fitTime(list, usual, { ...options, startedAt, seconds }),
          ),
          resolve,
          usual.settings,
        );
  return { ...resolved, settings: { ...resolved.settings, device }, facts, weights };
}

/** The settings for what fits, with reasons. */
function withTime(
  { steps, batchSize, trial }: Fit,
  resolve: (steps: number, flags: PartialSettings) => Resolved,
  { for: time = '', batchSize: usual }: TrainSettings,
): Resolved {
  const resolved = resolve(steps, batchSize === undefined ? {} : { batchSize: batchSize.value });
  const batch = batchSize?.value ?? usual;
  const choice: Choice = {
    name: 'steps',
    value: steps,
    reason:
      `what fits in ${time}: a step of ${batch} images takes ${stepTime(trial.secondsPerStep)} here, by ${trial.steps} trial ` +
      `step${trial.steps === 1 ? '' : 's'}; followed during the run`,
  };
  return {
    ...resolved,
    choices: [...resolved.choices, ...(batchSize === undefined ? [] : [batchSize]), choice],
  };
}

export const stepTime = (seconds: number): string =>
  seconds < 1 ? `${Number((1000 * seconds).toPrecision(3))} ms` : `${Number(seconds.toPrecision(3))} s`;

/** @throws ConfigError when the time is too short for a step. */
async function fitTime(
  list: ImageList,
  { settings, choices }: Resolved,
  { startedAt, seconds, signal }: PlanOptions & { startedAt: number; seconds: number },
): Promise<Fit> {
  const left = (): number => seconds - (performance.now() - startedAt) / 1000;
  const measure = (batchSize: number): Promise<Trial> =>
    trialSteps(
      list,
      { ...settings, batchSize },
      { steps: TRIAL_STEPS, seconds: Math.min(TRIAL_SECONDS, TRIAL_SHARE * seconds), signal },
    );
  let trial = await measure(settings.batchSize);
  const isFree = choices.some(({ name }) => name === 'batchSize');
  const batch = isFree ? batchFor(settings.batchSize, left(), trial.secondsPerStep) : settings.batchSize;
  if (batch !== settings.batchSize) trial = await measure(batch);
  const steps = planSteps(left(), trial);
  if (steps < 1) {
    const least = seconds - left() + trial.startSeconds + trial.checkpointSeconds + trial.secondsPerStep;
    throw new ConfigError(
      `--for ${settings.for} is too short: starting took ${formatDuration(seconds - left())}, and a step of ${batch} images ` +
        `takes ${stepTime(trial.secondsPerStep)} here. Give at least --for ${Math.ceil(1.2 * least)}s; a smaller --batch-size, ` +
        'smaller crops (--global-crops-size) or a smaller --arch make steps shorter.',
    );
  }
  const smaller: Choice & { value: number } = {
    ...{ name: 'batchSize', value: batch },
    reason: `smaller than ${settings.batchSize}, for more steps in ${settings.for}`,
  };
  return { steps, trial, ...(batch === settings.batchSize ? {} : { batchSize: smaller }) };
}
