/**
 * The vision transformer (Dosovitskiy et al. 2021; reference: vision_transformer.py). Same layers, names and numbers; what
 * differs: attention runs in libtorch's fused kernel, and explicit attention weights are computed only in the block and
 * for the query that they are asked for.
 */
import { ShapeError } from '../errors.js';
import {
  checkpoint,
  Conv2d,
  DropPath,
  Layer,
  LayerNorm,
  Linear,
  type Module,
  ModuleList,
  truncNormal_,
} from '../nn/index.js';
import {
  attentionResidual,
  blocksInGroups,
  classAttention,
  noGrad,
  ops,
  Parameter,
  patches,
  perceptron,
  perceptronResidual,
  type Affine,
  type KeptSamples,
  scope,
  zeros,
  type Tensor,
} from '../torch/index.js';
import { dropPatches } from './drop-patches.js';
import { type AttentiveBackbone, Backbone, type TokenBackbone } from './backbone.js';
import { ConvStem } from './conv-stem.js';
import { folded, LayerScale, mayFold, scaledResidual } from './layer-scale.js';
import { SwiGLU } from './swiglu.js';

/** The reference's transformers all use this, not PyTorch's 1e-5. */
export const LAYER_NORM_EPS = 1e-6;
/** Standard deviation of the initial weights. */
export const INIT_STD = 0.02;

/** The second branch of a block. */
export const FEED_FORWARDS = ['mlp', 'swiglu'] as const;
export type FeedForwardKind = (typeof FEED_FORWARDS)[number];

export interface FeedForward extends Layer {
  /** x + forward(norm(x)) with its scale, of the kept samples, (B, N, C). */
  residual(x: Tensor, norm: LayerNorm, samples: KeptSamples, scale: LayerScale | null): Tensor;
}

/** The two-layer perceptron of a block. */
export class Mlp extends Layer implements FeedForward {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(dim: number, hiddenDim: number) {
    super();
    this.fc1 = new Linear(dim, hiddenDim);
    this.fc2 = new Linear(hiddenDim, dim);
  }

  override forward(x: Tensor): Tensor {
    return perceptron(x, this.fc1 as Affine, this.fc2 as Affine); // (B, N, C)
  }

  residual(x: Tensor, norm: LayerNorm, samples: KeptSamples, scale: LayerScale | null): Tensor {
    if (scale !== null && !mayFold()) return scaledResidual(x, norm, this, samples, scale);
    const last = folded(this.fc2 as Affine, scale);
    return perceptronResidual(x, norm, this.fc1 as Affine, last, samples);
  }
}

/** Multi-head self-attention. */
export class Attention extends Layer {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #numHeads: number;

  constructor(dim: number, numHeads: number) {
    super();
    this.qkv = new Linear(dim, dim * 3);
    this.proj = new Linear(dim, dim);
    this.#numHeads = numHeads;
  }

