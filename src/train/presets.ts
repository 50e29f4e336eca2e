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
import { ONLY_FOR_RGB } from '../data/crops/augmentation.js';
import {
  channelProblems,
  checkSettings,
  checkTogether,
  readOverrides,
  type SettingsSources,
  warningsAbout,
} from './config.js';
import {
  architectureEntry,
  convStemProblem,
  hasAttention,
  hasConvStem,
  ownSizes,
  takesPatchSize,
  wholePatchSize,
} from '../models/architectures.js';
import { parseDuration } from '../plain/units.js';
import { flagOf, type PartialSettings, type SettingName, type TrainSettings } from '../run/settings.js';
import { JUDGE_IMAGES } from './judge.js';
import { PAPER } from './paper.js';
import { type Recipe, recipeFor } from './recipes.js';

export { PAPER };

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
/** A run for at least this time is judged, about once in this time. */
const JUDGED_SECONDS = 120;
/** A run in steps whose epochs are fewer writes this many checkpoints. */
const CHECKPOINTS = 10;
const thousands = (value: number): string => value.toLocaleString('en-US');

/** Widths of the reference's backbones, for the head that `auto` chooses. */
const WIDTHS: Readonly<Record<string, number>> = { tiny: 192, small: 384, base: 768 };

/** Whole batches of all processes in the images. */
const wholeBatches = ({ images, processes = 1 }: TrainFacts, batchSize: number): number =>
  Math.max(1, Math.floor(images / (batchSize * processes)));

