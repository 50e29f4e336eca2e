/**
 * How flags, a file and a preset become one complete set of settings. All problems are reported together before anything
 * starts, with names as they were given and what was expected.
 */
import { z } from 'zod';
import { ONLY_FOR_RGB } from '../data/crops/augmentation.js';
import { countChannels } from '../plain/channels.js';
import { expectations, show } from '../plain/check-options.js';
import { ConfigError } from '../errors.js';
import {
  architectureEntry,
  architectureNames,
  convStemProblem,
  FAMILIES,
  hasAttention,
  hasConvStem,
  ownSizes,
  wholePatchSize,
} from '../models/architectures.js';
import { didYouMean } from '../plain/did-you-mean.js';
import { readFlagValue } from '../plain/flag-values.js';
import {
  flagOf,
  type PartialSettings,
  SETTING_NAMES,
  settingFields,
  type SettingName,
  settingOf,
  type TrainSettings,
} from '../run/settings.js';

/** Checks one value. @returns The problem in words, or null. */
export function checkSetting(name: SettingName, value: unknown): string | null {
  return expectations(settingFields[name], value).join('; ') || null;
}

/** What the sizes of an architecture must be multiples of. */
const MULTIPLES: Readonly<Record<string, Readonly<Partial<Record<'embedDim' | 'depth', number>>>>> = {
  resnet: { embedDim: 8, depth: 4 },
  resnet_class_attention: { embedDim: 8, depth: 3 },
  dinov3_convnext: { embedDim: 8, depth: 6 },
};

/** Names of the architectures whose size it is. */
const ownersOf = (size: 'embedDim' | 'depth' | 'numHeads'): string[] =>
  architectureNames.filter((name) => ownSizes(name).includes(size));

/** The smallest side of images that an architecture of fixed patches takes, pixels. */
const leastSide = (arch: string | undefined): number => {
  const entry = architectureEntry(arch);
  return entry?.family === 'dinov3' || entry?.family === 'convnext' ? (entry.patchSize ?? 1) : 1;
};

/** Whether a student of it may drop patches; of a backbone of your own, and where none is named, nothing is known. */
function mayDropPatches(arch: string | undefined): boolean {
  const entry = architectureEntry(arch);
  return entry === null || FAMILIES[entry.family].dropsPatches === true;
}

/** What keeps crops from having half their sides in the first epochs. */
function lowResProblems(s: PartialSettings, patch: number | undefined): string[] {
  const { lowResEpochs, epochs, steps } = s;
  if (lowResEpochs === undefined || lowResEpochs === 0) return [];
  const problems: string[] = [];
  if (epochs !== undefined && steps === undefined && lowResEpochs > epochs)
    problems.push(`lowResEpochs ${lowResEpochs} is more than epochs ${epochs}: use at most ${epochs}`);
  const names = ['globalCropsSize', ...(s.localCropsNumber === 0 ? [] : ['localCropsSize'])] as const;
  for (const name of names as readonly ('globalCropsSize' | 'localCropsSize')[]) {
    const size = s[name];
    if (size === undefined) continue;
    const unit = patch ?? 1;
    const half = size / 2;
    if (half % unit === 0 && half >= leastSide(s.arch)) continue;
    const what = unit === 1 ? 'whole pixels' : `whole patches of ${unit} pixels`;
    problems.push(
      half < leastSide(s.arch)
        ? `lowResEpochs: half of ${name} ${size} is less than the ${leastSide(s.arch)} pixels that ${s.arch} takes`
        : `lowResEpochs: half of ${name} ${size} is not ${what}; use a multiple of ${2 * unit}`,
    );
  }
  return problems;
}

/**
 * Conflicts between settings that are valid by themselves. A rule applies only if all the settings that it needs are
 * present, so that flags can be checked before a preset has filled in the rest.
 * @param isComplete - Whether nothing is filled in any more: what an architecture needs must be there.
 */
