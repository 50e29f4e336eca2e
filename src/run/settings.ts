/**
 * The settings of a training run: names, bounds and meaning of each. Names are those of the reference's main_dino.py
 * get_args_parser() in camelCase; a flag is the same name in kebab-case. Departures: `batchSize` is batch_size_per_gpu,
 * `precision` replaces use_fp16, crop sizes and augmentation strengths (constants there) are settings here.
 */
import { z } from 'zod';
import { PRECISION_CHOICES } from '../plain/precisions.js';
import { MOST_CHANNELS } from '../plain/channels.js';
import { parseBytes, parseDuration } from '../plain/units.js';
import { architectureNames } from '../models/architectures.js';
import { NORMALIZATIONS } from '../models/dinov3-architectures.js';
import { OPTIMIZERS } from '../optim/names.js';

/** The table's names, and `custom` for a backbone that train() is given a builder of. */
const archNames = [...architectureNames, 'custom'] as const;

const whole = (min: number) => z.int().min(min);
const finite = () => z.number();
const positive = () => z.number().gt(0);
const share = () => z.number().min(0).max(1);
/** Share of an image's area that a crop covers. */
const scaleRange = () => z.tuple([z.number().gt(0).max(1), z.number().gt(0).max(1)]);

/** One entry a setting; the description is also the flag's help. Reference defaults are in paper.ts. */
export const settingFields = {
  // ------------------------------------------------------------------------------------------------ model
  arch: z
    .enum(archNames)
    .describe(
      'backbone; vit, vit_conv (patches embedded by convolutions) and dinov2_vit take --embed-dim, --depth and --num-heads, resnet (for small images) --embed-dim and --depth; custom is for train() in code, with your own backbone',
    ),
  patchSize: whole(1).describe(
    'side of an input patch of a vit, pixels; smaller patches see more detail and cost more',
  ),
  embedDim: whole(1)
    .optional()
    .describe(
      'width of the custom vit; length of a feature of the custom resnet, eight times its first width',
    ),
  depth: whole(1).optional().describe('blocks of the custom vit or resnet'),
  numHeads: whole(1).optional().describe('attention heads of the custom vit; must divide the width'),
  imgSize: whole(1)
    .optional()
    .describe('image side that position embeddings are learned for (default: that of the global crops)'),
  init: z
    .string()
    .min(1)
    .optional()
    .describe('weights that student and teacher start from; they determine the architecture'),
  initCheckpointKey: z
    .string()
    .min(1)
    .optional()
    .describe('which network of --init to take: teacher (default) or student'),
  initNormalization: z
    .enum(NORMALIZATIONS)
    .optional()
    .describe(
      "how DINOv3's images are normalized, where --init doesn't say: imagenet, or sat493m for satellite images",
    ),
  initWithHead: z
    .boolean()
    .optional()
    .describe('also take the head of --init, if it has one (default: true)'),
  resumeFrom: z
    .string()
    .min(1)
    .optional()
    .describe('full checkpoint of the reference that the run continues from; --resume FILE sets it'),
  dropPathRate: z.number().min(0).lt(1).describe("stochastic depth rate of the student's last block"),
  patchDropRate: z
    .number()
    .min(0)
    .lt(1)
    .describe(
      'share of the patches of its global crops that the student drops at random, after their positions are added; the teacher sees all',
    ),
  patchInit: z
    .enum(['random', 'whitened'])
    .describe(
      "initial filters of the layer that sees the pixels: random, or whitened: the principal components of patches of the training's images, each scaled to the same variance",
    ),
  loss: z
    .enum(['dino', 'simdino'])
    .describe(
      "what is minimized: the paper's cross-entropy, or SimDINO's coding rate, without prototypes and temperatures",
    ),
  compressionWeight: positive().describe(
    'simdino: weight of drawing views together over keeping images apart',
  ),
  outDim: whole(2).describe('K, outputs of the head; more for large and varied data'),
  normLastLayer: z
    .boolean()
    .describe('keep the last layer of the head at norm 1; false is stronger, less stable'),
  useBnInHead: z.boolean().describe('use batch normalization in the head'),
  headNlayers: whole(1).describe('layers of the head before the last one'),
  headHiddenDim: whole(1).describe('width of the hidden layers of the head'),
  headBottleneckDim: whole(1).describe('width of the bottleneck of the head'),

  // ---------------------------------------------------------------------------------------------- teacher
  momentumTeacher: share().describe('initial EMA momentum of the teacher, raised to 1 by a cosine'),
  warmupTeacherTemp: positive().describe('initial teacher temperature'),
  teacherTemp: positive().describe(
    'teacher temperature after the warm-up; lower it if the loss stays at ln K',
  ),
  warmupTeacherTempEpochs: finite()
    .min(0)
    .describe(
      'epochs of linear warm-up of the teacher temperature: it changes once an epoch, or with a fraction at every step',
    ),

  // ----------------------------------------------------------------------------------------- optimisation
  precision: z
    .enum(PRECISION_CHOICES)
    .describe(
      'precision of the networks: bf16-matmul keeps fp32 tensors and multiplies in bf16; auto times steps of this training',
    ),
  optimizer: z
    .enum(OPTIMIZERS)
    .describe(
      'optimizer; adamw for transformers, sgd or lars for convolutional networks, muon for short runs of either',
    ),
  batchSize: whole(1).describe('images per step and process'),
  microBatchSize: whole(0).describe(
    'images that go through the networks at once, 0 for the whole batch; saves memory and computes the same step',
  ),
  activationCheckpointing: z
    .boolean()
    .describe('keep only the inputs of blocks and recompute the rest: a third more time, far less memory'),
  epochs: whole(1).describe('passes over the images'),
  steps: whole(1)
    .optional()
    .describe('end after this many steps instead of --epochs, also in the middle of an epoch'),
  for: z
    .string()
    .refine(
      (text) => (parseDuration(text) ?? 0) > 0,
      'expected a time, as 90s, 10m, 2h, 1h30m or overnight (8h)',
    )
    .optional()
    .describe(
      'train for this long instead of --epochs: 90s, 10m, 2h, 1h30m, overnight (8h); a few trial steps show how much fits',
    ),
  untilStalled: z
    .boolean()
    .optional()
    .describe('with --for and --judge-every: end earlier, annealed, when the judge sees no gain any more'),
  lr: finite()
    .min(0)
    .describe('peak learning rate for a batch of 256; scaled by batch / 256 as in the paper'),
  warmupEpochs: finite().min(0).describe('epochs of linear warm-up of the learning rate; may be a fraction'),
  minLr: finite().min(0).describe('learning rate at the end of the cosine'),
  weightDecay: finite().min(0).describe('initial weight decay'),
  weightDecayEnd: finite().min(0).describe('final weight decay, reached by a cosine'),
  clipGrad: finite().min(0).describe("largest norm of each parameter's gradient; 0 for no clipping"),
  koleoWeight: finite()
    .min(0)
    .describe('weight of the KoLeo regularizer, which spreads the features of a batch; 0 for none'),
  freezeLastLayer: finite()
    .min(0)
    .describe('epochs during which the last layer of the head is frozen; may be a fraction'),
  freezeBackbone: finite()
    .min(0)
    .describe(
      'epochs during which only the head is trained, because a new head would spoil the weights of --init; may be a fraction',
    ),
  backboneWarmupEpochs: finite()
    .min(0)
    .describe(
      "epochs after --freeze-backbone in which the backbone's learning rate rises from 0; may be a fraction",
    ),
  layerwiseDecay: z
    .number()
    .gt(0)
    .max(1)
    .describe('factor of the learning rate from each layer of the backbone to the one below it; 1 for none'),
  patchEmbedLrMult: share().describe(
    'factor of the learning rate of the patch embedding, or the stem of a ResNet; 0 holds it',
  ),
  loraRank: whole(1)
    .optional()
    .describe(
      "change only the attention's weights of the backbone, by products of this rank (LoRA), and hold the rest of --init; 4 to 64 are usual",
    ),
  loraLayers: whole(1).optional().describe('how many of the last blocks --lora-rank changes (default: all)'),

  // --------------------------------------------------------------------------------------------- the crops
  globalCropsSize: whole(1).describe('side of the two global crops, pixels'),
  globalCropsScale: scaleRange().describe(
    "share of the image's area that a global crop covers: minimum and maximum",
  ),
  localCropsNumber: whole(0).describe('local crops per image; 0 for no multi-crop'),
  localCropsSize: whole(1).describe('side of the local crops, pixels'),
  lowResEpochs: whole(0).describe(
    'first epochs in which all crops have half their sides, low frequencies first; 0 for none',
  ),
  localCropsScale: scaleRange().describe(
    "share of the image's area that a local crop covers: minimum and maximum",
  ),
  cropAspectRatio: z
    .tuple([positive(), positive()])
    .describe('aspect ratio of a crop (width / height): minimum and maximum'),
  channels: whole(1)
    .max(MOST_CHANNELS)
    .optional()
    .describe(
      'take the channels of the images as they are stored, at up to 16 bits, and skip images that have another number (1 for gray, 4 for red, green, blue and infrared, ...); default: every image becomes 8-bit RGB',
    ),
  mean: z
    .array(z.number())
    .min(1)
    .max(MOST_CHANNELS)
    .optional()
    .describe("mean of each of --channels, where white is 1 (default: the weights', or measured)"),
  std: z
    .array(positive())
    .min(1)
    .max(MOST_CHANNELS)
    .optional()
    .describe(
      "standard deviation of each of --channels, where white is 1 (default: the weights', or measured)",
    ),
  flipProbability: share().describe('probability of a horizontal flip'),
  colorJitterProbability: share().describe('probability of colour jitter'),
  brightness: finite().min(0).describe('strength of the brightness jitter'),
  contrast: finite().min(0).describe('strength of the contrast jitter'),
  saturation: finite().min(0).describe('strength of the saturation jitter'),
  hue: z.number().min(0).max(0.5).describe('strength of the hue jitter, in turns of the colour wheel'),
  grayscaleProbability: share().describe('probability of converting to grayscale'),
  globalBlurProbability1: share().describe('probability of Gaussian blur on the first global crop'),
  globalBlurProbability2: share().describe('probability of Gaussian blur on the second global crop'),
  localBlurProbability: share().describe('probability of Gaussian blur on a local crop'),
  blurRadius: z
    .tuple([finite().min(0), finite().min(0)])
    .describe('radius of the blur in pixels: minimum and maximum'),
  solarizeProbability: share().describe('probability of solarizing the second global crop'),

  // ------------------------------------------------------------------------------------ running the training
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).describe('seed of all random numbers'),
  numWorkers: z
    .union([whole(0), z.literal('auto')], { error: 'expected a whole number, 0 or more, or auto' })
    .describe('loader workers; auto finds the best number while training; affects speed, never the result'),
  decodedCache: z
    .string()
    .refine((text) => {
      const bytes = parseBytes(text);
      return bytes === 0 || (bytes !== null && bytes >= 2 ** 20);
    }, 'expected a size of at least 1MiB, as 500MB or 2GiB, or 0 for none')
    .optional()
    .describe(
      'memory for decoded images in each process, e.g. 2GiB; later epochs skip reading and decoding (default: none)',
    ),
  device: z
    .string()
    .regex(/^(auto|cpu|mps|(cuda|privateuseone)(:\d+)?)$/, 'expected auto, cpu, mps, cuda or cuda:N')
    .describe('auto, cpu, cuda:0 or mps'),
  threads: whole(0).describe("libtorch's threads; 0 for one per core"),
  saveckpFreq: whole(0).describe(
    'keep a checkpoint for good every this many epochs (the newest are always kept); 0 for none',
  ),
  keepCheckpoints: whole(1).describe(
    'how many of the newest checkpoints to keep; with 2 or more, a damaged one costs little',
  ),
  saveEverySteps: whole(0).describe(
    'also write a checkpoint every this many steps; 0 for only at the end of epochs',
  ),
  logEvery: whole(1).describe('steps between two lines of metrics'),
  knnEvery: whole(0).describe('epochs between two k-NN evaluations; 0 for none'),
  judgeEvery: finite()
    .min(0)
    .describe(
      'epochs between two judgements of the features without labels, which keep the best weights; may be a fraction; 0 for none',
    ),
  knnTrain: z.string().min(1).optional().describe('labelled images among which k-NN finds neighbours'),
  knnVal: z.string().min(1).optional().describe('labelled images that k-NN classifies'),
  maxBadShare: share().describe('stop when more than this share of the images is unreadable'),
  log: z
    .string()
    .regex(
      /^(tensorboard|mlflow|wandb|trackio)(,(tensorboard|mlflow|wandb|trackio))*$/,
      'expected tensorboard, mlflow, wandb, trackio or several with commas',
    )
    .optional()
    .describe(
      'where metrics go beside metrics.jsonl: tensorboard (RUN/tensorboard), mlflow (the server that MLFLOW_TRACKING_URI names), wandb and trackio (their own Python clients)',
    ),
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
 * Settings that were added later, with the value that gives the same result as before they existed: a run folder written by
 * an older version lacks them.
 */
