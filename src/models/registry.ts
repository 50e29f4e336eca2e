/** Backbones by name, as `--arch` and weight files give them. */
import { ConfigError } from '../errors.js';
import { scope, withoutMemory } from '../torch/index.js';
import type { Backbone } from './backbone.js';
import { ResNet } from './resnet.js';
import { VisionTransformer } from './vision-transformer.js';
import { XCiT } from './xcit.js';

/** Width, blocks and heads of the reference's transformers (vision_transformer.py). */
const transformers = {
  vit_tiny: { embedDim: 192, depth: 12, numHeads: 3 },
  vit_small: { embedDim: 384, depth: 12, numHeads: 6 },
  vit_base: { embedDim: 768, depth: 12, numHeads: 12 },
} as const;

/** Blocks of torchvision's residual networks (models/resnet.py). */
const residualNetworks = {
  resnet18: { block: 'basic', layers: [2, 2, 2, 2] },
  resnet34: { block: 'basic', layers: [3, 4, 6, 3] },
  resnet50: { block: 'bottleneck', layers: [3, 4, 6, 3] },
  resnet101: { block: 'bottleneck', layers: [3, 4, 23, 3] },
} as const;

/** Sizes of the cross-covariance transformers that the reference's README names (facebookresearch/xcit xcit.py). */
const crossCovariance = {
  xcit_small_12_p16: { patchSize: 16, embedDim: 384, depth: 12, numHeads: 8 },
  xcit_small_12_p8: { patchSize: 8, embedDim: 384, depth: 12, numHeads: 8 },
  xcit_medium_24_p16: { patchSize: 16, embedDim: 512, depth: 24, numHeads: 8 },
  xcit_medium_24_p8: { patchSize: 8, embedDim: 512, depth: 24, numHeads: 8 },
} as const;

export interface BackboneOptions {
  /**
   * 'vit_tiny', 'vit_small', 'vit_base', 'deit_*' for the same, 'vit' with embedDim, depth and numHeads, 'resnet18', ...,
   * or 'xcit_small_12_p16', ...
   */
  arch: string;
  /** Side of a patch in pixels; default 16. Only of the vision transformers, as the next four. */
  patchSize?: number | undefined;
  /** Side in pixels that position embeddings are kept for; default 224. */
  imgSize?: number | undefined;
  embedDim?: number | undefined;
  depth?: number | undefined;
  numHeads?: number | undefined;
  /** Stochastic depth; default 0. Of both kinds of transformers. */
  dropPathRate?: number | undefined;
}

/** Builds a backbone of one's own, for train() and loadModel(); what the settings say of it is there to use or not. */
export type BackboneFactory = (options: BackboneOptions) => Backbone;

/** Names that buildBackbone() takes. */
export const architectures: readonly string[] = [
  ...Object.keys(transformers),
  ...Object.keys(transformers).map((name) => name.replace('vit', 'deit')),
  'vit',
  ...Object.keys(residualNetworks),
  ...Object.keys(crossCovariance),
];

/**
 * Builds a backbone with initial weights from the default generator.
 *
 * @throws ConfigError for an unknown name, or a 'vit' without its sizes.
 */
export function buildBackbone(
  options: BackboneOptions & { arch: 'vit' | `vit_${string}` | `deit_${string}` },
): VisionTransformer;
export function buildBackbone(options: BackboneOptions): Backbone;
export function buildBackbone(options: BackboneOptions): Backbone {
  const { patchSize = 16, imgSize = 224, dropPathRate = 0 } = options;
  const name = options.arch.replace('deit', 'vit'); // the reference's own alias
  const common = { patchSize, imgSize, dropPathRate };
  if (Object.hasOwn(transformers, name)) {
    return new VisionTransformer({ ...common, ...transformers[name as keyof typeof transformers] });
  }
  if (Object.hasOwn(residualNetworks, name))
    return new ResNet(residualNetworks[name as keyof typeof residualNetworks]);
  if (Object.hasOwn(crossCovariance, name))
    return new XCiT({ ...crossCovariance[name as keyof typeof crossCovariance], dropPathRate });
  if (name !== 'vit') {
    throw new ConfigError(`arch: expected one of ${architectures.join(', ')}, got '${options.arch}'`);
  }
  const { embedDim, depth, numHeads } = options;
  if (embedDim === undefined || depth === undefined || numHeads === undefined) {
    throw new ConfigError(
      "arch 'vit' takes its sizes too: embedDim, depth and numHeads (--embed-dim, --depth, --num-heads)",
    );
  }
  return new VisionTransformer({ ...common, embedDim, depth, numHeads });
}

/** Names and shapes of a backbone's tensors, without making them. @throws ConfigError as buildBackbone() does. */
export function backboneShapes(options: BackboneOptions): Map<string, readonly number[]> {
  return scope(() =>
    withoutMemory(
      () => new Map([...buildBackbone(options).stateDict()].map(([name, { shape }]) => [name, shape])),
    ),
  );
}
