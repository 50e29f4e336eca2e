/** Builds the backbones of architectures.ts by name, as `--arch` and weight files give them. */
import { ConfigError } from '../errors.js';
import { scope, withoutMemory } from '../torch/index.js';
import {
  type ArchitectureEntry,
  architectureEntry,
  architectureNames,
  convStemProblem,
  type Family,
} from './architectures.js';
import type { Backbone } from './backbone.js';
import { ClassAttentionResNet } from './class-attention-resnet.js';
import { ConvNeXt } from './convnext.js';
import { Dinov2 } from './dinov2.js';
import { DinoV3Transformer } from './dinov3.js';
import { IMAGENET, SAT493M } from './normalize.js';
import { ResNet } from './resnet.js';
import { VisionTransformer } from './vision-transformer.js';
import { XCiT } from './xcit.js';

export interface BackboneOptions {
  /**
   * 'vit_tiny', 'vit_small', 'vit_base', 'deit_*' for the same, 'vit' or 'vit_conv' with embedDim, depth and numHeads,
   * 'resnet18', ...,
   * 'resnet' (for small images) and 'resnet_class_attention' with embedDim and depth,
   * 'xcit_small_12_p16', ..., 'dinov2_vits14', ..., or 'dinov2_vit', 'dinov2_vit_reg', 'dinov2_vit_swiglu', ... with
   * embedDim, depth and numHeads
   */
  arch: string;
  /** Side of a patch in pixels; default 16. This and the next four are only for the vision transformers. */
  patchSize?: number | undefined;
  /** Side in pixels of the images that position embeddings are learned for; default 224. */
  imgSize?: number | undefined;
  embedDim?: number | undefined;
  depth?: number | undefined;
  numHeads?: number | undefined;
  /** Stochastic depth; default 0. For both kinds of transformers. */
  dropPathRate?: number | undefined;
  /** Share of the patches that global crops lose in training; default 0. For vision transformers with learned positions. */
  patchDropRate?: number | undefined;
  /** Channels of images that are taken as they are, at up to 16 bits, 1 to 16; default: 8-bit RGB. */
  channels?: number | undefined;
  /** Of each of these channels, where white is 1; default 0.5 and 0.25. */
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
}

/** Builds your own backbone, for train() and loadModel(). It may use or ignore what the settings say. */
export type BackboneFactory = (options: BackboneOptions) => Backbone;

type Build<F extends Family> = (
  entry: Extract<ArchitectureEntry, { family: F }>,
  options: Record<
    (typeof SIZES)[number] | 'patchSize' | 'imgSize' | 'dropPathRate' | 'patchDropRate' | 'inChans',
    number
  >,
) => Backbone;

/** How a family's backbones are made; `options` have the entry's sizes where it has them, else the user's. */
const BUILDERS: { readonly [F in Family]: Build<F> } = {
  vit: ({ stem }, options) => {
    const problem = stem === 'conv' ? convStemProblem(options.patchSize, options.embedDim) : null;
    if (problem !== null) throw new ConfigError(`a convolutional stem: ${problem}`);
    return new VisionTransformer({ ...options, stem });
  },
  resnet: ({ block, layers, stem }, { embedDim, depth, inChans }) => {
    if (layers !== null) return new ResNet({ block, layers, inChans });
    const [width, blocks] = [embedDim / 8, depth / 4];
    if (!Number.isInteger(width) || !Number.isInteger(blocks) || blocks < 1)
      throw new ConfigError(
        `arch 'resnet': expected an embedDim that 8 divides and a depth that 4 divides, got ${embedDim} and ${depth}`,
      );
    return new ResNet({ block, layers: [blocks, blocks, blocks, blocks], width, stem, inChans });
  },
  resnet_class_attention: ({ numHeads }, { embedDim, depth, inChans, patchDropRate }) => {
    const [width, blocks] = [embedDim / 8, depth / 3];
    if (!Number.isInteger(width) || !Number.isInteger(blocks) || blocks < 1)
      throw new ConfigError(
        `arch 'resnet_class_attention': expected an embedDim that 8 divides and a depth that 3 divides, got ${embedDim} and ${depth}`,
      );
    return new ClassAttentionResNet({ embedDim, blocks, numHeads: numHeads ?? 8, inChans, patchDropRate });
  },
  xcit: (entry, { dropPathRate, inChans }) => new XCiT({ ...entry, dropPathRate, inChans }),
  dinov2: ({ ffn, registers }, options) => new Dinov2({ ...options, ffn, registers }),
  dinov3: ({ ffn, hiddenDim, qkvBias, localNorm, dataset }, options) =>
    new DinoV3Transformer({
      ...options,
      normalization: dataset === 'sat493m' ? SAT493M : IMAGENET,
      ffn,
      qkvBias,
      localNorm,
      ...(hiddenDim === null ? {} : { hiddenDim }),
    }),
  convnext: ({ layers }, { embedDim, depth, dropPathRate, inChans }) => {
    const [width, blocks] = [embedDim / 8, depth / 6];
    if (layers !== null) return new ConvNeXt({ layers, width, dropPathRate, inChans });
    if (!Number.isInteger(width) || !Number.isInteger(blocks) || blocks < 1)
      throw new ConfigError(
        `arch 'dinov3_convnext': expected an embedDim that 8 divides and a depth that 6 divides, got ${embedDim} and ${depth}`,
      );
    return new ConvNeXt({ layers: [blocks, blocks, 3 * blocks, blocks], width, dropPathRate, inChans });
  },
};

const SIZES = ['embedDim', 'depth', 'numHeads'] as const;

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
  const { arch, patchSize = 16, imgSize = 224, dropPathRate = 0, patchDropRate = 0, channels } = options;
  const entry = architectureEntry(arch);
  if (entry === null)
    throw new ConfigError(`arch: expected one of ${architectureNames.join(', ')}, got '${arch}'`);
  const sizes = SIZES.map((name) => [name, entry[name] ?? options[name]] as const);
  const missing = sizes.filter(([, size]) => size === undefined).map(([name]) => name);
  if (missing.length > 0)
    throw new ConfigError(`arch '${arch}' takes its sizes too: ${missing.join(', ')} missing`);
  const build = BUILDERS[entry.family] as Build<Family>;
  const backbone = build(entry, {
    ...{ imgSize, dropPathRate, patchDropRate },
    ...{ patchSize: entry.patchSize ?? patchSize, inChans: channels ?? 3 },
    ...(Object.fromEntries(sizes) as Record<(typeof SIZES)[number], number>),
  });
  if (channels === undefined) return backbone;
  backbone.channels = channels;
  const each = (value: number): number[] => Array.from({ length: channels }, () => value);
  backbone.normalization = { mean: options.mean ?? each(0.5), std: options.std ?? each(0.25) };
  return backbone;
}

/** Names and shapes of a backbone's tensors, without allocating them. @throws ConfigError as buildBackbone() does. */
export function backboneShapes(options: BackboneOptions): Map<string, readonly number[]> {
  return scope(() =>
    withoutMemory(
      () => new Map([...buildBackbone(options).stateDict()].map(([name, { shape }]) => [name, shape])),
    ),
  );
}
