/**
 * Learning rates by layer, for weights that are trained already: the nearer a layer is to the images, the less it has to change
 * (layer-wise decay of Clark et al. 2020 and Bao et al. 2022; facebookresearch/dinov2 utils/param_groups.py
 * get_vit_lr_decay_rate).
 */

export interface LayerRates {
  /** Factor from each layer to the one below it, above 0; 1 for the same rate everywhere. */
  layerwiseDecay: number;
  /** Another factor for the patch embedding, or the stem of a convolutional network; 0 holds it. */
  patchEmbedLrMult: number;
}

const BACKBONE = 'backbone.';
export const isOfBackbone = (name: string): boolean => name.startsWith(BACKBONE);

/** Numbered parts of a backbone, of which each is a layer: `blocks.3`, `blocks.0.3`, `layer2.1`, `stages.2.5`. */
const LAYER = /^(?:(?:cls_attn_)?blocks(?:\.\d+)?|layer\d+|stages\.\d+)\.\d+(?=\.)/;
const PATCHES = /^(?:patch_embed|conv1|bn1|downsample_layers\.0|embeddings\.patch)/;
/** What stands before the layers, wherever a module lists it. */
const EMBEDDING =
  /^(?:patch_embed|pos_embed|cls_token|mask_token|register_tokens|storage_tokens|conv1|bn1|downsample_layers)/;

/**
 * The factor of each parameter's learning rate. Embeddings are layer 0, the head and what follows the last block have the
 * full rate.
 * @param names - A student's parameters in the order of its modules: `backbone.blocks.0.norm1.weight`, `head.mlp.0.weight`.
 */
export function layerRates(
  names: Iterable<string>,
  { layerwiseDecay, patchEmbedLrMult }: LayerRates,
): Map<string, number> {
  const layers = new Map<string, number>();
  const layerOf = new Map<string, number | null>();
  for (const name of names) {
    const own = isOfBackbone(name) ? name.slice(BACKBONE.length) : null;
    const layer = own === null ? null : (LAYER.exec(own)?.[0] ?? null);
    if (layer !== null && !layers.has(layer)) layers.set(layer, layers.size + 1);
    const isEmbedding = own !== null && EMBEDDING.test(own);
    layerOf.set(name, layer !== null ? layers.get(layer)! : isEmbedding ? 0 : null);
  }
  const top = layers.size + 1;
  return new Map(
    [...layerOf].map(([name, layer]) => {
      const ofPatches = PATCHES.test(name.slice(BACKBONE.length)) && isOfBackbone(name);
      return [name, layerwiseDecay ** (top - (layer ?? top)) * (ofPatches ? patchEmbedLrMult : 1)];
    }),
  );
}

/**
 * The share of its learning rate that the backbone has at an epoch: none while only the head is trained, then a linear rise.
 * @returns 0 to 1.
 */
export function backboneShare(epoch: number, frozenEpochs: number, warmupEpochs: number): number {
  if (epoch < frozenEpochs) return 0;
  return warmupEpochs === 0 ? 1 : Math.min(1, (epoch - frozenEpochs) / warmupEpochs);
}
