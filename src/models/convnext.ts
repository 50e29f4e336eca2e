/**
 * ConvNeXt (Liu et al. 2022) as DINOv3 has it (facebookresearch/dinov3: models/convnext.py), with its names and numbers.
 * The feature of an image is the mean over the last stage's positions, then the last norm; each position by itself, after the
 * same norm, is a patch token.
 *
 * Departure: its state lists the last norm twice, as `norm` and `norms.3`; here it is `norm`, and what is exported has both.
 */
import { ShapeError } from '../errors.js';
import {
  checkpoint,
  Conv2d,
  DropPath,
  Layer,
  LayerNorm,
  Linear,
  ModuleList,
  Sequential,
  truncNormal_,
} from '../nn/index.js';
import { noGrad, ones, ops, Parameter, perceptron, type Affine, scope, type Tensor } from '../torch/index.js';
import { Backbone } from './backbone.js';
import { folded, mayFold } from './layer-scale.js';

const LAYER_NORM_EPS = 1e-6;
const INIT_STD = 0.02;
/** First value of the layer scales. */
const LAYER_SCALE = 1e-6;
/** Pixels down and across that become one position of the last stage. */
export const CONVNEXT_STRIDE = 32;

/** A norm over the channels of images (B, C, H, W). */
class ChannelNorm extends LayerNorm {
  override forward(x: Tensor): Tensor {
    return super.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
  }
}

/** Depthwise 7 x 7 convolution, then a perceptron at each position, beside a skip connection. */
class ConvNeXtBlock extends Layer {
  readonly dwconv: Conv2d;
  readonly norm: LayerNorm;
  readonly pwconv1: Linear;
  readonly pwconv2: Linear;
  /** (C), a factor for each channel. */
  readonly gamma: Parameter;
  readonly #dropPath: DropPath;

  constructor(dim: number, dropPath: number) {
    super();
    this.dwconv = new Conv2d(dim, dim, 7, { padding: 3, groups: dim });
    this.norm = new LayerNorm(dim, { eps: LAYER_NORM_EPS });
    this.pwconv1 = new Linear(dim, 4 * dim);
    this.pwconv2 = new Linear(4 * dim, dim);
    this.gamma = new Parameter(ones([dim]).mul(LAYER_SCALE));
    this.#dropPath = new DropPath(dropPath);
  }

  override train(mode = true): this {
    this.#dropPath.train(mode);
    return super.train(mode);
  }

  /** (B, C, H, W), same shape. */
  override forward(x: Tensor): Tensor {
    return scope(() =>
      this.#dropPath.residual(x, (kept) => {
        const y = this.norm.forward(this.dwconv.forward(kept).permute([0, 2, 3, 1])); // (B, H, W, C)
        const [first, second] = [this.pwconv1, this.pwconv2] as [Affine, Affine];
        const out = mayFold()
          ? perceptron(y, first, folded(second, this))
          : perceptron(y, first, second).mul(this.gamma);
        return out.permute([0, 3, 1, 2]);
      }),
    );
  }
}

export interface ConvNeXtOptions {
  /** Blocks in each stage. */
  layers: readonly [number, number, number, number];
  /** Channels of the first stage; each stage has twice as many as the one before. */
  width: number;
  /** Stochastic depth of the last block, rising linearly from 0 in the first; default 0. */
  dropPathRate?: number;
  /** Channels of the images; default 3. */
  inChans?: number;
}

export class ConvNeXt extends Backbone {
  /** A 4 x 4 convolution and a norm; then three times a norm and a 2 x 2 convolution. */
  readonly downsample_layers: ModuleList<Sequential>;
  readonly stages: ModuleList<Sequential>;
  readonly norm: LayerNorm;
  /** Eight times the width. */
  override readonly embedDim: number;
  /** Pixels down and across of a position of the last stage, 32. */
  readonly patchSize = CONVNEXT_STRIDE;
  /** Only the last stage gives tokens. */
  readonly depth = 1;
  /** Before the patches' tokens is one: the feature of the image. */
  readonly prefixTokens = 1;
  readonly #inChans: number;

  constructor({ layers, width, dropPathRate = 0, inChans = 3 }: ConvNeXtOptions) {
    super();
    this.#inChans = inChans;
    const dims = layers.map((_, stage) => width * 2 ** stage);
    const norm = (dim: number): ChannelNorm => new ChannelNorm(dim, { eps: LAYER_NORM_EPS });
    this.downsample_layers = new ModuleList(
      dims.map((dim, stage) => {
        if (stage === 0) return new Sequential([new Conv2d(inChans, dim, 4, { stride: 4 }), norm(dim)]);
        const before = dim / 2;
        return new Sequential([norm(before), new Conv2d(before, dim, 2, { stride: 2 })]);
      }),
    );
    const last = layers.reduce((sum, count) => sum + count, 0) - 1;
    let index = 0;
    this.stages = new ModuleList(
      layers.map((count, stage) => {
        const rate = (): number => (last > 0 ? (dropPathRate * index++) / last : 0);
        const blocks = Array.from({ length: count }, () => new ConvNeXtBlock(dims[stage] as number, rate()));
        return new Sequential(blocks);
      }),
    );
    this.embedDim = dims[3] as number;
    this.norm = new LayerNorm(this.embedDim, { eps: LAYER_NORM_EPS });
    for (const [, part] of this.namedModules()) {
      if (!(part instanceof Conv2d) && !(part instanceof Linear)) continue;
      truncNormal_(part.weight, { std: INIT_STD });
      const bias = part.bias as Parameter;
      noGrad(() => bias.zero_());
    }
  }

  /**
   * @param images - (B, 3, H, W), normalized; any H and W of at least 32.
   * @returns (B, embedDim)
   */
  override forward(images: Tensor): Tensor {
    return this.norm.forward(this.#lastStage(images).mean([2, 3]));
  }

  /** The feature of forward(), then the positions of the last stage row by row, (B, 1 + N, embedDim). */
  forwardTokens(images: Tensor): Tensor {
    const grid = this.#lastStage(images);
    const tokens = grid.flatten(2).transpose(1, 2); // (B, N, C)
    return this.norm.forward(ops.cat([grid.mean([2, 3]).unsqueeze(1), tokens], 1));
  }

  /** forwardTokens(), as a list: the stages before the last have other widths. */
  getIntermediateLayers(images: Tensor): Tensor[] {
    return [this.forwardTokens(images)];
  }

  /** (B, embedDim, H / 32, W / 32), rounded down. @throws ShapeError for anything but a batch of images. */
  #lastStage(images: Tensor): Tensor {
    const [, channels, h = 0, w = 0] = images.shape;
    if (images.ndim !== 4 || channels !== this.#inChans || h < CONVNEXT_STRIDE || w < CONVNEXT_STRIDE)
      throw new ShapeError(
        `ConvNeXt: expected images (B, ${this.#inChans}, H, W) of at least ${CONVNEXT_STRIDE} x ${CONVNEXT_STRIDE} pixels, ` +
          `got ${images.toString()}`,
      );
    // norms and perceptrons run over channels: so laid out, nothing is copied between them and the convolutions
    let x = images.clone({ memoryFormat: 'channels_last' });
    for (const [stage, blocks] of [...this.stages].entries()) {
      const entry = this.downsample_layers.at(stage) as Sequential;
      x = checkpoint((input) => blocks.forward(entry.forward(input)), x);
    }
    return x;
  }
}
