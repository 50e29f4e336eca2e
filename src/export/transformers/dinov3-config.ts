/** config.json of DINOv3's networks, as transformers' DINOv3ViTConfig and DINOv3ConvNextConfig have it. */
import type { ArchitectureEntry } from '../../models/index.js';
import { DINOV3_LAYER_NORM_EPS, DINOV3_STORAGE_TOKENS } from '../../models/dinov3.js';
import type { Architecture } from '../../weights/architecture.js';

/** @param crop - Side of the images that the model sees, pixels. */
export function dinoV3Config(
  entry: Extract<ArchitectureEntry, { family: 'dinov3' | 'convnext' }>,
  { embedDim, depth, numHeads, patchSize }: Architecture,
  crop: number,
): Record<string, unknown> {
  if (entry.family === 'convnext') {
    const part = depth / 6;
    return {
      model_type: 'dinov3_convnext',
      architectures: ['DINOv3ConvNextModel'],
      depths: entry.layers ?? [part, part, 3 * part, part],
      hidden_sizes: [embedDim / 8, embedDim / 4, embedDim / 2, embedDim],
      hidden_act: 'gelu',
      layer_norm_eps: 1e-6,
      image_size: crop,
      num_channels: 3,
    };
  }
  const isGated = entry.ffn === 'swiglu';
  return {
    model_type: 'dinov3_vit',
    architectures: ['DINOv3ViTModel'],
    hidden_size: embedDim,
    num_hidden_layers: depth,
    num_attention_heads: numHeads,
    intermediate_size: entry.hiddenDim ?? 4 * embedDim,
    hidden_act: isGated ? 'silu' : 'gelu',
    use_gated_mlp: isGated,
    layer_norm_eps: DINOV3_LAYER_NORM_EPS,
    num_register_tokens: DINOV3_STORAGE_TOKENS,
    rope_theta: 100,
    query_bias: entry.qkvBias,
    key_bias: false,
    value_bias: entry.qkvBias,
    proj_bias: true,
    mlp_bias: true,
    image_size: crop,
    patch_size: patchSize,
    num_channels: 3,
  };
}
