/**
 * The first layer of a network that was trained on RGB, for images of other channels: the weights of red, green and blue are
 * repeated in turn and scaled by 3 / channels, so that its response keeps its magnitude; those of a single channel are their
 * sum, which leaves gray images as they were. Source: timm's adapt_input_conv() (timm/models/_manipulate.py), which
 * lightly-train uses for its models too.
 */
import { ops, scope, type Tensor } from '../torch/index.js';

/** Names of the tensors that take the images' channels, of all families. */
const FIRST = new Set([
  'patch_embed.proj.weight',
  'patch_embed.proj.0.weight',
  'patch_embed.proj.0.0.weight',
  'conv1.weight',
  'downsample_layers.0.0.weight',
]);

/** Whether a tensor of a backbone has the images' channels as its second dimension. */
export const takesChannels = (name: string): boolean => FIRST.has(name);

/** (D, 3, k, k) to (D, channels, k, k) in float32. */
export function expandChannels(weight: Tensor, channels: number): Tensor {
  return scope(() => {
    const rgb = weight.to('float32');
    if (channels === 1) return rgb.sum([1], true);
    const parts = Array.from({ length: channels }, (_, i) => rgb.narrow(1, i % 3, 1));
    return ops.cat(parts, 1).mul(3 / channels);
  });
}
