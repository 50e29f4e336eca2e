/** `dino info`: what a run folder, a checkpoint or a weights file holds. */
import { defineCommand } from '../command.js';
import { weightsArgument, weightsOptions, whichNetwork } from './options.js';

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: weightsOptions,
  examples: ['dino info runs/first', 'dino info model.safetensors --json'],

  async run({ args, options, io }) {
    const { describeWeights } = await import('../../weights/describe.js');
    const { formatDescription } = await import('./describe.js');
    const description = describeWeights(args.weights, whichNetwork(options));
    io.result(description, formatDescription(description));
    for (const warning of description.warnings) io.warn(warning);
  },
});
