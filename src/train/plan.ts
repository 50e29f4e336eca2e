/** The settings of a new training: what the preset chooses for these images on this machine, flags and files over it. */
import type { ImageList } from '../data/index.js';
import { type PartialSettings, type TrainSettings } from '../run/settings.js';
import { readOverrides, type SettingsSources } from './config.js';
import { gatherFacts, machineFacts } from './facts.js';
import { chooseDevice } from './hardware.js';
import { settingsOfInit } from './init.js';
import { settingsOfCheckpoint } from './official-checkpoint.js';
import { type PresetName, type Resolved, resolveSettings, type TrainFacts } from './presets.js';

export interface PlanOptions {
  sources: SettingsSources;
  preset: PresetName;
  /** How many processes train together; default 1. */
  processes?: number;
  /** Lets all processes choose by the facts that one of them gathers: machines may differ a little. */
  shareFacts?: (gather: () => Promise<TrainFacts>) => Promise<TrainFacts>;
  onWarning?: (message: string) => void;
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

/** @throws ConfigError with every problem of the settings, DataError for images that can't be read. */
export async function planTraining(list: ImageList, options: PlanOptions): Promise<TrainingPlan> {
  const { sources, preset, processes, onWarning = () => undefined } = options;
  const { shareFacts = (gather) => gather() } = options;
  const overrides = readOverrides(sources);
  const device = chooseDevice(overrides.device ?? 'auto');
  const kind = device.startsWith('cuda') ? 'cuda' : device === 'mps' ? 'mps' : 'cpu';
  const machine = { ...machineFacts(kind), ...(processes === undefined ? {} : { processes }) };
  const facts = await shareFacts(() => gatherFacts(list.items, machine));
  const weights = settledByWeights(overrides, onWarning);
  const resolved = resolveSettings({ ...sources, preset, facts, weights: weights ?? {} });
  return { ...resolved, settings: { ...resolved.settings, device }, facts, weights };
}
