/**
 * DINOv3's vision transformer (Siméoni et al. 2025; facebookresearch/dinov3: models/vision_transformer.py, layers/, and the
 * networks that hub/backbones.py builds), with its names and numbers: rotary position encoding, storage tokens after the
 * class token, layer scales, a perceptron or SwiGLU, a bias of the keys that is masked.
 *
 * Departures: in training, the original stretches the patches' coordinates by a random factor in each block (hub networks:
 * 1/2 to 2), which is not done here; its stochastic depth keeps an exact number of a batch's images, ours draws for each
 * (the rate is the same in every block, as there).
 */
import { ShapeError } from '../errors.js';
import {
  checkpoint,
  defaultUniform_,
  DropPath,
  Layer,
  LayerNorm,
  Linear,
  Module,
  ModuleList,
  normal_,
} from '../nn/index.js';
import {
  arange,
  linear,
  noGrad,
  ones,
  ops,
  Parameter,
  type KeptSamples,
  scope,
  zeros,
  type Tensor,
} from '../torch/index.js';
import { Backbone } from './backbone.js';
import { IMAGENET, type Normalization } from './normalize.js';
import { LayerScale, scaledResidual } from './layer-scale.js';
import { type FeedForward, INIT_STD, initLinearLayers, Mlp, PatchEmbed } from './vision-transformer.js';

/** The original's "layernormbf16", which all of its networks use; the DINO of 2021 has 1e-6. */
export const DINOV3_LAYER_NORM_EPS = 1e-5;
/** First value of the layer scales. */
const LAYER_SCALE = 1e-5;
/** RoPE's longest wavelength, in halves of the image; the shortest is 1. */
const ROPE_BASE = 100;
/** Storage tokens (registers) of every published network. */
export const DINOV3_STORAGE_TOKENS = 4;

/** By how much queries and keys are turned, for one size of images; see rotate(). */
interface Rope {
  /** (1 + S + N, 1, 1, C / heads), float32: 1 for the class and storage tokens. */
  cos: Tensor;
  /** The same; 0 for the class and storage tokens, negative in the first half. */
  sin: Tensor;
}

/** Axial rotary positions (layers/rope_position_encoding.py). */
class RopePositionEmbedding extends Module {
  /** (C / heads / 4), wavelengths in halves of the image. Published files hold them rounded to bfloat16. */
  readonly periods: Tensor;

  constructor(headDim: number) {
    super();
    this.periods = noGrad(() => {
      const exponents = arange(0, headDim / 4)
        .mul(2)
        .div(headDim / 2);
      return ops.pow(ROPE_BASE, exponents);
    }).keep();
  }

  /**
   * For a grid of patches behind `prefix` tokens without a place. As in the original, all in float32 (but of float64
   * wavelengths); each axis goes from -1 to 1 whatever the image's proportions ("separate").
   */
  forward(rows: number, columns: number, prefix: number): Rope {
    return scope(() =>
      noGrad(() => {
        const { device } = this.periods;
        const axis = (count: number): Tensor =>
          arange(0.5, count, 1, { device })
            .div(count)
            .mul(2)
            .sub(1)
            .mul(2 * Math.PI)
            .unsqueeze(1)
            .div(this.periods); // (count, D / 4)
        const quarter = this.periods.size(0);
        const full = [rows, columns, quarter];
        const down = axis(rows).unsqueeze(1).expand(full);
        const across = axis(columns).unsqueeze(0).expand(full);
        const angles = ops.cat([down, across], -1).flatten(0, 1); // (N, D / 2)
        const [cos, sin] = [angles.cos(), angles.sin()];
        const still = (value: Tensor): Tensor => value.expand([prefix, 4 * quarter]);
        const like = { device, dtype: angles.dtype };
        const behind = (first: Tensor, place: Tensor): Tensor =>
          ops
            .cat([still(first), place], 0)
            .unsqueeze(1)
            .unsqueeze(1); // (1 + S + N, 1, 1, D)
        return {
          cos: behind(ones([1, 1], like), ops.cat([cos, cos], -1)),
          sin: behind(zeros([1, 1], like), ops.cat([sin.neg(), sin], -1)),
        };
      }),
    );
  }
}

/**
 * x turned by its token's angles: each number of the first half of D and its partner in the second half are a point in a
 * plane. Computed in the angles' dtype.
 * @param x - (B, tokens, ..., D)
 */
function rotate(x: Tensor, { cos, sin }: Rope): Tensor {
  const wide = x.to(cos.dtype);
  const half = x.size(-1) / 2;
  return wide.mul(cos).add(wide.roll(half, -1).mul(sin)).to(x.dtype);
}

