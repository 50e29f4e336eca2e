/** What the commands on weights share: which network of a file, on which device, and how the model is loaded. */
import { z } from 'zod';
import type { Model } from '../../model.js';
import type { World } from '../../processes/world.js';
import { NORMALIZATIONS } from '../../models/dinov3-architectures.js';
import type { ModelOrigin } from '../../weights/loaded-model.js';
import { type Parsed, pick, whole } from '../flags.js';
import type { Output } from '../output.js';

export const weightsArgument = z
  .string()
  .describe('run folder, checkpoint folder, .safetensors or .pth file, or a folder from Hugging Face');

/** What says which network a file of weights is read as. */
export const weightsOptions = {
  checkpointKey: z.string().optional().meta({
    description:
      "teacher, student, or a part of the tensors' names such as momentum_encoder (default: teacher, or the only one)",
    placeholder: '<name>',
  }),
  numHeads: whole(1, 65536)
    .optional()
    .describe('attention heads, for a file that does not say (a run knows its own)'),
  normalization: z.enum(NORMALIZATIONS).optional().meta({
    description:
      'how images are normalized, for a DINOv3 file that does not say: imagenet (web images, the default) or sat493m (satellite images)',
    placeholder: '<name>',
  }),
};
export type WeightsOptions = Parsed<typeof weightsOptions>;

export const deviceOption = {
  device: z.string().default('auto').meta({ description: 'auto, cpu, cuda:0 or mps', placeholder: '<name>' }),
};

export const modelOptions = { ...weightsOptions, ...deviceOption };
export type ModelOptions = Parsed<typeof modelOptions>;

/** The options of weightsOptions, out of all that a command has. */
export const whichNetwork = (options: WeightsOptions): WeightsOptions =>
  pick(options, 'checkpointKey', 'numHeads', 'normalization');

/** Prints what the weights leave open, once a command. */
export function printOrigin(io: Output, { notes, warnings }: Pick<ModelOrigin, 'notes' | 'warnings'>): void {
  for (const note of notes) io.note(note);
  for (const warning of warnings) io.warn(warning);
}

/** Loads the model that a command works with; each of several processes loads it on a CUDA device of its own. */
export async function openModel(
  weights: string,
  options: ModelOptions,
  io: Output,
  world?: World,
): Promise<Model> {
  const { loadModel } = await import('../../model.js');
  let { device } = options;
  if (world !== undefined && world.size > 1 && /^(auto|cuda)$/.test(device)) {
    const { cudaDeviceCount, cudaDeviceOf } = await import('../../torch/index.js');
    if (cudaDeviceCount() > 0) device = cudaDeviceOf(world.localRank);
  }
  const model = loadModel(weights, { ...whichNetwork(options), device });
  printOrigin(io, model.origin);
  const { arch, embedDim, patchSize } = model.architecture;
  io.note(`${model.file}: ${arch}, width ${embedDim}, patch ${patchSize}, on ${model.device}`);
  return model;
}
