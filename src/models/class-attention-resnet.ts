/**
 * A narrow ResNet whose positions are not averaged: a class token asks them, by the class attention of CaiT (Touvron et al.
 * 2021, section 3). It learns as fast as convolutions do, and shows what it looks at as transformers do.
 *
 * Its positions see little: 19 x 19 pixels, because the second convolution of a block is 1 x 1 (as in BagNets, Brendel and
 * Bethge 2019). With blocks of two 3 x 3 convolutions, the background around an object knows of the object as well as the
 * object does, and the class token learned to look there (docs/learning.md, The demo). The class attention is that of
 * facebookresearch/xcit.
 *
 * Its patch features are these positions as the class attention takes them. Its norm is left out: at each position by itself
 * it amplifies the little that a plain background holds, and principal components then show noise.
 */
import { ShapeError } from '../errors.js';
import {
  BatchNorm,
  checkpoint,
  Conv2d,
  kaimingNormal_,
  Layer,
  type LayerNorm,
  ModuleList,
  Sequential,
  truncNormal_,
} from '../nn/index.js';
import { ops, Parameter, scope, type Tensor, zeros } from '../torch/index.js';
import { type AttentiveBackbone, Backbone, type TokenBackbone } from './backbone.js';
import { dropPatches } from './drop-patches.js';
import { skip } from './resnet.js';
import { INIT_STD, initLinearLayers } from './vision-transformer.js';
import { ClassAttentionBlock, layerNorm } from './xcit.js';

/** Stages; each but the first halves the image, as the stem does. */
const STAGES = 3;
const ATTENTION_BLOCKS = 1;

/** 3 x 3, 1 x 1: a residual block whose second convolution sees one position. */
class LocalBlock extends Layer {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm;
  readonly downsample: Sequential | null;

  constructor(inChannels: number, width: number, stride: number) {
    super();
    this.conv1 = new Conv2d(inChannels, width, 3, { stride, padding: 1, bias: false });
    this.bn1 = new BatchNorm(width);
    this.conv2 = new Conv2d(width, width, 1, { bias: false });
    this.bn2 = new BatchNorm(width);
    this.downsample = skip(inChannels, width, stride);
  }

  /** (B, C, H, W) to (B, width, H / stride, W / stride), rounded up. */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const inner = this.bn1.relu(this.conv1.forward(x));
      return this.bn2.relu(this.conv2.forward(inner), this.downsample?.forward(x) ?? x);
    });
  }
}

export interface ClassAttentionResNetOptions {
  /** D, channels of the last stage; the first has a quarter of them. */
  embedDim: number;
  /** Residual blocks in each of the three stages. */
  blocks: number;
  /** Heads of the class attention. */
  numHeads: number;
  /** Channels of the images; default 3. */
  inChans?: number;
  /**
   * Share of the positions that forward() hides from the class token in training, others for each image, from 0 to less than
   * 1: it then has to know an object by any part of it, and looks at all of it (docs/learning.md, The demo). Default 0.
   */
  patchDropRate?: number;
}

export class ClassAttentionResNet extends Backbone implements AttentiveBackbone, TokenBackbone {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  /** (1, 1, D) */
  readonly cls_token: Parameter;
  readonly cls_attn_blocks: ModuleList<ClassAttentionBlock>;
  readonly norm: LayerNorm;
  override readonly embedDim: number;
  readonly numHeads: number;
  /** Pixels from one position to the next. */
  readonly patchSize = 2 ** STAGES;
  /** Only the last stage gives tokens. */
  readonly depth = 1;
  /** Before the positions is the class token. */
  readonly prefixTokens = 1;
  readonly #patchDropRate: number;

