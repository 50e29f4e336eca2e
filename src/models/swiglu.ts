/** The gated perceptron of DINOv2's giant (Shazeer 2020, arXiv 2002.05202; facebookresearch/dinov2 layers/swiglu_ffn.py). */
import { Layer, type LayerNorm, Linear } from '../nn/index.js';
import { type KeptSamples, ops, type Tensor } from '../torch/index.js';
import { type LayerScale, scaledResidual } from './layer-scale.js';

export class SwiGLU extends Layer {
  /** Gate and value, one after the other. */
  readonly w12: Linear;
  readonly w3: Linear;

  constructor(dim: number, hiddenDim: number) {
    super();
    const hidden = swigluWidth(hiddenDim);
    this.w12 = new Linear(dim, 2 * hidden);
    this.w3 = new Linear(hidden, dim);
  }

  override forward(x: Tensor): Tensor {
    const [gate, value] = this.w12.forward(x).chunk(2, -1) as [Tensor, Tensor]; // (B, N, hidden) each
    return this.w3.forward(ops.silu(gate).mul(value)); // (B, N, C)
  }

  /** x + forward(norm(x)) with its scale, of the kept samples, (B, N, C). */
  residual(x: Tensor, norm: LayerNorm, samples: KeptSamples, scale: LayerScale | null): Tensor {
    return scaledResidual(x, norm, this, samples, scale);
  }
}

/** Two thirds of a perceptron's width, which make as many parameters, rounded up to a multiple of 8 (SwiGLUFFNFused). */
export const swigluWidth = (hiddenDim: number): number =>
  Math.floor((Math.trunc((hiddenDim * 2) / 3) + 7) / 8) * 8;
