/**
 * Initial filters from the images themselves (`patchInit` whitened): the layer that sees the pixels begins with the principal
 * components of their patches, each scaled to the same variance (whitening; Coates, Lee and Ng 2011, An Analysis of
 * Single-Layer Networks in Unsupervised Feature Learning, section 3.2; as a network's first layer in Jordan 2024, 94% on
 * CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv 2404.00498, section 3.2). There the layer stays as it is; here it is trained
 * on.
 *
 * Before a ReLU each component comes with both signs, as there. A projection without one, such as a transformer's patches,
 * takes a random rotation of the components, and a bias that centres them.
 */
import { type ImageItem, type ImageItems, ViewLoader } from '../data/index.js';
import { ConfigError, DataError } from '../errors.js';
import { sampleEvenly } from '../eval/other-view.js';
import { type Backbone, normalizeImages, pixelTensor, takesChannels } from '../models/index.js';
import type { TrainSettings } from '../run/settings.js';
import {
  type Generator,
  noGrad,
  ops,
  type Parameter,
  randn,
  scope,
  type Tensor,
  withGenerators,
} from '../torch/index.js';

/** Images whose patches are looked at, sampled evenly; their patches are many times more. */
const IMAGES = 1024;
const BATCH = 32;
/** Added to each variance, as a share of their mean: components of hardly any variance are mostly noise of compression. */
const LEAST_VARIANCE = 0.01;

/** What the filters were made from. */
export interface WhitenedPatches {
  images: number;
  patches: number;
  /** Filters that were set, and of how many; the others keep their random values. */
  filters: number;
  of: number;
}

interface FirstLayer {
  /** (D, C, k, k) */
  weight: Parameter;
  /** (D) */
  bias: Parameter | null;
  isRectified: boolean;
}

function firstLayer(backbone: Backbone): FirstLayer {
  const parameters = new Map(backbone.namedParameters());
  const name = [...parameters.keys()].find(takesChannels);
  if (name === undefined)
    throw new ConfigError('patchInit whitened: no layer of this backbone sees the pixels');
  return {
    weight: parameters.get(name)!,
    bias: parameters.get(name.replace(/weight$/, 'bias')) ?? null,
    // convolutions of a stem stand before a norm and a ReLU (or GELU)
    isRectified: name === 'conv1.weight' || name.startsWith('patch_embed.proj.0.'),
  };
}

/** Mean (d) and covariance (d, d) of the patches, float64, d in the order of a filter's values. */
interface PatchStatistics {
  images: number;
  patches: number;
  mean: Tensor;
  covariance: Tensor;
}

async function patchStatistics(
  backbone: Backbone,
  kernel: number,
  settings: TrainSettings,
  items: ImageItems,
  signal: AbortSignal | undefined,
): Promise<PatchStatistics> {
  const { globalCropsSize: crop, seed, channels, numWorkers } = settings;
  const sample: ImageItem[] = sampleEvenly(items.length, IMAGES, seed).map((index) => items.at(index)!);
  const loader = new ViewLoader({
    ...{ items: sample, crop, seed, channels, view: 0, batchSize: BATCH },
    // crops as the training makes them, but none of them blurred
    augmentation: { ...settings, globalBlurProbability1: 0 },
    numWorkers: numWorkers === 'auto' ? 1 : numWorkers,
    ...(signal === undefined ? {} : { signal }),
  });
  let sums: readonly Tensor[] = []; // (d) and (d, d), once there are some
  let [images, patches] = [0, 0];
  for await (const batch of loader) {
    if (batch.indices.length > 0) {
      const rows = scope(() => {
        const pixels = pixelTensor(batch.images, backbone, { width: crop, height: crop }, 'cpu');
        const views = normalizeImages(pixels, backbone.normalization); // (B, C, S, S)
        const columns = ops.im2col(views, [kernel, kernel], [1, 1], [0, 0], [kernel, kernel]); // (B, d, N)
        return columns.transpose(1, 2).flatten(0, 1).to('float64'); // (B * N, d)
      });
      const before = sums;
      sums = scope(() =>
        [rows.sum([0]), rows.t().matmul(rows)].map((own, i) => {
          const earlier = before[i];
          return earlier === undefined ? own : own.add(earlier);
        }),
      );
      images += batch.indices.length;
      patches += rows.size(0);
      for (const done of [rows, ...before]) done.dispose();
    }
    batch.release();
  }
  const [sum, products] = sums;
  if (sum === undefined || products === undefined)
    throw new DataError('patchInit whitened: none of the sampled images can be read');
  const statistics = scope(() => {
    const mean = sum.div(patches);
    return { mean, covariance: products.div(patches).sub(ops.outer(mean, mean)) };
  });
  sum.dispose();
  products.dispose();
  return { images, patches, ...statistics };
}

/** (k, d), float64: the k components of the largest variance, each scaled to variance 1. */
function whitening(covariance: Tensor, count: number): Tensor {
  const size = covariance.size(0);
  const [variances, components] = ops.linalgEigh(covariance); // (d) ascending, (d, d) in columns
  const least = variances.mean().item() * LEAST_VARIANCE;
  const scaled = components.div(variances.clampMin(0).add(least).sqrt()); // each column by its own
  return scaled
    .t()
    .slice(0, size - count)
    .flip([0]);
}

/**
 * Sets the first layer's filters. Their outputs have the mean square that those of the random filters had, so that whatever
 * comes after sees the same scale.
 *
 * @param options - `generators` draw the rotation.
 * @throws DataError when no image can be read; ConfigError when their patches don't differ, or no layer sees the pixels; the
 *   signal's reason.
 */
export async function whitenPatches(
  backbone: Backbone,
  settings: TrainSettings,
  items: ImageItems,
  { generators, signal }: { generators: readonly Generator[]; signal?: AbortSignal | undefined },
): Promise<WhitenedPatches> {
  const { weight, bias, isRectified } = firstLayer(backbone);
  const [of = 0, channels = 0, kernel = 1] = weight.shape;
  const statistics = await patchStatistics(backbone, kernel, settings, items, signal);
  const { images, patches, mean, covariance } = statistics;
  const size = channels * kernel ** 2; // d
  try {
    if (!(covariance.trace().item() > 1e-9 * size))
      throw new ConfigError(
        `patchInit whitened: the patches of ${images} images don't differ; take patchInit random`,
      );
    const filters = scope(() =>
      noGrad(() => {
        const made = withGenerators(generators, () => {
          if (isRectified) {
            const positive = whitening(covariance, Math.min(Math.floor(of / 2), size));
            return ops.cat([positive, positive.neg()]); // (2 k, d)
          }
          const some = Math.min(of, size);
          const basis = whitening(covariance, some); // (k, d)
          const [rotation] = ops.linalgQr(randn([of, some]).to('float64')); // (D, k), orthonormal columns
          return rotation.matmul(basis); // (D, d)
        });
        const count = made.size(0);
        const target = weight.narrow(0, 0, count); // a view of the parameter
        const before = target.reshape([count, size]).to('cpu').to('float64');
        const power = (rows: Tensor): number => rows.matmul(covariance).mul(rows).sum().item();
        const scaled = made.mul(Math.sqrt(power(before) / power(made)));
        target.copy_(scaled.view([count, channels, kernel, kernel]));
        bias?.narrow(0, 0, count).copy_(scaled.matmul(mean).neg());
        return count;
      }),
    );
    return { images, patches, filters, of };
  } finally {
    mean.dispose();
    covariance.dispose();
  }
}
