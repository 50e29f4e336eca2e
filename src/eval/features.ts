/** Images through a frozen backbone, batch by batch: shared by k-NN, `dino embed` and evaluations during training. */
import {
  EvalLoader,
  ViewLoader,
  type Box,
  type EvalBatch,
  type Fit,
  type ImageItems,
  type ViewLoaderOptions,
} from '../data/index.js';
import { ConfigError } from '../errors.js';
import {
  type Backbone,
  hasTokens,
  type ImageInput,
  noPatchFeatures,
  normalizeImages,
  patchTokens,
  pixelTensor,
  RGB_INPUT,
  wholePatchesOf,
} from '../models/index.js';
import type { World } from '../processes/world.js';
import { inferenceMode, ops, scope, withPrecision, type Tensor } from '../torch/index.js';
import type { EvalSizes } from '../plain/eval-geometry.js';
import type { Precision, PrecisionChoice } from '../plain/precisions.js';
import { type ChosenPrecision, fastestPrecision, precisionSample } from './feature-precision.js';
import { checkFinite, type Columns } from './finite-features.js';
import { type FeatureBatch, sharedBatches } from './shared-batches.js';

/** Which features of an image: the class token, the mean of the patch tokens, or every patch token. */
export const FEATURE_KINDS = ['cls', 'patch-mean', 'patches'] as const;
export type FeatureKind = (typeof FEATURE_KINDS)[number];

/**
 * Features of a batch.
 * @param images - (B, 3, H, W) float32, normalized.
 * @param layers - How many of the last blocks are concatenated, the later ones last (as in the reference's
 *   eval_linear.py).
 * @returns (B, D * layers), or (B, patches, D * layers) for `patches`.
 */
export function batchFeatures(backbone: Backbone, images: Tensor, kind: FeatureKind, layers: number): Tensor {
  if (kind === 'cls' && layers === 1) return backbone.forward(images); // (B, D)
  if (!hasTokens(backbone)) {
    throw new ConfigError(noPatchFeatures(`features '${kind}' with layers ${layers}`));
  }
  const outputs = backbone.getIntermediateLayers(images, layers); // layers of (B, prefix + N, D), normalized
  const parts = outputs.map((tokens) => {
    if (kind === 'cls') return tokens.select(1, 0); // (B, D)
    const patches = patchTokens(backbone, tokens); // (B, N, D)
    return kind === 'patches' ? patches : patches.mean([1]); // (B, N, D) or (B, D)
  });
  return ops.cat(parts, -1);
}

/** Default batch size. */
export const FEATURE_BATCH = 64;

/** Up to this many images are decoded in this thread: they are done before a loader worker has started. */
const FEW_IMAGES = 16;

