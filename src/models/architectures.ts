/**
 * The architectures that `--arch` and weight files can name: one entry each, and one for each family of them. The
 * names that settings take, what buildBackbone() builds and how a file of weights is recognized all derive from here. No
 * libtorch, so that settings can be checked before it is loaded; the builders are in registry.ts.
 */
import {
  type ConvNeXtEntry,
  DINOV3_ARCHITECTURES,
  type DinoV3Entry,
  isConvNeXt,
  isDinoV3,
  readConvNeXt,
  readDinoV3,
} from './dinov3-architectures.js';

/** Shapes of a network's tensors by their names. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

interface Sizes {
  /** Length of a feature. In all fields null means that the user chooses it (`--embed-dim`, ...). */
  embedDim: number | null;
  /** Blocks. */
  depth: number | null;
  /** Attention heads; 0 without attention. */
  numHeads: number | null;
  /** Side of a patch, pixels; 1 without patches. */
  patchSize: number | null;
}

interface VitEntry extends Sizes {
  family: 'vit';
  /** How patches become tokens: one projection, or convolutions (conv-stem.ts). */
  stem: 'patch' | 'conv';
}
interface ResNetEntry extends Sizes {
  family: 'resnet';
  /** Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1. */
  block: 'basic' | 'bottleneck';
  /** Blocks in each stage; null: a quarter of the depth. */
  layers: readonly [number, number, number, number] | null;
  /** Whether images enter at their own size, or a quarter of it. */
  stem: 'small' | 'large';
}
interface XcitEntry extends Sizes {
  family: 'xcit';
  embedDim: number;
  depth: number;
  numHeads: number;
  patchSize: 8 | 16;
}

interface ClassAttentionResNetEntry extends Sizes {
  family: 'resnet_class_attention';
}
interface Dinov2Entry extends Sizes {
  family: 'dinov2';
  /** A perceptron, or in the giant a gated one. */
  ffn: 'mlp' | 'swiglu';
  /** Register tokens. */
  registers: 0 | 4;
}

/** A member of a family: its sizes, and what else the family's builder takes. */
export type ArchitectureEntry =
  VitEntry | ResNetEntry | ClassAttentionResNetEntry | XcitEntry | Dinov2Entry | DinoV3Entry | ConvNeXtEntry;
export type Family = ArchitectureEntry['family'];

/** Width, blocks and heads of the reference's transformers (vision_transformer.py). */
const VIT = { family: 'vit', stem: 'patch', patchSize: null } as const;
const VIT_TINY = { ...VIT, embedDim: 192, depth: 12, numHeads: 3 } as const;
const VIT_SMALL = { ...VIT, embedDim: 384, depth: 12, numHeads: 6 } as const;
const VIT_BASE = { ...VIT, embedDim: 768, depth: 12, numHeads: 12 } as const;

