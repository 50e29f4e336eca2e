/**
 * XCiT, the cross-covariance image transformer (El-Nouby et al. 2021, arXiv 2106.09681; facebookresearch/xcit xcit.py),
 * which the reference uses for its xcit_* models. Same layers, names and numbers. What differs: stochastic depth uses this
 * library's DropPath, not timm's, and images whose sides are not multiples of the patch are accepted (the convolutions
 * round up).
 */
import { ShapeError } from '../errors.js';
import {
  BatchNorm,
  checkpoint,
  Conv2d,
  DropPath,
  GELU,
  Layer,
  LayerNorm,
  Linear,
  ModuleList,
  Sequential,
  truncNormal_,
} from '../nn/index.js';
import { arange, ones, ops, Parameter, scope, zeros, type Tensor } from '../torch/index.js';
import { Backbone } from './backbone.js';
import { unitLength } from './normalize.js';
import { INIT_STD, initLinearLayers, LAYER_NORM_EPS, Mlp } from './vision-transformer.js';

/** Sines and cosines of each axis of a position, and the longest of their periods over 2 pi. */
export const FOURIER_DIM = 32;
export const FOURIER_TEMPERATURE = 10000;

export const layerNorm = (dim: number): LayerNorm => new LayerNorm(dim, { eps: LAYER_NORM_EPS });

/** Positions of a grid as sines and cosines, projected to the width: not tied to a size. */
class PositionalEncodingFourier extends Layer {
  readonly token_projection: Conv2d;

  constructor(dim: number) {
    super();
    this.token_projection = new Conv2d(FOURIER_DIM * 2, dim, 1);
  }

  /** (1, C, rows, columns) for the grid of x (B, C, rows, columns). */
  override forward(x: Tensor): Tensor {
    const [, , rows = 0, columns = 0] = x.shape;
    const axis = (length: number): Tensor => {
      const place = { device: x.device, dtype: 'float32' } as const; // whatever the weights are
      const at = arange(1, length + 1, 1, place)
        .div(length + 1e-6)
        .mul(2 * Math.PI); // (length)
      const pair = arange(0, FOURIER_DIM, 1, place).div(2).floor().mul(2); // 0, 0, 2, 2, ...
      const period = ops.pow(FOURIER_TEMPERATURE, pair.div(FOURIER_DIM)); // (32)
      const angles = at.unsqueeze(1).div(period); // (length, 32)
      const [sines, cosines] = [angles.slice(1, 0, null, 2).sin(), angles.slice(1, 1, null, 2).cos()];
      return ops.stack([sines, cosines], 2).flatten(1); // (length, 32)
    };
    const y = axis(rows).unsqueeze(1).expand([rows, columns, FOURIER_DIM]);
    const xs = axis(columns).unsqueeze(0).expand([rows, columns, FOURIER_DIM]);
    const both = ops.cat([y, xs], 2).permute([2, 0, 1]).unsqueeze(0); // (1, 64, rows, columns)
    return this.token_projection.forward(both.to(this.token_projection.weight.dtype));
  }
}

/** Patches by convolutions of stride 2, each halving the image: three for patches of 8, four for 16. */
class ConvPatchEmbed extends Layer {
  readonly proj: Sequential;

  constructor(patchSize: 8 | 16, dim: number, inChans: number) {
    super();
    const widths = patchSize === 16 ? [dim / 8, dim / 4, dim / 2, dim] : [dim / 4, dim / 2, dim];
    this.proj = new Sequential(
      widths.flatMap((width, i) => {
        const from = widths[i - 1] ?? inChans;
        const halve = new Sequential([
          new Conv2d(from, width, 3, { stride: 2, padding: 1, bias: false }),
          new BatchNorm(width),
        ]);
        return i === 0 ? [halve] : [new GELU(), halve];
      }),
    );
  }

  /** (B, 3, H, W) to (B, C, H / P, W / P), rounded up. */
  override forward(images: Tensor): Tensor {
    return this.proj.forward(images);
  }
}

