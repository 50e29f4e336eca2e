/**
 * Multi-crop augmentation: every random parameter of every crop, sampled here beside the paper (section 3.1 and
 * appendix; DataAugmentationDINO in the reference's main_dino.py, GaussianBlur and Solarization in its utils.py).
 * native/crops only renders what is sampled here.
 *
 * Departure: the numbers come from a counter-based generator keyed by seed, epoch, image and crop instead of one global
 * stream. The distributions are torchvision's.
 */
import { ConfigError } from '../../errors.js';
import { roundHalfEven } from '../../plain/rounding.js';
import { PhiloxStream, Purpose } from './philox.js';

/** Everything that determines the distribution of crops. The defaults are those of the reference. */
export interface AugmentationSettings {
  /** Side of the two global crops, in pixels. */
  globalCropsSize: number;
  /** Share of the image's area that a global crop covers, [least, most]. */
  globalCropsScale: readonly [number, number];
  /** Side of the local crops, in pixels. */
  localCropsSize: number;
  /** Share of the image's area that a local crop covers, [least, most]. */
  localCropsScale: readonly [number, number];
  /** Local crops for each image; with 0, only the global ones are used. */
  localCropsNumber: number;
  /** First epochs in which all crops have half their sides. */
  lowResEpochs: number;
  /** Width / height of a crop before resizing, [least, most]; its logarithm is uniform. */
  cropAspectRatio: readonly [number, number];
  flipProbability: number;
  /** Probability that the four colour jitters are applied, in random order. */
  colorJitterProbability: number;
  /** Factor uniform in 1 +- this. */
  brightness: number;
  /** Factor uniform in 1 +- this. */
  contrast: number;
  /** Factor uniform in 1 +- this. */
  saturation: number;
  /** Shift of the hue, uniform in +- this; 0.5 is half the circle. */
  hue: number;
  grayscaleProbability: number;
  /** Probability of Gaussian blur on the first global crop. */
  globalBlurProbability1: number;
  /** Probability of Gaussian blur on the second global crop. */
  globalBlurProbability2: number;
  /** Probability of Gaussian blur on each local crop. */
  localBlurProbability: number;
  /** Standard deviation of the blur in pixels of the crop, uniform in [least, most]. */
  blurRadius: readonly [number, number];
  /** Probability of solarization, on the second global crop only. */
  solarizeProbability: number;
}

/** The values of the paper and of the reference. */
export const DEFAULT_AUGMENTATION = {
  globalCropsSize: 224,
  globalCropsScale: [0.4, 1],
  localCropsSize: 96,
  localCropsScale: [0.05, 0.4],
  localCropsNumber: 8,
  lowResEpochs: 0,
  cropAspectRatio: [3 / 4, 4 / 3],
  flipProbability: 0.5,
  colorJitterProbability: 0.8,
  brightness: 0.4,
  contrast: 0.4,
  saturation: 0.2,
  hue: 0.1,
  grayscaleProbability: 0.2,
  globalBlurProbability1: 1,
  globalBlurProbability2: 0.1,
  localBlurProbability: 0.5,
  blurRadius: [0.1, 2],
  solarizeProbability: 0.2,
} satisfies AugmentationSettings;

/** Global crops for each image: the method is defined for two. */
export const GLOBAL_CROPS = 2;

/** ImageOps.solarize inverts values from this one on. */
const SOLARIZE_THRESHOLD = 128;

/** The kinds of jitter, by their codes in native/crops, in torchvision's order. */
export const Jitter = { brightness: 0, contrast: 1, saturation: 2, hue: 3 } as const;

/** The colour jitter of one crop. */
export interface JitterParams {
  /** Codes of {@link Jitter}, first applied first. */
  order: number[];
  brightness: number;
  contrast: number;
  saturation: number;
  /** In [-0.5, 0.5]. */
  hue: number;
}

/** Everything that determines the pixels of one crop, in the order of application. */
export interface CropParams {
  /** The rectangle of the image, in whole pixels. */
  x: number;
  y: number;
  width: number;
  height: number;
  flip: boolean;
  jitter: JitterParams | null;
  grayscale: boolean;
  /** Standard deviation in pixels of the crop; 0 for none. */
  blurRadius: number;
  /** Values from here on are inverted; null for none. */
  solarizeThreshold: number | null;
}

/** What the random numbers of a crop are keyed by. */
export interface CropKey {
  /** A non-negative integer below 2^53. */
  seed: number;
  epoch: number;
  /** Index of the image in the data set. */
  imageIndex: number;
  /** Size of the whole image after EXIF orientation, in pixels. */
  width: number;
  height: number;
  /** What the crop is for; default: training. */
  purpose?: Purpose;
}

