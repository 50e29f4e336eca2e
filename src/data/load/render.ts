/**
 * The work for one image, in workers or in the loader's own thread: read, decode, sample, render into the batch.
 */
import {
  augmentationAt,
  GLOBAL_CROPS,
  sampleCropParams,
  sampleRectangle,
  type AugmentationSettings,
  type CropParams,
} from '../crops/augmentation.js';
import {
  renderCrops,
  renderDeepCrops,
  resizeDeepImage,
  resizeImage,
  type CropTarget,
  type DeepImage,
} from '../crops/crops.js';
import { LEAST_REDUCTION, type DecodedImage, type Reduce } from '../read/decode.js';
import { DataError } from '../../errors.js';
import { centerCropWindow, resizedShape } from '../../plain/eval-geometry.js';
import { roundHalfEven } from '../../plain/rounding.js';
import type { ImageDecoder } from '../read/image-decoder.js';
import { PhiloxStream, Purpose } from '../crops/philox.js';
import { thumbnail } from '../crops/thumbnail.js';

/** What all jobs may ask for. */
interface AnyJob {
  /** Channels of images that are taken as they are, 16 bits each; without it, all images become 8-bit RGB. */
  channels?: number | undefined;
}

/** Training: the crops of one image. */
export interface CropJob extends AnyJob {
  kind: 'crops';
  seed: number;
  batchSize: number;
  augmentation: AugmentationSettings;
}

/**
 * How an image is resized for evaluation, always as Pillow does:
 * - `crop`: shorter side to `resize` (bicubic), then the central `crop` x `crop`; eval_knn.py, eval_linear.py
 * - `stretch`: to `crop` x `crop` (bicubic), whatever its shape; eval_copy_detection.py
 * - `inside`: longer side to `crop`, smaller images unchanged (Lanczos, Image.thumbnail); eval_image_retrieval.py
 */
export type Fit = 'crop' | 'stretch' | 'inside';

/** Evaluation: one image, resized. */
export interface EvalJob extends AnyJob {
  kind: 'eval';
  batchSize: number;
  fit: Fit;
  /** Length of the shorter side after resizing, in pixels. */
  resize: number;
  /** Side of the result, in pixels. */
  crop: number;
  /** Rectangles to cut out before resizing, one for each image; null for the whole image. */
  boxes?: readonly (Box | null)[];
}

/** Left, top, right and bottom of a rectangle in pixels; fractions are rounded, as Image.crop does. */
export type Box = readonly [number, number, number, number];

/** Training of a linear classifier: RandomResizedCrop with its default bilinear filter, and a flip; eval_linear.py. */
export interface ResizedCropJob extends AnyJob {
  kind: 'resized-crop';
  seed: number;
  batchSize: number;
  /** Side of the crop, in pixels. */
  crop: number;
}

/**
 * Another view of an image, as the first global crop of a training would be; its random numbers are unrelated to those of
 * trainings. The view's number is the batch's epoch.
 */
export interface ViewJob extends AnyJob {
  kind: 'view';
  seed: number;
  batchSize: number;
  /** Side of the view, in pixels. */
  crop: number;
  augmentation: AugmentationSettings;
}

export type Job = CropJob | EvalJob | ResizedCropJob | ViewJob;

/** Bytes of a pixel of a job's result. */
export const pixelBytes = ({ channels }: AnyJob): number => (channels === undefined ? 3 : 2 * channels);

/** Bytes of square images, (images, channels, size, size). */
export const planesBytes = (job: AnyJob, images: number, size: number): number =>
  images * pixelBytes(job) * size * size;

/** Bytes of one slot: the global crops, then the local ones. @param epoch - Default: one whose crops have their full size. */
export function slotBytes(job: Job, epoch = Infinity): { globals: number; locals: number } {
  if (job.kind !== 'crops') return { globals: planesBytes(job, job.batchSize, job.crop), locals: 0 };
  const { globalCropsSize, localCropsSize, localCropsNumber } = augmentationAt(job.augmentation, epoch);
  return {
    globals: planesBytes(job, GLOBAL_CROPS * job.batchSize, globalCropsSize),
    locals: planesBytes(job, localCropsNumber * job.batchSize, localCropsSize),
  };
}