/** Local patch interaction: neighbouring patches exchange information by two depthwise 3 x 3 convolutions. */
class LPI extends Layer {
  readonly conv1: Conv2d;
  readonly bn: BatchNorm;
  readonly conv2: Conv2d;

  constructor(dim: number) {
    super();
    this.conv1 = new Conv2d(dim, dim, 3, { padding: 1, groups: dim });
    this.bn = new BatchNorm(dim);
    this.conv2 = new Conv2d(dim, dim, 3, { padding: 1, groups: dim });
  }

  /** (B, C, rows, columns), same shape. */
  override forward(x: Tensor): Tensor {
    return this.conv2.forward(this.bn.forward(ops.gelu(this.conv1.forward(x))));
  }
}

/** q, k, v of tokens (B, N, C), each (B, heads, N, C / heads). */
function projectHeads(qkv: Linear, x: Tensor, heads: number): [Tensor, Tensor, Tensor] {
  const [b = 0, n = 0, c = 0] = x.shape;
  const parts = qkv
    .forward(x)
    .reshape([b, n, 3, heads, c / heads])
    .permute([2, 0, 3, 1, 4]);
  return parts.unbind(0) as [Tensor, Tensor, Tensor];
}

/** Cross-covariance attention: channels attend to channels, so its cost is linear in the patches. */
class XCA extends Layer {
  /** (heads, 1, 1) */
  readonly temperature: Parameter;
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(dim: number, heads: number) {
    super();
    this.temperature = new Parameter(ones([heads, 1, 1]));
    this.qkv = new Linear(dim, dim * 3);
    this.proj = new Linear(dim, dim);
    this.#heads = heads;
  }

  /** (B, N, C), same shape. */
  override forward(x: Tensor): Tensor {
    const [q, k, v] = projectHeads(this.qkv, x, this.#heads).map((part) => part.transpose(-2, -1)) as [
      Tensor,
      Tensor,
      Tensor,
    ]; // (B, heads, C / heads, N) each
    const weights = unitLength(q).matmul(unitLength(k).transpose(-2, -1)).mul(this.temperature).softmax(-1); // (B, heads, C / heads, C / heads)
    const out = weights.matmul(v).permute([0, 3, 1, 2]).reshape(x.shape); // (B, N, C)
    return this.proj.forward(out);
  }
}

class XCABlock extends Layer {
  readonly norm1: LayerNorm;
  readonly attn: XCA;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  readonly norm3: LayerNorm;
  readonly local_mp: LPI;
  readonly gamma1: Parameter;
  readonly gamma2: Parameter;
  readonly gamma3: Parameter;
  readonly #dropPath: DropPath;

  constructor(dim: number, heads: number, eta: number, dropPath: number) {
    super();
    this.norm1 = layerNorm(dim);
    this.attn = new XCA(dim, heads);
    this.norm2 = layerNorm(dim);
    this.mlp = new Mlp(dim, dim * 4);
    this.norm3 = layerNorm(dim);
    this.local_mp = new LPI(dim);
    this.gamma1 = new Parameter(ones([dim]).mul(eta));
    this.gamma2 = new Parameter(ones([dim]).mul(eta));
    this.gamma3 = new Parameter(ones([dim]).mul(eta));
    this.#dropPath = new DropPath(dropPath);
  }

  override train(mode = true): this {
    this.#dropPath.train(mode);
    return super.train(mode);
  }

