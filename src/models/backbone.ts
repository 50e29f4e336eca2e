/** The interface of a backbone that can be trained and used by everything else. */
import { Layer } from '../nn/index.js';
import type { Tensor } from '../torch/index.js';

/** A network that maps images (B, 3, H, W) to one feature each (B, embedDim). */
export abstract class Backbone extends Layer {
  /** D, length of a feature. */
  abstract readonly embedDim: number;
}

/** A backbone whose last block has a class token that attends. */
export interface AttentiveBackbone extends Backbone {
  /** P, side of a patch in pixels. */
  readonly patchSize: number;
  readonly numHeads: number;
  /**
   * Attention weights of the class token in the last block for images (B, 3, H, W).
   * @returns (B, heads, 1, 1 + N), rows sum to 1: the class token's own, then the patches' row by row.
   */
  getLastClassAttention(images: Tensor): Tensor;
}

export const isAttentive = (backbone: Backbone): backbone is AttentiveBackbone =>
  'getLastClassAttention' in backbone;