/** Checks settings. @returns one line for each problem */
export function augmentationProblems(settings: AugmentationSettings): string[] {
  const problems: string[] = [];
  const name = (key: string) => key.replace(/[A-Z0-9]/g, (c) => `-${c.toLowerCase()}`);
  const complain = (key: keyof AugmentationSettings, expected: string) => {
    problems.push(`--${name(key)} must be ${expected}, but is ${JSON.stringify(settings[key])}`);
  };
  for (const key of ['globalCropsSize', 'localCropsSize'] as const) {
    if (!Number.isInteger(settings[key]) || settings[key] < 1)
      complain(key, 'a whole number of pixels above 0');
  }
  if (!Number.isInteger(settings.localCropsNumber) || settings.localCropsNumber < 0) {
    complain('localCropsNumber', 'a whole number, 0 or more');
  }
  if (!Number.isInteger(settings.lowResEpochs) || settings.lowResEpochs < 0) {
    complain('lowResEpochs', 'a whole number, 0 or more');
  } else if (settings.lowResEpochs > 0) {
    for (const key of ['globalCropsSize', 'localCropsSize'] as const)
      if (settings[key] % 2 !== 0 && (key === 'globalCropsSize' || settings.localCropsNumber > 0))
        complain(key, 'even, so that it can be halved in the epochs of --low-res-epochs');
  }
  for (const key of ['globalCropsScale', 'localCropsScale'] as const) {
    const [least, most] = settings[key];
    if (!(least > 0 && least <= most && most <= 1)) complain(key, 'two numbers, 0 < least <= most <= 1');
  }
  const [narrow, wide] = settings.cropAspectRatio;
  if (!(narrow > 0 && narrow <= wide && wide < Infinity)) {
    complain('cropAspectRatio', 'two numbers, 0 < least <= most');
  }
  const [sharp, soft] = settings.blurRadius;
  if (!(sharp >= 0 && sharp <= soft && soft <= 100)) {
    complain('blurRadius', 'two numbers of pixels, 0 <= least <= most <= 100');
  }
  for (const key of [
    'flipProbability',
    'colorJitterProbability',
    'grayscaleProbability',
    'globalBlurProbability1',
    'globalBlurProbability2',
    'localBlurProbability',
    'solarizeProbability',
  ] as const) {
    if (!(settings[key] >= 0 && settings[key] <= 1)) complain(key, 'a probability between 0 and 1');
  }
  for (const key of ['brightness', 'contrast', 'saturation'] as const) {
    if (!(settings[key] >= 0 && settings[key] < Infinity)) complain(key, '0 or more');
  }
  if (!(settings.hue >= 0 && settings.hue <= 0.5)) complain('hue', 'between 0 and 0.5');
  return problems;
}

/**
 * Fills in the defaults and checks the result.
 * @throws ConfigError that names every wrong setting
 */
export function resolveAugmentation(settings: Partial<AugmentationSettings> = {}): AugmentationSettings {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  const resolved = {
    ...DEFAULT_AUGMENTATION,
    ...(Object.fromEntries(given) as Partial<AugmentationSettings>),
  };
  const problems = augmentationProblems(resolved);
  if (problems.length > 0) throw new ConfigError(problems);
  return resolved;
}

/**
 * What is left out for images whose channels are taken as they are: what mixes red, green and blue, and what inverts the
 * values above half of white. lightly-train leaves out all of ColorJitter, RandomGrayscale and Solarize for such images;
 * brightness and contrast stay here, each channel's by itself.
 */
export const ONLY_FOR_RGB = ['saturation', 'hue', 'grayscaleProbability', 'solarizeProbability'] as const;

/** resolveAugmentation(), for images of so many channels or, without a number, RGB. */
export const augmentationFor = (
  settings: Partial<AugmentationSettings> = {},
  channels: number | undefined = undefined,
): AugmentationSettings => ({
  ...resolveAugmentation(settings),
  ...(channels === undefined ? {} : Object.fromEntries(ONLY_FOR_RGB.map((name) => [name, 0]))),
});

/**
 * The settings of an epoch: in the first ones crops have half their sides, so that training begins with low frequencies (the
 * curriculum of FastDINOv2, Zhang et al. 2025, arXiv 2507.03779, which halves 224 and 96 pixels to 112 and 48; its noise
 * patches are left out). The same random numbers give the same crops, their blur halved with them.
 */
