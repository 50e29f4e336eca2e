/**
 * Starting values of the settings.
 *
 *   paper  the defaults of the reference's main_dino.py get_args_parser() and DataAugmentationDINO
 *   auto   chosen by the number and size of the images and by the machine, each choice with its reason
 *
 * `auto` follows measurements on small data: with a few thousand images, a head as wide as the paper's (65,536 outputs) or
 * a teacher temperature of 0.04 leaves the loss at ln K; few outputs and a sharper, faster teacher learn in minutes on two
 * cores. From 100,000 images upwards, on a GPU, it uses the paper's settings.
 */
import { DEFAULT_AUGMENTATION } from '../data/crops/augmentation.js';
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
import {
  checkSettings,
  checkTogether,
  readOverrides,
  type SettingsSources,
  warningsAbout,
} from './config.js';
import { hasAttention } from '../models/architectures.js';
import { flagOf, type PartialSettings, type SettingName, type TrainSettings } from '../run/settings.js';

/** main_dino.py's defaults, including `numWorkers` and `logEvery`. */
export const PAPER: Readonly<TrainSettings> = {
  arch: 'vit_small',
  patchSize: 16,
  dropPathRate: 0.1,
  outDim: 65536,
  normLastLayer: true,
  useBnInHead: false,
  headNlayers: 3, // DINOHead's own defaults, as are the next two
  headHiddenDim: 2048,
  headBottleneckDim: 256,
  momentumTeacher: 0.996,
  warmupTeacherTemp: 0.04,
  teacherTemp: 0.04,
  warmupTeacherTempEpochs: 0,
  precision: 'fp16', // use_fp16 is true there; without CUDA it is `auto`, see paperPreset
  optimizer: 'adamw',
  microBatchSize: 0,
  activationCheckpointing: false,
  batchSize: 64,
  epochs: 100,
  lr: 0.0005,
  warmupEpochs: 10,
  minLr: 1e-6,
  weightDecay: 0.04,
  weightDecayEnd: 0.4,
  clipGrad: 3,
  koleoWeight: 0,
  loss: 'dino',
  compressionWeight: 1,
  freezeLastLayer: 1,
  ...DEFAULT_AUGMENTATION,
  seed: 0,
  numWorkers: 10,
  device: 'auto',
  threads: 0,
  saveckpFreq: 20,
  keepCheckpoints: 2,
  saveEverySteps: 0,
  logEvery: 10,
  knnEvery: 0,
  judgeEvery: 0,
  maxBadShare: 0.1,
};

export type PresetName = 'auto' | 'paper';
export const PRESETS: readonly PresetName[] = ['auto', 'paper'];

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

const round = (value: number, digits: number): number => Number(value.toPrecision(digits));
const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
const powerOfTwoBelow = (value: number): number => 2 ** Math.floor(Math.log2(Math.max(1, value)));
const multiple = (value: number, of: number): number => Math.max(of, Math.round(value / of) * of);
const thousands = (value: number): string => value.toLocaleString('en-US');

/** Widths of the reference's backbones, for the head that `auto` chooses. */
const WIDTHS: Readonly<Record<string, number>> = { tiny: 192, small: 384, base: 768 };

function paperPreset(overrides: PartialSettings, device: MachineFacts['device'] | undefined): Resolved {
  const settings: PartialSettings = { ...PAPER, ...overrides };
  const choices: Choice[] = [];
  const onCuda = device === 'cuda' || (overrides.device ?? '').startsWith('cuda');
  if (overrides.precision === undefined && !onCuda) {
    // The reference runs only on CUDA; elsewhere half precision with loss scaling has no fast kernels.
    settings.precision = 'auto';
    choices.push({
      name: 'precision',
      value: 'auto',
      reason: "the reference's fp16 needs CUDA: chosen by measurement instead",
    });
  }
  return finish(settings, choices);
}

/**
 * Chooses settings from the facts. Settings that the user gave are kept, and the others are chosen to fit them.
 */
