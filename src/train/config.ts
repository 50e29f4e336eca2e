/**
 * The settings of a training run: names, bounds and meaning of each, and how flags, a file and a preset become one
 * whole set. Names are those of the reference's main_dino.py get_args_parser() in camelCase; a flag is the same
 * name in kebab-case. Departures: `batchSize` is batch_size_per_gpu, `precision` replaces use_fp16, crop sizes and
 * augmentation strengths (constants there) are settings here, and what is wrong is refused before anything starts.
 */
import { z } from 'zod';
import { parseBytes } from '../bytes.js';
import { ConfigError } from '../errors.js';
import { OPTIMIZERS } from '../optim/names.js';
import { didYouMean } from './nearest.js';

/**
 * Backbones by the reference's names; `vit` is a custom size given by embedDim, depth and numHeads, `custom` one that
 * train() is given a builder of.
 */
export const ARCHITECTURES = [
  'vit_tiny',
  'vit_small',
  'vit_base',
  'deit_tiny',
  'deit_small',
  'deit_base',
  'vit',
  'resnet18',
  'resnet34',
  'resnet50',
  'resnet101',
  'xcit_small_12_p16',
  'xcit_small_12_p8',
  'xcit_medium_24_p16',
  'xcit_medium_24_p8',
  'custom',
] as const;

/** Whether `--patch-size` is a setting of it: ResNets have no patches, XCiTs have theirs in the name. */
export const hasPatchSize = (arch: string | undefined): boolean =>
  arch === undefined || /^(vit|deit)/.test(arch);

const whole = (min: number) => z.int().min(min);
const finite = () => z.number();
const positive = () => z.number().gt(0);
const share = () => z.number().min(0).max(1);
/** Share of an image's area that a crop covers. */
const scaleRange = () => z.tuple([z.number().gt(0).max(1), z.number().gt(0).max(1)]);

