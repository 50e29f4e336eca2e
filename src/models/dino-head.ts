/** The projection head (paper, section 3.2 and appendix C; reference: vision_transformer.py DINOHead). */
import { BatchNorm, GELU, Layer, Linear, Sequential, WeightNormLinear } from '../nn/index.js';
import { noGrad, type Tensor } from '../torch/index.js';
import { initLinearLayers } from './vision-transformer.js';
import { unitLength } from './normalize.js';

export interface DINOHeadOptions {
  /** D, length of the input features. */
  inDim: number;
  /** K, length of the output; null: no last layer, the output is the bottleneck at length 1, as SimDINO has it. */
  outDim: number | null;
  /** Batch norm after each hidden layer; default false. */
  useBn?: boolean;
  /** Keep the rows of the last layer at length 1; default true. */
  normLastLayer?: boolean;
  /** Layers of the perceptron, at least 1; default 3. */
  nlayers?: number;
  /** Default 2048. */
  hiddenDim?: number;
  /** Default 256. */
  bottleneckDim?: number;
}

export class DINOHead extends Layer {
  readonly mlp: Linear | Sequential;
  readonly last_layer: WeightNormLinear | null;

  constructor(options: DINOHeadOptions) {
    super();
    const {
      inDim,
      outDim,
      useBn = false,
      normLastLayer = true,
      hiddenDim = 2048,
      bottleneckDim = 256,
    } = options;
    const nlayers = Math.max(options.nlayers ?? 3, 1);
    if (nlayers === 1) {
      this.mlp = new Linear(inDim, bottleneckDim);
    } else {
      const hidden = (from: number): Layer[] => [
        new Linear(from, hiddenDim),
        ...(useBn ? [new BatchNorm(hiddenDim)] : []),
        new GELU(),
      ];
      const layers = hidden(inDim);
      for (let i = 0; i < nlayers - 2; i++) layers.push(...hidden(hiddenDim));
      layers.push(new Linear(hiddenDim, bottleneckDim));
      this.mlp = new Sequential(layers);
    }
    initLinearLayers(this.mlp);
    this.last_layer = outDim === null ? null : new WeightNormLinear(bottleneckDim, outDim);
    if (this.last_layer === null) return;
    const { weight_g: lengths } = this.last_layer;
    noGrad(() => lengths.fill_(1));
    if (normLastLayer) lengths.requiresGrad = false;
  }

  /** (B, D) features to (B, K) logits; without a last layer to (B, bottleneckDim) of length 1. */
  override forward(x: Tensor): Tensor {
    const bottleneck = unitLength(this.mlp.forward(x)); // (B, bottleneckDim)
    return this.last_layer === null ? bottleneck : this.last_layer.forward(bottleneck); // (B, K)
  }
}
