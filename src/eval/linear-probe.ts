/**
 * A linear classifier on frozen features (paper, section 4.1; reference: eval_linear.py's LinearClassifier, train() and
 * validate_network()): the computation, without files or images. The features are the class tokens of the last blocks,
 * the deepest last, and, if wanted, the mean of the last block's patch tokens.
 *
 * Departure: the reference's code for the mean fails with more than one block; here it comes after the class tokens.
 */
import { ConfigError } from '../errors.js';
import { type Backbone, hasTokens, noPatchFeatures, patchTokens } from '../models/index.js';
import { Layer, Linear } from '../nn/index.js';
import { SGD } from '../optim/index.js';
import {
  fromTypedArray,
  Generator,
  noGrad,
  ops,
  type Parameter,
  scope,
  type Tensor,
} from '../torch/index.js';

/** Standard deviation of the initial weights. */
const INIT_STD = 0.01;
const MOMENTUM = 0.9;

/** One linear layer, in the reference's names: `linear.weight`, `linear.bias`. */
export class LinearClassifier extends Layer {
  readonly linear: Linear;
  readonly numLabels: number;

  /** @param seed - Of the initial weights: normal, standard deviation 0.01. The bias starts at 0. */
  constructor(dim: number, numLabels: number, seed = 0) {
    super();
    this.numLabels = numLabels;
    this.linear = new Linear(dim, numLabels);
    const generator = new Generator().manualSeed(seed);
    noGrad(() => {
      this.linear.weight.normal_(0, INIT_STD, { generator });
      (this.linear.bias as Parameter).zero_();
    });
  }

  /** (B, D) to (B, numLabels). */
  override forward(x: Tensor): Tensor {
    return this.linear.forward(x);
  }
}

export interface ProbeFeatures {
  /** How many of the last blocks contribute their class token. Used only for networks with patch features. */
  nLastBlocks: number;
  /** Whether the mean of the last block's patch tokens is added. */
  avgpoolPatchtokens: boolean;
}

/** Length of the features that probeFeatures() returns. @throws ConfigError when the backbone doesn't have them. */
export function probeWidth(backbone: Backbone, { nLastBlocks, avgpoolPatchtokens }: ProbeFeatures): number {
  if (!hasTokens(backbone)) {
    if (avgpoolPatchtokens) throw new ConfigError(noPatchFeatures('avgpoolPatchtokens'));
    return backbone.embedDim;
  }
  const { depth } = backbone;
  if (!(Number.isInteger(nLastBlocks) && nLastBlocks >= 1 && nLastBlocks <= depth))
    throw new ConfigError(`nLastBlocks ${nLastBlocks}; expected 1 to ${depth}, the model's blocks`);
  return backbone.embedDim * (nLastBlocks + (avgpoolPatchtokens ? 1 : 0));
}

/**
 * The features of images that the classifier gets.
 * @param images - (B, 3, H, W) float32, normalized.
 * @returns (B, D * blocks), or (B, D * (blocks + 1)) with the patch tokens' mean. With one block the two are interleaved
 *   (class 0, mean 0, class 1, ...), as the reference does it and its published linear weights expect.
 */
export function probeFeatures(
  backbone: Backbone,
  images: Tensor,
  { nLastBlocks, avgpoolPatchtokens }: ProbeFeatures,
): Tensor {
  if (!hasTokens(backbone)) return backbone.forward(images); // (B, D)
  const outputs = backbone.getIntermediateLayers(images, nLastBlocks); // blocks of (B, prefix + N, D)
  const classTokens = ops.cat(
    outputs.map((tokens) => tokens.select(1, 0)),
    -1,
  ); // (B, D * blocks)
  if (!avgpoolPatchtokens) return classTokens;
  const last = outputs.at(-1) as Tensor;
  const mean = patchTokens(backbone, last).mean([1]); // (B, D)
  if (nLastBlocks > 1) return ops.cat([classTokens, mean], -1);
  return ops.stack([classTokens, mean], -1).flatten(1); // (B, D, 2) to (B, 2 D)
}

/** Cosine annealing by epoch to 0 (torch's CosineAnnealingLR), scaled by batch / 256. */
export function linearLr(lr: number, batchSize: number, epoch: number, epochs: number): number {
  return (((lr * batchSize) / 256) * (1 + Math.cos((Math.PI * epoch) / epochs))) / 2;
}

/** Results of a batch of test images. */
export interface ProbeScore {
  /** Mean over the batch. */
  loss: number;
  /** Images whose class has the highest value. */
  top1: number;
  /** Images whose class is among the five highest; null with fewer than five classes. */
  top5: number | null;
}

/** A classifier and its optimizer: SGD, momentum 0.9, no weight decay. */
export class LinearProbe {
  readonly classifier: LinearClassifier;
  readonly optimizer: SGD;
  readonly #device: string;

  constructor(width: number, numLabels: number, options: { device: string; seed?: number }) {
    this.#device = options.device;
    this.classifier = new LinearClassifier(width, numLabels, options.seed).to(options.device);
    const parameters = [...this.classifier.namedParameters()];
    this.optimizer = new SGD([{ parameters, regularized: false }], { momentum: MOMENTUM });
  }

  #target(labels: readonly number[]): Tensor {
    return fromTypedArray(BigInt64Array.from(labels, BigInt), [labels.length]).to(this.#device);
  }

  /**
   * One step. @param features - (B, D), without gradient. @param labels - Class numbers of the batch.
   * @returns The loss before the step.
   */
  trainStep(features: Tensor, labels: readonly number[], lr: number): number {
    return scope(() => {
      const logits = this.classifier.forward(features); // (B, classes)
      const loss = ops.crossEntropyLoss(logits, this.#target(labels));
      this.optimizer.zeroGrad();
      loss.backward();
      this.optimizer.step({ lr, weightDecay: 0 });
      return loss.item();
    });
  }

  score(features: Tensor, labels: readonly number[]): ProbeScore {
    return scope(() =>
      noGrad(() => {
        const logits = this.classifier.forward(features); // (B, classes)
        const target = this.#target(labels);
        const loss = ops.crossEntropyLoss(logits, target).item();
        const hasFive = this.classifier.numLabels >= 5;
        const ranked = logits.topk(hasFive ? 5 : 1)[1]; // (B, 5)
        const correct = ranked.eq(target.unsqueeze(1));
        const top1 = correct.narrow(1, 0, 1).sum().item();
        return { loss, top1, top5: hasFive ? correct.sum().item() : null };
      }),
    );
  }

  dispose(): void {
    this.classifier.dispose();
    this.optimizer.dispose();
  }
}
