/**
 * Backbone and head as one network over crops of several sizes (reference: utils.py MultiCropWrapper): crops of one
 * size go through the backbone together, then all features go through the head at once.
 */
import { ShapeError } from '../errors.js';
import { Module } from '../nn/index.js';
import type { Backbone, DINOHead } from '../models/index.js';
import { ops, type Tensor } from '../torch/index.js';

export class MultiCropWrapper extends Module {
  readonly backbone: Backbone;
  readonly head: DINOHead;

  constructor(backbone: Backbone, head: DINOHead) {
    super();
    this.backbone = backbone;
    this.head = head;
  }

  /**
   * @param crops - Batches (n * B, 3, H, W), each holding all the crops of one size, crop by crop; the first are the global
   *   crops.
   * @returns (views * B, K), rows in the order of the crops.
   */
  forward(crops: readonly Tensor[]): Tensor {
    return this.head.forward(this.features(crops)); // (views * B, K)
  }

  /** The backbone's features, (views * B, D), rows in the order of the crops. */
  features(crops: readonly Tensor[]): Tensor {
    if (crops.length === 0)
      throw new ShapeError('MultiCropWrapper: expected at least one batch of crops, got none');
    return ops.cat(
      crops.map((batch, i) => (i === 0 ? this.backbone.forward(batch) : this.backbone.forwardLocal(batch))), // (n * B, D) each
      0,
    );
  }
}
