/**
 * DINOv2's tensors as other programs store them: in chunks of blocks, as the original's training saves them; timm's, whose
 * registers, gated perceptrons and position of the class token have other forms (models/vision_transformer.py
 * _convert_dinov2); and without the mask token, which only the original's training needs.
 */
import type { Shapes } from '../models/index.js';
import { ops, type Tensor, zeros } from '../torch/index.js';

/** Of a network's sources (names.ts). */
interface Found {
  sources: Map<string, string[]>;
  makes: Map<string, (tensors: Tensor[]) => Tensor>;
  shapes: Map<string, readonly number[]>;
}

/** The tensor by which a network with LayerScale is known. */
export const SCALE_MARK = 'blocks.0.ls1.gamma';

const RELEASED_PATCH = 14;

/** `blocks.1.4.norm1.weight`, of the second chunk, -> `blocks.4.norm1.weight`: blocks are numbered throughout. */
export const withoutChunk = (name: string): string => name.replace(/^blocks\.\d+\.(?=\d+\.)/, 'blocks.');

/** timm's names, in a file of these tensors, by the original's. */
export function ofTimm(name: string, shapes: Shapes): string {
  if (name === 'reg_token') return 'register_tokens';
  const part = /^(blocks\.\d+\.mlp\.)fc([12])(\..*)$/.exec(name);
  if (part === null) return name;
  const [, before = '', layer = '', after = ''] = part;
  const [wide = 0] = shapes.get(`${before}fc1.weight`) ?? []; // (2 F, D) with gates, else (F, D)
  const [, narrow = 0] = shapes.get(`${before}fc2.weight`) ?? []; // (D, F)
  if (wide !== 2 * narrow) return name;
  return `${before}${layer === '1' ? 'w12' : 'w3'}${after}`;
}

/** Completes what was found of a DINOv2 backbone: a class token whose position timm has added to it, a mask token. */
export function complete({ sources, makes, shapes }: Found): void {
  if (!shapes.has(SCALE_MARK)) return;
  const [, positions = 0, width = 0] = shapes.get('pos_embed') ?? []; // (1, 1 + N, D), timm's (1, N, D)
  if (positions > 1 && Number.isInteger(Math.sqrt(positions))) {
    shapes.set('pos_embed', [1, 1 + positions, width]);
    makes.set('pos_embed', ([patches]) => withClassPosition(patches as Tensor));
  }
  // other networks with LayerScale have other patches (known-others.ts)
  const isRelease = shapes.get('patch_embed.proj.weight')?.[2] === RELEASED_PATCH; // (D, 3, P, P)
  if (positions > 0 && isRelease && !shapes.has('mask_token')) {
    sources.set('mask_token', []);
    shapes.set('mask_token', [1, width]);
    makes.set('mask_token', () => zeros([1, width]));
  }
}

/** (1, N, D) to (1, 1 + N, D): a class token that has its position already needs none. */
const withClassPosition = (patches: Tensor): Tensor =>
  ops.cat([zeros([1, 1, patches.size(2)], { dtype: patches.dtype }), patches], 1);
