/**
 * Models that resemble the supported ones but are not: recognized by their tensors, so that an error names them instead of
 * listing what is missing.
 */
import { FAMILIES, type Shapes } from '../models/index.js';

const VIT_SIZES = new Map<number, string>([
  [192, 'Ti'],
  [384, 'S'],
  [768, 'B'],
  [1024, 'L'],
  [1280, 'H+'],
  [1408, 'g'],
  [1536, 'g'],
  [4096, '7B'],
]);
const CONVNEXT_SIZES = new Map<string, string>([
  ['96,9', 'T'],
  ['96,27', 'S'],
  ['128,27', 'B'],
  ['192,27', 'L'],
]);

/** The first of these that exists. */
const shapeOf = (shapes: Shapes, ...names: readonly string[]): readonly number[] | undefined =>
  names.map((name) => shapes.get(name)).find((shape) => shape !== undefined);

/**
 * @param shapes - By the network's own names, without its prefix.
 * @returns `DINOv2 ViT-S/14 with registers`, ...; null when it is unknown.
 */
export function otherModel(shapes: Shapes): string | null {
  if (FAMILIES.dinov3.matches(shapes) || FAMILIES.convnext.matches(shapes)) return null;
  const has = (pattern: RegExp): boolean => [...shapes.keys()].some((name) => pattern.test(name));
  const patches = shapeOf(
    shapes,
    'patch_embed.proj.weight',
    'embeddings.patch_embeddings.projection.weight',
    'embeddings.patch_embeddings.weight',
  ); // (D, 3, p, p)
  if (patches?.length === 4) {
    const [width = 0, , patch = 0] = patches;
    const size = `ViT-${VIT_SIZES.get(width) ?? `of width ${width}`}/${patch}`;
    const registers = has(/^(embeddings\.)?(reg(ister)?_tokens?|storage_tokens)$/) ? ' with registers' : '';
    const positions = shapeOf(shapes, 'pos_embed', 'embeddings.position_embeddings');
    const isScaled = has(/\.(ls1\.gamma|gamma_1|layer_scale1\.lambda1)$/);
    if (has(/^layers\.0\.blocks\.0\.attn\.relative_position/)) return 'Swin';
    if (has(/(^|\.)rel(ative)?_pos(ition)?_/)) return 'BEiT, or another with relative positions';
    if (has(/^dist_token$/)) return 'a distilled DeiT, which has two class tokens';
    const isRotary = has(/storage_tokens|rope/);
    if (isRotary || (isScaled && positions === undefined && registers !== '')) return `DINOv3 ${size}`;
    // the only other with this name, DeiT III, has no mask token and patches of 16 pixels
    const isDinov2 = positions !== undefined && (patch === 14 || has(/(^|\.)mask_token$/));
    if (has(/\.(ls1\.gamma|layer_scale1\.lambda1)$/))
      return isDinov2 ? null : `a vision transformer with LayerScale, ${size}${registers}, such as DeiT III`;
    if (registers !== '') return `a vision transformer, ${size},${registers}`;
  }
  const stem = shapeOf(
    shapes,
    'downsample_layers.0.0.weight',
    'stem.0.weight',
    'stages.0.downsample_layers.0.weight',
  );
  if (stem !== undefined && has(/^stages\.0\./)) {
    let blocks = 0;
    while (has(new RegExp(`^stages\\.2\\.(?:blocks\\.|layers\\.)?${blocks}\\.`))) blocks++;
    const size = CONVNEXT_SIZES.get(`${stem[0]},${blocks}`);
    return `a ConvNeXt${size === undefined ? '' : `-${size}`} with unknown names`;
  }
  if (has(/^encoder\.layers\.encoder_layer_0\./)) return "torchvision's vision transformer";
  if (has(/(^|\.)transformer\.resblocks\.0\./)) return 'CLIP';
  if (has(/(^|\.)vision_model\.(embeddings|encoder)\./)) return "Hugging Face's CLIP or SigLIP";
  return null;
}