function autoPreset(facts: TrainFacts, overrides: PartialSettings): Resolved {
  const choices: Choice[] = [];
  const chosen: PartialSettings = { ...PAPER, ...overrides };
  function choose<K extends SettingName>(name: K, value: NonNullable<TrainSettings[K]>, reason: string) {
    const given = overrides[name];
    if (given !== undefined) return given as NonNullable<TrainSettings[K]>;
    chosen[name] = value;
    choices.push({ name, value, reason });
    return value;
  }
  const { images, device, cores, processes = 1 } = facts;
  const shortSide = Math.min(facts.width, facts.height);
  const onGpu = device !== 'cpu';
  const isLarge = images >= 100_000;
  const isPaper = onGpu && isLarge;
  const hardware = onGpu ? device : `${cores} CPU core${cores === 1 ? '' : 's'}`;
  const data = `${thousands(images)} images of about ${facts.width} x ${facts.height}`;

  // ---- model
  let arch: TrainSettings['arch'] = 'vit';
  if (onGpu && images >= 10_000) arch = 'vit_small';
  else if (onGpu || (cores >= 16 && images >= 20_000)) arch = 'vit_tiny';
  arch = choose(
    'arch',
    arch,
    arch === 'vit_small'
      ? `the paper's backbone, for ${hardware}`
      : `a size that ${hardware} can train on ${data}`,
  );
  let width = WIDTHS[arch.replace(/^.*_/, '')] ?? 128;
  if (arch === 'vit') {
    width = choose('embedDim', 128, 'custom vit: learns in minutes on a CPU');
    choose('depth', 4, 'custom vit: 4 blocks are enough for crops of a few dozen patches');
    choose('numHeads', Math.max(1, Math.floor(width / 64)), '64 channels per head, as in the paper');
    choose('dropPathRate', 0, 'a shallow network in a short run needs every block');
  }

  // ---- crops: no larger than the image (upscaled pixels teach nothing), and no more patches than are affordable
  const sizes = onGpu ? [32, 64, 96, 128, 224] : [32, 64, 96];
  const fitting = sizes.filter((size) => size <= shortSide * 1.25);
  const wantedCrop = overrides.patchSize
    ? multiple(fitting.at(-1) ?? 32, overrides.patchSize)
    : (fitting.at(-1) ?? 32);
  const globalCrop = choose(
    'globalCropsSize',
    wantedCrop,
    wantedCrop >= 224
      ? "the paper's"
      : `near the images' short side (${shortSide}) and affordable on ${hardware}`,
  );
  // About 8 x 8 patches in a global crop on a CPU (the cost of attention is quadratic), 14 x 14 (the paper's) on a GPU.
  const perSide = onGpu ? 14 : 8;
  const patch = choose(
    'patchSize',
    [16, 12, 8, 4].find((size) => globalCrop % size === 0 && globalCrop / size >= perSide) ??
      [4, 2, 3, 5, 7, 1].find((size) => globalCrop % size === 0 && globalCrop / size >= 2) ??
      1,
    `${perSide} x ${perSide} patches or slightly more in a global crop`,
  );
  const localCrop =
    globalCrop === 224 && patch <= 16 && 96 % patch === 0 ? 96 : multiple(globalCrop / 2, patch);
  choose('localCropsSize', localCrop, localCrop === 96 ? "the paper's" : 'half of a global crop');
  choose(
    'localCropsNumber',
    isPaper ? 8 : onGpu ? 6 : 4,
    isPaper ? "the paper's" : 'fewer than in the paper: cheaper steps',
  );

  if (shortSide <= 96) {
    choose(
      'localCropsScale',
      [0.15, 0.5],
      `the paper's smallest, 5% of ${facts.width} x ${facts.height}, would show nothing`,
    );
  }

  // ---- how long
  const memoryBatch = onGpu ? PAPER.batchSize : facts.memoryGiB >= 4 ? 32 : 16;
  // processes on one machine's cores share its batch; each GPU has its own
  const mostEach = Math.max(1, onGpu ? memoryBatch : Math.floor(memoryBatch / processes));
  const batchEach = choose(
    'batchSize',
    Math.min(mostEach, powerOfTwoBelow(images / 2 / processes)),
    (images < 2 * mostEach * processes
      ? 'at least two steps per epoch with so few images'
      : 'small batches, many steps') + (processes > 1 ? `; the same for each of ${processes} processes` : ''),
  );
  const batch = batchEach * processes;
  const stepsPerEpoch = Math.max(1, Math.floor(images / batch));
  // 24,000 image views of 64 pixels (4,000 scenes, 6 epochs) take the reference's code five minutes on two cores.
  const views = onGpu ? 2_000_000 : clamp(12_000 * cores, 12_000, 400_000);
  const epochs = choose(
    'epochs',
    isPaper ? 100 : clamp(Math.round(views / images), onGpu ? 10 : 3, onGpu ? 300 : 100),
    isPaper
      ? "the paper's"
      : `about ${thousands(views)} image views: minutes on ${hardware}; more epochs learn more`,
  );
  const steps = stepsPerEpoch * epochs;
  choose('warmupEpochs', Math.min(epochs, clamp(Math.round(epochs / 10), 1, 10)), 'a tenth of the run');
  choose(
    'freezeLastLayer',
    epochs > 1 ? 1 : 0,
    epochs > 1 ? "the paper's" : 'only one epoch: everything is trained',
  );

  // ---- the head, the teacher
  let outputs = 256;
  if (images < 500) outputs = 64;
  else if (images >= 1_000_000 || isPaper) outputs = 65536;
  else if (isLarge) outputs = 4096;
  else if (images >= 20_000) outputs = onGpu ? 4096 : 1024;
  const outDim = choose(
    'outDim',
    outputs,
    outputs === 65536
      ? "the paper's"
      : 'few outputs for few images: more stay unused, and the loss sticks at ln K',
  );
  const isSmallHead = outDim <= 256;
  if (isPaper) {
    choose('warmupTeacherTemp', PAPER.warmupTeacherTemp, "the paper's");
    choose('teacherTemp', PAPER.teacherTemp, "the paper's");
  } else {
    const start = choose(
      'warmupTeacherTemp',
      0.02,
      'a sharp teacher: 0.04 leaves small runs at the uniform output',
    );
    // if the user chose a final value below the start, the warm-up would cool down
    const end = choose(
      'teacherTemp',
      isSmallHead ? start : 0.035,
      isSmallHead ? 'stays sharp' : 'warmed up slowly',
    );
    const warmed = start === end ? 0 : Math.min(epochs, Math.max(1, Math.round(epochs * 0.3)));
    choose('warmupTeacherTempEpochs', warmed, start === end ? 'constant temperature' : 'a third of the run');
  }
  // Measured: on 40 photographs (200 steps) 0.98 ends near the uniform output (KL 0.33), 0.995 does not (KL 0.80).
  const momentum = images < 1000 ? 0.995 : round(clamp(1 - 8 / steps, 0.99, 0.996), 3);
  choose(
    'momentumTeacher',
    isPaper ? PAPER.momentumTeacher : momentum,
    isPaper
      ? "the paper's"
      : images < 1000
        ? 'a slow teacher: with so few images a fast one drifts to the uniform output'
        : `the teacher averages over about an eighth of the run's ${thousands(steps)} steps`,
  );
  choose(
    'headHiddenDim',
    isPaper ? PAPER.headHiddenDim : Math.min(2048, 4 * width),
    isPaper ? "the paper's" : 'four times the width',
  );
  choose(
    'headBottleneckDim',
    Math.min(256, width),
    width >= 256 ? "the paper's" : 'no wider than the backbone',
  );

  // ---- optimisation
  // Small runs were tuned at a peak of 5e-4 with a batch of 32 (64 on a GPU), by the paper's rule lr * batch / 256.
  const lr = isPaper ? PAPER.lr : onGpu ? 0.002 : 0.004;
  choose(
    'lr',
    lr,
    isPaper ? "the paper's" : `peak of ${round((lr * batch) / 256, 3)} after scaling by ${batch}/256`,
  );
  choose('precision', 'auto', 'bf16 where it is measured to be faster, fp32 elsewhere');

  // ---- running
  choose('numWorkers', 'auto', 'found during training: as few as keep it from waiting');
  choose(
    'saveckpFreq',
    isPaper ? 20 : 0,
    isPaper ? "the paper's" : 'a short run: the newest checkpoint is enough',
  );
  return finish(chosen, choices);
}

function finish(settings: PartialSettings, choices: Choice[]): Resolved {
  // transformers have attention; a custom backbone may not
  if (settings.watchImages === undefined && hasAttention(settings.arch) === true) {
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

export interface ResolveOptions extends SettingsSources {
  /** Default `auto`. */
  preset?: PresetName;
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
    (name) => `${flagOf(name)} is ${String(overrides[name])}, but the weights have ${String(weights[name])}`,
  );
  if (problems.length > 0) throw new ConfigError(problems);
  return { ...weights, ...overrides };
}

/** Settings that are determined by the weights. */
const FIXED_BY_WEIGHTS = [
  'arch',
  'patchSize',
  'embedDim',
  'depth',
  'imgSize',
  'outDim',
  'useBnInHead',
  'headNlayers',
  'headHiddenDim',
  'headBottleneckDim',
] as const;

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
  if (preset === 'paper') return paperPreset(overrides, options.facts?.device);
  if (!options.facts)
    throw new ConfigError('preset auto needs facts about the images and the machine (gatherFacts)');
  return autoPreset(options.facts, overrides);
}