/** By name, in the order in which messages list them. Of equal entries, a file of weights is given the first name. */
export const ARCHITECTURES = {
  vit_tiny: VIT_TINY,
  vit_small: VIT_SMALL,
  vit_base: VIT_BASE,
  // the reference's own aliases
  deit_tiny: VIT_TINY,
  deit_small: VIT_SMALL,
  deit_base: VIT_BASE,
  vit: { ...VIT, embedDim: null, depth: null, numHeads: null },
  // with patches embedded by convolutions: conv-stem.ts
  vit_conv: { ...VIT, stem: 'conv', embedDim: null, depth: null, numHeads: null },
  // torchvision's (models/resnet.py)
  resnet18: resNet('basic', [2, 2, 2, 2]),
  resnet34: resNet('basic', [3, 4, 6, 3]),
  resnet50: resNet('bottleneck', [3, 4, 6, 3]),
  resnet101: resNet('bottleneck', [3, 4, 23, 3]),
  // for images of a few dozen pixels: He et al. 2016, section 4.2
  resnet: {
    ...{ family: 'resnet', block: 'basic', layers: null, stem: 'small' },
    ...{ embedDim: null, depth: null, numHeads: 0, patchSize: 1 },
  },
  // residual blocks, and class attention (Touvron et al. 2021) in place of the mean: class-attention-resnet.ts
  resnet_class_attention: {
    ...{ family: 'resnet_class_attention', embedDim: null, depth: null, numHeads: 8, patchSize: 8 },
  },
  // those that the reference's README names (facebookresearch/xcit xcit.py)
  xcit_small_12_p16: { family: 'xcit', embedDim: 384, depth: 12, numHeads: 8, patchSize: 16 },
  xcit_small_12_p8: { family: 'xcit', embedDim: 384, depth: 12, numHeads: 8, patchSize: 8 },
  xcit_medium_24_p16: { family: 'xcit', embedDim: 512, depth: 24, numHeads: 8, patchSize: 16 },
  xcit_medium_24_p8: { family: 'xcit', embedDim: 512, depth: 24, numHeads: 8, patchSize: 8 },
  // PyTorch Hub's (facebookresearch/dinov2 hub/backbones.py)
  dinov2_vits14: dinov2([384, 12, 6, 14]),
  dinov2_vits14_reg: dinov2([384, 12, 6, 14], { registers: 4 }),
  dinov2_vitb14: dinov2([768, 12, 12, 14]),
  dinov2_vitb14_reg: dinov2([768, 12, 12, 14], { registers: 4 }),
  dinov2_vitl14: dinov2([1024, 24, 16, 14]),
  dinov2_vitl14_reg: dinov2([1024, 24, 16, 14], { registers: 4 }),
  dinov2_vitg14: dinov2([1536, 40, 24, 14], { ffn: 'swiglu' }),
  dinov2_vitg14_reg: dinov2([1536, 40, 24, 14], { ffn: 'swiglu', registers: 4 }),
  // the same of other sizes
  dinov2_vit: dinov2([null, null, null, null]),
  dinov2_vit_reg: dinov2([null, null, null, null], { registers: 4 }),
  dinov2_vit_swiglu: dinov2([null, null, null, null], { ffn: 'swiglu' }),
  dinov2_vit_swiglu_reg: dinov2([null, null, null, null], { ffn: 'swiglu', registers: 4 }),
  ...DINOV3_ARCHITECTURES,
} as const satisfies Record<string, ArchitectureEntry>;

function resNet(block: ResNetEntry['block'], layers: NonNullable<ResNetEntry['layers']>): ResNetEntry {
  const depth = layers.reduce((sum, blocks) => sum + blocks, 0);
  const embedDim = block === 'bottleneck' ? 2048 : 512;
  return { family: 'resnet', block, layers, stem: 'large', embedDim, depth, numHeads: 0, patchSize: 1 };
}

function dinov2<S extends number | null>(
  [embedDim, depth, numHeads, patchSize]: readonly [S, S, S, S],
  { ffn = 'mlp', registers = 0 }: Partial<Pick<Dinov2Entry, 'ffn' | 'registers'>> = {},
): Dinov2Entry & Record<keyof Sizes, S> {
  return { family: 'dinov2', embedDim, depth, numHeads, patchSize, ffn, registers };
}

export type ArchitectureName = keyof typeof ARCHITECTURES;

/** All names that buildBackbone() takes. */
export const architectureNames = Object.keys(ARCHITECTURES) as [ArchitectureName, ...ArchitectureName[]];

/** The entry of a name; null for an unknown one, and for `custom`. */
export const architectureEntry = (arch: string | undefined): ArchitectureEntry | null =>
  arch !== undefined && Object.hasOwn(ARCHITECTURES, arch) ? ARCHITECTURES[arch as ArchitectureName] : null;

/** Whether it has a class token that attends; null for `custom`, of which nothing is known. */
export const hasAttention = (arch: string | undefined): boolean | null => {
  const entry = architectureEntry(arch);
  return entry === null ? null : FAMILIES[entry.family].hasAttention;
};