  /** @throws ShapeError when 4 or the heads don't divide the width. */
  constructor({ embedDim, blocks, numHeads, inChans = 3, patchDropRate = 0 }: ClassAttentionResNetOptions) {
    super();
    const width = embedDim / 2 ** (STAGES - 1);
    if (!Number.isInteger(width) || embedDim % numHeads !== 0)
      throw new ShapeError(
        `a ResNet with class attention: 4 and numHeads ${numHeads} must divide embedDim ${embedDim}`,
      );
    this.embedDim = embedDim;
    this.numHeads = numHeads;
    this.#patchDropRate = patchDropRate;
    this.conv1 = new Conv2d(inChans, width, 3, { stride: 2, padding: 1, bias: false });
    this.bn1 = new BatchNorm(width);
    let channels = width;
    const stages = Array.from({ length: STAGES }, (_, stage) => {
      const inner = width * 2 ** stage;
      const made = Array.from({ length: blocks }, (_, i) => {
        const stride = stage > 0 && i === 0 ? 2 : 1;
        const block = new LocalBlock(channels, inner, stride);
        channels = inner;
        return block;
      });
      return new Sequential(made);
    });
    [this.layer1, this.layer2, this.layer3] = stages as [Sequential, Sequential, Sequential];
    for (const [, part] of this.namedModules()) if (part instanceof Conv2d) kaimingNormal_(part.weight);
    this.cls_token = new Parameter(zeros([1, 1, embedDim]));
    this.cls_attn_blocks = new ModuleList(
      Array.from({ length: ATTENTION_BLOCKS }, () => new ClassAttentionBlock(embedDim, numHeads, 1)),
    );
    this.norm = layerNorm(embedDim);
    truncNormal_(this.cls_token, { std: INIT_STD });
    initLinearLayers(this);
  }

  /**
   * @param images - (B, 3, H, W), normalized; any H and W.
   * @returns (B, D), the class token after the last norm.
   * @throws ShapeError for anything but a batch of images.
   */
  override forward(images: Tensor): Tensor {
    const tokens = this.#tokens(images);
    const seen =
      this.training && this.#patchDropRate > 0 ? dropPatches(tokens, 1, this.#patchDropRate) : tokens;
    return this.#feature(seen).select(1, 0);
  }

  /** forward() of local crops, which keep all of their few positions. */
  override forwardLocal(images: Tensor): Tensor {
    return this.#feature(this.#tokens(images)).select(1, 0);
  }

  /**
   * The feature of forward(), then the positions that its class token asks, (B, 1 + N, D): the last stage's row by row,
   * ceil(H / 8) x ceil(W / 8) of them, 0 or greater.
   * @throws ShapeError for anything but a batch of images.
   */
  forwardTokens(images: Tensor): Tensor {
    const tokens = this.#tokens(images);
    return ops.cat([this.#feature(tokens), tokens.slice(1, 1)], 1);
  }

  /** forwardTokens(), as a list: the stages before the last have other widths. */
  getIntermediateLayers(images: Tensor): Tensor[] {
    return [this.forwardTokens(images)];
  }

  /**
   * Attention weights of the class token in the last block.
   * @returns (B, heads, 1, 1 + N), rows sum to 1; the positions row by row, ceil(H / 8) x ceil(W / 8) of them.
   */
  getLastClassAttention(images: Tensor): Tensor {
    let x = this.#tokens(images);
    const { length } = this.cls_attn_blocks;
    for (let i = 0; i < length - 1; i++) x = (this.cls_attn_blocks.at(i) as ClassAttentionBlock).forward(x);
    return (this.cls_attn_blocks.at(-1) as ClassAttentionBlock).attention(x);
  }

  /** The class token, (B, 1, D), after it has asked the positions of `tokens` (B, 1 + N, D), and the last norm. */
  #feature(tokens: Tensor): Tensor {
    let x = tokens;
    for (const block of this.cls_attn_blocks) x = block.forward(x);
    return this.norm.forward(x.slice(1, 0, 1));
  }

  /** The learned class token, then the positions of the last stage, (B, 1 + N, D). */
  #tokens(images: Tensor): Tensor {
    const wanted = this.conv1.weight.size(1);
    if (images.ndim !== 4 || images.size(1) !== wanted)
      throw new ShapeError(
        `a ResNet with class attention: expected images (B, ${wanted}, H, W), got ${images.toString()}`,
      );
    let x = scope(() => this.bn1.relu(this.conv1.forward(images.clone({ memoryFormat: 'channels_last' }))));
    for (const stage of [this.layer1, this.layer2, this.layer3])
      x = checkpoint((input) => stage.forward(input), x); // (B, D, H / 8, W / 8), rounded up
    const positions = x.flatten(2).transpose(1, 2); // (B, N, D)
    return ops.cat([this.cls_token.expand([x.size(0), -1, -1]), positions], 1);
  }
}