/** A linear layer to queries, keys and values; the keys' third of the bias is masked (layers/attention.py). */
class MaskedBiasLinear extends Linear {
  /** (3 C): 1 for queries and values, 0 for keys. */
  readonly bias_mask: Tensor;

  constructor(dim: number) {
    super(dim, 3 * dim);
    this.bias_mask = ops.cat([ones([dim]), zeros([dim]), ones([dim])]).keep();
  }

  /** The bias that is added, (3 C). */
  get masked(): Tensor {
    const bias = this.bias as Parameter;
    return bias.mul(this.bias_mask.to(bias.dtype));
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.masked);
  }
}

/** Multi-head self-attention with turned queries and keys. */
class RotaryAttention extends Module {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #numHeads: number;

  constructor(dim: number, numHeads: number, qkvBias: boolean) {
    super();
    this.qkv = qkvBias ? new MaskedBiasLinear(dim) : new Linear(dim, 3 * dim, { bias: false });
    this.proj = new Linear(dim, dim);
    this.#numHeads = numHeads;
  }

  /** (B, T, C) to (B, queries, C), of the first `queries` tokens. */
  forwardFirst(x: Tensor, rope: Rope, queries: number): Tensor {
    const [q, k, v] = this.#project(x, rope);
    const attended = ops.scaledDotProductAttention(q.slice(2, 0, queries), k, v); // (B, heads, queries, C / heads)
    return this.proj.forward(attended.transpose(1, 2).flatten(2));
  }

  /** The softmaxed weights of the first `queries` tokens, (B, heads, queries, T); rows sum to 1. */
  weights(x: Tensor, rope: Rope, queries: number): Tensor {
    const [q, k] = this.#project(x, rope);
    const scale = q.size(-1) ** -0.5;
    return q.slice(2, 0, queries).matmul(k.transpose(-2, -1)).mul(scale).softmax(-1);
  }

  /** q, k, v, each (B, heads, T, C / heads). */
  #project(x: Tensor, rope: Rope): [Tensor, Tensor, Tensor] {
    const [b = 0, t = 0, c = 0] = x.shape;
    const heads = this.#numHeads;
    const qkv = this.qkv.forward(x).view([b, t, 3, heads, c / heads]);
    const turned = rotate(qkv.narrow(2, 0, 2), rope); // (B, T, 2, heads, C / heads)
    const parts = [turned.select(2, 0), turned.select(2, 1), qkv.select(2, 2)];
    return parts.map((part) => part.transpose(1, 2)) as [Tensor, Tensor, Tensor];
  }
}

/** w3(silu(w1 x) * w2 x) (layers/ffn_layers.py SwiGLUFFN). */
class SwiGlu extends Layer implements FeedForward {
  readonly w1: Linear;
  readonly w2: Linear;
  readonly w3: Linear;

  constructor(dim: number, hiddenDim: number) {
    super();
    this.w1 = new Linear(dim, hiddenDim);
    this.w2 = new Linear(dim, hiddenDim);
    this.w3 = new Linear(hiddenDim, dim);
  }

  override forward(x: Tensor): Tensor {
    return this.w3.forward(ops.silu(this.w1.forward(x)).mul(this.w2.forward(x))); // (B, T, C)
  }

  residual(x: Tensor, norm: LayerNorm, samples: KeptSamples, scale: LayerScale | null): Tensor {
    return scaledResidual(x, norm, this, samples, scale);
  }
}

/** Attention and perceptron, each behind a norm, scaled, and beside a skip connection. */
class RotaryBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attn: RotaryAttention;
  readonly ls1: LayerScale;
  readonly norm2: LayerNorm;
  readonly mlp: FeedForward;
  readonly ls2: LayerScale;
  readonly #dropPath: DropPath;

  constructor({ embedDim, numHeads, qkvBias, ffn, hiddenDim, dropPathRate }: Required<BlockOptions>) {
    super();
    this.norm1 = new LayerNorm(embedDim, { eps: DINOV3_LAYER_NORM_EPS });
    this.attn = new RotaryAttention(embedDim, numHeads, qkvBias);
    this.ls1 = new LayerScale(embedDim, LAYER_SCALE);
    this.norm2 = new LayerNorm(embedDim, { eps: DINOV3_LAYER_NORM_EPS });
    this.mlp = ffn === 'swiglu' ? new SwiGlu(embedDim, hiddenDim) : new Mlp(embedDim, hiddenDim);
    this.ls2 = new LayerScale(embedDim, LAYER_SCALE);
    this.#dropPath = new DropPath(dropPathRate);
  }

  override train(mode = true): this {
    this.#dropPath.train(mode);
    return super.train(mode);
  }

  /** (B, T, C) to (B, queries, C): the first `queries` tokens, all of them by default. */
  forward(x: Tensor, rope: Rope, queries = x.size(1)): Tensor {
    return scope(() => {
      const attended = this.#dropPath.residual(
        x,
        (kept) => this.ls1.forward(this.attn.forwardFirst(this.norm1.forward(kept), rope, queries)),
        queries < x.size(1) ? x.slice(1, 0, queries) : x,
      );
      return this.mlp.residual(attended, this.norm2, this.#dropPath.draw(attended), this.ls2);
    });
  }

  /** Attention weights of this block for its input, (B, heads, queries, T). */
  attention(x: Tensor, rope: Rope, queries: number): Tensor {
    return this.attn.weights(this.norm1.forward(x), rope, queries);
  }
}