export function augmentationAt(settings: AugmentationSettings, epoch: number): AugmentationSettings {
  if (epoch >= settings.lowResEpochs) return settings;
  const { globalCropsSize, localCropsSize, blurRadius } = settings;
  return {
    ...settings,
    globalCropsSize: globalCropsSize / 2,
    // without local crops their size may be odd
    localCropsSize: Math.ceil(localCropsSize / 2),
    blurRadius: [blurRadius[0] / 2, blurRadius[1] / 2],
  };
}

/** torchvision's RandomResizedCrop.get_params. */
export function sampleRectangle(
  stream: PhiloxStream,
  imageWidth: number,
  imageHeight: number,
  scale: readonly [number, number],
  ratio: readonly [number, number],
): { x: number; y: number; width: number; height: number } {
  const area = imageWidth * imageHeight;
  for (let attempt = 0; attempt < 10; attempt++) {
    const target = area * stream.uniform(scale[0], scale[1]);
    const aspect = Math.exp(stream.uniform(Math.log(ratio[0]), Math.log(ratio[1])));
    const width = roundHalfEven(Math.sqrt(target * aspect));
    const height = roundHalfEven(Math.sqrt(target / aspect));
    if (width > 0 && width <= imageWidth && height > 0 && height <= imageHeight) {
      const y = stream.integer(imageHeight - height + 1);
      const x = stream.integer(imageWidth - width + 1);
      return { x, y, width, height };
    }
  }
  // the largest centred rectangle whose aspect ratio is allowed
  const shape = imageWidth / imageHeight;
  let width = imageWidth;
  let height = imageHeight;
  if (shape < ratio[0]) height = roundHalfEven(width / ratio[0]);
  else if (shape > ratio[1]) width = roundHalfEven(height * ratio[1]);
  return { x: (imageWidth - width) >> 1, y: (imageHeight - height) >> 1, width, height };
}

/** torchvision's ColorJitter.get_params; a jitter of strength 0 is left out, as in torchvision. */
function sampleJitter(stream: PhiloxStream, settings: AugmentationSettings): JitterParams {
  const order = stream.shuffle([
    Jitter.brightness,
    Jitter.contrast,
    Jitter.saturation,
    Jitter.hue,
  ] as number[]);
  const factor = (strength: number) => stream.uniform(Math.max(0, 1 - strength), 1 + strength);
  const brightness = factor(settings.brightness);
  const contrast = factor(settings.contrast);
  const saturation = factor(settings.saturation);
  const hue = stream.uniform(-settings.hue, settings.hue);
  const strengths = [settings.brightness, settings.contrast, settings.saturation, settings.hue];
  return { order: order.filter((code) => strengths[code] !== 0), brightness, contrast, saturation, hue };
}

/** The parameters of one crop: crops 0 and 1 are the global ones, the rest are local. */
function sampleCrop(settings: AugmentationSettings, key: CropKey, crop: number): CropParams {
  const { seed, purpose = Purpose.augmentation } = key;
  const stream = new PhiloxStream(seed, purpose, key.epoch, key.imageIndex, crop);
  const isGlobal = crop < GLOBAL_CROPS;
  const scale = isGlobal ? settings.globalCropsScale : settings.localCropsScale;
  const rectangle = sampleRectangle(stream, key.width, key.height, scale, settings.cropAspectRatio);
  const flip = stream.random() < settings.flipProbability;
  const jitter = stream.random() < settings.colorJitterProbability ? sampleJitter(stream, settings) : null;
  const grayscale = stream.random() < settings.grayscaleProbability;
  const blurProbability = [settings.globalBlurProbability1, settings.globalBlurProbability2][crop];
  const blurred = stream.random() < (blurProbability ?? settings.localBlurProbability);
  const blurRadius = blurred ? stream.uniform(settings.blurRadius[0], settings.blurRadius[1]) : 0;
  const solarized = crop === 1 && stream.random() < settings.solarizeProbability;
  const solarizeThreshold = solarized ? SOLARIZE_THRESHOLD : null;
  return { ...rectangle, flip, jitter, grayscale, blurRadius, solarizeThreshold };
}

/**
 * The parameters of all crops of an image in an epoch: the two global ones, then the local ones. A pure function.
 * @param settings - Checked settings, see {@link resolveAugmentation}.
 */
export function sampleCropParams(settings: AugmentationSettings, key: CropKey): CropParams[] {
  const count = GLOBAL_CROPS + settings.localCropsNumber;
  return Array.from({ length: count }, (_, crop) => sampleCrop(settings, key, crop));
}