/** Whether it gives a feature for each patch; null for `custom`, of which nothing is known. */
export const hasPatchFeatures = (arch: string | undefined): boolean | null => {
  const entry = architectureEntry(arch);
  return entry === null ? null : FAMILIES[entry.family].hasPatchFeatures;
};

/** Why `what` can't be done with a network without them, and which networks have them. */
export function noPatchFeatures(what: string, arch?: string): string {
  const able = Object.values(FAMILIES).filter((family) => family.hasPatchFeatures);
  const kinds = [...new Set(able.reverse().map(({ kind }) => kind))]; // from the most general family
  const listed = `${kinds.slice(0, -1).join(', ')} or ${kinds.at(-1)}`;
  const given = arch === undefined ? 'this backbone has none' : `this model is ${arch}`;
  return `${what} needs the features of patches, which ${listed} has; ${given}`;
}

/** Whether `--patch-size` is a setting of it. */
export const takesPatchSize = (arch: string): boolean => architectureEntry(arch)?.patchSize === null;

/** Whether patches are embedded by convolutions, each of which halves the image. */
export const hasConvStem = (arch: string | undefined): boolean => {
  const entry = architectureEntry(arch);
  return entry?.family === 'vit' && entry.stem === 'conv';
};

/** What a convolutional stem can't be built with, in words; null for what it can. */
export function convStemProblem(patchSize: number, embedDim: number): string | null {
  const halvings = Math.log2(patchSize);
  if (!Number.isInteger(halvings) || halvings < 1)
    return `patches of ${patchSize} pixels: each convolution of the stem halves the image, so take 2, 4, 8, 16, ...`;
  const parts = 2 ** (halvings - 1);
  return embedDim % parts === 0
    ? null
    : `width ${embedDim}: with patches of ${patchSize} pixels the stem takes multiples of ${parts}`;
}

/** Side of the patches of which its images must consist, given the setting; undefined where any size will do. */
export function wholePatchSize(arch: string, patchSize?: number): number | undefined {
  const entry = architectureEntry(arch);
  if (entry === null) return undefined;
  const isNeeded = entry.patchSize === null || FAMILIES[entry.family].wholePatches === true;
  return isNeeded ? (entry.patchSize ?? patchSize) : undefined;
}

/** The name of its family's member whose sizes are settings: `vit`, `dinov2_vit_reg`, ...; itself where there is none. */
export function sizedName(arch: ArchitectureName): ArchitectureName {
  const kindOf = (name: ArchitectureName): string => {
    const { embedDim, depth, numHeads, patchSize, ...kind } = ARCHITECTURES[name];
    void [embedDim, depth, numHeads, patchSize];
    return JSON.stringify(kind);
  };
  const isSized = (name: ArchitectureName): boolean => ARCHITECTURES[name].embedDim === null;
  return architectureNames.find((name) => isSized(name) && kindOf(name) === kindOf(arch)) ?? arch;
}

const SIZES = ['embedDim', 'depth', 'numHeads'] as const;
/** Which of width, depth and heads are settings of it. */
export const ownSizes = (arch: string): (typeof SIZES)[number][] => {
  const entry = architectureEntry(arch);
  return entry === null ? [] : SIZES.filter((name) => entry[name] === null);
};

/** What can be read off the shapes of a backbone's tensors. */
export interface Reading {
  /** The sizes that an entry must have, by the names of its fields. */
  sizes: Partial<Record<'embedDim' | 'depth' | 'numHeads' | 'patchSize' | 'hiddenDim', number>> & {
    readonly qkvBias?: boolean;
    readonly localNorm?: boolean;
    readonly isEven?: boolean;
    readonly block?: string;
    readonly stem?: string;
    readonly layers?: readonly number[];
    readonly ffn?: string;
    readonly registers?: number;
  };
  /** Channels of the images that it takes, 3 for RGB. */
  channels: number;
  /** Side of the images that it was made for, pixels; null where no tensor's shape tells it. */
  imgSize: number | null;
  /** Side of the images that position embeddings were learned for, where images of another are usual. */
  positionsSize?: number;
  /** For messages: `a ResNet of ...`. */
  described: string;
  /** Why the tensors are not of this family. */
  problems: readonly string[];
}

