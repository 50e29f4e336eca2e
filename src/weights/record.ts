/**
 * What a file of weights says of its model: tensors tell neither the number of attention heads nor, without position
 * embeddings, the size of the images that it was trained on. Exported files have it as text in their metadata (safetensors,
 * ONNX) or beside the state dict (.pth), by the same names.
 */
import { defaultEvalSizes } from '../plain/eval-geometry.js';
import { IMAGENET_MEAN, IMAGENET_STD } from '../models/index.js';
import { type Architecture, tellsHeads } from './architecture.js';

/** What is read back; null for what isn't said. */
export interface ModelRecord {
  arch: string | null;
  embedDim: number | null;
  depth: number | null;
  numHeads: number | null;
  patchSize: number | null;
  imgSize: number | null;
}

/** Name of the attribute of a .pth file's state dict that holds the record. */
export const RECORD_ATTRIBUTE = 'model_record';

/**
 * A model's record as text by name.
 * @param isGuess - The heads are guessed: then they are left out, so that whoever reads the file is warned again.
 */
export function recordOf(architecture: Architecture, isGuess = false): Record<string, string> {
  const { arch, embedDim, depth, numHeads, patchSize, imgSize } = architecture;
  const { resize, crop } = defaultEvalSizes(imgSize);
  const record = {
    arch,
    embed_dim: embedDim,
    depth,
    ...(isGuess ? {} : { num_heads: numHeads }),
    patch_size: patchSize,
    image_size: imgSize,
    image_mean: IMAGENET_MEAN.join(','),
    image_std: IMAGENET_STD.join(','),
    channel_order: 'RGB',
    resize_shorter_side: resize,
    center_crop: crop,
    resample: 'bicubic',
  };
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, String(value)]));
}

const RECORD_NAMES = new Set(
  Object.keys(recordOf({ arch: 'vit', embedDim: 1, depth: 1, numHeads: 1, patchSize: 1, imgSize: 1 })),
);
/** Whether an entry of a file's metadata is of the record. */
export const isRecordName = (name: string): boolean => RECORD_NAMES.has(name);

/** The record among a file's metadata; null when there is none. */
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
  };
  return record.numHeads === null && record.imgSize === null ? null : record;
}

/** What in a record contradicts the tensors; null when nothing does. A record of other tensors is not to be trusted. */
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

/** What is said of heads that are guessed. */
export const guessWarning = (where: string, { embedDim, numHeads }: Architecture): string =>
  `${where} doesn't say how many attention heads its model has, and no tensor tells: ${numHeads} ` +
  `${numHeads === 1 ? 'is' : 'are'} taken (${embedDim / numHeads} channels each), a guess. With another number its ` +
  'features are wrong: say it by --num-heads';

/** Whether the heads of an architecture are a guess when nothing says them. */
export const headsAreGuess = (architecture: Architecture, label: string): boolean =>
  // the sizes of the reference's ViT-S are also MoCo v3's, whose has 12 heads
  !tellsHeads(architecture) || (/(?:base|momentum)_encoder/.test(label) && architecture.arch === 'vit_small');
