/** The preset `paper`: the reference's settings, but for what a run's length or machine makes impossible. */
import { wholePatchSize } from '../models/architectures.js';
import type { PartialSettings } from '../run/settings.js';
import { PAPER } from './paper.js';
import {
  type Choice,
  finish,
  multiple,
  type Resolved,
  round,
  type TrainFacts,
  wholeBatches,
} from './preset.js';

export function paperPreset(overrides: PartialSettings, facts: TrainFacts | undefined): Resolved {
  const device = facts?.device;
  const stepsInEpoch =
    facts === undefined ? Infinity : wholeBatches(facts, overrides.batchSize ?? PAPER.batchSize);
  const settings: PartialSettings = { ...PAPER, ...overrides };
  const choices: Choice[] = [];
  const onCuda = device === 'cuda' || (overrides.device ?? '').startsWith('cuda');
  if (overrides.precision === undefined && !onCuda) {
    // The reference runs only on CUDA; elsewhere half precision with loss scaling has no fast kernels.
    settings.precision = 'auto';
    choices.push({
      name: 'precision',
      value: 'auto',
      reason: "the reference's fp16 needs CUDA: chosen by trial steps instead",
    });
  }
  const patch = wholePatchSize(settings.arch ?? PAPER.arch);
  if (patch !== undefined && overrides.localCropsSize === undefined) {
    settings.localCropsSize = multiple(PAPER.localCropsSize, patch);
    choices.push({
      name: 'localCropsSize',
      value: settings.localCropsSize,
      reason: `the paper's ${PAPER.localCropsSize}, in whole patches of ${patch}`,
    });
  }
  // the paper's 10 epochs of warm-up don't fit in every number of steps
  const epochs = settings.steps === undefined ? undefined : settings.steps / stepsInEpoch;
  if (epochs !== undefined) {
    settings.epochs = Math.ceil(epochs);
    const parts = {
      warmupEpochs: round(Math.min(PAPER.warmupEpochs, epochs / 10), 3),
      freezeLastLayer: round(Math.min(PAPER.freezeLastLayer, epochs / 10), 3),
    };
    for (const name of ['warmupEpochs', 'freezeLastLayer'] as const) {
      if (overrides[name] !== undefined || parts[name] === PAPER[name]) continue;
      settings[name] = parts[name];
      choices.push({ name, value: parts[name], reason: "a tenth of the run, the paper's at most" });
    }
  }
  return finish(settings, choices);
}
