/**
 * Starting values of the settings.
 *
 *   paper  the defaults of the reference's main_dino.py get_args_parser() and DataAugmentationDINO (paper.ts)
 *   auto   chosen by the number and size of the images and by the machine, each choice with its reason (auto-preset.ts)
 */
import {
  anything,
  being,
  checkCall,
  count,
  finite,
  oneOf,
  optionsOf,
  text,
  words,
} from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import { channelProblems, readOverrides, type SettingsSources } from './config.js';
import { flagOf, type PartialSettings, type SettingName } from '../run/settings.js';
import { autoPreset } from './auto-preset.js';
import { PAPER } from './paper.js';
import { paperPreset } from './paper-preset.js';
import type { Choice, MachineFacts, Resolved, TrainFacts } from './preset.js';

export { PAPER };
export type { Choice, MachineFacts, Resolved, TrainFacts };

export type PresetName = 'auto' | 'paper';
export const PRESETS: readonly PresetName[] = ['auto', 'paper'];

export interface ResolveOptions extends SettingsSources {
  /** Default `auto`. */
  preset?: PresetName;
  /** Steps that fit in the time of `for`, when they were measured; `auto` makes its choices for that many. */
  steps?: number;
  /** What `auto` needs to know; see gatherFacts() in facts.ts. */
  facts?: TrainFacts;
  /** Settings determined by the weights of `--init` or a checkpoint; it is an error if the file or flags contradict them. */
  weights?: PartialSettings;
}

/** Merges the overrides with the settings of the weights, which they must not contradict. */
function overWeights(overrides: PartialSettings, weights: PartialSettings = {}): PartialSettings {
  const problems = FIXED_BY_WEIGHTS.filter(
    (name) =>
      weights[name] !== undefined && overrides[name] !== undefined && overrides[name] !== weights[name],
  ).map(
    (name) =>
      `${flagOf(name)} is ${String(overrides[name])}, but the weights have ${String(weights[name])}` +
      (name === 'arch'
        ? `: leave out --arch to train these, or give weights of a ${String(overrides[name])}`
        : OF_THE_HEAD.includes(name)
          ? ': --init-with-head false takes only the backbone, and the head is new'
          : ''),
  );
  const merged = { ...weights, ...overrides };
  problems.push(...channelProblems(merged));
  if (problems.length > 0) throw new ConfigError(problems);
  return merged;
}

/** Settings that are determined by the weights. */
const OF_THE_HEAD: readonly SettingName[] = [
  'outDim',
  'useBnInHead',
  'headNlayers',
  'headHiddenDim',
  'headBottleneckDim',
];
const OF_THE_BACKBONE: readonly SettingName[] = [
  'arch',
  'patchSize',
  'embedDim',
  'depth',
  'imgSize',
  'channels',
];
const FIXED_BY_WEIGHTS = [...OF_THE_BACKBONE, ...OF_THE_HEAD];

const namedValues = being(
  'an object of settings',
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

const resolveOptions = optionsOf<ResolveOptions>(
  {},
  {
    file: anything, // checked setting by setting
    fileName: text,
    flags: namedValues,
    problems: words,
    preset: oneOf(PRESETS),
    steps: count(1),
    facts: optionsOf<TrainFacts>(
      {
        device: oneOf(['cpu', 'cuda', 'mps']),
        cores: count(1),
        memoryGiB: finite.gt(0),
        images: count(),
        width: finite.gt(0),
        height: finite.gt(0),
      },
      { processes: count(1) },
    ),
    weights: namedValues,
  },
);

/**
 * The complete set of settings: flags override the file, which overrides the preset.
 * @throws ConfigError naming every problem at once.
 */
export function resolveSettings(options: ResolveOptions = {}): Resolved {
  checkCall('resolveSettings()', ['options', resolveOptions, options]);
  const preset = options.preset ?? 'auto';
  if (!PRESETS.includes(preset)) {
    throw new ConfigError([
      ...(options.problems ?? []),
      `preset ${String(preset)}; expected one of ${PRESETS.join(', ')}`,
    ]);
  }
  const overrides = overWeights(readOverrides(options), options.weights);
  if (options.steps !== undefined) overrides.steps = options.steps;
  if (preset === 'paper') return paperPreset(overrides, options.facts);
  if (!options.facts)
    throw new ConfigError('preset auto needs facts about the images and the machine (gatherFacts)');
  return autoPreset(options.facts, overrides);
}