interface BlockOptions {
  /** C, width. */
  embedDim: number;
  numHeads: number;
  /** `mlp`: two layers with a GELU between them; `swiglu`: three. Default `mlp`. */
  ffn?: 'mlp' | 'swiglu';
  /** Width of the perceptron; default 4 C. */
  hiddenDim?: number;
  /** Whether queries and values have a bias (a key's does not change the attention); default true. */
  qkvBias?: boolean;
  /** Stochastic depth of every block; default 0. */
  dropPathRate?: number;
}

export interface DinoV3TransformerOptions extends BlockOptions {
  /** P, side of a patch in pixels; default 16. */
  patchSize?: number;
  /** Number of blocks. */
  depth: number;
  /** Channels of the images; default 3. */
  inChans?: number;
  /** How images are normalized; default ImageNet's. */
  normalization?: Normalization;
  /** A norm of its own for the class token of local crops, used in training only; default false. */
  localNorm?: boolean;
}

export class DinoV3Transformer extends Backbone {
  /** (1, 1, C) */
  readonly cls_token: Parameter;
  /** (1, S, C) */
  readonly storage_tokens: Parameter;
  /** (1, C), which takes the place of masked patches in the original's training. A buffer: nothing here trains it. */
  readonly mask_token: Tensor;
  readonly patch_embed: PatchEmbed;
  readonly rope_embed: RopePositionEmbedding;
  readonly blocks: ModuleList<RotaryBlock>;
  readonly norm: LayerNorm;
  readonly local_cls_norm: LayerNorm | null;
  override readonly embedDim: number;
  readonly patchSize: number;
  readonly numHeads: number;

  /** @throws ShapeError when four times the heads don't divide the width. */
  constructor(options: DinoV3TransformerOptions) {
    super();
    const { embedDim, depth, numHeads, patchSize = 16, localNorm = false } = options;
    if (embedDim % (4 * numHeads) !== 0)
      throw new ShapeError(
        `DinoV3Transformer: four times numHeads, ${4 * numHeads}, must divide embedDim ${embedDim}`,
      );
    this.embedDim = embedDim;
    this.normalization = options.normalization ?? IMAGENET;
    this.patchSize = patchSize;
    this.numHeads = numHeads;
    this.patch_embed = new PatchEmbed(patchSize, embedDim, options.inChans);
    this.cls_token = new Parameter(zeros([1, 1, embedDim]));
    this.storage_tokens = new Parameter(zeros([1, DINOV3_STORAGE_TOKENS, embedDim]));
    this.mask_token = zeros([1, embedDim]).keep();
    this.rope_embed = new RopePositionEmbedding(embedDim / numHeads);
    const block = {
      ffn: 'mlp',
      hiddenDim: 4 * embedDim,
      qkvBias: true,
      dropPathRate: 0,
      ...options,
    } as const;
    this.blocks = new ModuleList(Array.from({ length: depth }, () => new RotaryBlock(block)));
    this.norm = new LayerNorm(embedDim, { eps: DINOV3_LAYER_NORM_EPS });
    this.local_cls_norm = localNorm ? new LayerNorm(embedDim, { eps: DINOV3_LAYER_NORM_EPS }) : null;

    // in the order of the original's init_weights()
    normal_(this.cls_token, { std: INIT_STD });
    normal_(this.storage_tokens, { std: INIT_STD });
    const { weight, bias } = this.patch_embed.proj;
    for (const [part, kind] of [
      [weight, 'weight'],
      [bias as Parameter, 'bias'],
    ] as const)
      defaultUniform_(part, weight.size(1) * patchSize ** 2, kind);
    initLinearLayers(this);
  }

