/**
 * The recipes that the preset `auto` begins with. The first whose conditions hold is taken; what it doesn't say is chosen by
 * the formulas in auto-preset.ts, and what the user gives takes precedence over both.
 */
import { PAPER } from './paper.js';
import { flagOf, type PartialSettings } from '../run/settings.js';

/** What a recipe is chosen by. */
export interface Conditions {
  /** cuda or mps. */
  isGpu: boolean;
  cores: number;
  /** Number of images, and the typical length of their shorter side in pixels. */
  images: number;
  side: number;
  /** How long the training may take; null when nobody said. */
  seconds: number | null;
}

/** From `min` to below `below`. */
interface Range {
  min?: number;
  below?: number;
}

export interface Recipe {
  name: string;
  /** Why, for settings that `reasons` doesn't name. */
  reason: string;
  reasons?: { readonly [K in keyof PartialSettings]?: string };
  /** A range is not met by a condition that is not known. */
  when: {
    readonly isGpu?: boolean;
    readonly cores?: Range;
    readonly images?: Range;
    readonly side?: Range;
    readonly seconds?: Range;
  };
  settings: Readonly<PartialSettings>;
  /** Sizes of the global crops: the largest that the images have is taken, unless `settings` says one. */
  cropSizes: readonly number[];
  /** Patches along the side of a global crop, at least. */
  patchesPerSide: number;
  /** Image views of a run whose length nobody gave; `perCore` ones are multiplied by the number of cores. */
  views: { readonly total: number } | { readonly perCore: number; readonly most: number };
}

const GPU = {
  cropSizes: [32, 64, 96, 128, 224],
  patchesPerSide: 14, // the paper's
  views: { total: 2_000_000 },
};
const CPU = {
  cropSizes: [32, 64, 96],
  patchesPerSide: 8, // the cost of attention is quadratic
  // 24,000 image views of 64 pixels (4,000 scenes, 6 epochs) take the reference's code five minutes on two cores
  views: { perCore: 12_000, most: 400_000 },
};
const FEWER_CROPS = 'fewer than in the paper: cheaper steps';
/** Small runs were tuned at a peak of 5e-4 with a batch of 32 (64 on a GPU), by the paper's rule lr * batch / 256. */
const gpuSettings = { localCropsNumber: 6, lr: 0.002 };
const cpuSettings = { localCropsNumber: 4, lr: 0.004 };

/** What convolutions learn fastest with on a few CPU cores (docs/learning.md). */
const FAST = {
  localCropsNumber: 2,
  ...{ globalCropsScale: [0.4, 1], localCropsScale: [0.15, 0.4] },
  ...{ globalBlurProbability1: 0, globalBlurProbability2: 0, localBlurProbability: 0 },
  ...{ loss: 'simdino', compressionWeight: 5, headBottleneckDim: 128 },
  ...{ headHiddenDim: 512, useBnInHead: true, momentumTeacher: 0.97 },
  ...{ optimizer: 'muon', lr: 0.08, batchSize: 32, weightDecay: 0.04, weightDecayEnd: 0.04 },
} satisfies PartialSettings;
const FAST_REASONS: Recipe['reasons'] = {
  globalCropsSize: 'small crops: more of them in the same time; features are read at a larger size',
  localCropsNumber: 'more learn hardly more, and cost a third of the time',
  loss: "needs no prototypes, which few images can't fill (SimDINO)",
  optimizer: 'all directions of a weight matrix learn equally fast',
  batchSize: 'small batches, many steps',
  useBnInHead: 'learns faster',
  globalBlurProbability1: 'blur leaves little of crops this small',
  globalBlurProbability2: 'blur leaves little of crops this small',
  localBlurProbability: 'blur leaves little of crops this small',
};