/** One entry a setting; the description is also the flag's help. Reference defaults are in presets.ts. */
export const settingFields = {
  // ------------------------------------------------------------------------------------------------ model
  arch: z
    .enum(ARCHITECTURES)
    .describe(
      'backbone; vit takes --embed-dim, --depth and --num-heads, custom is for train() in code with one’s own',
    ),
  patchSize: whole(1).describe('side of an input patch of a vit, pixels; smaller sees finer and costs more'),
  embedDim: whole(1).optional().describe('width of the custom vit'),
  depth: whole(1).optional().describe('blocks of the custom vit'),
  numHeads: whole(1).optional().describe('attention heads of the custom vit; must divide the width'),
  imgSize: whole(1)
    .optional()
    .describe("side of the images that position embeddings are learnt for (default: the global crops')"),
  init: z
    .string()
    .min(1)
    .optional()
    .describe('weights that student and teacher start from; they settle the architecture'),
  initCheckpointKey: z.string().min(1).optional().describe('network of --init: teacher (default) or student'),
  initWithHead: z
    .boolean()
    .optional()
    .describe('take the head of --init too, when it has one (default: true)'),
  resumeFrom: z
    .string()
    .min(1)
    .optional()
    .describe('full checkpoint of the reference that the run goes on from; --resume FILE sets it'),
  dropPathRate: z.number().min(0).lt(1).describe("stochastic depth rate of the student's last block"),
  outDim: whole(2).describe('K, outputs of the head; large for large and varied data'),
  normLastLayer: z
    .boolean()
    .describe('keep the last layer of the head at norm 1; false is stronger, less stable'),
  useBnInHead: z.boolean().describe('batch normalisation in the head'),
  headNlayers: whole(1).describe('layers of the head before the last'),
  headHiddenDim: whole(1).describe('width of the hidden layers of the head'),
  headBottleneckDim: whole(1).describe('width of the bottleneck of the head'),

  // ---------------------------------------------------------------------------------------------- teacher
  momentumTeacher: share().describe('first EMA momentum of the teacher, raised to 1 by a cosine'),
  warmupTeacherTemp: positive().describe('first teacher temperature'),
  teacherTemp: positive().describe(
    'teacher temperature after the warm-up; lower it if the loss sticks at ln K',
  ),
  warmupTeacherTempEpochs: whole(0).describe('epochs of linear warm-up of the teacher temperature'),

  // ----------------------------------------------------------------------------------------- optimisation
  precision: z
    .enum(['fp32', 'bf16', 'fp16', 'auto'])
    .describe('arithmetic of the forward pass; auto measures which of fp32 and bf16 is faster here'),
  optimizer: z
    .enum(OPTIMIZERS)
    .describe('optimizer; adamw for transformers, sgd or lars for convolutional networks'),
  batchSize: whole(1).describe('images in a step, each process'),
  microBatchSize: whole(0).describe(
    'images that go through the networks at once, 0 for the whole batch; less memory, the same step',
  ),
  activationCheckpointing: z
    .boolean()
    .describe('keep only the inputs of blocks and compute them again: a third more time, far less memory'),
  epochs: whole(1).describe('passes over the images'),
  lr: finite()
    .min(0)
    .describe('peak learning rate for a batch of 256; scaled by batch / 256 as in the paper'),
  warmupEpochs: whole(0).describe('epochs of linear warm-up of the learning rate'),
  minLr: finite().min(0).describe('learning rate at the end of the cosine'),
  weightDecay: finite().min(0).describe('first weight decay'),
  weightDecayEnd: finite().min(0).describe('last weight decay, reached by a cosine'),
  clipGrad: finite().min(0).describe("largest norm of a parameter's gradient (each by itself); 0 for none"),
  freezeLastLayer: whole(0).describe('epochs in which the last layer of the head does not learn'),

  // --------------------------------------------------------------------------------------------- the crops
  globalCropsSize: whole(1).describe('side of the two global crops, pixels'),
  globalCropsScale: scaleRange().describe(
    "share of the image's area that a global crop covers, least and most",
  ),
  localCropsNumber: whole(0).describe('local crops of an image; 0 for no multi-crop'),
  localCropsSize: whole(1).describe('side of the local crops, pixels'),
  localCropsScale: scaleRange().describe(
    "share of the image's area that a local crop covers, least and most",
  ),
  cropAspectRatio: z
    .tuple([positive(), positive()])
    .describe("width / height of a crop's area, least and most"),
  flipProbability: share().describe('probability of a horizontal flip'),
  colorJitterProbability: share().describe('probability of colour jitter'),
  brightness: finite().min(0).describe('strength of the brightness jitter'),
  contrast: finite().min(0).describe('strength of the contrast jitter'),
  saturation: finite().min(0).describe('strength of the saturation jitter'),
  hue: z.number().min(0).max(0.5).describe('strength of the hue jitter, in turns of the colour wheel'),
  grayscaleProbability: share().describe('probability of turning gray'),
  globalBlurProbability1: share().describe('probability of Gaussian blur on the first global crop'),
  globalBlurProbability2: share().describe('probability of Gaussian blur on the second global crop'),
  localBlurProbability: share().describe('probability of Gaussian blur on a local crop'),
  blurRadius: z
    .tuple([finite().min(0), finite().min(0)])
    .describe('radius of the blur, pixels, least and most'),
  solarizeProbability: share().describe('probability of solarizing the second global crop'),

  // ------------------------------------------------------------------------------------ running the training
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).describe('seed of everything random'),
  numWorkers: z
    .union([whole(0), z.literal('auto')], { error: 'expected a whole number, 0 or more, or auto' })
    .describe(
      'loader workers; auto finds while it trains how many are worth it; changes the speed, never the result',
    ),
  decodedCache: z
    .string()
    .refine((text) => {
      const bytes = parseBytes(text);
      return bytes === 0 || (bytes !== null && bytes >= 2 ** 20);
    }, 'expected a size of at least 1MiB, as 500MB or 2GiB, or 0 for none')
    .optional()
    .describe(
      'memory of each process for decoded images, as 2GiB; later epochs skip reading and decoding (default: none)',
    ),
  device: z
    .string()
    .regex(/^(auto|cpu|mps|cuda(:\d+)?)$/, 'expected auto, cpu, mps, cuda or cuda:N')
    .describe('auto, cpu, cuda:0 or mps'),
  threads: whole(0).describe("libtorch's threads; 0 for one a core"),
  saveckpFreq: whole(0).describe(
    'keep a checkpoint every so many epochs for good (the newest are always kept); 0 for none',
  ),
  keepCheckpoints: whole(1).describe(
    'newest checkpoints that are kept; with 2 or more a damaged one costs little',
  ),
  saveEverySteps: whole(0).describe(
    'also write a checkpoint every so many steps; 0 for only at the end of epochs',
  ),
  logEvery: whole(1).describe('steps between two lines of metrics'),
  knnEvery: whole(0).describe('epochs between two k-NN evaluations; 0 for none'),
  knnTrain: z.string().min(1).optional().describe('labelled images that k-NN looks neighbours up in'),
  knnVal: z.string().min(1).optional().describe('labelled images that k-NN classifies'),
  maxBadShare: share().describe('stop when more than this share of the images is unreadable'),
  watchImages: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe(
      "images whose attention is kept at every checkpoint: paths, auto (a few of the training's own) or none",
    ),
} as const;