export function checkTogether(s: PartialSettings, isComplete = true): string[] {
  const problems: string[] = [];
  const patch = wholePatchSize(s.arch ?? 'vit', s.patchSize);
  const crop = (name: 'globalCropsSize' | 'localCropsSize') => {
    const size = s[name];
    const least = leastSide(s.arch);
    if (size !== undefined && size < least)
      problems.push(`${name} ${size}: arch ${s.arch} takes images of at least ${least} pixels`);
    if (size === undefined || patch === undefined) return;
    if (size < patch) {
      problems.push(
        `${name} ${size} is smaller than patchSize ${patch}: a crop must hold at least one patch`,
      );
    } else if (size % patch !== 0) {
      const below = size - (size % patch);
      problems.push(
        `${name} ${size} is not a multiple of patchSize ${patch}: the last ${size % patch} pixels would never be ` +
          `used; choose ${below} or ${below + patch}`,
      );
    }
  };
  crop('globalCropsSize');
  if (s.imgSize !== undefined && patch !== undefined && s.imgSize % patch !== 0)
    problems.push(`imgSize ${s.imgSize} is not a multiple of patchSize ${patch}`);
  if (s.localCropsNumber !== 0) crop('localCropsSize');
  for (const name of ['globalCropsScale', 'localCropsScale', 'cropAspectRatio', 'blurRadius'] as const) {
    const range = s[name];
    if (range && range[0] > range[1]) {
      problems.push(`${name} ${range[0]} ${range[1]}: expected the smaller number first`);
    }
  }
  if (s.arch !== undefined) {
    const own = ownSizes(s.arch);
    const missing = own.filter((name) => isComplete && s[name] === undefined);
    if (missing.length > 0) {
      problems.push(
        `arch ${s.arch} is a custom size: ${missing.map((name) => `${name} (${flagOf(name)})`).join(', ')} missing`,
      );
    }
    for (const name of ['embedDim', 'depth', 'numHeads'] as const) {
      if (s[name] !== undefined && !own.includes(name))
        problems.push(
          `${name} ${s[name]}: arch ${s.arch} defines its own; one that takes it: ${ownersOf(name).join(', ')}`,
        );
    }
    for (const [name, parts] of Object.entries(MULTIPLES[s.arch] ?? {})) {
      const size = s[name as 'embedDim' | 'depth'];
      if (size !== undefined && size % parts !== 0)
        problems.push(`${name} ${size}: arch ${s.arch} takes multiples of ${parts}`);
    }
  }
  if (hasConvStem(s.arch) && s.patchSize !== undefined && s.embedDim !== undefined) {
    const problem = convStemProblem(s.patchSize, s.embedDim);
    if (problem !== null) problems.push(`arch ${s.arch}: ${problem}`);
  }
  if (s.patchDropRate !== undefined && s.patchDropRate > 0 && !mayDropPatches(s.arch))
    problems.push(
      `patchDropRate ${s.patchDropRate}: ${s.arch} needs all of its patches; vit_*, vit, dinov2_* and resnet_class_attention may drop some`,
    );
  problems.push(...lowResProblems(s, patch));
  if (s.patchInit === 'whitened') {
    if (s.init !== undefined || s.resumeFrom !== undefined)
      problems.push('patchInit whitened: the weights that the run begins with have a patch embedding');
    if (s.arch === 'custom')
      problems.push('patchInit whitened: which layer of a backbone of your own sees the images is not known');
  }
  if (s.embedDim !== undefined && s.numHeads !== undefined && s.embedDim % s.numHeads !== 0) {
    problems.push(`embedDim ${s.embedDim} can't be divided among numHeads ${s.numHeads}`);
  }
  // rotary positions turn pairs of channels, for each of two axes
  if (
    architectureEntry(s.arch)?.family === 'dinov3' &&
    s.embedDim !== undefined &&
    s.numHeads !== undefined &&
    s.embedDim % (4 * s.numHeads) !== 0
  )
    problems.push(
      `embedDim ${s.embedDim}: arch ${s.arch} takes multiples of four times numHeads (${4 * s.numHeads})`,
    );
  if (s.loss === 'simdino' && s.outDim !== undefined && s.outDim !== s.headBottleneckDim) {
    problems.push(
      `outDim ${s.outDim}: loss simdino has no prototypes, so the head's output is its bottleneck; use headBottleneckDim ` +
        `(${s.headBottleneckDim ?? 'not given'}) for both`,
    );
  }
  problems.push(...channelProblems(s));
  if (s.loraLayers !== undefined && s.loraRank === undefined)
    problems.push(`loraLayers ${s.loraLayers} says which layers loraRank changes: give --lora-rank too`);
  if (isComplete && s.loraRank !== undefined && s.init === undefined)
    problems.push(
      `loraRank ${s.loraRank}: low-rank updates are for trained weights, which --init gives (or dino adapt)`,
    );
  if (s.loraRank !== undefined && s.resumeFrom !== undefined)
    problems.push('loraRank: a checkpoint of the reference goes on with the optimizer of all its weights');
  // a run in steps may be shortened below its warm-up, which is cut then
  if (s.epochs !== undefined && s.steps === undefined) {
    for (const name of ['warmupEpochs', 'warmupTeacherTempEpochs'] as const) {
      const value = s[name];
      if (value !== undefined && value > s.epochs) {
        problems.push(`${name} ${value} is more than epochs ${s.epochs}: use at most ${s.epochs}`);
      }
    }
  }
  if (s.untilStalled === true && s.for !== undefined && s.judgeEvery === 0)
    problems.push('untilStalled needs a judge: give --judge-every');
  if (
    s.untilStalled === true &&
    s.for === undefined &&
    (isComplete || LENGTHS.some((name) => s[name] !== undefined))
  )
    problems.push('untilStalled ends a run for a time: give --for, in place of --epochs or --steps');
  if (s.for !== undefined && s.resumeFrom !== undefined)
    problems.push(
      "for can't be combined with a checkpoint of the reference, which has done some epochs: use --epochs",
    );
  if (s.precision === 'fp16' && (s.device === 'cpu' || s.device === 'mps')) {
    problems.push(`precision fp16 needs a CUDA device, but device is ${s.device}: use fp32, bf16 or auto`);
  }
  if (s.precision === 'bf16-matmul' && !['cpu', 'auto', undefined].includes(s.device)) {
    problems.push(`precision bf16-matmul is for the CPU, but device is ${s.device}: use fp32, bf16 or auto`);
  }
  if (s.watchImages !== undefined && s.watchImages.join() !== 'none') {
    if (s.watchImages.includes('none'))
      problems.push("watchImages: none can't be combined with images; remove one or the other");
    if (hasAttention(s.arch) === false)
      problems.push(`watchImages: ${s.arch} has no attention to watch; leave it out`);
  }
  if (s.knnEvery !== undefined && s.knnEvery > 0) {
    const missing = (['knnTrain', 'knnVal'] as const).filter((name) => s[name] === undefined);
    if (missing.length > 0) {
      problems.push(
        `knnEvery ${s.knnEvery} needs labelled images: ${missing.map(flagOf).join(' and ')} missing`,
      );
    }
  }
  return problems;
}