const LATER_SETTINGS: PartialSettings = {
  microBatchSize: 0,
  activationCheckpointing: false,
  keepCheckpoints: 2,
  koleoWeight: 0,
  loss: 'dino',
  compressionWeight: 1,
  judgeEvery: 0,
  freezeBackbone: 0,
  backboneWarmupEpochs: 0,
  layerwiseDecay: 1,
  patchEmbedLrMult: 1,
  patchDropRate: 0,
  patchInit: 'random',
  lowResEpochs: 0,
};

/** The settings of a run folder, whichever version wrote it. */
export const savedSettingsSchema = z.preprocess(
  (value) => (typeof value === 'object' && value !== null ? { ...LATER_SETTINGS, ...value } : value),
  trainSettingsSchema,
);

/** All settings of a run, complete and checked. */
export type TrainSettings = z.infer<typeof trainSettingsSchema>;
export type SettingName = keyof TrainSettings;
/** Some of the settings, as a file, flags or a preset give them. */
export type PartialSettings = { [K in SettingName]?: TrainSettings[K] | undefined };

export const SETTING_NAMES = Object.keys(settingFields) as SettingName[];

/** `batchSize` -> `--batch-size`. */
export const flagOf = (name: string): string =>
  '--' + name.replace(/[A-Z]|\d+/g, (part) => '-' + part.toLowerCase());