/** The strict schema: an unknown key is an error. */
export const trainSettingsSchema = z.strictObject(settingFields);

/**
 * Settings that were added later, with a value that leaves the result what it was before there was one: a run folder
 * written by an older version lacks them.
 */
const LATER_SETTINGS: PartialSettings = {
  microBatchSize: 0,
  activationCheckpointing: false,
  keepCheckpoints: 2,
};

/** The settings of a run folder, whichever version wrote it. */
export const savedSettingsSchema = z.preprocess(
  (value) => (typeof value === 'object' && value !== null ? { ...LATER_SETTINGS, ...value } : value),
  trainSettingsSchema,
);

/** Every setting of a run, whole and checked. */
export type TrainSettings = z.infer<typeof trainSettingsSchema>;
export type SettingName = keyof TrainSettings;
/** Some of the settings: a file's, the flags', a preset's. */
export type PartialSettings = { [K in SettingName]?: TrainSettings[K] | undefined };

export const SETTING_NAMES = Object.keys(settingFields) as SettingName[];

/** `batchSize` -> `--batch-size`. */
export const flagOf = (name: string): string =>
  '--' + name.replace(/[A-Z]|\d+/g, (part) => '-' + part.toLowerCase());

/** The reference's own names for what is called otherwise here. */
const REFERENCE_NAMES = new Map<string, SettingName>([['batchSizePerGpu', 'batchSize']]);

/** `--batch_size_per_gpu`, `batch-size`, `batchSize` -> `batchSize`; null when it is no setting. */
export function settingOf(name: string): SettingName | null {
  const camel = name
    .replace(/^--/, '')
    .replace(/[-_]+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (Object.hasOwn(settingFields, camel)) return camel as SettingName;
  return REFERENCE_NAMES.get(camel) ?? null;
}

type Kind = 'number' | 'boolean' | 'string' | 'list' | 'words';

/** What a setting's value looks like, for reading flags and printing help. */
export function settingKind(name: SettingName): Kind {
  const field: z.ZodType = settingFields[name];
  const inner = field instanceof z.ZodOptional ? (field.unwrap() as z.ZodType) : field;
  if (inner instanceof z.ZodTuple) return 'list';
  if (inner instanceof z.ZodArray) return 'words';
  if (inner instanceof z.ZodBoolean) return 'boolean';
  // a number or a word
  return inner instanceof z.ZodNumber || inner instanceof z.ZodUnion ? 'number' : 'string';
}

/**
 * The value of a flag as typed: "5e-4", "true", ["0.4", "1"] or "0.4,1", words apart by line ends. What can't be read stays
 * a string.
 */
function readFlag(name: SettingName, raw: unknown): unknown {
  const number = (text: string): unknown => {
    const value = Number(text);
    return text.trim() === '' || Number.isNaN(value) ? text : value;
  };
  const kind = settingKind(name);
  if (kind === 'words') return (Array.isArray(raw) ? raw : [raw]).flatMap((part) => String(part).split('\n'));
  if (kind === 'list') {
    const parts = (Array.isArray(raw) ? raw : [raw])
      .flatMap((part) => String(part).split(/[\s,]+/))
      .filter(Boolean);
    return parts.map(number);
  }
  if (kind === 'boolean' && typeof raw === 'string') {
    // the reference's utils.bool_flag takes these words
    const lower = raw.toLowerCase();
    if (['true', 'on', '1', 'yes'].includes(lower)) return true;
    if (['false', 'off', '0', 'no'].includes(lower)) return false;
    return raw;
  }
  return kind === 'number' && typeof raw === 'string' ? number(raw) : raw;
}

const show = (value: unknown): string =>
  typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));

