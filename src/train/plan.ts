/** The settings of a new training: what the preset chooses for these images on this machine, flags and files over it. */
import type { ImageList } from '../data/index.js';
import { ConfigError } from '../errors.js';
import type { Precision } from '../plain/precisions.js';
import { formatDuration, parseDuration, showSeconds } from '../plain/units.js';
import { type PartialSettings, stepsOf, type TrainSettings } from '../run/settings.js';
import { LENGTHS, readOverrides, type SettingsSources } from './config.js';
import { gatherFacts, machineFacts } from './facts.js';
import { choosePrecision } from './choose-precision.js';
import { chooseDevice } from './hardware.js';
import { settingsOfInit } from './init.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import { JUDGE_IMAGES } from '../plain/quality.js';
import { settleChannels, warningsOfChannels } from './settle-channels.js';
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
  /** Whether trial steps choose a precision for `auto`, and show how many fit in the time of `for`; default true. */
  measures?: boolean;
  /** Called before trial steps: the seconds that the training may take, and whether it may end earlier. */
  onTrial?: (seconds: number, isUntilStalled: boolean) => void;
  /** Called before trial steps that choose a precision. */
  onPrecisionTrial?: () => void;
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
  preset: PresetName,
  onWarning: (message: string) => void,
): PartialSettings | null {
  const { init, resumeFrom, numHeads } = overrides;
  if (resumeFrom !== undefined) return settingsOfCheckpoint(resumeFrom, { numHeads, onWarning });
  if (init === undefined) return null;
  const settled = settingsOfInit(overrides, onWarning);
  // each loss has a head of its own: with prototypes, or without
  const theirs = settled.outDim === undefined ? undefined : (settled.loss ?? 'dino');
  const wanted = overrides.loss ?? (preset === 'paper' ? 'dino' : theirs);
  if (theirs === undefined || theirs === wanted) return settled;
  onWarning(
    `${init}: its head was trained with the loss ${theirs} and doesn't fit ${wanted}: only the backbone is taken, and the head ` +
      'is new',
  );
  return { ...settingsOfInit({ ...overrides, initWithHead: false }), initWithHead: false };
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
  const weights = settledByWeights(overrides, preset, onWarning);
  const open = preset === 'auto' && isOpenEnded(overrides, facts) ? OPEN_END : null;
  const chosen: PartialSettings = {};
  const resolve = (steps?: number, flags: PartialSettings = {}): Resolved =>
    resolveSettings({
      ...{
        ...sources,
        flags: { ...sources.flags, ...open, ...chosen, ...flags },
        preset,
        facts,
        weights: weights ?? {},
      },
      ...(steps === undefined ? {} : { steps }),
    });
  let usual = resolve();
  const measured = await planChannels(list, usual.settings, weights ?? {}, options);
  if (measured.length > 0) {
    for (const { name, value } of measured) chosen[name] = value;
    usual = resolve();
  }
  const seconds = parseDuration(usual.settings.for ?? '');
  const isTimed = measures && isTrainable(list, usual.settings, processes);
  const precision =
    usual.settings.precision === 'auto' && isTimed
      ? await share('the precision', () =>
          planPrecision(list, { ...usual.settings, device }, { ...options, seconds }),
        )
      : null;
  if (precision !== null) {
    chosen.precision = precision.value;
    usual = resolve();
  }
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
  const choices = [
    ...(open === null ? [] : [OPEN_END_CHOICE]),
    ...resolved.choices,
    ...measured,
    ...(precision === null ? [] : [precision]),
  ];
  return { ...resolved, choices, settings: { ...resolved.settings, device }, facts, weights };
}

/** A training on a CPU whose length nobody gave goes on while it gets better, but not longer than this. */
const OPEN_END = { for: '1h', untilStalled: true } as const;
const OPEN_END_CHOICE: Choice = {
  name: 'for',
  value: OPEN_END.for,
  reason:
    'at most: it ends when the judge no longer sees it getting better; --for, --epochs or --steps give another length',
};

/** Whether nobody gave a length, and there is a judge that can find one. */
const isOpenEnded = (overrides: PartialSettings, { device, images }: TrainFacts): boolean =>
  device === 'cpu' &&
  images >= JUDGE_IMAGES &&
  overrides.judgeEvery !== 0 &&
  overrides.resumeFrom === undefined &&
  LENGTHS.every((name) => overrides[name] === undefined);