  /** How many blocks there are. */
  get depth(): number {
    return this.blocks.length;
  }

  /** How many tokens come before the patches: the class token and the storage tokens. */
  get prefixTokens(): number {
    return 1 + this.storage_tokens.size(1);
  }

  /**
   * @param images - (B, 3, H, W), normalized; any H and W of at least a patch.
   * @returns (B, C), the class token after the last norm. Of the last block only this token is computed.
   */
  override forward(images: Tensor): Tensor {
    return this.norm.forward(this.#lastClassToken(images));
  }

  /** The same for local crops, in training after `local_cls_norm` where there is one. */
  override forwardLocal(images: Tensor): Tensor {
    const norm = (this.training ? this.local_cls_norm : null) ?? this.norm;
    return norm.forward(this.#lastClassToken(images));
  }

  /** (B, C), before a norm. */
  #lastClassToken(images: Tensor): Tensor {
    const last = this.blocks.at(-1);
    const { x: first, rope } = this.#prepare(images);
    let x = first;
    for (const block of this.blocks)
      x = checkpoint((tokens) => block.forward(tokens, rope, block === last ? 1 : tokens.size(1)), x);
    return x.select(1, 0);
  }

  /** All tokens after the last norm, (B, 1 + S + N, C): the class token, the storage tokens, the patches row by row. */
  forwardTokens(images: Tensor): Tensor {
    return this.getIntermediateLayers(images, 1)[0] as Tensor;
  }

  /** Tokens of the last `n` blocks, each after the last norm (B, 1 + S + N, C), the deepest last. */
  getIntermediateLayers(images: Tensor, n = 1): Tensor[] {
    const { x: first, rope } = this.#prepare(images);
    let x = first;
    const output: Tensor[] = [];
    let left = this.blocks.length;
    for (const block of this.blocks) {
      x = block.forward(x, rope);
      if (left-- <= n) output.push(this.norm.forward(x));
    }
    return output;
  }

  /**
   * Attention weights of the last block.
   * @param options - `queries: 'class'` computes only the class token's row, without the T x T matrix.
   * @returns (B, heads, T, T), T = 1 + S + N, or (B, heads, 1, T) for the class token; rows sum to 1.
   */
  getLastSelfAttention(images: Tensor, options: { queries?: 'all' | 'class' } = {}): Tensor {
    const { x: first, rope } = this.#prepare(images);
    let x = first;
    for (let i = 0; i < this.blocks.length - 1; i++) x = (this.blocks.at(i) as RotaryBlock).forward(x, rope);
    const last = this.blocks.at(-1) as RotaryBlock;
    return last.attention(x, rope, options.queries === 'class' ? 1 : x.size(1));
  }

  /**
   * The class token's row of getLastSelfAttention() without the storage tokens: they take what is missing to 1.
   * @returns (B, heads, 1, 1 + N)
   */
  getLastClassAttention(images: Tensor): Tensor {
    const row = this.getLastSelfAttention(images, { queries: 'class' });
    return ops.cat([row.slice(3, 0, 1), row.slice(3, this.prefixTokens)], 3);
  }

  /** Class token, storage tokens and patches, (B, 1 + S + N, C), and their angles. */
  #prepare(images: Tensor): { x: Tensor; rope: Rope } {
    const [b = 0, channels, h = 0, w = 0] = images.shape;
    const { patchSize } = this;
    const wanted = this.patch_embed.proj.weight.size(1);
    if (images.ndim !== 4 || channels !== wanted || h < patchSize || w < patchSize) {
      throw new ShapeError(
        `DinoV3Transformer: expected images (B, ${wanted}, H, W) of at least ${patchSize} x ${patchSize} pixels (one patch), ` +
          `got ${images.toString()}`,
      );
    }
    const patches = this.patch_embed.forward(images); // (B, N, C)
    const first = [this.#classToken(), this.storage_tokens].map((tokens) => tokens.expand([b, -1, -1]));
    return {
      x: ops.cat([...first, patches], 1),
      rope: this.rope_embed.forward(Math.floor(h / patchSize), Math.floor(w / patchSize), this.prefixTokens),
    };
  }

  /** The norm of local crops has a part in every pass of a training, with gradients of 0: processes wait for all gradients. */
  #classToken(): Tensor {
    const idle = this.training ? [...(this.local_cls_norm?.parameters() ?? [])] : [];
    return idle.reduce<Tensor>((token, parameter) => token.add(parameter.mul(0)), this.cls_token);
  }
}