export interface FamilyEntry {
  /** What its members are, for messages: `a ResNet`. */
  kind: string;
  /** Whether its last block has a class token that attends. */
  hasAttention: boolean;
  /** Whether it gives a feature for each patch (or position) besides the image's: its networks are TokenBackbones. */
  hasPatchFeatures: boolean;
  /** Whether the user may choose the number of heads, which no tensor's shape tells. */
  takesHeads: boolean;
  /** Whether it learns position embeddings, whose shape tells the size of the images. */
  learnsPositions: boolean;
  /** Further names that tensors have in the original's files: the other name, and the one here. */
  aliases?: Readonly<Record<string, string>>;
  /** Whether images must consist of whole patches; else pixels that don't fill one are dropped. */
  wholePatches?: true;
  /** Whether a training may drop patches of its student's global crops. */
  dropsPatches?: true;
  /** Names of its parts: the first component of each tensor's name. */
  parts: readonly string[];
  /** Tensors by which it is found in a file, each with others that a complete backbone must have. */
  anchors: readonly (readonly [anchor: string, others: readonly string[]])[];
  /** Whether the tensors are of this family; families are asked in the order of the table. */
  matches: (shapes: Shapes) => boolean;
  read: (shapes: Shapes) => Reading;
}

/** How many of the names for 0, 1, ... exist. */
function count(shapes: Shapes, name: (i: number) => string): number {
  let i = 0;
  while (shapes.has(name(i))) i++;
  return i;
}

/** By the names of torchvision's ResNets, facebookresearch/xcit and dinov2, and the reference's vision_transformer.py. */
export const FAMILIES: Readonly<Record<Family, FamilyEntry>> = {
  resnet_class_attention: {
    kind: 'a ResNet with class attention',
    hasAttention: true,
    hasPatchFeatures: true,
    takesHeads: false,
    learnsPositions: false,
    dropsPatches: true,
    parts: ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'cls_token', 'cls_attn_blocks', 'norm'],
    anchors: [['cls_attn_blocks.0.attn.qkv.weight', ['layer1.0.conv1.weight']]],
    matches: (shapes) =>
      shapes.has('cls_attn_blocks.0.attn.qkv.weight') && shapes.has('layer1.0.conv1.weight'),
    read: readClassAttentionResNet,
  },
  resnet: {
    kind: 'a ResNet',
    hasAttention: false,
    hasPatchFeatures: false,
    takesHeads: false,
    learnsPositions: false,
    parts: ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4'],
    anchors: [['layer1.0.conv1.weight', ['conv1.weight']]],
    matches: (shapes) => shapes.has('layer1.0.conv1.weight'),
    read: readResNet,
  },
  xcit: {
    kind: 'an XCiT',
    hasAttention: true,
    hasPatchFeatures: false,
    takesHeads: false,
    learnsPositions: false,
    parts: ['cls_token', 'pos_embeder', 'patch_embed', 'blocks', 'cls_attn_blocks', 'norm'],
    anchors: [['blocks.0.attn.temperature', ['patch_embed.proj.0.0.weight']]],
    matches: (shapes) => shapes.has('blocks.0.attn.temperature'),
    read: readXcit,
  },
  dinov3: {
    kind: 'a vision transformer',
    hasAttention: true,
    hasPatchFeatures: true,
    takesHeads: false,
    learnsPositions: false,
    parts: [
      ...[
        'cls_token',
        'storage_tokens',
        'mask_token',
        'rope_embed',
        'patch_embed',
        'blocks',
        'norm',
        'local_cls_norm',
      ],
    ],
    anchors: [['storage_tokens', ['patch_embed.proj.weight', 'blocks.0.attn.qkv.weight']]],
    matches: isDinoV3,
    read: readDinoV3,
  },
  convnext: {
    kind: 'a ConvNeXt',
    hasAttention: false,
    hasPatchFeatures: true,
    takesHeads: false,
    learnsPositions: false,
    aliases: { 'norms.3.weight': 'norm.weight', 'norms.3.bias': 'norm.bias' },
    parts: ['downsample_layers', 'stages', 'norm'],
    anchors: [['downsample_layers.0.0.weight', ['stages.0.0.dwconv.weight']]],
    matches: isConvNeXt,
    read: readConvNeXt,
  },
  dinov2: {
    kind: 'a vision transformer',
    hasAttention: true,
    hasPatchFeatures: true,
    takesHeads: true,
    learnsPositions: true,
    wholePatches: true,
    dropsPatches: true,
    parts: ['cls_token', 'pos_embed', 'register_tokens', 'mask_token', 'patch_embed', 'blocks', 'norm'],
    anchors: [], // a vision transformer's
    matches: (shapes) => shapes.has('blocks.0.ls1.gamma') && shapes.has('pos_embed'),
    read: readDinov2,
  },
  vit: {
    kind: 'a vision transformer',
    hasAttention: true,
    hasPatchFeatures: true,
    takesHeads: true,
    learnsPositions: true,
    dropsPatches: true,
    parts: ['cls_token', 'pos_embed', 'patch_embed', 'blocks', 'norm'],
    anchors: [
      ['blocks.0.attn.qkv.weight', ['patch_embed.proj.weight']],
      ['blocks.0.attn.qkv.weight', ['patch_embed.proj.0.weight']],
      ['patch_embed.proj.weight', ['blocks.0.attn.qkv.weight']],
    ],
    matches: () => true, // last in the table: read() then names what is missing
    read: readVit,
  },
};

