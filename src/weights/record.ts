/**
 * What a file of weights says about its model: the tensors show neither the number of attention heads nor, without position
 * embeddings, the size of the images that it was trained on. Exported files have it as text in their metadata (safetensors,
 * ONNX) or beside the state dict (.pth), under the same names.
 */
import { DEEP_WHITE, MOST_CHANNELS } from '../plain/channels.js';
import { defaultEvalSizes } from '../plain/eval-geometry.js';
import { type Backbone, IMAGENET, type Normalization } from '../models/index.js';
import type { TrainSettings } from '../run/settings.js';
import { type Architecture, channelsOf, inferArchitecture, tellsHeads, trainedSize } from './architecture.js';

/** The record as read; null for missing values. */
export interface ModelRecord {
  arch: string | null;
  embedDim: number | null;
  depth: number | null;
  numHeads: number | null;
  patchSize: number | null;
  imgSize: number | null;
  /** Of images whose channels are taken as they are. */
  input: { channels: number; mean: number[]; std: number[] } | null;
}

/** Name of the attribute of a .pth file's state dict that holds the record. */
export const RECORD_ATTRIBUTE = 'model_record';

/**
 * A model's record as text by name.
 * @param normalization - Of the images that the model takes.
 * @param isGuess - The heads are a guess: then they are left out, so that reading the file warns again.
 */
export function recordOf(
  architecture: Architecture,
  { mean, std }: Normalization,
  isGuess = false,
): Record<string, string> {
  const { arch, embedDim, depth, numHeads, patchSize, imgSize, channels } = architecture;
  const { resize, crop } = defaultEvalSizes(imgSize);
  const record = {
    arch,
    embed_dim: embedDim,
    depth,
    ...(isGuess ? {} : { num_heads: numHeads }),
    patch_size: patchSize,
    image_size: imgSize,
    image_mean: mean.join(','),
    image_std: std.join(','),
    ...(channels === undefined ? { channel_order: 'RGB' } : { channels, white: DEEP_WHITE }),
    resize_shorter_side: resize,
    center_crop: crop,
    resample: 'bicubic',
  };
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, String(value)]));
}

/** The record for a run's checkpoints: a copy of one then says what its run does. Nothing of a backbone of one's own. */
export function recordOfRun(backbone: Backbone, settings: TrainSettings): Record<string, string> {
  if (settings.arch === 'custom') return {};
  const shapes = new Map([...backbone.stateDict()].map(([name, { shape }]) => [name, shape]));
  const architecture = inferArchitecture(shapes, 'the run', settings.numHeads);
  architecture.imgSize = trainedSize(architecture, settings);
  // models of satellite images differ by name alone
  const arch = settings.arch.startsWith('deit_')
    ? architecture.arch
    : (settings.arch as Architecture['arch']);
  return recordOf({ ...architecture, arch, ...channelsOf(settings) }, backbone.normalization);
}

const RECORD_NAMES = new Set(
  [{}, { channels: 1 }].flatMap((input) =>
    Object.keys(
      recordOf(
        { arch: 'vit', embedDim: 1, depth: 1, numHeads: 1, patchSize: 1, imgSize: 1, ...input },
        IMAGENET,
      ),
    ),
  ),
);
/** Whether an entry of a file's metadata belongs to the record. */
export const isRecordName = (name: string): boolean => RECORD_NAMES.has(name);

/** The record in a file's metadata; null without one. */
export function readRecord(entries: ReadonlyMap<unknown, unknown> | undefined): ModelRecord | null {
  if (entries === undefined) return null;
  const inner = entries.get(RECORD_ATTRIBUTE);
  const from: ReadonlyMap<unknown, unknown> = inner instanceof Map ? inner : entries;
  const whole = (name: string): number | null => {
    const value = from.get(name);
    const number = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
    return typeof number === 'number' && Number.isSafeInteger(number) && number > 0 ? number : null;
  };
  const arch = from.get('arch');
  const record: ModelRecord = {
    arch: typeof arch === 'string' ? arch : null,
    embedDim: whole('embed_dim'),
    depth: whole('depth'),
    numHeads: whole('num_heads'),
    patchSize: whole('patch_size'),
    imgSize: whole('image_size'),
    input: inputOf(whole('channels'), from),
  };
  return record.numHeads === null && record.imgSize === null ? null : record;
}

/** Channels, and as many means and deviations; null where one is missing or can't be. */
function inputOf(channels: number | null, from: ReadonlyMap<unknown, unknown>): ModelRecord['input'] {
  if (channels === null || channels > MOST_CHANNELS) return null;
  const listed = (name: string): number[] => {
    const value = from.get(name);
    return typeof value === 'string' && value.length < 1000 ? value.split(',').map(Number) : [];
  };
  const [mean, std] = [listed('image_mean'), listed('image_std')];
  const isWhole = mean.length === channels && std.length === channels;
  const isRight = mean.every(Number.isFinite) && std.every((each) => Number.isFinite(each) && each > 0);
  return isWhole && isRight ? { channels, mean, std } : null;
}

/** How a record contradicts the tensors; null when it doesn't. A record of other tensors must not be trusted. */
export function contradiction(record: ModelRecord, architecture: Architecture): string | null {
  for (const [name, key] of [
    ['width', 'embedDim'],
    ['blocks', 'depth'],
    ['patch size', 'patchSize'],
  ] as const) {
    const said = record[key];
    if (said !== null && said !== architecture[key])
      return `${name} ${said}, and its tensors ${architecture[key]}`;
  }
  const { embedDim } = architecture;
  const { numHeads } = record;
  if (numHeads !== null && architecture.numHeads > 0 && embedDim % numHeads !== 0)
    return `${numHeads} heads, among which a width of ${embedDim} can't be divided`;
  return null;
}

/** The warning about guessed heads. */
export const guessWarning = (where: string, { embedDim, numHeads }: Architecture): string =>
  `${where} doesn't say how many attention heads its model has, and no tensor shows it: ${numHeads} ` +
  `${numHeads === 1 ? 'is' : 'are'} taken (${embedDim / numHeads} channels each), a guess. With another number its ` +
  'features are wrong: give it by --num-heads';

/** Whether the heads of an architecture are a guess when no record says them. */
export const headsAreGuess = (architecture: Architecture, label: string): boolean =>
  // MoCo v3's ViT-S has the sizes of the reference's, but 12 heads
  !tellsHeads(architecture) || (/(?:base|momentum)_encoder/.test(label) && architecture.arch === 'vit_small');
