/**
 * Translates other libraries' names for DINOv3's networks into the original's: Hugging Face's DINOv3ViTModel and
 * DINOv3ConvNextModel (modeling_dinov3_vit.py, modeling_dinov3_convnext.py), timm's vit_*_patch16_dinov3 (eva.py) and
 * convnext_*.dinov3_* (convnext.py). Their files lack what is computed (wavelengths, masks of biases), what is always 0 (the
 * bias of the keys), and what only training uses (the mask token, the norm of local crops).
 */
import { fromTypedArray, ones, ops, type Tensor, zeros } from '../torch/index.js';

/** What is translated: as BackboneSources of names.ts. */
interface Sources {
  sources: Map<string, string[]>;
  makes: Map<string, (tensors: Tensor[]) => Tensor>;
  shapes: Map<string, readonly number[]>;
}

type Rules = readonly (readonly [RegExp, string])[];

export interface Renaming {
  layout: 'transformers' | 'timm';
  /** The original's name of a tensor; null for one that has none. */
  rename: (name: string) => string | null;
  /** Whether a tensor belongs to the network rather than to a head. */
  isPart: (name: string) => boolean;
}

const TRANSFORMERS_VIT: Rules = [
  [/^embeddings\.cls_token$/, 'cls_token'],
  [/^embeddings\.register_tokens$/, 'storage_tokens'],
  [/^embeddings\.mask_token$/, 'mask_token'],
  [/^embeddings\.patch_embeddings\.(weight|bias)$/, 'patch_embed.proj.$1'],
  [/^(?:model\.)?layer\.(\d+)\.(norm[12])\.(weight|bias)$/, 'blocks.$1.$2.$3'],
  [/^(?:model\.)?layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$/, 'blocks.$1.attn.$2.$3'],
  [/^(?:model\.)?layer\.(\d+)\.attention\.o_proj\.(weight|bias)$/, 'blocks.$1.attn.proj.$2'],
  [/^(?:model\.)?layer\.(\d+)\.layer_scale([12])\.lambda1$/, 'blocks.$1.ls$2.gamma'],
  [/^norm\.(weight|bias)$/, 'norm.$1'],
];
const TRANSFORMERS_MLP: Rules = [
  [/^(?:model\.)?layer\.(\d+)\.mlp\.up_proj\.(weight|bias)$/, 'blocks.$1.mlp.fc1.$2'],
  [/^(?:model\.)?layer\.(\d+)\.mlp\.down_proj\.(weight|bias)$/, 'blocks.$1.mlp.fc2.$2'],
];
const TRANSFORMERS_SWIGLU: Rules = [
  [/^(?:model\.)?layer\.(\d+)\.mlp\.gate_proj\.(weight|bias)$/, 'blocks.$1.mlp.w1.$2'],
  [/^(?:model\.)?layer\.(\d+)\.mlp\.up_proj\.(weight|bias)$/, 'blocks.$1.mlp.w2.$2'],
  [/^(?:model\.)?layer\.(\d+)\.mlp\.down_proj\.(weight|bias)$/, 'blocks.$1.mlp.w3.$2'],
];
const TIMM_VIT: Rules = [
  [/^(cls_token|patch_embed\.proj\.(?:weight|bias)|norm\.(?:weight|bias))$/, '$1'],
  [/^reg_token$/, 'storage_tokens'],
  [/^(blocks\.\d+)\.gamma_([12])$/, '$1.ls$2.gamma'],
  [/^(blocks\.\d+\.(?:norm[12]|attn\.proj)\.(?:weight|bias)|blocks\.\d+\.attn\.qkv\.weight)$/, '$1'],
  [/^(blocks\.\d+)\.attn\.([qv])_bias$/, '$1.attn.$2.bias'],
];
const TIMM_MLP: Rules = [[/^(blocks\.\d+\.mlp\.fc[12]\.(?:weight|bias))$/, '$1']];
const TIMM_SWIGLU: Rules = [
  [/^(blocks\.\d+)\.mlp\.fc1_g\.(weight|bias)$/, '$1.mlp.w1.$2'],
  [/^(blocks\.\d+)\.mlp\.fc1_x\.(weight|bias)$/, '$1.mlp.w2.$2'],
  [/^(blocks\.\d+)\.mlp\.fc2\.(weight|bias)$/, '$1.mlp.w3.$2'],
];
const TRANSFORMERS_CONVNEXT: Rules = [
  [/^(?:model\.)?stages\.(\d+)\.downsample_layers\.(\d+)\.(weight|bias)$/, 'downsample_layers.$1.$2.$3'],
  [/^(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.depthwise_conv\.(weight|bias)$/, 'stages.$1.$2.dwconv.$3'],
  [/^(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.layer_norm\.(weight|bias)$/, 'stages.$1.$2.norm.$3'],
  [
    /^(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.pointwise_conv([12])\.(weight|bias)$/,
    'stages.$1.$2.pwconv$3.$4',
  ],
  [/^(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.gamma$/, 'stages.$1.$2.gamma'],
  [/^layer_norm\.(weight|bias)$/, 'norm.$1'],
];
const TIMM_CONVNEXT: Rules = [
  [/^stem\.([01])\.(weight|bias)$/, 'downsample_layers.0.$1.$2'],
  [/^stages\.(\d+)\.downsample\.([01])\.(weight|bias)$/, 'downsample_layers.$1.$2.$3'],
  [/^stages\.(\d+)\.blocks\.(\d+)\.conv_dw\.(weight|bias)$/, 'stages.$1.$2.dwconv.$3'],
  [/^stages\.(\d+)\.blocks\.(\d+)\.norm\.(weight|bias)$/, 'stages.$1.$2.norm.$3'],
  [/^stages\.(\d+)\.blocks\.(\d+)\.mlp\.fc([12])\.(weight|bias)$/, 'stages.$1.$2.pwconv$3.$4'],
  [/^stages\.(\d+)\.blocks\.(\d+)\.gamma$/, 'stages.$1.$2.gamma'],
  [/^head\.norm\.(weight|bias)$/, 'norm.$1'],
];

/** Tensors by which a network is found in a file, each with others that a complete one must have. */
export const DINOV3_ANCHORS: readonly (readonly [anchor: string, others: readonly string[]])[] = [
  ['stem.0.weight', ['stages.0.blocks.0.conv_dw.weight', 'head.norm.weight']],
  ['stages.0.downsample_layers.0.weight', ['layer_norm.weight']],
  // in-memory names since transformers 5: the last norm is outside of `model`
  ['model.stages.0.downsample_layers.0.weight', ['layer_norm.weight']],
];

/** The first component of these libraries' names. */
const PARTS =
  /^(?:embeddings|model|layer|norm|layer_norm|stages|stem|blocks|cls_token|reg_token|patch_embed|head\.norm)(?:\.|$)/;

/** How a network's names are translated; null for the original's, and for other networks. */
export function dinoV3Renaming(names: ReadonlySet<string>): Renaming | null {
  const by = (layout: Renaming['layout'], ...rules: Rules[]): Renaming => ({
    layout,
    isPart: (name) => PARTS.test(name),
    rename: (name) => {
      const rule = rules.flat().find(([pattern]) => pattern.test(name));
      return rule === undefined ? null : name.replace(...rule);
    },
  });
  const has = (...all: string[]): boolean => all.every((name) => names.has(name));
  const hasBelow = (block: string, name: string): boolean =>
    has(`${block}${name}`) || has(`model.${block}${name}`);
  if (
    has('embeddings.patch_embeddings.weight', 'embeddings.register_tokens') &&
    hasBelow('layer.0.', 'norm1.weight')
  )
    return by(
      'transformers',
      TRANSFORMERS_VIT,
      hasBelow('layer.0.', 'mlp.gate_proj.weight') ? TRANSFORMERS_SWIGLU : TRANSFORMERS_MLP,
    );
  if (has('reg_token', 'blocks.0.gamma_1') && !has('pos_embed'))
    return by('timm', TIMM_VIT, has('blocks.0.mlp.fc1_g.weight') ? TIMM_SWIGLU : TIMM_MLP);
  if (hasBelow('stages.0.', 'downsample_layers.0.weight') && hasBelow('stages.0.', 'layers.0.gamma'))
    return by('transformers', TRANSFORMERS_CONVNEXT);
  if (has('stem.0.weight', 'stages.0.blocks.0.conv_dw.weight', 'stages.0.blocks.0.gamma'))
    return by('timm', TIMM_CONVNEXT);
  return null;
}

/** ViT-7B's width: the only one whose queries and values have no bias, and whose heads are wider than 64. */
const WIDTH_OF_7B = 4096;

/**
 * Adds what files of other libraries lack.
 * @param found - By the original's names, but queries, keys and values apart.
 * @param heads - If known.
 */
export function completeDinoV3(found: Sources, heads: number | null): void {
  const [, , dim = 0] = found.shapes.get('storage_tokens') ?? []; // (1, 4, D)
  if (dim === 0) return; // a ConvNeXt
  const put = (
    name: string,
    shape: readonly number[],
    make: (tensors: Tensor[]) => Tensor,
    from: string[] = [],
  ): void => {
    found.sources.set(name, from);
    found.makes.set(name, make);
    found.shapes.set(name, shape);
  };
  const is7B = dim === WIDTH_OF_7B;
  const quarter = Math.floor(dim / (heads ?? (is7B ? 32 : Math.max(1, Math.round(dim / 64)))) / 4);
  const periods = Float32Array.from({ length: quarter }, (_, i) => 100 ** (i / quarter));
  put('rope_embed.periods', [quarter], () => fromTypedArray(periods, [quarter]));
  const token = found.sources.get('mask_token');
  put('mask_token', [1, dim], ([given]) => given?.reshape([1, dim]) ?? zeros([1, dim]), token);
  for (let i = 0; found.shapes.has(`blocks.${i}.norm1.weight`); i++) {
    const name = `blocks.${i}.attn`;
    const parts = ['q', 'v'].map((part) => found.sources.get(`${name}.${part}.bias`) ?? []);
    if (parts[0]?.length !== parts[1]?.length) continue; // one of two: named as what does not fit
    for (const part of ['q', 'v']) {
      found.sources.delete(`${name}.${part}.bias`);
      found.shapes.delete(`${name}.${part}.bias`);
    }
    if (is7B && parts.flat().length === 0) continue;
    put(
      `${name}.qkv.bias`,
      [3 * dim],
      ([q, v]) =>
        ops.cat([q ?? zeros([dim]), zeros([dim]), v ?? zeros([dim])].map((part) => part.to('float32'))),
      parts.flat(),
    );
    put(`${name}.qkv.bias_mask`, [3 * dim], () => ops.cat([ones([dim]), zeros([dim]), ones([dim])]));
  }
  if (is7B) completeLocalNorm(found);
}

/** Adds the norm of local crops, which only training uses: other libraries leave it out. It is that of global crops. */
export function completeLocalNorm({ sources, makes, shapes }: Sources): void {
  for (const kind of ['weight', 'bias']) {
    const [name, norm] = [`local_cls_norm.${kind}`, `norm.${kind}`];
    if (sources.has(name) || !sources.has(norm)) continue;
    sources.set(name, sources.get(norm) ?? []);
    makes.set(name, ([tensor]) => (tensor as Tensor).clone());
    shapes.set(name, shapes.get(norm) ?? []);
  }
}