/** Whether trial steps can be made: the images fill a batch, and nothing but the settings is needed to build the networks. */
const isTrainable = (list: ImageList, { batchSize, arch }: TrainSettings, processes = 1): boolean =>
  list.items.length >= batchSize * processes && arch !== 'custom';

/** Mean and deviation of each channel of images that are taken as they are, where nothing says them. */
async function planChannels(
  list: ImageList,
  settings: TrainSettings,
  weights: PartialSettings,
  { share = (_, make) => make(), signal, onWarning }: PlanOptions,
): Promise<(Choice & { name: 'mean' | 'std'; value: number[] })[]> {
  if (settings.channels === undefined || settings.mean !== undefined) return [];
  const { input, measured } = await share('the channels of the images', () =>
    settleChannels(settings, weights, list.items, signal),
  );
  if (measured === null) return [];
  for (const warning of warningsOfChannels(measured)) onWarning?.(warning);
  const reason = `measured over ${measured.images} images; white is 1`;
  return [
    { name: 'mean', value: [...(input.mean ?? [])], reason },
    { name: 'std', value: [...(input.std ?? [])], reason },
  ];
}

/** What `precision: auto` chooses for a training. */
async function planPrecision(
  list: ImageList,
  settings: TrainSettings,
  { processes = 1, seconds, signal, onPrecisionTrial }: PlanOptions & { seconds: number | null },
): Promise<Choice & { value: Precision }> {
  const stepsPerEpoch = Math.floor(list.items.length / (settings.batchSize * processes));
  const length = seconds === null ? { steps: stepsOf(settings, stepsPerEpoch) } : { seconds };
  const options = { length, signal, onTrial: onPrecisionTrial };
  const { precision: value, reason } = await choosePrecision(settings, options);
  return { name: 'precision', value, reason };
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
      `what fits in ${time}: a step of ${batch} images takes ${showSeconds(trial.secondsPerStep)} here, by ${trial.steps} trial ` +
      `step${trial.steps === 1 ? '' : 's'}; followed during the run`,
  };
  return {
    ...resolved,
    choices: [...resolved.choices, ...(batchSize === undefined ? [] : [batchSize]), choice],
  };
}

/** @throws ConfigError when the time is too short for a step. */
async function fitTime(
  list: ImageList,
  { settings, choices }: Resolved,
  { startedAt, seconds, signal, onTrial }: PlanOptions & { startedAt: number; seconds: number },
): Promise<Fit> {
  const left = (): number => seconds - (performance.now() - startedAt) / 1000;
  const measure = (batchSize: number): Promise<Trial> =>
    trialSteps(
      list,
      { ...settings, batchSize },
      { steps: TRIAL_STEPS, seconds: Math.min(TRIAL_SECONDS, TRIAL_SHARE * seconds), signal },
    );
  onTrial?.(seconds, settings.untilStalled === true);
  let trial = await measure(settings.batchSize);
  const isFree = choices.some(({ name }) => name === 'batchSize');
  const batch = isFree ? batchFor(settings.batchSize, left(), trial.secondsPerStep) : settings.batchSize;
  if (batch !== settings.batchSize) trial = await measure(batch);
  const steps = planSteps(left(), trial);
  if (steps < 1) {
    const least = seconds - left() + trial.startSeconds + trial.checkpointSeconds + trial.secondsPerStep;
    throw new ConfigError(
      `--for ${settings.for} is too short: starting took ${formatDuration(seconds - left())}, and a step of ${batch} images ` +
        `takes ${showSeconds(trial.secondsPerStep)} here. Give at least --for ${Math.ceil(1.2 * least)}s; a smaller --batch-size, ` +
        'smaller crops (--global-crops-size) or a smaller --arch make steps shorter.',
    );
  }
  const smaller: Choice & { value: number } = {
    ...{ name: 'batchSize', value: batch },
    reason: `smaller than ${settings.batchSize}, for more steps in ${settings.for}`,
  };
  return { steps, trial, ...(batch === settings.batchSize ? {} : { batchSize: smaller }) };
}