/** Where the crops of an image go in its slot, by its position in the batch: crop-major, as the model takes them. */
export function cropTargets(
  job: CropJob,
  { position, epoch }: Pick<BatchPosition, 'position' | 'epoch'>,
): CropTarget[] {
  const {
    globalCropsSize: large,
    localCropsSize: small,
    localCropsNumber,
  } = augmentationAt(job.augmentation, epoch);
  const largeBytes = planesBytes(job, 1, large);
  const smallBytes = planesBytes(job, 1, small);
  const localsStart = GLOBAL_CROPS * job.batchSize * largeBytes;
  const targets: CropTarget[] = [];
  for (let crop = 0; crop < GLOBAL_CROPS; crop++) {
    targets.push({ width: large, height: large, offset: (crop * job.batchSize + position) * largeBytes });
  }
  for (let crop = 0; crop < localCropsNumber; crop++) {
    const offset = localsStart + (crop * job.batchSize + position) * smallBytes;
    targets.push({ width: small, height: small, offset });
  }
  return targets;
}

/**
 * A crop of an image that is decoded at reduced size has at least so many times its output's pixels on each side, so that
 * its own bicubic filter still determines the result: the mean difference from a full decode is then about 0.4 of 255 (with
 * 1, it is about 1 of 255).
 */
const MARGIN = 2;

/** By how much the decoder may reduce an image for these crops: 1 for full size, 4 for a quarter of the sides. */
export function allowedReduction(crops: readonly CropParams[], targets: readonly CropTarget[]): number {
  let factor = Infinity;
  crops.forEach((crop, i) => {
    const target = targets[i]!;
    factor = Math.min(factor, crop.width / target.width, crop.height / target.height);
  });
  return factor / MARGIN;
}

const sampleCrops = (job: CropJob, place: BatchPosition, width: number, height: number): CropParams[] =>
  sampleCropParams(augmentationAt(job.augmentation, place.epoch), {
    ...place,
    seed: job.seed,
    width,
    height,
  });

/** By how much the decoder may reduce an image for the crops of this position. */
export const reductionFor =
  (job: CropJob, place: BatchPosition): Reduce =>
  (width, height) => {
    // no crop is larger than the image: for most images this decides
    const { globalCropsSize } = augmentationAt(job.augmentation, place.epoch);
    const bound = Math.min(width, height) / globalCropsSize / MARGIN;
    if (bound < LEAST_REDUCTION) return bound;
    return allowedReduction(sampleCrops(job, place, width, height), cropTargets(job, place));
  };

async function renderMultiCrop(
  job: CropJob,
  images: ImageDecoder,
  place: BatchPosition,
  from: number,
  out: Uint8Array,
): Promise<void> {
  const targets = cropTargets(job, place);
  await images.use(from, { reduce: reductionFor(job, place) }, (image) => {
    const { originalWidth, originalHeight } = image;
    const crops = sampleCrops(job, place, originalWidth, originalHeight);
    renderCrops(image, crops, targets, out, image.width / originalWidth, image.height / originalHeight);
  });
}

/** Image.crop: the part of the rectangle that lies inside the image. @throws DataError when there is none */
function cutOut(image: DecodedImage, box: Box): DecodedImage {
  const clamp = (value: number, most: number) => Math.min(Math.max(roundHalfEven(value), 0), most);
  const [left, right] = [clamp(box[0], image.width), clamp(box[2], image.width)];
  const [top, bottom] = [clamp(box[1], image.height), clamp(box[3], image.height)];
  const [width, height] = [right - left, bottom - top];
  if (width < 1 || height < 1) {
    throw new DataError(`the box ${box.join(', ')} lies outside its ${image.width} x ${image.height} pixels`);
  }
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { ...image, data, width, height, originalWidth: width, originalHeight: height };
}