/** What can't be combined with images whose channels are taken as they are. */
export function channelProblems(s: PartialSettings): string[] {
  const { channels, mean, std } = s;
  const problems: string[] = [];
  for (const [name, values] of Object.entries({ mean, std })) {
    if (values === undefined) continue;
    if (channels === undefined && s.init === undefined)
      problems.push(
        `${name}: only images whose channels are taken as they are have their own: give --channels`,
      );
    else if (channels !== undefined && values.length !== channels)
      problems.push(
        `${name} has ${values.length} value${values.length === 1 ? '' : 's'} for ${countChannels(channels)}: give one for each`,
      );
  }
  if ((mean === undefined) !== (std === undefined))
    problems.push(
      `${mean === undefined ? 'std' : 'mean'} needs ${mean === undefined ? 'mean' : 'std'} too: give both or neither`,
    );
  if (channels === undefined) return problems;
  for (const name of ONLY_FOR_RGB) {
    const value = s[name];
    if (value !== undefined && value > 0)
      problems.push(`${name} ${value}: it is for 8-bit RGB; with channels it must be 0`);
  }
  if (s.watchImages !== undefined && s.watchImages.join() !== 'none')
    problems.push(
      'watchImages: images are shown as 8-bit RGB, which a model of other channels does not take',
    );
  if (s.arch === 'custom') problems.push('channels: a backbone of your own decides by itself what it takes');
  if (s.resumeFrom !== undefined) problems.push('channels: a checkpoint of the reference takes 8-bit RGB');
  return problems;
}

/** Warnings about settings that are valid but rarely intended. */
export function warningsAbout(s: TrainSettings): string[] {
  const warnings: string[] = [];
  if (s.teacherTemp > 0.07 || s.warmupTeacherTemp > 0.07) {
    warnings.push(
      `a teacher temperature above 0.07 is unstable in most runs (${Math.max(s.teacherTemp, s.warmupTeacherTemp)})`,
    );
  }
  if (s.localCropsNumber === 0 && s.globalCropsScale[0] >= 0.4) {
    warnings.push(
      'without local crops the paper uses a wider range for the global ones: --global-crops-scale 0.14 1',
    );
  }
  if (s.momentumTeacher < 0.9) {
    warnings.push(
      `momentumTeacher ${s.momentumTeacher} is low: the teacher follows the student closely and may collapse with it`,
    );
  }
  return warnings;
}