  /** (B, N, C), same shape; the tokens lie on a grid of `rows` rows. */
  forwardGrid(x: Tensor, rows: number): Tensor {
    return scope(() => {
      const attended = this.#dropPath.residual(x, (kept) =>
        this.attn.forward(this.norm1.forward(kept)).mul(this.gamma1),
      );
      // whole batches: as in the original, the norm inside includes the samples that drop the branch
      const local = this.#dropPath.forward(this.#local(attended, rows).mul(this.gamma3));
      return this.#dropPath.residual(attended.add(local), (kept) =>
        this.mlp.forward(this.norm2.forward(kept)).mul(this.gamma2),
      );
    });
  }

  override forward(x: Tensor): Tensor {
    return this.forwardGrid(x, Math.round(Math.sqrt(x.size(1))));
  }

  #local(x: Tensor, rows: number): Tensor {
    const [b = 0, n = 0, c = 0] = x.shape;
    const grid = this.norm3
      .forward(x)
      .permute([0, 2, 1])
      .reshape([b, c, rows, n / rows]);
    return this.local_mp.forward(grid).reshape([b, c, n]).permute([0, 2, 1]); // (B, N, C)
  }
}

/** The class token looks at all tokens (CaiT, Touvron et al. 2021). */
class ClassAttention extends Layer {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(dim: number, heads: number) {
    super();
    this.qkv = new Linear(dim, dim * 3);
    this.proj = new Linear(dim, dim);
    this.#heads = heads;
  }

  /** (B, 1 + N, C): the class token's new value, the patches unchanged. */
  override forward(x: Tensor): Tensor {
    const [b = 0, , c = 0] = x.shape;
    const [q, k, v] = projectHeads(this.qkv, x, this.#heads);
    const attended = this.#weights(q, k).matmul(v).transpose(1, 2).reshape([b, 1, c]); // (B, 1, C)
    return ops.cat([this.proj.forward(attended), x.slice(1, 1)], 1);
  }

  /** (B, heads, 1, 1 + N), rows sum to 1. */
  weights(x: Tensor): Tensor {
    const [q, k] = projectHeads(this.qkv, x, this.#heads);
    return this.#weights(q, k);
  }

  #weights(q: Tensor, k: Tensor): Tensor {
    const asked = q.slice(2, 0, 1); // (B, heads, 1, C / heads)
    return asked
      .mul(k)
      .sum([-1])
      .mul(q.size(-1) ** -0.5)
      .softmax(-1)
      .unsqueeze(2);
  }
}

export class ClassAttentionBlock extends Layer {
  readonly norm1: LayerNorm;
  readonly attn: ClassAttention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;
  readonly gamma1: Parameter;
  readonly gamma2: Parameter;

  constructor(dim: number, heads: number, eta: number) {
    super();
    this.norm1 = layerNorm(dim);
    this.attn = new ClassAttention(dim, heads);
    this.norm2 = layerNorm(dim);
    this.mlp = new Mlp(dim, dim * 4);
    this.gamma1 = new Parameter(ones([dim]).mul(eta));
    this.gamma2 = new Parameter(ones([dim]).mul(eta));
  }

  /** (B, 1 + N, C), same shape. All tokens are normalized and, except the class token, doubled, as in the original. */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const attended = x.add(this.attn.forward(this.norm1.forward(x)).mul(this.gamma1));
      const normed = this.norm2.forward(attended);
      const cls = this.mlp.forward(normed.slice(1, 0, 1)).mul(this.gamma2); // (B, 1, C)
      return normed.add(ops.cat([cls, normed.slice(1, 1)], 1));
    });
  }

  /** Attention weights of this block for its input, (B, heads, 1, 1 + N). */
  attention(x: Tensor): Tensor {
    return this.attn.weights(this.norm1.forward(x));
  }
}

export interface XCiTOptions {
  patchSize: 8 | 16;
  /** C, width. */
  embedDim: number;
  /** Number of cross-covariance blocks. */
  depth: number;
  numHeads: number;
  /** First value of the layer scales; default 1 up to 12 blocks, 1e-5 above, as the original's models. */
  eta?: number;
  /** Stochastic depth, the same in every block; default 0. */
  dropPathRate?: number;
  /** Blocks of class attention; default 2. */
  clsAttnLayers?: number;
  /** Channels of the images; default 3. */
  inChans?: number;
}

