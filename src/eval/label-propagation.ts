/**
 * Labels of a video's first frame propagated by the similarity of patch features (Jabri et al. 2020; reference:
 * eval_video_segmentation.py, label_propagation). A patch takes its label from the most similar patches in the first
 * frame and the last few, within a neighbourhood. Departures: features are normalized once, not at every use, and the
 * similarities are computed for some patches at a time, so that memory stays bounded at patches of 8.
 */
import { arange, fromTypedArray, ops, scope, zeros, type Tensor } from '../torch/index.js';
import { unitLength } from '../models/index.js';

export interface PropagationOptions {
  /** How many of the preceding frames are considered, besides the first one. */
  nLastFrames: number;
  /** Patches farther away than this, in rows or columns, are not considered; 0 for no limit. */
  sizeMaskNeighborhood: number;
  /** How many of the most similar patches, over all frames considered, give their labels. */
  topk: number;
}

/** Softmax temperature of the similarities. */
const TEMPERATURE = 0.1;
/** Most similarities held at once. */
const MAX_SIMILARITIES = 2 ** 25;

/** What is kept of a frame. */
interface Context {
  /** (D, rows * columns), unit length along D. */
  features: Tensor;
  /** (C, rows * columns): how much of each label a patch has. */
  labels: Tensor;
}

/**
 * Propagates labels from frame to frame. Feed it the patch features of one frame after the other, outside of any scope(),
 * which would free what is kept between frames; dispose of it at the end.
 */
export class LabelPropagation implements Disposable {
  readonly #options: PropagationOptions;
  readonly #rows: number;
  readonly #columns: number;
  readonly #first: Context;
  readonly #last: Context[] = [];

  /**
   * @param features - (rows * columns, D) of the first frame.
   * @param labels - (rows * columns): the label of each patch, 0 to `classes` - 1.
   */
  constructor(
    features: Tensor,
    labels: Uint8Array,
    shape: { rows: number; columns: number; classes: number },
    options: PropagationOptions,
  ) {
    this.#options = options;
    this.#rows = shape.rows;
    this.#columns = shape.columns;
    this.#first = scope(() => {
      const indices = fromTypedArray(BigInt64Array.from(labels, BigInt), [1, labels.length]); // (1, N)
      const oneHot = zeros([shape.classes, labels.length]).scatter_(0, indices, 1); // (C, N)
      return { features: unitColumns(features), labels: oneHot.to(features.device) };
    });
  }

  /**
   * @param features - (rows * columns, D) of the next frame.
   * @returns (C, rows, columns) float32: the share of each label; the caller disposes of it.
   */
  next(features: Tensor): Tensor {
    const { nLastFrames } = this.#options;
    const contexts = [this.#first, ...this.#last];
    const made = scope(() => {
      const target = unitColumns(features); // (D, N)
      return { features: target, labels: this.#propagate(target, contexts) };
    });
    if (nLastFrames > 0) {
      this.#last.push(made);
      if (this.#last.length > nLastFrames) free(this.#last.shift()!);
    }
    const { labels } = made;
    const shares = labels.view([labels.size(0), this.#rows, this.#columns]);
    if (nLastFrames === 0) free(made);
    return shares;
  }

  #propagate(target: Tensor, contexts: readonly Context[]): Tensor {
    const patches = this.#rows * this.#columns;
    const sources = ops.stack(contexts.map((context) => context.features)); // (T, D, N)
    const labels = ops.cat(
      contexts.map((context) => context.labels),
      1,
    ); // (C, T * N)
    const step = Math.max(1, Math.floor(MAX_SIMILARITIES / (contexts.length * patches)));
    const parts: Tensor[] = [];
    for (let from = 0; from < patches; from += step) {
      const count = Math.min(step, patches - from);
      parts.push(scope(() => this.#propagateTo(target.narrow(1, from, count), from, sources, labels)));
    }
    return parts.length === 1 ? parts[0]! : ops.cat(parts, 1);
  }

  /** Labels of q patches from number `from` on. @param queries - (D, q). @returns (C, q). */
  #propagateTo(queries: Tensor, from: number, sources: Tensor, labels: Tensor): Tensor {
    const count = queries.size(1);
    let affinity = queries.t().matmul(sources).div_(TEMPERATURE).exp_(); // (T, q, N)
    if (this.#options.sizeMaskNeighborhood > 0)
      affinity.mul_(this.#neighbourhood(from, count, sources.device));
    affinity = affinity.transpose(0, 1).reshape([count, -1]); // (q, T * N)
    const k = Math.min(this.#options.topk, affinity.size(1));
    const [best] = affinity.topk(k, 1); // (q, k), largest first
    const least = best.narrow(1, k - 1, 1); // (q, 1)
    affinity = affinity.mul(affinity.ge(least)); // values as large as the k-th stay, ties included
    affinity = affinity.div(affinity.sum([1], true));
    return labels.matmul(affinity.t()); // (C, q)
  }

  /** (q, N) of 1 where a source patch is near enough. */
  #neighbourhood(from: number, count: number, device: string): Tensor {
    const reach = this.#options.sizeMaskNeighborhood;
    const columns = this.#columns;
    const places = (start: number, end: number): [Tensor, Tensor] => {
      const numbers = arange(start, end, 1, { dtype: 'int64', device });
      const row = numbers.floorDivide(columns);
      return [row, numbers.sub(row.mul(columns))];
    };
    const [queryRow, queryColumn] = places(from, from + count);
    const [row, column] = places(0, this.#rows * columns);
    const isNear = (query: Tensor, source: Tensor): Tensor =>
      query.unsqueeze(1).sub(source.unsqueeze(0)).abs().le(reach); // (q, N)
    return isNear(queryRow, row).logicalAnd(isNear(queryColumn, column)).to('float32');
  }

  dispose(): void {
    for (const context of [this.#first, ...this.#last]) free(context);
    this.#last.length = 0;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function free({ features, labels }: Context): void {
  features.dispose();
  labels.dispose();
}

/** (N, D) to (D, N) with columns of length 1. */
function unitColumns(features: Tensor): Tensor {
  return unitLength(features.t(), 0).contiguous();
}

/**
 * The label of each pixel: shares enlarged bilinearly to patchSize pixels per patch, each label's stretched to 0 to 1 (so
 * that a small object's weaker shares count), and the largest taken.
 *
 * @param shares - (C, rows, columns).
 * @returns (rows * patchSize * columns * patchSize), 0 to C - 1.
 */
export function labelsOfPixels(shares: Tensor, patchSize: number): Uint8Array {
  return scope(() => {
    const [, rows = 0, columns = 0] = shares.shape;
    const size = [rows * patchSize, columns * patchSize];
    const large = ops.upsampleBilinear2d(shares.unsqueeze(0), size, false, patchSize, patchSize).squeeze(0); // (C, H, W)
    const most = large.amax([1, 2], true); // (C, 1, 1)
    const shifted = large.sub(large.amin([1, 2], true));
    const stretched = shifted.div(shifted.amax([1, 2], true));
    // a label that is everywhere gives 0 / 0 here: as in the reference the NaN then wins everywhere
    const scaled = ops.where(most.gt(0), stretched, large);
    return scaled.argmax(0).to('uint8').toTypedArray() as Uint8Array;
  });
}
