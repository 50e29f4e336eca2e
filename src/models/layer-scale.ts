/**
 * LayerScale (Touvron et al. 2021, arXiv 2103.17239; facebookresearch/dinov2 layers/layer_scale.py): a learned factor for
 * each channel of a branch before it is added to the skip connection.
 */
import { addBranch, Layer } from '../nn/index.js';
import { type Affine, full, isAutocast, type KeptSamples, Parameter, type Tensor } from '../torch/index.js';

export class LayerScale extends Layer {
  /** (C) */
  readonly gamma: Parameter;

  constructor(dim: number, initial: number) {
    super();
    this.gamma = new Parameter(full([dim], initial));
  }

  override forward(x: Tensor): Tensor {
    return x.mul(this.gamma); // (..., C)
  }
}

/** A branch's last layer with its scale folded in, if it has one: forward(layer(x)) in the fused operators. */
export function folded(layer: Affine, scale: Pick<LayerScale, 'gamma'> | null): Affine {
  if (scale === null) return layer;
  const { gamma } = scale;
  return { weight: layer.weight.mul(gamma.unsqueeze(1)), bias: layer.bias.mul(gamma) };
}

/** Whether a scale may be folded: in half precision, weights times an initial 1e-5 would vanish. */
export const mayFold = (): boolean => !isAutocast();

/** x + scale(branch(norm(x))) of the kept samples, (B, N, C). */
export const scaledResidual = (
  x: Tensor,
  norm: Layer,
  branch: Layer,
  samples: KeptSamples,
  scale: LayerScale | null,
): Tensor =>
  addBranch(x, samples, (kept) => {
    const out = branch.forward(norm.forward(kept));
    return scale === null ? out : scale.forward(out);
  });