function readResNet(shapes: Shapes): Reading {
  const layers = [1, 2, 3, 4].map((stage) => count(shapes, (i) => `layer${stage}.${i}.conv1.weight`));
  const convolutions = count(shapes, (i) => `layer1.0.conv${i + 1}.weight`);
  const [width = 0, channels = 3, kernel] = shapes.get('conv1.weight') ?? []; // (width, 3, 7, 7), or 3 x 3
  const block = { 2: 'basic', 3: 'bottleneck' }[convolutions] ?? 'unknown';
  const stem = kernel === 3 ? 'small' : 'large';
  const depth = layers.reduce((sum, blocks) => sum + blocks, 0);
  const sizes = { layers, block, stem, depth, embedDim: 8 * width * (block === 'bottleneck' ? 4 : 1) };
  return {
    ...{ sizes, channels },
    imgSize: null,
    described: `a ResNet of width ${width} with ${layers.join(', ')} blocks of ${convolutions} convolutions and a ${stem} stem`,
    // of another width or depth only those with a small stem can be built, with equally many blocks in each stage
    problems:
      stem === 'small' && layers.some((blocks) => blocks !== layers[0])
        ? [`a ResNet with a small stem has as many blocks in each stage, this one has ${layers.join(', ')}`]
        : [],
  };
}

function readClassAttentionResNet(shapes: Shapes): Reading {
  const layers = [1, 2, 3].map((stage) => count(shapes, (i) => `layer${stage}.${i}.conv1.weight`));
  const embedDim = shapes.get('cls_token')?.[2] ?? 0; // (1, 1, D)
  const depth = layers.reduce((sum, blocks) => sum + blocks, 0);
  return {
    sizes: { embedDim, depth, patchSize: 2 ** layers.length },
    channels: shapes.get('conv1.weight')?.[1] ?? 3,
    imgSize: null,
    described: `a ResNet with class attention of width ${embedDim} with ${layers.join(', ')} blocks`,
    problems: layers.some((blocks) => blocks !== layers[0])
      ? [`a ResNet with class attention has as many blocks in each stage, this one has ${layers.join(', ')}`]
      : [],
  };
}

