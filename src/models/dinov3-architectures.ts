/** DINOv3's entries of the table of architectures (architectures.ts), and how its networks are read off their tensors. */
/** Shapes of a network's tensors by their names. */
type Shapes = ReadonlyMap<string, readonly number[]>;

/** Vision transformers with rotary positions (facebookresearch/dinov3: hub/backbones.py); dinov3.ts builds them. */
export interface DinoV3Entry {
  family: 'dinov3';
  embedDim: number | null;
  depth: number | null;
  numHeads: number | null;
  patchSize: number | null;
  /** The two layers of a perceptron, or SwiGLU's three. */
  ffn: 'mlp' | 'swiglu';
  /** Width of the perceptron; null: four times the width. */
  hiddenDim: number | null;
  /** Whether queries and values have a bias. */
  qkvBias: boolean;
  /** Whether local crops have a norm of their own in training. */
  localNorm: boolean;
  /** What it was trained on, and hence how images are normalized; null for none of the two. */
  dataset: 'lvd1689m' | 'sat493m' | null;
}

/** ConvNeXts (models/convnext.py); convnext.ts builds them. */
export interface ConvNeXtEntry {
  family: 'convnext';
  embedDim: number | null;
  depth: number | null;
  numHeads: 0;
  patchSize: 32;
  /** Blocks in each stage; null: a sixth of the depth, and half of it in the third. */
  layers: readonly [number, number, number, number] | null;
  /** Whether the stages have blocks in the proportions of ConvNeXt-T, 1 : 1 : 3 : 1. */
  isEven: boolean;
}

/** How images are normalized: as for the web images that most networks were trained on (ImageNet's), or for satellite images. */
export const NORMALIZATIONS = ['imagenet', 'sat493m'] as const;
export type NormalizationName = (typeof NORMALIZATIONS)[number];

/** Whether a name is that of a network for satellite images. */
export const isOfSatellites = (arch: string): boolean => arch.endsWith('_sat493m');

const COMMON = {
  family: 'dinov3',
  ffn: 'mlp',
  qkvBias: true,
  localNorm: false,
  dataset: 'lvd1689m',
} as const;
const sized = (embedDim: number, depth: number, numHeads: number, hiddenDim: number) => ({
  ...{ ...COMMON, patchSize: 16, embedDim, depth, numHeads, hiddenDim },
});
const LARGE = sized(1024, 24, 16, 4096);
const GIANT = { ...sized(4096, 40, 32, 8192), ffn: 'swiglu', qkvBias: false, localNorm: true } as const;

function convNeXt(width: number, third: 9 | 27): ConvNeXtEntry {
  const layers = [3, 3, third, 3] as const;
  const sizes = { embedDim: 8 * width, depth: 9 + third, numHeads: 0, patchSize: 32 } as const;
  return { family: 'convnext', ...sizes, layers, isEven: third === 9 };
}

/**
 * By the hub's names; `_sat493m` are those of satellite images. The perceptron's width is what the original computes from its
 * ratio: two thirds of it with SwiGLU, rounded up to a multiple of 8 (7B: 64).
 */
export const DINOV3_ARCHITECTURES = {
  dinov3_vits16: sized(384, 12, 6, 1536),
  dinov3_vits16plus: { ...sized(384, 12, 6, 1536), ffn: 'swiglu' },
  dinov3_vitb16: sized(768, 12, 12, 3072),
  dinov3_vitl16: LARGE,
  dinov3_vitl16plus: { ...LARGE, ffn: 'swiglu' },
  dinov3_vith16plus: { ...sized(1280, 32, 20, 5120), ffn: 'swiglu' },
  dinov3_vit7b16: GIANT,
  dinov3_vitl16_sat493m: { ...LARGE, localNorm: true, dataset: 'sat493m' },
  dinov3_vit7b16_sat493m: { ...GIANT, dataset: 'sat493m' },
  dinov3_vit: {
    ...{ ...COMMON, dataset: null, hiddenDim: null },
    ...{ embedDim: null, depth: null, numHeads: null, patchSize: null },
  },
  dinov3_vit_swiglu: {
    ...{ ...COMMON, ffn: 'swiglu', dataset: null, hiddenDim: null },
    ...{ embedDim: null, depth: null, numHeads: null, patchSize: null },
  },
  dinov3_convnext_tiny: convNeXt(96, 9),
  dinov3_convnext_small: convNeXt(96, 27),
  dinov3_convnext_base: convNeXt(128, 27),
  dinov3_convnext_large: convNeXt(192, 27),
  dinov3_convnext: {
    ...{ family: 'convnext', layers: null, isEven: true },
    ...{ embedDim: null, depth: null, numHeads: 0, patchSize: 32 },
  },
} as const satisfies Record<string, DinoV3Entry | ConvNeXtEntry>;