/** The reference's names for settings that have another name here. */
const REFERENCE_NAMES = new Map<string, SettingName>([['batchSizePerGpu', 'batchSize']]);

/** `--batch_size_per_gpu`, `batch-size`, `batchSize` -> `batchSize`; null when it is not a setting. */
export function settingOf(name: string): SettingName | null {
  const camel = name
    .replace(/^--/, '')
    .replace(/[-_]+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (Object.hasOwn(settingFields, camel)) return camel as SettingName;
  return REFERENCE_NAMES.get(camel) ?? null;
}

/** How long a run is: in whole epochs, or in steps, of which the last epoch may have only a part. */
export type RunLength = Pick<TrainSettings, 'epochs' | 'steps'>;

/** Steps of the whole run. */
export const stepsOf = ({ epochs, steps }: RunLength, stepsPerEpoch: number): number =>
  steps ?? epochs * stepsPerEpoch;

/** The most steps of a run: each has its values in the schedules, which are in memory as a whole. */
export const MOST_STEPS = 1e8;

/** A run of this many steps: `epochs` counts the last one even if it is not whole. */
export const lengthInSteps = (steps: number, stepsPerEpoch: number): { epochs: number; steps: number } => ({
  epochs: Math.max(1, Math.ceil(steps / stepsPerEpoch)),
  steps,
});

/** Bytes of the cache of decoded images; 0 for none. */
export const decodedCacheBytes = ({ decodedCache }: PartialSettings): number =>
  decodedCache === undefined ? 0 : (parseBytes(decodedCache) ?? 0);

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
  'judgeEvery',
  'maxBadShare',
  'watchImages',
  'log',
];

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
      'initNormalization',
      'initWithHead',
      'resumeFrom',
      'dropPathRate',
      'patchDropRate',
      'patchInit',
      'loss',
      'compressionWeight',
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
      'steps',
      'for',
      'untilStalled',
      'lr',
      'warmupEpochs',
      'minLr',
      'weightDecay',
      'weightDecayEnd',
      'clipGrad',
      'koleoWeight',
      'freezeLastLayer',
      'freezeBackbone',
      'backboneWarmupEpochs',
      'layerwiseDecay',
      'patchEmbedLrMult',
      'loraRank',
      'loraLayers',
      'optimizer',
      'precision',
    ],
  ],
  [
    'Crops:',
    [
      'channels',
      'mean',
      'std',
      'globalCropsSize',
      'globalCropsScale',
      'localCropsNumber',
      'localCropsSize',
      'lowResEpochs',
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
  ['Running:', ['seed', 'device', 'threads', ...CHANGEABLE_ON_RESUME]],
];