/** What zod found wrong with one value, as "expected X" in plain words. */
function expectation(issue: z.core.$ZodIssue): string {
  const where = issue.path.length > 0 ? `entry ${Number(issue.path[0]) + 1}: ` : '';
  if (issue.code === 'invalid_type') {
    const words: Record<string, string> = {
      int: 'a whole number',
      tuple: 'a list of numbers',
      array: 'a list',
    };
    return `${where}expected ${words[issue.expected] ?? `a ${issue.expected}`}`;
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    const bound = String(issue.code === 'too_small' ? issue.minimum : issue.maximum);
    if (issue.origin === 'array') return `${where}expected ${bound} numbers`;
    if (issue.origin === 'string') return `${where}expected some text`;
    const [open, closed] = issue.code === 'too_small' ? ['more than', 'at least'] : ['less than', 'at most'];
    return `${where}expected ${issue.inclusive ? closed : open} ${bound}`;
  }
  if (issue.code === 'invalid_value') return `${where}expected one of ${issue.values.map(String).join(', ')}`;
  return `${where}${issue.message}`;
}

/** Checks one value; returns its problem in words, or null. */
export function checkSetting(name: SettingName, value: unknown): string | null {
  const result = settingFields[name].safeParse(value);
  if (result.success) return null;
  return [...new Set(result.error.issues.map(expectation))].join('; ');
}

/**
 * What is wrong between settings, each good by itself. A rule applies when all the settings that it needs are
 * there, so that flags can be checked before a preset has filled in the rest.
 */
export function checkTogether(s: PartialSettings): string[] {
  const problems: string[] = [];
  const crop = (name: 'globalCropsSize' | 'localCropsSize') => {
    const size = s[name];
    const patch = s.patchSize;
    if (size === undefined || patch === undefined || !hasPatchSize(s.arch)) return;
    if (size < patch) {
      problems.push(
        `${name} ${size} is smaller than patchSize ${patch}: a crop must hold at least one patch`,
      );
    } else if (size % patch !== 0) {
      const below = size - (size % patch);
      problems.push(
        `${name} ${size} is not a multiple of patchSize ${patch}: the last ${size % patch} pixels would never be ` +
          `seen; use ${below} or ${below + patch}`,
      );
    }
  };
  crop('globalCropsSize');
  if (s.imgSize !== undefined && s.patchSize !== undefined && s.imgSize % s.patchSize !== 0)
    problems.push(`imgSize ${s.imgSize} is not a multiple of patchSize ${s.patchSize}`);
  if (s.localCropsNumber !== 0) crop('localCropsSize');
  for (const name of ['globalCropsScale', 'localCropsScale', 'cropAspectRatio', 'blurRadius'] as const) {
    const range = s[name];
    if (range && range[0] > range[1]) {
      problems.push(`${name} ${range[0]} ${range[1]}: expected the smaller number first`);
    }
  }
  if (s.arch === 'vit') {
    const missing = (['embedDim', 'depth', 'numHeads'] as const).filter((name) => s[name] === undefined);
    if (missing.length > 0) {
      problems.push(
        `arch vit is a custom size: ${missing.map((name) => `${name} (${flagOf(name)})`).join(', ')} missing`,
      );
    }
  } else if (s.arch !== undefined) {
    for (const name of ['embedDim', 'depth', 'numHeads'] as const) {
      if (s[name] !== undefined)
        problems.push(`${name} ${s[name]} goes only with arch vit; ${s.arch} has its own`);
    }
  }
  if (s.embedDim !== undefined && s.numHeads !== undefined && s.embedDim % s.numHeads !== 0) {
    problems.push(`embedDim ${s.embedDim} can't be divided among numHeads ${s.numHeads}`);
  }
  if (s.epochs !== undefined) {
    for (const name of ['warmupEpochs', 'warmupTeacherTempEpochs'] as const) {
      const value = s[name];
      if (value !== undefined && value > s.epochs) {
        problems.push(`${name} ${value} is more than epochs ${s.epochs}: use at most ${s.epochs}`);
      }
    }
  }
  if (s.precision === 'fp16' && (s.device === 'cpu' || s.device === 'mps')) {
    problems.push(`precision fp16 needs a CUDA device, and device is ${s.device}: use fp32, bf16 or auto`);
  }
  if (s.watchImages !== undefined && s.watchImages.join() !== 'none') {
    if (s.watchImages.includes('none'))
      problems.push('watchImages: none stands alone; leave it out, or the images');
    if (/^resnet/.test(s.arch ?? ''))
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

/** Bytes of the cache of decoded images; 0 for none. */
export const decodedCacheBytes = ({ decodedCache }: PartialSettings): number =>
  decodedCache === undefined ? 0 : (parseBytes(decodedCache) ?? 0);

/** Things that may be meant, but rarely are. */
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
      `momentumTeacher ${s.momentumTeacher} is low: the teacher copies the student and may collapse with it`,
    );
  }
  return warnings;
}