export const RECIPES: readonly Recipe[] = [
  {
    name: "the paper's",
    when: { isGpu: true, images: { min: 100_000 } },
    reason: "the paper's",
    settings: {
      ...{ arch: 'vit_small', localCropsNumber: PAPER.localCropsNumber, lr: PAPER.lr, epochs: PAPER.epochs },
      ...{ outDim: PAPER.outDim, headHiddenDim: PAPER.headHiddenDim },
      ...{ warmupTeacherTemp: PAPER.warmupTeacherTemp, teacherTemp: PAPER.teacherTemp },
      ...{ momentumTeacher: PAPER.momentumTeacher, saveckpFreq: PAPER.saveckpFreq },
    },
    ...GPU,
  },
  {
    name: 'small transformer',
    when: { isGpu: true, images: { min: 10_000 } },
    reason: 'for thousands of images on a GPU',
    reasons: { arch: "the paper's backbone", localCropsNumber: FEWER_CROPS },
    settings: { arch: 'vit_small', ...gpuSettings },
    ...GPU,
  },
  {
    name: 'tiny transformer on a GPU',
    when: { isGpu: true },
    reason: 'a network for few images on a GPU',
    reasons: { localCropsNumber: FEWER_CROPS },
    settings: { arch: 'vit_tiny', ...gpuSettings },
    ...GPU,
  },
  {
    name: 'tiny transformer',
    when: { isGpu: false, cores: { min: 16 }, images: { min: 20_000 } },
    reason: 'a network that many CPU cores can train on tens of thousands of images',
    reasons: { localCropsNumber: FEWER_CROPS },
    settings: { arch: 'vit_tiny', ...cpuSettings },
    ...CPU,
  },
  {
    name: 'narrow ResNet',
    when: { isGpu: false },
    reason: 'learns most in minutes on a few CPU cores (docs/learning.md)',
    reasons: {
      ...FAST_REASONS,
      arch: 'convolutions learn most in minutes on a few CPU cores; for attention maps take --arch resnet_class_attention',
    },
    settings: {
      ...{ arch: 'resnet', embedDim: 256, depth: 4, dropPathRate: 0 },
      ...{ globalCropsSize: 24, ...FAST },
    },
    cropSizes: [24],
    patchesPerSide: 2,
    views: { perCore: 60_000, most: 2_000_000 },
  },
  {
    name: 'narrow ResNet with class attention',
    when: { isGpu: false },
    reason: 'learns like a narrow ResNet, and shows what it looks at (docs/learning.md)',
    reasons: FAST_REASONS,
    settings: {
      ...{ arch: 'resnet_class_attention', embedDim: 192, depth: 3, dropPathRate: 0 },
      ...{ globalCropsSize: 48, ...FAST },
    },
    cropSizes: [48],
    patchesPerSide: 2,
    views: { perCore: 60_000, most: 2_000_000 },
  },
  {
    name: 'narrow transformer',
    when: { isGpu: false },
    reason: 'a network that a few CPU cores can train in minutes',
    reasons: {
      embedDim: 'custom vit: learns in minutes on a CPU',
      depth: 'custom vit: 4 blocks are enough for crops of a few dozen patches',
      dropPathRate: 'a shallow network in a short run needs every block',
      localCropsNumber: FEWER_CROPS,
    },
    settings: { arch: 'vit', embedDim: 128, depth: 4, dropPathRate: 0, ...cpuSettings },
    ...CPU,
  },
];

/** Settings of a recipe that don't fit another backbone. */
const OF_THE_MODEL: readonly string[] = [
  'arch',
  'embedDim',
  'depth',
  'numHeads',
  'dropPathRate',
  'patchSize',
  'imgSize',
];

const isIn = (value: number | null, range: Range | undefined): boolean =>
  range === undefined ||
  (value !== null && value >= (range.min ?? -Infinity) && value < (range.below ?? Infinity));

const holds = (when: Recipe['when'], conditions: Conditions): boolean =>
  (when.isGpu === undefined || when.isGpu === conditions.isGpu) &&
  (['cores', 'images', 'side', 'seconds'] as const).every((name) => isIn(conditions[name], when[name]));

const without = (settings: Readonly<PartialSettings>, names: readonly string[]): PartialSettings =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => !names.includes(name)));

/**
 * Settings of a transformer (sizes without a name have always meant a vit), and those that only a loss with prototypes has:
 * whoever gives one asks for that.
 */
const OF_A_TRANSFORMER = [
  'embedDim',
  'depth',
  'numHeads',
  'patchSize',
  'dropPathRate',
  'patchDropRate',
  'watchImages',
] as const;
const OF_PROTOTYPES = [
  'outDim',
  'normLastLayer',
  'freezeLastLayer',
  'warmupTeacherTemp',
  'teacherTemp',
  'warmupTeacherTempEpochs',
] as const;

/**
 * The first recipe for these conditions that fits what the user gave: of one for another backbone only what doesn't depend
 * on it is left, and SimDINO's loss is not chosen for a run whose prototypes or temperatures were given.
 */
export function recipeFor(conditions: Conditions, given: PartialSettings = {}): Recipe {
  const asking = given.arch === undefined && OF_A_TRANSFORMER.find((name) => given[name] !== undefined);
  const recipe = asking
    ? withReason(
        recipeForBackbone(conditions, 'vit'),
        `${flagOf(asking)} without --arch means a transformer; --arch resnet learns more in minutes`,
      )
    : recipeForBackbone(conditions, given.arch);
  const hasPrototypes =
    given.loss === 'dino' ||
    (given.loss === undefined && OF_PROTOTYPES.some((name) => given[name] !== undefined));
  if (!hasPrototypes || recipe.settings.loss !== 'simdino') return recipe;
  return { ...recipe, settings: without(recipe.settings, ['loss', 'compressionWeight']) };
}

/** The same recipe, which gives another reason for a vit of any size. */
const withReason = (recipe: Recipe, arch: string): Recipe =>
  recipe.settings.arch === 'vit' ? { ...recipe, reasons: { ...recipe.reasons, arch } } : recipe;

function recipeForBackbone(conditions: Conditions, arch: string | undefined): Recipe {
  const fitting = RECIPES.filter(({ when }) => holds(when, conditions));
  const found = fitting.find(({ settings }) => arch === undefined || settings.arch === arch);
  if (found !== undefined) return found;
  const [first] = fitting as [Recipe];
  // the crops of a ResNet with a small stem are too small for others
  const alike = fitting.find(({ settings }) => settings.arch?.startsWith('resnet') !== true) ?? first;
  return { ...alike, settings: without(alike.settings, OF_THE_MODEL) };
}