/** Where each layer of settings came from, for messages. */
export interface SettingsSources {
  /** Parsed contents of a config file (any JSON value; checked here). */
  file?: unknown;
  /** Its name, for messages. */
  fileName?: string;
  /** Flags by any spelling of the setting's name, values as typed or already parsed. */
  flags?: Readonly<Record<string, unknown>>;
  /** Problems that the caller has already found (unknown flags), reported together with those found here. */
  problems?: readonly string[];
}

/** How long a run is: only one of these is given. */
export const LENGTHS = ['epochs', 'steps', 'for'] as const;

/**
 * Leaves one length in the overrides: a flag's, which takes precedence over the file's. A file may have both epochs and steps,
 * as a run folder's config.json has: its steps count.
 * @returns Problems: lengths that contradict each other.
 */
function oneLength(overrides: PartialSettings, ofFlags: readonly string[]): string[] {
  const byFlags = LENGTHS.filter((name) => ofFlags.includes(name));
  if (byFlags.length > 0) for (const name of LENGTHS) if (!byFlags.includes(name)) delete overrides[name];
  const given = LENGTHS.filter((name) => overrides[name] !== undefined);
  if (byFlags.length === 0 && given.join() === 'epochs,steps') {
    delete overrides.epochs;
    return [];
  }
  return given.length < 2
    ? []
    : [`${given.map(flagOf).join(' and ')} each say how long the training is: give only one of them`];
}

/**
 * Reads a file's settings and the flags, which override them. All problems are thrown at once.
 * @throws ConfigError with one entry for each problem: unknown names (and the nearest real one), wrong types, bounds.
 */
export function readOverrides(sources: SettingsSources): PartialSettings {
  const problems = [...(sources.problems ?? [])];
  const overrides: Record<string, unknown> = {};
  const ofFlags: string[] = [];
  const label = sources.fileName ?? 'config file';
  if (sources.file !== undefined) {
    if (typeof sources.file !== 'object' || sources.file === null || Array.isArray(sources.file)) {
      problems.push(`${label}: expected one JSON object of settings, got ${show(sources.file)}`);
    } else {
      for (const [key, value] of Object.entries(sources.file)) {
        const name = settingOf(key);
        if (name === null) {
          problems.push(`${label}: unknown setting ${key}${didYouMean(key, SETTING_NAMES)}`);
          continue;
        }
        const problem = checkSetting(name, value);
        if (problem !== null) problems.push(`${label}: ${key} is ${show(value)}; ${problem}`);
        else overrides[name] = value;
      }
    }
  }
  for (const [key, raw] of Object.entries(sources.flags ?? {})) {
    if (raw === undefined) continue;
    const name = settingOf(key);
    if (name === null) {
      problems.push(`unknown flag ${flagOf(key)}${didYouMean(flagOf(key), SETTING_NAMES.map(flagOf))}`);
      continue;
    }
    const value = readFlagValue(settingFields[name], raw);
    const problem = checkSetting(name, value);
    if (problem !== null) problems.push(`${flagOf(name)} is ${show(value)}; ${problem}`);
    else overrides[name] = value;
    ofFlags.push(name);
  }
  problems.push(...oneLength(overrides, ofFlags), ...checkTogether(overrides, false));
  if (problems.length > 0) throw new ConfigError(problems);
  return overrides;
}

/**
 * Checks a complete set, for example one read from a run folder.
 * @throws ConfigError with every problem.
 */
export function checkSettings(value: unknown, label = 'settings'): TrainSettings {
  if (typeof value !== 'object' || value === null)
    throw new ConfigError(`${label}: expected an object of settings`);
  const problems: string[] = [];
  const given = value as Record<string, unknown>;
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(settingFields, key)) {
      problems.push(`${label}: unknown setting ${key}${didYouMean(key, SETTING_NAMES)}`);
    }
  }
  for (const name of SETTING_NAMES) {
    const missing = given[name] === undefined;
    if (missing && settingFields[name] instanceof z.ZodOptional) continue;
    const problem = missing ? 'is missing' : checkSetting(name, given[name]);
    if (problem !== null)
      problems.push(`${label}: ${name} ${missing ? problem : `is ${show(given[name])}; ${problem}`}`);
  }
  if (problems.length === 0) problems.push(...checkTogether(given));
  if (problems.length > 0) throw new ConfigError(problems);
  const settings: Record<string, unknown> = {};
  for (const name of SETTING_NAMES) if (given[name] !== undefined) settings[name] = given[name];
  return settings as TrainSettings;
}