  /** x + attention of norm(x) with its scale, of the kept samples, (B, N, C). */
  residual(x: Tensor, norm: LayerNorm, samples: KeptSamples, scale: LayerScale | null): Tensor {
    if (scale !== null && !mayFold()) return scaledResidual(x, norm, this, samples, scale);
    const last = folded(this.proj as Affine, scale);
    return attentionResidual(x, norm, this.qkv as Affine, last, this.#numHeads, samples);
  }

  override forward(x: Tensor): Tensor {
    const mixed = ops.scaledDotProductAttention(...this.#project(x)); // (B, heads, N, C / heads)
    return this.proj.forward(mixed.transpose(1, 2).flatten(2)); // (B, N, C)
  }

  /** The attention of only the class token, (B, 1, C). */
  forwardClass(x: Tensor): Tensor {
    return classAttention(x, this.qkv as Affine, this.proj as Affine, this.#numHeads);
  }

  /**
   * The softmaxed weights. @param queries - How many of the first tokens are queries; 1 is only the class token.
   * @returns (B, heads, queries, N), rows sum to 1.
   */
  weights(x: Tensor, queries: number): Tensor {
    const [q, k] = this.#project(x);
    const scale = q.size(-1) ** -0.5;
    return q.slice(2, 0, queries).matmul(k.transpose(-2, -1)).mul(scale).softmax(-1);
  }

  /** q, k, v, each (B, heads, N, C / heads). */
  #project(x: Tensor): [Tensor, Tensor, Tensor] {
    const [b = 0, n = 0, c = 0] = x.shape;
    const qkv = this.qkv
      .forward(x)
      .view([b, n, 3, this.#numHeads, c / this.#numHeads])
      .permute([2, 0, 3, 1, 4]);
    return qkv.unbind(0) as [Tensor, Tensor, Tensor]; // (3, B, heads, N, C / heads) unbound
  }
}

export interface BlockOptions {
  dim: number;
  numHeads: number;
  /** Makes the second branch; called when the first is made. */
  newMlp: () => FeedForward;
  /** Rate of stochastic depth. */
  dropPath: number;
  /** Initial factor of each branch's channels; null for branches without. */
  layerScale: number | null;
}

/** A transformer block: attention and perceptron, each behind a norm and beside a skip connection. */
export class Block extends Layer {
  readonly norm1: LayerNorm;
  readonly attn: Attention;
  readonly ls1: LayerScale | null;
  readonly norm2: LayerNorm;
  readonly mlp: FeedForward;
  readonly ls2: LayerScale | null;
  readonly #dropPath: DropPath;

  constructor({ dim, numHeads, newMlp, dropPath, layerScale }: BlockOptions) {
    super();
    const newScale = (): LayerScale | null => (layerScale === null ? null : new LayerScale(dim, layerScale));
    this.norm1 = new LayerNorm(dim, { eps: LAYER_NORM_EPS });
    this.attn = new Attention(dim, numHeads);
    this.ls1 = newScale();
    this.#dropPath = new DropPath(dropPath);
    this.norm2 = new LayerNorm(dim, { eps: LAYER_NORM_EPS });
    this.mlp = newMlp();
    this.ls2 = newScale();
  }

  override train(mode = true): this {
    this.#dropPath.train(mode);
    return super.train(mode);
  }

  override forward(x: Tensor): Tensor {
    // what the gradient does not need is freed here, not at the end of the step
    return scope(() => {
      const attended = this.attn.residual(x, this.norm1, this.#dropPath.draw(x), this.ls1);
      return this.mlp.residual(attended, this.norm2, this.#dropPath.draw(attended), this.ls2);
    });
  }

  /** Only the class token of forward(), (B, 1, C): of the other tokens only keys and values are computed. */
  forwardClass(x: Tensor): Tensor {
    return scope(() => {
      const attended = this.#dropPath.residual(
        x,
        (kept) => {
          const out = this.attn.forwardClass(this.norm1.forward(kept));
          return this.ls1 === null ? out : this.ls1.forward(out);
        },
        x.slice(1, 0, 1),
      );
      return this.mlp.residual(attended, this.norm2, this.#dropPath.draw(attended), this.ls2); // (B, 1, C)
    });
  }

  /** Attention weights of this block for its input, (B, heads, queries, N). */
  attention(x: Tensor, queries: number): Tensor {
    return this.attn.weights(this.norm1.forward(x), queries);
  }

  /** As blocksInGroups() takes them; null where the second branch is not the usual perceptron. */
  weights(): Tensor[] | null {
    const { norm1, attn, norm2, mlp } = this;
    if (!(mlp instanceof Mlp)) return null;
    const proj = folded(attn.proj as Affine, this.ls1);
    const fc2 = folded(mlp.fc2 as Affine, this.ls2);
    return [norm1, attn.qkv, proj, norm2, mlp.fc1, fc2].flatMap(({ weight, bias }) => [
      weight,
      bias as Tensor,
    ]);
  }
}

/** Cuts images into patches and projects each to a token. */
export class PatchEmbed extends Layer {
  readonly proj: Conv2d;
  readonly patchSize: number;
  readonly inChans: number;

  constructor(patchSize: number, embedDim: number, inChans = 3) {
    super();
    this.patchSize = patchSize;
    this.inChans = inChans;
    this.proj = new Conv2d(inChans, embedDim, patchSize, { stride: patchSize });
  }

  /**
   * (B, inChans, H, W) to (B, floor(H / P) * floor(W / P), C): pixels that don't fill a patch at the right or bottom edge are
   * dropped.
   */
  override forward(x: Tensor): Tensor {
    return patches(x, this.proj.weight, this.proj.bias);
  }
}

export interface VisionTransformerOptions {
  /** P, side of a patch in pixels; default 16. */
  patchSize?: number;
  /** Side in pixels of the images that position embeddings are learned for; other sizes interpolate. Default 224. */
  imgSize?: number;
  /** C, width. */
  embedDim: number;
  /** Number of blocks. */
  depth: number;
  numHeads: number;
  /** Width of the perceptron over C; default 4. */
  mlpRatio?: number;
  /** Stochastic depth of the last block, rising linearly from 0 in the first; default 0. */
  dropPathRate?: number;
  /** Initial factor of each branch's channels (LayerScale); default none. */
  layerScale?: number;
  /** The second branch of each block: a perceptron (default), or a gated one. */
  ffn?: FeedForwardKind;
  /** Channels of the images; default 3. */
  inChans?: number;
  /** How patches become tokens: one projection (default), or convolutions (conv-stem.ts). */
  stem?: 'patch' | 'conv';
  /**
   * Share of the patches that forward() drops at random in training, after their positions were added (PatchDropout, Liu et
   * al. 2022, arXiv 2208.07220; FLIP, Li et al. 2022, arXiv 2212.00794; timm's `patch_drop_rate`); default 0.
   */
  patchDropRate?: number;
}

export class VisionTransformer extends Backbone implements AttentiveBackbone, TokenBackbone {
  /** (1, 1, C) */
  readonly cls_token: Parameter;
  /** (1, 1 + N, C) */
  readonly pos_embed: Parameter;
  readonly patch_embed: PatchEmbed | ConvStem;
  readonly blocks: ModuleList<Block>;
  readonly norm: LayerNorm;
  override readonly embedDim: number;
  readonly patchSize: number;
  readonly numHeads: number;
  readonly depth: number;
  readonly prefixTokens: number = 1;
  readonly #dropPathRate: number;
  readonly #patchDropRate: number;

  /** @throws ShapeError when the heads don't divide the width, or a patch is larger than the image. */
  constructor(options: VisionTransformerOptions) {
    super();
    const {
      patchSize = 16,
      imgSize = 224,
      embedDim,
      depth,
      numHeads,
      mlpRatio = 4,
      dropPathRate = 0,
      layerScale = null,
      ffn = 'mlp',
      inChans = 3,
      stem = 'patch',
      patchDropRate = 0,
    } = options;
    if (embedDim % numHeads !== 0) {
      throw new ShapeError(`VisionTransformer: numHeads ${numHeads} must divide embedDim ${embedDim}`);
    }
    if (imgSize < patchSize) {
      throw new ShapeError(
        `VisionTransformer: a patch of ${patchSize} pixels does not fit an image of ${imgSize}`,
      );
    }
    this.embedDim = embedDim;
    this.depth = depth;
    this.patchSize = patchSize;
    this.numHeads = numHeads;
    this.#dropPathRate = dropPathRate;
    this.#patchDropRate = patchDropRate;
    const numPatches = Math.floor(imgSize / patchSize) ** 2;
    this.patch_embed = new (stem === 'conv' ? ConvStem : PatchEmbed)(patchSize, embedDim, inChans);
    this.cls_token = new Parameter(zeros([1, 1, embedDim]));
    this.pos_embed = new Parameter(zeros([1, numPatches + 1, embedDim]));
    const hidden = Math.trunc(embedDim * mlpRatio);
    const newMlp = () => (ffn === 'mlp' ? new Mlp(embedDim, hidden) : new SwiGLU(embedDim, hidden));
    this.blocks = new ModuleList(
      Array.from({ length: depth }, (_, i) => {
        const dropPath = depth > 1 ? (dropPathRate * i) / (depth - 1) : 0;
        return new Block({ dim: embedDim, numHeads, newMlp, dropPath, layerScale });
      }),
    );
    this.norm = new LayerNorm(embedDim, { eps: LAYER_NORM_EPS });

    truncNormal_(this.pos_embed, { std: INIT_STD });
    truncNormal_(this.cls_token, { std: INIT_STD });
    initLinearLayers(this);
  }

  /**
   * The last block is computed only for the class token, since only that is returned: the same numbers and gradients for a
   * fourteenth less work.
   *
   * @param images - (B, 3, H, W), normalized; any H and W of at least a patch.
   * @returns (B, C), the class token after the last norm.
   */
  override forward(images: Tensor): Tensor {
    return this.#classToken(this.#dropPatches(this.prepareTokens(images)));
  }

  /** forward() of local crops, which keep all of their few patches. */
  override forwardLocal(images: Tensor): Tensor {
    return this.#classToken(this.prepareTokens(images));
  }

  /** In training, (B, P + N, C) to (B, P + kept, C). */
  #dropPatches(x: Tensor): Tensor {
    if (!this.training || this.#patchDropRate === 0) return x;
    return dropPatches(x, this.prefixTokens, this.#patchDropRate);
  }

  /** (B, P + N, C) to (B, C). */
  #classToken(tokens: Tensor): Tensor {
    const last = this.blocks.at(-1) as Block;
    let x = tokens;
    const [token] = this.#inGroups(x, 1, true) ?? [];
    if (token !== undefined) return token.select(1, 0);
    for (const block of this.blocks)
      x = checkpoint((tokens) => (block === last ? block.forwardClass(tokens) : block.forward(tokens)), x);
    return this.norm.forward(x).select(1, 0); // of (B, 1, C)
  }

  /** All tokens after the last norm, (B, 1 + N, C): the class token, then the patches row by row. */
  forwardTokens(images: Tensor): Tensor {
    let x = this.prepareTokens(images);
    const [tokens] = this.#inGroups(x, 1, false) ?? [];
    if (tokens !== undefined) return tokens;
    for (const block of this.blocks) x = checkpoint((tokens) => block.forward(tokens), x);
    return this.norm.forward(x);
  }

  /**
   * Tokens of the last `keep` blocks after the last norm, (B, 1 + N, C) or (B, 1, C), one image per thread; null where
   * operators run one after the other: with gradients, for few images, off the CPU.
   */
  #inGroups(x: Tensor, keep: number, classOnly: boolean): Tensor[] | null {
    if (this.training && this.#dropPathRate > 0) return null;
    if (x.requiresGrad) return null;
    const weights: Tensor[] = [];
    for (const block of this.blocks) {
      const own = block.weights();
      if (own === null) return null;
      weights.push(...own);
    }
    weights.push(this.norm.weight, this.norm.bias);
    return blocksInGroups(x, weights, { heads: this.numHeads, eps: LAYER_NORM_EPS, keep, classOnly });
  }

  /** Tokens of the last `n` blocks, each after the last norm (B, 1 + N, C), the deepest last. */
  getIntermediateLayers(images: Tensor, n = 1): Tensor[] {
    let x = this.prepareTokens(images);
    const apart = this.#inGroups(x, n, false);
    if (apart !== null) return apart;
    const output: Tensor[] = [];
    let left = this.blocks.length;
    for (const block of this.blocks) {
      x = block.forward(x);
      if (left-- <= n) output.push(this.norm.forward(x));
    }
    return output;
  }

  /**
   * Attention weights of the last block.
   *
   * @param options - `queries: 'class'` computes only the class token's row, without the N x N matrix.
   * @returns (B, heads, 1 + N, 1 + N), or (B, heads, 1, 1 + N) for the class token; rows sum to 1.
   */
  getLastSelfAttention(images: Tensor, options: { queries?: 'all' | 'class' } = {}): Tensor {
    let x = this.prepareTokens(images);
    for (let i = 0; i < this.blocks.length - 1; i++) x = (this.blocks.at(i) as Block).forward(x);
    const last = this.blocks.at(-1) as Block;
    return last.attention(x, options.queries === 'class' ? 1 : x.size(1));
  }

  /** The class token's row of getLastSelfAttention() without registers, (B, heads, 1, 1 + N). */
  getLastClassAttention(images: Tensor): Tensor {
    const row = this.getLastSelfAttention(images, { queries: 'class' });
    return this.prefixTokens === 1 ? row : ops.cat([row.slice(3, 0, 1), row.slice(3, this.prefixTokens)], 3);
  }

  /** Class token and patches with their positions, (B, 1 + N, C). @throws ShapeError for anything but a batch of images. */
  prepareTokens(images: Tensor): Tensor {
    const [b, channels, h = 0, w = 0] = images.shape;
    const wanted = this.patch_embed.inChans;
    if (images.ndim !== 4 || channels !== wanted || h < this.patchSize || w < this.patchSize) {
      throw new ShapeError(
        `VisionTransformer: expected images (B, ${wanted}, H, W) of at least ${this.patchSize} x ${this.patchSize} pixels ` +
          `(one patch), got ${images.toString()}`,
      );
    }
    const patches = this.patch_embed.forward(images); // (B, N, C)
    const cls = this.cls_token.expand([b as number, -1, -1]); // (B, 1, C)
    return ops.cat([cls, patches], 1).add(this.interpolatePosEncoding(h, w)); // (B, 1 + N, C)
  }

  /** Position embeddings for images of H x W pixels, (1, 1 + N, C): the learned square grid, resized. */
  interpolatePosEncoding(h: number, w: number): Tensor {
    const side = Math.round(Math.sqrt(this.pos_embed.size(1) - 1)); // the learned grid is side x side
    const rows = Math.floor(h / this.patchSize);
    const columns = Math.floor(w / this.patchSize);
    if (rows * columns === side * side && h === w) return this.pos_embed;
    const grid = this.pos_embed.slice(1, 1).reshape([1, side, side, this.embedDim]).permute([0, 3, 1, 2]); // (1, C, side, side)
    const resized = this.resizePositions(grid, rows, columns); // (1, C, rows, columns)
    const flat = resized.permute([0, 2, 3, 1]).reshape([1, rows * columns, this.embedDim]); // (1, N, C)
    return ops.cat([this.pos_embed.slice(1, 0, 1), flat], 1);
  }

  /**
   * Bicubic interpolation of the positions' grid, (1, C, side, side) to (1, C, rows, columns). The reference adds 0.1 to the
   * target size before it computes the scale, against rounding (its issue 8), which moves every sample a little: kept, so
   * that the numbers agree.
   */
  protected resizePositions(grid: Tensor, rows: number, columns: number): Tensor {
    const side = grid.size(2);
    const scales = [(rows + 0.1) / side, (columns + 0.1) / side] as const;
    return ops.upsampleBicubic2d(grid, [rows, columns], false, ...scales);
  }
}

/** Initializes a module's linear layers from a truncated normal, their biases with 0. */
export function initLinearLayers(module: Module): void {
  for (const [, part] of module.namedModules()) {
    if (!(part instanceof Linear)) continue;
    truncNormal_(part.weight, { std: INIT_STD });
    const { bias } = part;
    if (bias !== null) noGrad(() => bias.zero_());
  }
}