interface Shape {
  width: number;
  height: number;
}

function renderEval(job: EvalJob, decoded: DecodedImage, place: BatchPosition, out: Uint8Array): Shape {
  const box = job.boxes?.[place.imageIndex];
  const image = box ? cutOut(decoded, box) : decoded;
  const target = { planar: true, out, offset: place.position * planesBytes(job, 1, job.crop) };
  const square = { width: job.crop, height: job.crop };
  if (job.fit === 'inside') return thumbnail(image, job.crop, target);
  if (job.fit === 'stretch') {
    resizeImage(image, { ...square, ...target });
    return square;
  }
  const shape = resizedShape(image.width, image.height, job.resize);
  resizeImage(image, { ...shape, window: centerCropWindow(shape, job.crop), ...target });
  return square;
}

/** torchvision's defaults: share of the image's area, and width / height. */
const RESIZED_CROP_SCALE = [0.08, 1] as const;
const RESIZED_CROP_RATIO = [3 / 4, 4 / 3] as const;

/** Where the single square crop of a position goes. */
const squareTarget = (job: ResizedCropJob | ViewJob, { position }: BatchPosition): CropTarget => ({
  ...{ width: job.crop, height: job.crop, offset: position * planesBytes(job, 1, job.crop) },
});

function sampleResizedCrop(
  job: ResizedCropJob,
  place: BatchPosition,
  width: number,
  height: number,
): CropParams {
  const stream = new PhiloxStream(job.seed, Purpose.augmentation, place.epoch, place.imageIndex);
  const rectangle = sampleRectangle(stream, width, height, RESIZED_CROP_SCALE, RESIZED_CROP_RATIO);
  const plain = { jitter: null, grayscale: false, blurRadius: 0, solarizeThreshold: null };
  return { ...rectangle, ...plain, flip: stream.random() < 0.5 };
}

const sampleView = (job: ViewJob, place: BatchPosition, width: number, height: number): CropParams =>
  sampleCropParams(job.augmentation, {
    ...place,
    seed: job.seed,
    width,
    height,
    purpose: Purpose.view,
  })[0]!;

async function renderResizedCrop(
  job: ResizedCropJob,
  images: ImageDecoder,
  place: BatchPosition,
  from: number,
  out: Uint8Array,
): Promise<void> {
  const target = squareTarget(job, place);
  const sample = (width: number, height: number): CropParams => sampleResizedCrop(job, place, width, height);
  const reduce = (width: number, height: number) => allowedReduction([sample(width, height)], [target]);
  await images.use(from, { reduce }, (image) => {
    const { originalWidth, originalHeight } = image;
    const crops = [sample(originalWidth, originalHeight)];
    const [scaleX, scaleY] = [image.width / originalWidth, image.height / originalHeight];
    renderCrops(image, crops, [target], out, scaleX, scaleY, 'bilinear');
  });
}

async function renderView(
  job: ViewJob,
  images: ImageDecoder,
  place: BatchPosition,
  from: number,
  out: Uint8Array,
): Promise<void> {
  const target = squareTarget(job, place);
  const sample = (width: number, height: number): CropParams => sampleView(job, place, width, height);
  const reduce = (width: number, height: number) => allowedReduction([sample(width, height)], [target]);
  await images.use(from, { reduce }, (image) => {
    const { originalWidth, originalHeight } = image;
    const crops = [sample(originalWidth, originalHeight)];
    renderCrops(image, crops, [target], out, image.width / originalWidth, image.height / originalHeight);
  });
}