/** How many of the names for 0, 1, ... exist. */
function count(shapes: Shapes, name: (i: number) => string): number {
  let i = 0;
  while (shapes.has(name(i))) i++;
  return i;
}

/** With the original's names. */
export const isDinoV3 = (shapes: Shapes): boolean =>
  shapes.has('storage_tokens') && shapes.has('blocks.0.attn.qkv.weight');

/** What the Reading of architectures.ts is made of. */
export function readDinoV3(shapes: Shapes) {
  const [projected = 0, channels = 0, patchSize = 0, patchWidth = 0] =
    shapes.get('patch_embed.proj.weight') ?? []; // (D, 3, p, p)
  const [, , embedDim = 0] = shapes.get('storage_tokens') ?? []; // (1, 4, D)
  const [quarter = 0] = shapes.get('rope_embed.periods') ?? []; // (D / heads / 4)
  const depth = count(shapes, (i) => `blocks.${i}.attn.qkv.weight`);
  const isGated = shapes.has('blocks.0.mlp.w1.weight');
  const [hiddenDim = 0] = shapes.get(`blocks.0.mlp.${isGated ? 'w1' : 'fc1'}.weight`) ?? [];
  const problems: string[] = [];
  if (projected !== embedDim) problems.push(`storage_tokens is ${embedDim} wide, patch_embed ${projected}`);
  if (patchSize !== patchWidth) problems.push('patch_embed is not for square patches');
  if (quarter === 0) problems.push('rope_embed.periods is missing');
  const numHeads = Math.round(embedDim / (4 * Math.max(1, quarter)));
  return {
    sizes: {
      ...{ embedDim, depth, numHeads, patchSize, hiddenDim, ffn: isGated ? 'swiglu' : 'mlp' },
      qkvBias: shapes.has('blocks.0.attn.qkv.bias'),
      localNorm: shapes.has('local_cls_norm.weight'),
    },
    channels,
    imgSize: null,
    described:
      `a DINOv3 vision transformer of width ${embedDim} with ${depth} blocks, ${numHeads} heads, patches of ${patchSize} and ` +
      `a ${isGated ? 'SwiGLU' : 'perceptron'} of width ${hiddenDim}`,
    problems,
  };
}

export const isConvNeXt = (shapes: Shapes): boolean => shapes.has('downsample_layers.0.0.weight');

/** The same. */
export function readConvNeXt(shapes: Shapes) {
  const [width = 0, channels = 3] = shapes.get('downsample_layers.0.0.weight') ?? []; // (width, 3, 4, 4)
  const layers = [0, 1, 2, 3].map((stage) => count(shapes, (i) => `stages.${stage}.${i}.dwconv.weight`));
  const [first = 0] = layers;
  return {
    sizes: {
      ...{ embedDim: 8 * width, depth: layers.reduce((sum, blocks) => sum + blocks, 0), layers },
      isEven: first > 0 && layers.join() === [first, first, 3 * first, first].join(),
    },
    channels,
    imgSize: null,
    described: `a ConvNeXt of width ${width} with ${layers.join(', ')} blocks`,
    problems: [],
  };
}
