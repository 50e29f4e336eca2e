/** The interface of a backbone that can be trained and used by everything else. */
import { Layer } from '../nn/index.js';
import type { Tensor } from '../torch/index.js';
import { IMAGENET, type Normalization } from './normalize.js';

/** A network that maps images (B, C, H, W) to one feature each (B, embedDim). */
export abstract class Backbone extends Layer {
  /** D, length of a feature. */
  abstract readonly embedDim: number;
  /** How the images that it takes are normalized. */
  normalization: Normalization = IMAGENET;
  /** Channels of images that it takes as they are, at up to 16 bits; null for 8-bit RGB. */
  channels: number | null = null;

  /** forward() of the local crops of a training, for networks that tell them from the global ones. */
  forwardLocal(images: Tensor): Tensor {
    return this.forward(images);
  }
}

/** A backbone whose last block has a class token that attends. */
export interface AttentiveBackbone extends Backbone {
  /** P, side of a patch in pixels. */
  readonly patchSize: number;
  readonly numHeads: number;
  /**
   * Attention weights of the class token in the last block for images (B, 3, H, W).
   * @returns (B, heads, 1, 1 + N): the class token's own, then the patches' row by row. Register tokens are left out: what
   *   they take is what a row lacks of 1.
   */
  getLastClassAttention(images: Tensor): Tensor;
}

export const isAttentive = (backbone: Backbone): backbone is AttentiveBackbone =>
  'getLastClassAttention' in backbone;

/** A backbone that gives a token for each patch besides its feature. */
export interface TokenBackbone extends Backbone {
  /** P, side of a patch in pixels. */
  readonly patchSize: number;
  /** How many blocks' tokens getIntermediateLayers() can give. */
  readonly depth: number;
  /** Tokens before those of the patches: the class token, then registers if it has any. */
  readonly prefixTokens: number;
  /** It refuses images that don't consist of whole patches; without it, the rest is dropped. */
  readonly wholePatches?: true;
  /**
   * All tokens, (B, prefixTokens + N, D), the patches row by row: after the last norm, except for patches that only a class
   * token asks, which are as it asks them.
   */
  forwardTokens(images: Tensor): Tensor;
  /** Tokens of the last `n` blocks (default 1), each as in forwardTokens(), the deepest last. */
  getIntermediateLayers(images: Tensor, n?: number): Tensor[];
}

export const hasTokens = (backbone: Backbone): backbone is TokenBackbone => 'forwardTokens' in backbone;

/** The patches' part, (B, N, D), of tokens (B, prefixTokens + N, D). */
export const patchTokens = ({ prefixTokens }: Pick<TokenBackbone, 'prefixTokens'>, tokens: Tensor): Tensor =>
  tokens.slice(1, prefixTokens);

/** Images (B, 3, H, W) without what fills no patch at the right and bottom, for a backbone that refuses such. */
export function wholePatchesOf(backbone: Backbone, images: Tensor): Tensor {
  if (!hasTokens(backbone) || backbone.wholePatches !== true) return images;
  const { patchSize } = backbone;
  const whole = (axis: number): number => images.size(axis) - (images.size(axis) % patchSize);
  return images.narrow(2, 0, whole(2)).narrow(3, 0, whole(3));
}