/** The same jobs on an image whose channels are taken as they are, at full size. */
function renderDeep(job: Job, image: DeepImage, place: BatchPosition, out: Uint8Array): Shape | null {
  const { width, height } = image;
  if (job.kind === 'crops') {
    renderDeepCrops(image, sampleCrops(job, place, width, height), cropTargets(job, place), out);
    return null;
  }
  if (job.kind === 'resized-crop') {
    const crop = sampleResizedCrop(job, place, width, height);
    renderDeepCrops(image, [crop], [squareTarget(job, place)], out, 'bilinear');
    return null;
  }
  if (job.kind === 'view') {
    renderDeepCrops(image, [sampleView(job, place, width, height)], [squareTarget(job, place)], out);
    return null;
  }
  if (job.fit === 'inside' || job.boxes !== undefined)
    throw new RangeError(`internal: images of ${image.channels} channels, to be fitted ${job.fit}`);
  const square = { width: job.crop, height: job.crop };
  const target = { ...square, offset: place.position * planesBytes(job, 1, job.crop) };
  if (job.fit === 'stretch') resizeDeepImage(image, { x: 0, y: 0, width, height }, target, out);
  else {
    // the part of the image that the centre crop of the resized one shows
    const shape = resizedShape(width, height, job.resize);
    const window = centerCropWindow(shape, job.crop);
    const [across, down] = [width / shape.width, height / shape.height];
    const [x, y] = [window.x * across, window.y * down];
    const box = { x, y, width: window.width * across, height: window.height * down };
    resizeDeepImage(image, box, target, out);
  }
  return square;
}

/** A position of a batch. Its crops are sampled for (epoch, imageIndex), even if another image replaces that one. */
export interface BatchPosition {
  epoch: number;
  imageIndex: number;
  position: number;
}

/**
 * @param from - Index of the image that is read.
 * @returns the size in pixels, for evaluation; else null
 */
async function renderImage(
  job: Job,
  images: ImageDecoder,
  place: BatchPosition,
  from: number,
  out: Uint8Array,
): Promise<Shape | null> {
  if (job.channels !== undefined)
    return images.useDeep(from, job.channels, (image) => renderDeep(job, image, place, out));
  if (job.kind === 'eval') return images.use(from, {}, (image) => renderEval(job, image, place, out));
  if (job.kind === 'crops') await renderMultiCrop(job, images, place, from, out);
  else if (job.kind === 'view') await renderView(job, images, place, from, out);
  else await renderResizedCrop(job, images, place, from, out);
  return null;
}

/** An image that could not be used. */
export interface SkippedImage {
  path: string;
  /** In a shard: where the image, or its page, begins, in bytes from the start. */
  offset?: number;
  /** One line. */
  reason: string;
}

/** The result for one position of a batch. */
export interface PositionResult {
  position: number;
  /** Index of the image that was rendered; null when none was (only training replaces images). */
  imageIndex: number | null;
  /** Its size in pixels, for evaluation. */
  shape: Shape | null;
  skipped: SkippedImage[];
}

/** How many replacements are tried for one position of a batch before training gives up. */
const MAX_REPLACEMENTS = 64;

/**
 * Renders one position of a batch. In training, an image that can't be read is replaced by another one, which depends only on
 * (seed, epoch, image). Its crops are sampled for the position, so that the image doesn't appear twice with the same crops.
 * @throws DataError when no image can be read in many tries, in training
 */
export async function renderPosition(
  job: Job,
  images: ImageDecoder,
  place: BatchPosition,
  out: Uint8Array,
): Promise<PositionResult> {
  const skipped: SkippedImage[] = [];
  let stream: PhiloxStream | null = null;
  let imageIndex = place.imageIndex;
  for (;;) {
    try {
      const shape = await renderImage(job, images, place, imageIndex, out);
      return { position: place.position, imageIndex, shape, skipped };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      skipped.push({ ...images.reader.where(imageIndex), reason: error.message });
    }
    if (job.kind !== 'crops') return { position: place.position, imageIndex: null, shape: null, skipped };
    if (skipped.length > MAX_REPLACEMENTS) {
      const first = skipped[0]!;
      throw new DataError(
        `${skipped.length} images in a row can't be read, the first because: ${first.path}: ${first.reason}\n` +
          'Are these image files, and may this user read them?',
      );
    }
    stream ??= new PhiloxStream(job.seed, Purpose.replacement, place.epoch, place.imageIndex);
    imageIndex = stream.integer(images.reader.count);
  }
}