/** Where each layer of settings came from, for messages. */
export interface SettingsSources {
  /** Parsed content of a config file (any JSON value; checked here). */
  file?: unknown;
  /** Its name, for messages. */
  fileName?: string;
  /** Flags by any spelling of the setting's name, values as typed or already parsed. */
  flags?: Readonly<Record<string, unknown>>;
  /** Problems that the caller has found already (unknown flags), reported together with those found here. */
  problems?: readonly string[];
}

/**
 * Reads a file's settings and the flags over them. All problems are thrown at once.
 * @throws ConfigError with one entry a problem: unknown names (and the nearest real one), wrong types, bounds.
 */
export function readOverrides(sources: SettingsSources): PartialSettings {
  const problems = [...(sources.problems ?? [])];
  const overrides: Record<string, unknown> = {};
  const label = sources.fileName ?? 'config file';
  if (sources.file !== undefined) {
    if (typeof sources.file !== 'object' || sources.file === null || Array.isArray(sources.file)) {
      problems.push(`${label}: expected one JSON object of settings, found ${show(sources.file)}`);
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
    const value = readFlag(name, raw);
    const problem = checkSetting(name, value);
    if (problem !== null) problems.push(`${flagOf(name)} is ${show(value)}; ${problem}`);
    else overrides[name] = value;
  }
  problems.push(...checkTogether(overrides));
  if (problems.length > 0) throw new ConfigError(problems);
  return overrides;
}

/**
 * Checks a whole set, for example one read back from a run folder.
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

/** Settings by topic, for help texts. */
export const SETTING_GROUPS: readonly (readonly [title: string, names: readonly SettingName[]])[] = [
  [
    'Model:',
    [
      'arch',
      'patchSize',
      'embedDim',
      'depth',
      'numHeads',
      'imgSize',
      'init',
      'initCheckpointKey',
      'initWithHead',
      'resumeFrom',
      'dropPathRate',
      'outDim',
      'normLastLayer',
      'useBnInHead',
    ],
  ],
  ['Head:', ['headNlayers', 'headHiddenDim', 'headBottleneckDim']],
  ['Teacher:', ['momentumTeacher', 'warmupTeacherTemp', 'teacherTemp', 'warmupTeacherTempEpochs']],
  [
    'Optimisation:',
    [
      'batchSize',
      'microBatchSize',
      'activationCheckpointing',
      'epochs',
      'lr',
      'warmupEpochs',
      'minLr',
      'weightDecay',
      'weightDecayEnd',
      'clipGrad',
      'freezeLastLayer',
      'optimizer',
      'precision',
    ],
  ],
  [
    'Crops:',
    [
      'globalCropsSize',
      'globalCropsScale',
      'localCropsNumber',
      'localCropsSize',
      'localCropsScale',
      'cropAspectRatio',
      'flipProbability',
      'colorJitterProbability',
      'brightness',
      'contrast',
      'saturation',
      'hue',
      'grayscaleProbability',
      'globalBlurProbability1',
      'globalBlurProbability2',
      'localBlurProbability',
      'blurRadius',
      'solarizeProbability',
    ],
  ],
  [
    'Running:',
    [
      'seed',
      'device',
      'threads',
      'numWorkers',
      'decodedCache',
      'saveckpFreq',
      'keepCheckpoints',
      'saveEverySteps',
      'logEvery',
      'knnEvery',
      'knnTrain',
      'knnVal',
      'maxBadShare',
      'watchImages',
    ],
  ],
];

/** Settings that a resumed run may change, because the result does not depend on them. */
export const CHANGEABLE_ON_RESUME: readonly SettingName[] = [
  'numWorkers',
  'decodedCache',
  'saveckpFreq',
  'keepCheckpoints',
  'saveEverySteps',
  'logEvery',
  'knnEvery',
  'knnTrain',
  'knnVal',
  'maxBadShare',
  'watchImages',
];