export interface FeatureStreamOptions extends Pick<EvalSizes, 'crop'>, Partial<Pick<EvalSizes, 'resize'>> {
  kind?: FeatureKind | undefined;
  layers?: number | undefined;
  /** The images that `compute` takes; default: those of the backbone, or 8-bit RGB without one. */
  input?: ImageInput | undefined;
  /** Instead of `kind` and `layers`: (B, 3, H, W) float32, normalized, to one row per image. */
  compute?: (images: Tensor) => Tensor;
  /** How images are brought to size, default 'crop'. With 'inside', images of the same shape are batched together. */
  fit?: Fit;
  /** Rectangles to cut out of the images first, one per item. */
  boxes?: readonly (Box | null)[];
  /** A random view of each image in place of its centre crop; `resize`, `fit` and `boxes` then say nothing. */
  view?: Pick<ViewLoaderOptions, 'seed' | 'view' | 'augmentation'> | undefined;
  batchSize?: number;
  /** Default 1, or none for up to 16 images. */
  numWorkers?: number | undefined;
  device: string;
  /** Default fp32; `auto` tries the others on some of the images (feature-precision.ts). */
  precision?: PrecisionChoice | undefined;
  /** Called with what `auto` chose, before the first batch. */
  onPrecision?: ((choice: ChosenPrecision) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Processes that share the work, each on its batches; all get all features. Default: only this one. */
  world?: World | undefined;
}

/** Features of a loaded batch, its images shape by shape. */
function computeBatch(
  { images, sizes }: EvalBatch,
  crop: number,
  device: string,
  precision: Precision,
  compute: (images: Tensor) => Tensor,
  backbone: Backbone | null,
  input: ImageInput,
): { features: Float32Array; shape: number[] } {
  const run = (pixels: Uint8Array, size: { width: number; height: number }) =>
    scope(() =>
      inferenceMode(() => {
        const raw = pixelTensor(pixels, input, size, device); // (B, C, H, W)
        const normalized = normalizeImages(raw, input.normalization);
        const whole = backbone === null ? normalized : wholePatchesOf(backbone, normalized);
        const out = withPrecision(precision, device, () => compute(whole));
        return { features: out.to('float32').toTypedArray() as Float32Array, shape: [...out.shape] };
      }),
    );
  const isSquare = sizes.every(({ width, height }) => width === crop && height === crop);
  if (isSquare) return run(images, { width: crop, height: crop });
  const byShape = new Map<string, number[]>();
  sizes.forEach(({ width, height }, i) => {
    const key = `${width} ${height}`;
    byShape.set(key, [...(byShape.get(key) ?? []), i]);
  });
  let all: Float32Array | undefined;
  let width = 0;
  for (const positions of byShape.values()) {
    const size = sizes[positions[0]!]!;
    const bytes = 3 * size.width * size.height;
    const pixels = new Uint8Array(positions.length * bytes);
    positions.forEach((position, i) => {
      const start = position * 3 * crop * crop;
      pixels.set(images.subarray(start, start + bytes), i * bytes);
    });
    const { features, shape } = run(pixels, size);
    width = shape[1]!;
    all ??= new Float32Array(sizes.length * width);
    for (const [i, position] of positions.entries()) {
      all.set(features.subarray(i * width, (i + 1) * width), position * width);
    }
  }
  return { features: all!, shape: [sizes.length, width] };
}

/**
 * Runs all items through the backbone in their order. Stops between two batches when the signal is aborted. With a `world`
 * of several processes it is collective, and each gets what a single process would.
 * @param backbone - May be null with `options.compute`, which then does without.
 */
export async function* featureBatches(
  backbone: Backbone | null,
  items: ImageItems,
  options: FeatureStreamOptions,
): AsyncGenerator<FeatureBatch, void> {
  const { world } = options;
  const precision = await settledPrecision(backbone, items, options);
  const settled = { ...options, precision };
  yield* world === undefined || world.size === 1
    ? ownBatches(backbone, items, settled)
    : sharedBatches(world, items, { batchSize: FEATURE_BATCH, ...options }, (own, boxes) =>
        ownBatches(backbone, own, { ...settled, ...(boxes === undefined ? {} : { boxes }) }),
      );
}

/** The precision of all batches, the same in all processes. */
async function settledPrecision(
  backbone: Backbone | null,
  items: ImageItems,
  options: FeatureStreamOptions,
): Promise<Precision> {
  const { precision = 'fp32', world, onPrecision } = options;
  if (precision !== 'auto') return precision;
  const choose = async (): Promise<ChosenPrecision> => {
    const { kind, layers, crop, resize, device, signal } = options;
    const sample = precisionSample(items, device);
    if (typeof sample === 'string') return { precision: 'fp32', reason: sample };
    const sizes = { crop, ...(resize === undefined ? {} : { resize }) };
    const few = { ...sizes, kind, layers, device, signal, batchSize: sample.length, numWorkers: 0 };
    const { loader, compute, input } = openBatches(backbone, sample, { ...few, input: options.input });
    for await (const batch of loader) {
      if (batch.indices.length === 0) break;
      const choice = fastestPrecision(
        device,
        batch.indices.length,
        items.length,
        (tried) => computeBatch(batch, crop, device, tried, compute, backbone, input).features,
      );
      batch.release();
      return choice;
    }
    return { precision: 'fp32', reason: `none of ${sample.length} images can be read` };
  };
  const choice = await (world === undefined
    ? choose()
    : world.shared('the precision of the features', choose));
  onPrecision?.(choice);
  return choice.precision;
}

/** The loader of some items, and what turns a batch of it into features. */
function openBatches(backbone: Backbone | null, items: ImageItems, options: FeatureStreamOptions) {
  const {
    kind = 'cls',
    layers = 1,
    batchSize = FEATURE_BATCH,
    numWorkers = items.length <= FEW_IMAGES ? 0 : 1,
    signal,
    ...loading
  } = options;
  const compute = options.compute ?? ((images: Tensor) => batchFeatures(backbone!, images, kind, layers));
  const { crop, resize, fit, boxes, view } = loading;
  const input = options.input ?? backbone ?? RGB_INPUT;
  const channels = input.channels ?? undefined;
  const plain = { items, crop, channels, batchSize, numWorkers, ...(signal === undefined ? {} : { signal }) };
  const loader =
    view === undefined
      ? new EvalLoader({
          ...plain,
          ...(resize === undefined ? {} : { resize }),
          ...(fit === undefined ? {} : { fit }),
          ...(boxes === undefined ? {} : { boxes }),
        })
      : new ViewLoader({ ...plain, ...view }); // closed when the loop ends
  return { loader, compute, input };
}

/** The batches of this process. */
async function* ownBatches(
  backbone: Backbone | null,
  items: ImageItems,
  options: FeatureStreamOptions & { precision: Precision },
): AsyncGenerator<FeatureBatch, void> {
  const { loader, compute, input } = openBatches(backbone, items, options);
  const { crop, device, precision, signal } = options;
  for await (const batch of loader) {
    signal?.throwIfAborted();
    const { indices, skipped } = batch;
    const computed =
      indices.length === 0
        ? { features: new Float32Array(0), shape: [0] }
        : computeBatch(batch, crop, device, precision, compute, backbone, input);
    batch.release();
    yield { indices, ...computed, skipped };
  }
}

export interface FeatureTable {
  /** (N, D) float32, row-major. */
  features: Float32Array;
  width: number;
  /** Positions in the items of the images that could be read. */
  indices: number[];
  skipped: { path: string; reason: string }[];
}

export interface FeatureTableOptions extends FeatureStreamOptions {
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Where `compute` joins features of several networks: whose they are. Called after it was. */
  networks?: (() => readonly Columns[]) | undefined;
}

/**
 * One row of features for each readable image, in one array that is allocated once.
 * @throws DataError that names an image when features are not finite: no measure of them would mean anything.
 */
export async function featureTable(
  backbone: Backbone | null,
  items: ImageItems,
  options: FeatureTableOptions,
): Promise<FeatureTable> {
  let features = new Float32Array(0);
  let width = 0;
  let done = 0;
  const indices: number[] = [];
  const skipped: FeatureTable['skipped'] = [];
  for await (const batch of featureBatches(backbone, items, options)) {
    done += batch.indices.length + batch.skipped.length;
    options.onProgress?.(done, items.length);
    skipped.push(...batch.skipped);
    if (batch.indices.length === 0) continue;
    width = batch.shape[1]!;
    if (features.length === 0) features = new Float32Array(items.length * width);
    features.set(batch.features, indices.length * width);
    for (const index of batch.indices) indices.push(index);
  }
  features = features.subarray(0, indices.length * width);
  const nameOf = (row: number): string => items.at(indices[row]!)!.path;
  for (const columns of options.networks?.() ?? [undefined]) checkFinite(features, width, nameOf, columns);
  return { features, width, indices, skipped };
}