function paperPreset(overrides: PartialSettings, facts: TrainFacts | undefined): Resolved {
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

/** How weights that were trained before go on to be trained (docs/adapt.md has the measurements). */
const ADAPTATION = {
  reason: 'gentle, because the weights are trained already',
  /** Networks that gain most, and lose nothing, when they are trained on as new ones are; the judge looks after them too. */
  sturdy: /^resnet/,
  /** Of the learning rate that new weights get. */
  lrShare: 0.1,
  /** Low-rank updates begin at zero and take ten times the rate of whole weights (Schulman et al. 2025, LoRA Without Regret). */
  loraLrShare: 1,
  /** Shares of the run. */
  frozenShare: 0.1,
  warmupShare: 0.2,
  layerwiseDecay: 0.9,
  patchEmbedLrMult: 0.2,
  /** How often the judge compares with the given weights, in a run that has no time of its own. */
  judgements: 6,
};

/** What a recipe says of these is fitted to the images and the other settings. */
const BY_FORMULA: readonly SettingName[] = ['batchSize', 'epochs', 'globalCropsSize', 'lr'];

/**
 * Chooses settings from the facts. Settings that the user gave are kept, and the others are chosen to fit them.
 */
function autoPreset(facts: TrainFacts, overrides: PartialSettings): Resolved {
  const choices: Choice[] = [];
  const chosen: PartialSettings = { ...PAPER, ...overrides };
  /** What the user gave, else what the recipe says, else this value. */
  function choose<K extends SettingName>(name: K, value: NonNullable<TrainSettings[K]>, reason: string) {
    const given = overrides[name];
    if (given !== undefined) return given as NonNullable<TrainSettings[K]>;
    const ofRecipe = BY_FORMULA.includes(name) ? undefined : recipe.settings[name];
    const taken = ofRecipe ?? value;
    chosen[name] = taken;
    const why = ofRecipe === undefined ? reason : (recipe.reasons?.[name] ?? recipe.reason);
    choices.push({ name, value: taken, reason: why });
    return taken;
  }
  const { images, device, cores, processes = 1 } = facts;
  const shortSide = Math.min(facts.width, facts.height);
  const onGpu = device !== 'cpu';
  const isLarge = images >= 100_000;
  const isPaper = onGpu && isLarge;
  const seconds = overrides.for === undefined ? null : parseDuration(overrides.for);
  const conditions = { isGpu: onGpu, cores, images, side: shortSide, seconds };
  const recipe: Recipe = recipeFor(conditions, overrides);
  const hardware = onGpu ? device : `${cores} CPU core${cores === 1 ? '' : 's'}`;
  const data = `${thousands(images)} images of about ${facts.width} x ${facts.height}`;

  // ---- model
  const arch = choose('arch', 'vit', `a size that ${hardware} can train on ${data}`);
  const entry = architectureEntry(arch);
  const known = entry !== null && !/^(?:resnet|xcit)$/.test(entry.family) ? entry.embedDim : null;
  let width = known ?? WIDTHS[arch.replace(/^.*_/, '')] ?? 128;
  if (ownSizes(arch).includes('numHeads')) {
    width = choose('embedDim', 128, 'a narrow transformer');
    choose('depth', 4, 'a shallow transformer');
    choose('numHeads', Math.max(1, Math.floor(width / 64)), '64 channels per head, as in the paper');
    choose('dropPathRate', 0, 'a shallow network needs every block');
  } else if (arch === 'resnet' || arch === 'dinov3_convnext') {
    width = choose('embedDim', 256, 'a narrow network');
    choose('depth', arch === 'resnet' ? 4 : 6, 'one block in each stage, or few');
  } else if (arch === 'resnet_class_attention') {
    width = choose('embedDim', 192, 'a narrow network');
    choose('depth', 3, 'one block in each stage');
  }

  // ---- crops: no larger than the image (upscaled pixels teach nothing), and no more patches than are affordable
  const isAdapting = overrides.init !== undefined;
  const ofWeights = isAdapting && overrides.imgSize !== undefined ? [overrides.imgSize] : [];
  const isFitting = (size: number): boolean => size <= shortSide * 1.25;
  const [trainedSize] = ofWeights.filter(isFitting);
  const largest =
    recipe.settings.globalCropsSize ?? trainedSize ?? recipe.cropSizes.filter(isFitting).at(-1) ?? 32;
  const givenPatch = wholePatchSize(arch, overrides.patchSize);
  const wantedCrop = givenPatch === undefined ? largest : multiple(largest, givenPatch);
  const globalCrop = choose(
    'globalCropsSize',
    wantedCrop,
    wantedCrop === trainedSize
      ? 'that which the weights were trained with'
      : wantedCrop >= 224
        ? "the paper's"
        : `near the images' short side (${shortSide}) and affordable on ${hardware}`,
  );
  const perSide = recipe.patchesPerSide;
  const isPatch = (size: number): boolean =>
    globalCrop % size === 0 && !(hasConvStem(arch) && convStemProblem(size, width) !== null);
  const usualPatch =
    [16, 12, 8, 4].find((size) => isPatch(size) && globalCrop / size >= perSide) ??
    [4, 2, 3, 5, 7, 1].find((size) => isPatch(size) && globalCrop / size >= 2) ??
    1;
  const patch = takesPatchSize(arch)
    ? choose('patchSize', usualPatch, `${perSide} x ${perSide} patches or slightly more in a global crop`)
    : (architectureEntry(arch)?.patchSize ?? 1);
  if (overrides.patchSize === undefined) chosen.patchSize = patch;
  // networks read larger images better than those that they were trained on (Touvron et al. 2019, FixRes)
  if (arch.startsWith('resnet'))
    choose(
      'imgSize',
      Math.round((globalCrop * 4) / 3),
      'features are read at a third more than a global crop',
    );
  const localCrop =
    globalCrop === 224 && patch <= 16 && 96 % patch === 0 ? 96 : multiple(globalCrop / 2, patch);
  choose('localCropsSize', localCrop, localCrop === 96 ? "the paper's" : 'half of a global crop');
  choose('localCropsNumber', 4, 'fewer than in the paper: cheaper steps');

  if (shortSide <= 96) {
    choose(
      'localCropsScale',
      [0.15, 0.5],
      `the paper's smallest, 5% of ${facts.width} x ${facts.height}, would show nothing`,
    );
  }

  // ---- how long
  const usualBatch = onGpu ? PAPER.batchSize : facts.memoryGiB >= 4 ? 32 : 16;
  const memoryBatch = recipe.settings.batchSize ?? usualBatch;
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
  const isInSteps = overrides.steps !== undefined || overrides.for !== undefined;
  /** Trained weights may become worse, so those that they began with are always among the ones that are judged. */
  function judgeAdaptation(epochs: number): void {
    if (isAdapting && images >= JUDGE_IMAGES)
      choose(
        'judgeEvery',
        round(epochs / ADAPTATION.judgements, 3),
        'compares with the weights that you gave, without labels; the best are kept',
      );
  }
  /** @returns Epochs, of which a run in steps may have a fraction. */
  function chooseLength(): number {
    const { views } = recipe;
    const wanted = 'total' in views ? views.total : clamp(views.perCore * cores, views.perCore, views.most);
    const usual = clamp(Math.round(wanted / images), onGpu ? 10 : 3, onGpu ? 300 : 100);
    if (!isInSteps) {
      const most = choose(
        'epochs',
        recipe.settings.epochs ?? usual,
        recipe.settings.epochs === undefined
          ? `about ${thousands(wanted)} image views: minutes on ${hardware}; more epochs learn more`
          : recipe.reason,
      );
      judgeAdaptation(most);
      choose('warmupEpochs', Math.min(most, clamp(Math.round(most / 10), 1, 10)), 'a tenth of the run');
      const frozen = most > 1 ? 1 : 0;
      choose(
        'freezeLastLayer',
        frozen,
        frozen === 1 ? "the paper's" : 'only one epoch: everything is trained',
      );
      return most;
    }
    // in steps; a time that was not measured yet counts as the usual number
    const part = overrides.steps === undefined ? usual : overrides.steps / stepsPerEpoch;
    chosen.epochs = Math.ceil(part);
    if (seconds !== null && seconds >= JUDGED_SECONDS && images >= JUDGE_IMAGES) {
      const judgements = clamp(Math.round(seconds / JUDGED_SECONDS), 1, 30);
      choose(
        'judgeEvery',
        round(part / judgements, 3),
        'says without labels how good the features are; the best are kept',
      );
    } else judgeAdaptation(part);
    choose('warmupEpochs', round(Math.min(10, part / 10), 3), 'a tenth of the run');
    choose(
      'freezeLastLayer',
      round(Math.min(1, part / 6), 3),
      "a sixth of the run, the paper's epoch at most",
    );
    if (part < CHECKPOINTS) {
      choose(
        'saveEverySteps',
        Math.ceil((part * stepsPerEpoch) / CHECKPOINTS),
        `epochs are long: ${CHECKPOINTS} checkpoints in the run`,
      );
    }
    return part;
  }
  const epochs = chooseLength();
  const steps = Math.max(1, Math.round(stepsPerEpoch * epochs));

  // ---- the head, the teacher
  const loss = choose('loss', 'dino', "the paper's");
  const bottleneck = choose(
    'headBottleneckDim',
    Math.min(256, width),
    width >= 256 ? "the paper's" : 'no wider than the backbone',
  );
  let outputs = 256;
  if (images < 500) outputs = 64;
  else if (images >= 1_000_000 || isPaper) outputs = 65536;
  else if (isLarge) outputs = 4096;
  else if (images >= 20_000) outputs = onGpu ? 4096 : 1024;
  const outDim = choose(
    'outDim',
    loss === 'simdino' ? bottleneck : outputs,
    loss === 'simdino'
      ? "without prototypes the head's output is its bottleneck"
      : outputs === 65536
        ? "the paper's"
        : 'few outputs for few images: more stay unused, and the loss sticks at ln K',
  );
  const isSmallHead = outDim <= 256;
  if (loss === 'dino' && isPaper) {
    choose('warmupTeacherTemp', PAPER.warmupTeacherTemp, "the paper's");
    choose('teacherTemp', PAPER.teacherTemp, "the paper's");
  } else if (loss === 'dino') {
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
    const part = isInSteps ? round(epochs * 0.3, 3) : Math.min(epochs, Math.max(1, Math.round(epochs * 0.3)));
    const warmed = start === end ? 0 : part;
    choose('warmupTeacherTempEpochs', warmed, start === end ? 'constant temperature' : 'a third of the run');
  }
  // Measured: on 40 photographs (200 steps) 0.98 ends near the uniform output (KL 0.33), 0.995 does not (KL 0.80).
  const momentum = images < 1000 ? 0.995 : round(clamp(1 - 8 / steps, 0.99, 0.996), 3);
  choose(
    'momentumTeacher',
    momentum,
    images < 1000
      ? 'a slow teacher: with so few images a fast one drifts to the uniform output'
      : `the teacher averages over about an eighth of the run's ${thousands(steps)} steps`,
  );
  choose('headHiddenDim', Math.min(2048, 4 * width), 'four times the width');

  // ---- optimisation
  const isLowRank = overrides.loraRank !== undefined;
  const isCautious = isAdapting && !ADAPTATION.sturdy.test(arch);
  const lrShare = !isCautious ? 1 : isLowRank ? ADAPTATION.loraLrShare : ADAPTATION.lrShare;
  const lr = round((recipe.settings.lr ?? PAPER.lr) * lrShare, 3);
  const peak = `peak of ${round((lr * batch) / 256, 3)} after scaling by ${batch}/256`;
  const isGentle = isCautious && !isLowRank;
  choose('lr', lr, isGentle ? `${ADAPTATION.reason}: a ${peak}` : isPaper ? "the paper's" : peak);
  if (isCautious) {
    choose(
      'freezeBackbone',
      round(epochs * ADAPTATION.frozenShare, 3),
      'the head is new: until it fits, the trained weights wait',
    );
    choose(
      'backboneWarmupEpochs',
      round(epochs * ADAPTATION.warmupShare, 3),
      'then they move slowly at first',
    );
    choose('layerwiseDecay', ADAPTATION.layerwiseDecay, 'layers near the image have the least to learn');
    choose('patchEmbedLrMult', ADAPTATION.patchEmbedLrMult, "DINOv2's: the first layer hardly moves");
  }
  choose('precision', 'auto', 'the fastest of trial steps; fp32 unless another is clearly faster');

  // ---- running
  choose('numWorkers', 'auto', 'found during training: as few as keep it from waiting');
  choose('saveckpFreq', 0, 'a short run: the newest checkpoint is enough');
  for (const name of Object.keys(recipe.settings) as SettingName[]) {
    const value = recipe.settings[name];
    if (value !== undefined && !BY_FORMULA.includes(name) && !choices.some((one) => one.name === name))
      choose(name, value, recipe.reason);
  }
  const resolved = finish(chosen, choices);
  if (isAdapting && images < JUDGE_IMAGES)
    resolved.warnings.push(
      `${images} images are fewer than the ${JUDGE_IMAGES} that the judge needs: nothing will tell whether training makes the ` +
        'weights that you gave better or worse. Compare them yourself (--knn-train, --knn-val and --knn-every), and keep yours otherwise',
    );
  return resolved;
}

function finish(settings: PartialSettings, choices: Choice[]): Resolved {
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
        : ''),
  );
  const merged = { ...weights, ...overrides };
  problems.push(...channelProblems(merged));
  if (problems.length > 0) throw new ConfigError(problems);
  return merged;
}

/** Settings that are determined by the weights. */
const FIXED_BY_WEIGHTS = [
  'arch',
  'patchSize',
  'embedDim',
  'depth',
  'imgSize',
  'channels',
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