function readXcit(shapes: Shapes): Reading {
  const embedDim = shapes.get('cls_token')?.[2] ?? 0; // (1, 1, D)
  const depth = count(shapes, (i) => `blocks.${i}.attn.temperature`);
  // every second entry of the sequence halves the image, the others are GELUs
  const patchSize = 2 ** count(shapes, (i) => `patch_embed.proj.${2 * i}.0.weight`);
  return {
    sizes: { embedDim, depth, patchSize },
    channels: shapes.get('patch_embed.proj.0.0.weight')?.[1] ?? 3,
    imgSize: null,
    described: `an XCiT of width ${embedDim} with ${depth} blocks and patches of ${patchSize}`,
    problems: [],
  };
}

/** Side of the images that DINOv2's releases have positions for, and of those that they are evaluated on. */
const DINOV2_POSITIONS = 518;
const DINOV2_IMAGES = 224;

function readDinov2(shapes: Shapes): Reading {
  const { sizes: read, channels, imgSize, problems, described } = readVit(shapes);
  const { stem, ...sizes } = read;
  const registers = shapes.get('register_tokens')?.[1] ?? 0; // (1, R, D)
  const isGated = shapes.has('blocks.0.mlp.w12.weight');
  return {
    sizes: { ...sizes, ffn: isGated ? 'swiglu' : 'mlp', registers },
    channels,
    imgSize: imgSize === DINOV2_POSITIONS ? DINOV2_IMAGES : imgSize,
    ...(imgSize === null ? {} : { positionsSize: imgSize }),
    described:
      `DINOv2's form of ${described}` +
      `${isGated ? ', gated perceptrons' : ''}${registers === 0 ? '' : ` and ${registers} registers`}`,
    problems: stem === 'conv' ? [...problems, 'patch_embed is a stack of convolutions'] : problems,
  };
}

function readVit(shapes: Shapes): Reading {
  const problems: string[] = [];
  const need = (name: string, rank: number): readonly number[] => {
    const shape = shapes.get(name);
    if (shape?.length === rank) return shape;
    problems.push(
      shape === undefined
        ? `${name} is missing`
        : `${name} has shape [${shape.join(', ')}], expected ${rank} numbers`,
    );
    return new Array<number>(rank).fill(0);
  };
  const [, positions = 0, embedDim = 0] = need('pos_embed', 3); // (1, 1 + N, D)
  const convolution = (i: number): string => `patch_embed.proj.${3 * i}.weight`; // norms and ReLUs between them
  const convolutions = count(shapes, convolution);
  const stem = convolutions === 0 ? 'patch' : 'conv';
  const [projected = 0, channels = 0, patchSize = 0, patchWidth = 0] =
    stem === 'patch'
      ? need('patch_embed.proj.weight', 4) // (D, 3, p, p)
      : [
          ...[need(convolution(convolutions - 1), 4)[0], need(convolution(0), 4)[1]], // the last one is 1 x 1
          ...[2 ** (convolutions - 1), 2 ** (convolutions - 1)],
        ];
  const depth = count(shapes, (i) => `blocks.${i}.attn.qkv.weight`);
  if (depth === 0) problems.push('blocks.0.attn.qkv.weight is missing');
  const side = Math.sqrt(positions - 1);
  if (problems.length === 0) {
    if (!Number.isInteger(side))
      problems.push(`pos_embed holds ${positions - 1} patches, which is not a square number`);
    if (embedDim !== projected) problems.push(`pos_embed is ${embedDim} wide, patch_embed ${projected}`);
    if (patchSize !== patchWidth) problems.push('patch_embed is not for square patches');
  }
  return {
    sizes: { embedDim, depth, patchSize, stem },
    channels,
    imgSize: side * patchSize,
    described:
      `a vision transformer of width ${embedDim} with ${depth} blocks and patches of ${patchSize}` +
      (stem === 'conv' ? ', embedded by convolutions' : ''),
    problems,
  };
}
