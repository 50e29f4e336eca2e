/** Centring and whitening as functions on arrays: fitted to some features, applied to these and to others. */
import type { LoadedModel } from '../weights/loaded-model.js';
import { anyModelArgument } from '../models/model-argument.js';
import {
  being,
  callback,
  checkCall,
  count,
  instanceOf,
  oneOf,
  optionsOf,
  signal as abortSignal,
} from '../plain/check-options.js';
import { ConfigError, DataError } from '../errors.js';
import { evalSizes, type EvalSizes } from '../plain/eval-geometry.js';
import { type FeatureTransform, WHITEN_CHOICES, type WhitenChoice } from '../plain/feature-transform.js';
import { fromTypedArray } from '../torch/index.js';
import { chooseBySpectrum, chooseTransform, type TransformChoice } from './choose-transform.js';
import type { Embeddings, EmbedOptions } from './embed.js';
import { FEATURE_KINDS } from './features.js';
import { checkFinite } from './finite-features.js';
import { fitTransform, transformRows } from './fit-transform.js';

export interface FeatureWhitening extends FeatureTransform {
  /** Why it is this one, in words. */
  reason: string;
}

const floats = instanceOf(Float32Array, 'a Float32Array');
const choice = oneOf(WHITEN_CHOICES);

function rowsOf(features: Float32Array, width: number): number {
  const rows = features.length / width;
  if (Number.isInteger(rows) && rows > 0) return rows;
  throw new ConfigError(`${features.length} values are not one or more rows of ${width}`);
}

function fitted(
  features: Float32Array,
  width: number,
  chosen: Omit<TransformChoice, 'retrieval'>,
): FeatureWhitening {
  using rows = fromTypedArray(features, [rowsOf(features, width), width]);
  const { transform, remark } = fitTransform(rows, chosen.mode);
  return { ...transform, reason: [chosen.reason, remark].filter((part) => part !== null).join('; ') };
}

/**
 * Fits centring or whitening to features. The covariance is shrunk (Ledoit and Wolf 2004), and only as many components are
 * whitened as there are images for, one for every 8; the others are scaled like the last of them.
 *
 * @param features - (N, width) float32, of any lengths but 0.
 * @param whiten - `auto` (default) judges by the mean cosine between the features and how many directions they fill.
 * @returns With a simpler mode and a reason where the features can't support the one that is asked for.
 * @throws DataError for features that are not finite; ConfigError for a wrong width, or `pca` of more than 4,096 values.
 */
export function fitWhitening(
  features: Float32Array,
  width: number,
  whiten: WhitenChoice = 'auto',
): FeatureWhitening {
  checkCall(
    'fitWhitening()',
    ['features', floats, features],
    ['width', count(1), width],
    ['whiten', choice, whiten],
  );
  const rows = rowsOf(features, width);
  checkFinite(features, width, (row) => `row ${row}`);
  if (whiten !== 'auto') return fitted(features, width, { mode: whiten, reason: `asked for ${whiten}` });
  using tensor = fromTypedArray(features, [rows, width]);
  return fitted(features, width, chooseBySpectrum(tensor));
}

/** What fitWhitening() returns, for plain/check-options.ts. */
export const whitening = being('a whitening, from fitWhitening()', (value) => {
  const { mode, mean, matrix } = Object(value) as Partial<FeatureTransform>;
  if (mode === 'none') return mean === null && matrix === null;
  if (!(mean instanceof Float32Array) || mean.length === 0) return false;
  return mode === 'center'
    ? matrix === null
    : mode === 'pca' && matrix instanceof Float32Array && matrix.length === mean.length ** 2;
});

/**
 * Transforms features: scales each to length 1, subtracts the mean, applies the matrix, scales to length 1 again.
 *
 * @param features - (n, D) float32; (D) is read as one row for a whitening of mode `none`.
 * @returns (n, D), rows of length 1.
 * @throws ConfigError for features of another width; DataError for features that are not finite.
 */
export function applyWhitening(
  transform: FeatureTransform,
  features: Float32Array,
  width?: number,
): Float32Array {
  checkCall(
    'applyWhitening()',
    ['transform', whitening, transform],
    ['features', floats, features],
    ['width', count(1).optional(), width],
  );
  const own = transform.mean?.length ?? width ?? features.length;
  if (width !== undefined && width !== own)
    throw new ConfigError(`width ${width}; the whitening was fitted to features of ${own} values`);
  rowsOf(features, own);
  checkFinite(features, own, (row) => `row ${row}`);
  return transformRows(transform, features, own);
}

export interface WhitenOptions extends Pick<
  EmbedOptions,
  'features' | 'layers' | 'resize' | 'crop' | 'batchSize' | 'numWorkers' | 'signal' | 'onProgress'
> {
  /** Default `auto`. */
  whiten?: WhitenChoice;
}

export interface WhitenedEmbeddings extends Embeddings {
  whitening: FeatureWhitening;
}

const whitenOptions = optionsOf<WhitenOptions>(
  {},
  {
    ...{ whiten: choice, features: oneOf(FEATURE_KINDS), layers: count(1), resize: count(1), crop: count(1) },
    ...{ batchSize: count(1), numWorkers: count(), signal: abortSignal, onProgress: callback },
  },
);

const embedded = being('the result of embed()', (value) => {
  const { features, shape, paths } = Object(value) as Partial<Embeddings>;
  return (
    features instanceof Float32Array && Array.isArray(shape) && shape.length >= 2 && Array.isArray(paths)
  );
});

/**
 * Whitens the result of embed(), fitted to its own features; of `patches`, to all patches.
 *
 * @param options - As embed() was called with: `auto` embeds another view of up to 512 of the images with the same ones.
 *   Patches, and images that were given as bytes, are judged as fitWhitening() does.
 * @throws DataError when features are not finite (it names an image); the signal's reason when aborted.
 */
export async function whitenEmbeddings(
  model: LoadedModel,
  result: Embeddings,
  options: WhitenOptions = {},
): Promise<WhitenedEmbeddings> {
  checkCall(
    'whitenEmbeddings()',
    anyModelArgument(model),
    ['result', embedded, result],
    ['options', whitenOptions, options],
  );
  const {
    whiten = 'auto',
    features: kind = 'cls',
    layers,
    batchSize = 64,
    numWorkers = 1,
    signal,
    onProgress,
  } = options;
  const { features, shape, paths } = result;
  const width = shape.at(-1)!;
  const each = features.length / paths.length;
  if (paths.length === 0 || shape[0] !== paths.length || each % width > 0)
    throw new DataError(`features of shape [${shape.join(', ')}] don't fit ${paths.length} images`);
  checkFinite(features, each, (row) => paths[row]!);
  const canLook = whiten === 'auto' && each === width && !paths.some((name) => /^bytes\[\d+\]$/.test(name));
  const sizes: EvalSizes = evalSizes(options, model.architecture);
  const whitened = canLook
    ? fitted(
        features,
        width,
        await chooseTransform(
          model.backbone,
          features,
          width,
          (row) => ({ path: paths[row]!, label: null }),
          {
            ...{ kind, ...sizes, batchSize, numWorkers, device: model.device, signal },
            ...(layers === undefined ? {} : { layers }),
            onProgress: (done, total) => onProgress?.({ done, total }),
          },
        ),
      )
    : fitWhitening(features, width, whiten);
  return { ...result, features: transformRows(whitened, features, width), whitening: whitened };
}
