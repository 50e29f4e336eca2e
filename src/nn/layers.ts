/** Layers with PyTorch's names, defaults and state. */
import { ShapeError } from '../errors.js';
import {
  batchNorm,
  convolution,
  empty,
  linear,
  noGrad,
  ones,
  ops,
  Parameter,
  rand,
  syncBatchNorm,
  tensor,
  zeros,
  type BatchNormParameters,
  type KeptSamples,
  type ProcessGroup,
  type Tensor,
} from '../torch/index.js';
import { isRecomputing } from './checkpoint.js';
import { defaultUniform_ } from './init.js';
import { Layer, type Module } from './module.js';

/** y = x W^T + b over the last dimension. */
export class Linear extends Layer {
  /** (outFeatures, inFeatures) */
  readonly weight: Parameter;
  /** (outFeatures) */
  readonly bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super();
    this.weight = new Parameter(defaultUniform_(empty([outFeatures, inFeatures]), inFeatures));
    this.bias =
      options.bias === false
        ? null
        : new Parameter(defaultUniform_(empty([outFeatures]), inFeatures, 'bias'));
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** 2-d convolution with a square kernel. */
export class Conv2d extends Layer {
  /** (outChannels, inChannels / groups, kernelSize, kernelSize) */
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #stride: number;
  readonly #padding: number;
  readonly #groups: number;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    options: { stride?: number; padding?: number; groups?: number; bias?: boolean } = {},
  ) {
    super();
    const groups = options.groups ?? 1;
    const fanIn = (inChannels / groups) * kernelSize * kernelSize;
    this.weight = new Parameter(
      defaultUniform_(empty([outChannels, inChannels / groups, kernelSize, kernelSize]), fanIn),
    );
    this.bias =
      options.bias === false ? null : new Parameter(defaultUniform_(empty([outChannels]), fanIn, 'bias'));
    this.#stride = options.stride ?? 1;
    this.#padding = options.padding ?? 0;
    this.#groups = groups;
  }