export class XCiT extends Backbone {
  /** (1, 1, C) */
  readonly cls_token: Parameter;
  readonly patch_embed: ConvPatchEmbed;
  readonly blocks: ModuleList<XCABlock>;
  readonly cls_attn_blocks: ModuleList<ClassAttentionBlock>;
  readonly norm: LayerNorm;
  readonly pos_embeder: PositionalEncodingFourier;
  override readonly embedDim: number;
  readonly patchSize: number;
  readonly numHeads: number;
  readonly #inChans: number;

  /** @throws ShapeError when the heads don't divide the width, or the patch's side is neither 8 nor 16. */
  constructor(options: XCiTOptions) {
    super();
    const {
      patchSize,
      embedDim,
      depth,
      numHeads,
      dropPathRate = 0,
      clsAttnLayers = 2,
      inChans = 3,
    } = options;
    const eta = options.eta ?? (depth > 12 ? 1e-5 : 1);
    if (embedDim % numHeads !== 0 || embedDim % 8 !== 0)
      throw new ShapeError(`XCiT: numHeads ${numHeads} and 8 must divide embedDim ${embedDim}`);
    if (![8, 16].includes(patchSize))
      throw new ShapeError(`XCiT: expected a patchSize of 8 or 16, got ${String(patchSize)}`);
    this.embedDim = embedDim;
    this.patchSize = patchSize;
    this.numHeads = numHeads;
    this.#inChans = inChans;
    this.patch_embed = new ConvPatchEmbed(patchSize, embedDim, inChans);
    this.cls_token = new Parameter(zeros([1, 1, embedDim]));
    this.blocks = new ModuleList(
      Array.from({ length: depth }, () => new XCABlock(embedDim, numHeads, eta, dropPathRate)),
    );
    this.cls_attn_blocks = new ModuleList(
      Array.from({ length: clsAttnLayers }, () => new ClassAttentionBlock(embedDim, numHeads, eta)),
    );
    this.norm = layerNorm(embedDim);
    // the classifier that the original makes and DINO removes draws from the generator too
    new Linear(embedDim, 1000).dispose();
    this.pos_embeder = new PositionalEncodingFourier(embedDim);
    truncNormal_(this.cls_token, { std: INIT_STD });
    initLinearLayers(this);
  }

  /**
   * @param images - (B, 3, H, W), normalized; any H and W.
   * @returns (B, C), the class token after the last norm.
   */
  override forward(images: Tensor): Tensor {
    let x = this.#tokens(images);
    for (const block of this.cls_attn_blocks) x = block.forward(x);
    return this.norm.forward(x).select(1, 0);
  }

  /**
   * Attention weights of the class token in the last class attention block.
   * @returns (B, heads, 1, 1 + N), rows sum to 1; patches row by row.
   */
  getLastClassAttention(images: Tensor): Tensor {
    let x = this.#tokens(images);
    const { length } = this.cls_attn_blocks;
    for (let i = 0; i < length - 1; i++) x = (this.cls_attn_blocks.at(i) as ClassAttentionBlock).forward(x);
    return (this.cls_attn_blocks.at(-1) as ClassAttentionBlock).attention(x);
  }

  /** The learned class token, then the patches after the last block, (B, 1 + N, C). */
  #tokens(images: Tensor): Tensor {
    if (images.ndim !== 4 || images.size(1) !== this.#inChans) {
      throw new ShapeError(`XCiT: expected images (B, ${this.#inChans}, H, W), got ${images.toString()}`);
    }
    const grid = this.patch_embed.forward(images); // (B, C, rows, columns)
    const rows = grid.size(2);
    let x = grid.add(this.pos_embeder.forward(grid)).flatten(2).transpose(1, 2); // (B, N, C)
    for (const block of this.blocks) x = checkpoint((tokens) => block.forwardGrid(tokens, rows), x);
    const cls = this.cls_token.expand([x.size(0), -1, -1]); // (B, 1, C)
    return ops.cat([cls, x], 1);
  }
}