  override forward(x: Tensor): Tensor {
    const skips = this.#skipsPixels;
    const steps = { stride: skips ? 1 : this.#stride, padding: this.#padding, groups: this.#groups };
    return convolution(skips ? everyOther(x, this.#stride) : x, this.weight, this.bias, steps);
  }

  /**
   * A 1 x 1 convolution of few channels that skips pixels is computed from those that remain: the gradient of its weights by
   * oneDNN writes past its memory in channels-last (uxlfoundation/oneDNN #6035), and hangs or ends the process.
   */
  get #skipsPixels(): boolean {
    const [, inChannels, kernelSize] = this.weight.shape as [number, number, number, number];
    return kernelSize === 1 && this.#stride > 1 && this.#padding === 0 && inChannels < ONEDNN_BLOCK;
  }
}

/** Channels in a block of oneDNN's convolutions with AVX-512; with AVX2 half of it. */
const ONEDNN_BLOCK = 16;

/** (B, C, H, W) to (B, C, H / stride, W / stride), rounded up: every stride-th pixel. */
const everyOther = (x: Tensor, stride: number): Tensor =>
  x.slice(2, 0, null, stride).slice(3, 0, null, stride);

/** Normalizes the last dimension to mean 0 and variance 1, then scales and shifts. */
export class LayerNorm extends Layer {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly eps: number;
  readonly #features: number;

  /** @param options - `eps` defaults to PyTorch's 1e-5; the reference's transformers use 1e-6. */
  constructor(features: number, options: { eps?: number } = {}) {
    super();
    this.weight = new Parameter(ones([features]));
    this.bias = new Parameter(zeros([features]));
    this.#features = features;
    this.eps = options.eps ?? 1e-5;
  }

  override forward(x: Tensor): Tensor {
    return ops.layerNorm(x, [this.#features], this.weight, this.bias, this.eps);
  }
}

/** Normalizes channels (dimension 1) over the batch and, for images, over space: BatchNorm1d and BatchNorm2d in one. */
export class BatchNorm extends Layer {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly running_mean: Tensor;
  readonly running_var: Tensor;
  /** (), int64 */
  readonly num_batches_tracked: Tensor;
  readonly #momentum: number;
  readonly #eps: number;
  #group: ProcessGroup | null = null;

  constructor(channels: number, options: { eps?: number; momentum?: number } = {}) {
    super();
    this.weight = new Parameter(ones([channels]));
    this.bias = new Parameter(zeros([channels]));
    this.running_mean = zeros([channels]).keep();
    this.running_var = ones([channels]).keep();
    this.num_batches_tracked = tensor(0, { dtype: 'int64' }).keep();
    this.#eps = options.eps ?? 1e-5;
    this.#momentum = options.momentum ?? 0.1;
  }

  /** From now on, training uses the statistics over the batches of all processes in the group. */
  synchronize(group: ProcessGroup): void {
    this.#group = group;
  }

  /**
   * @param x - (B, C) or (B, C, H, W).
   * @throws ShapeError in training when a channel has only one value: its variance would be 0.
   */
  override forward(x: Tensor): Tensor {
    return this.#apply(x, null, false);
  }

  /** relu(forward(x) + skip), which goes over memory less often in training on a CPU. @param skip - As x; default 0. */
  relu(x: Tensor, skip: Tensor | null = null): Tensor {
    return this.#apply(x, skip, true);
  }

  #apply(x: Tensor, skip: Tensor | null, relu: boolean): Tensor {
    const running = this.#begin(x);
    const { weight, bias, training } = this;
    const [momentum, eps] = [this.#momentum, this.#eps];
    const group = this.#group;
    if (training && group === null)
      return batchNorm(x, { weight, bias, running, momentum, eps }, { skip, relu });
    const [runningMean, runningVar] = [running?.mean ?? null, running?.variance ?? null];
    const y =
      training && group !== null
        ? syncBatchNorm(group, x, weight, bias, { runningMean, runningVar, momentum, eps })
        : ops.batchNorm(x, weight, bias, runningMean, runningVar, false, momentum, eps, true);
    const sum = skip === null ? y : y.add(skip);
    return relu ? sum.relu() : sum;
  }

  /** @returns The running statistics, where they are read or changed: in training a batch counts only once. */
  #begin(x: Tensor): BatchNormParameters['running'] {
    if (this.training) {
      if (x.numel <= x.size(1) && this.#group === null) {
        throw new ShapeError(
          `BatchNorm: expected more than one value for each channel while training, got ${x.toString()}; ` +
            'use a larger batch',
        );
      }
      if (isRecomputing()) return null;
      noGrad(() => this.num_batches_tracked.add_(1));
    }
    return { mean: this.running_mean, variance: this.running_var };
  }
}

/** Makes every BatchNorm of a network normalize over the batches of a group, like nn.SyncBatchNorm.convert_sync_batchnorm. */
export function synchronizeBatchNorm(network: Module, group: ProcessGroup): void {
  for (const [, module] of network.namedModules()) if (module instanceof BatchNorm) module.synchronize(group);
}

/** While training, zeroes entries with probability `p` and scales up the rest. */
export class Dropout extends Layer {
  readonly #p: number;

  constructor(p: number) {
    super();
    this.#p = p;
  }

  override forward(x: Tensor): Tensor {
    return this.#p > 0 && this.training ? ops.dropout(x, this.#p, true) : x;
  }
}

/** onto + scale * branch(x), `onto` being x itself by default, of the samples that stochastic depth keeps. */
export function addBranch(
  x: Tensor,
  { kept, scale }: KeptSamples,
  branch: (x: Tensor) => Tensor,
  onto = x,
): Tensor {
  if (kept === null) return onto.add(branch(x), { alpha: scale });
  const out = branch(x.indexSelect(0, kept)); // (kept, ...)
  return onto.indexAdd(0, kept, out.to(onto.dtype), { alpha: scale });
}

/**
 * Stochastic depth (Huang et al. 2016): while training, drops a residual branch for whole samples with probability `p` and
 * scales up the rest (reference: vision_transformer.py drop_path).
 */
export class DropPath extends Layer {
  readonly #p: number;

  constructor(p: number) {
    super();
    this.#p = p;
  }

  override forward(x: Tensor): Tensor {
    if (this.#p === 0 || !this.training) return x;
    return x.mul(
      tensor(this.#keeps(x.size(0)).map((isKept) => (isKept ? 1 / Math.fround(1 - this.#p) : 0)))
        .upload(x.device)
        .to(x.dtype)
        .view([x.size(0), ...Array<number>(x.ndim - 1).fill(1)]),
    );
  }

  /** onto + forward(branch(x)), `onto` being x itself by default; see draw(). */
  residual(x: Tensor, branch: (x: Tensor) => Tensor, onto = x): Tensor {
    return addBranch(x, this.draw(x), branch, onto);
  }

  /**
   * Draws which samples of x keep their branch, as forward() does. The branch is then computed only for these: the same
   * result with less work. The host draws for every device, so that nothing waits for a device.
   */
  draw(x: Tensor): KeptSamples {
    if (this.#p === 0 || !this.training) return { kept: null, scale: 1 };
    const scale = 1 / (1 - this.#p);
    const kept = this.#keeps(x.size(0)).flatMap((isKept, sample) => (isKept ? [sample] : []));
    if (kept.length === 0) return { kept: null, scale: 0 }; // the branch's parameters still get gradients, of zeros
    if (kept.length === x.size(0)) return { kept: null, scale };
    return { kept: tensor(kept, { dtype: 'int64', device: x.device }), scale };
  }

  /** Of so many samples, which keep their branch: the floor of 1 - p and a uniform number, in float32. */
  #keeps(samples: number): boolean[] {
    const keep = Math.fround(1 - this.#p);
    // read where they are: a step draws dozens of times, and each call of libtorch costs as much as the whole loop
    const drawn = noGrad(() => rand([samples])).data() as Float32Array;
    return Array.from(drawn, (value) => Math.fround(value + keep) >= 1);
  }
}

export class ReLU extends Layer {
  override forward(x: Tensor): Tensor {
    return x.relu();
  }
}

/** The exact GELU, x * Phi(x). */
export class GELU extends Layer {
  override forward(x: Tensor): Tensor {
    return ops.gelu(x);
  }
}

/**
 * A linear layer without bias whose weight is a direction and a length (Salimans and Kingma 2016), with the state of
 * torch.nn.utils.weight_norm(dim=0).
 */
export class WeightNormLinear extends Layer {
  /** (outFeatures, 1), lengths of the rows */
  readonly weight_g: Parameter;
  /** (outFeatures, inFeatures), directions of the rows */
  readonly weight_v: Parameter;

  constructor(inFeatures: number, outFeatures: number) {
    super();
    this.weight_v = new Parameter(defaultUniform_(empty([outFeatures, inFeatures]), inFeatures));
    this.weight_g = new Parameter(noGrad(() => this.weight_v.norm(2, [1], true)));
  }

  override forward(x: Tensor): Tensor {
    // x (g v / |v|)^T by scaling the outputs: the normalized matrix, often the largest in training, is never materialized
    const scale = this.weight_g.div(this.weight_v.norm(2, [1], true)).squeeze(1); // (out)
    return linear(x, this.weight_v).mul(scale); // (..., out)
  }
}
