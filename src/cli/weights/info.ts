/** `dino info`: what a run folder, a checkpoint or a weights file holds. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { weightsArgument, weightsOptions, whichNetwork } from './options.js';

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    ...weightsOptions,
    card: z
      .boolean()
      .default(false)
      .describe("print a model card in Hugging Face's format, to be saved as README.md"),
  },
  examples: [
    'dino info runs/first',
    'dino info model.safetensors --json',
    'dino info runs/first --card > README.md',
  ],

  async run({ args, options, io }) {
    if (options.card) {
      const { modelCard } = await import('../../export/model-card.js');
      const card = modelCard(args.weights, whichNetwork(options));
      io.result({ card }, card);
      return;
    }
    const { describeWeights } = await import('../../weights/describe.js');
    const { formatDescription } = await import('./describe.js');
    const description = describeWeights(args.weights, whichNetwork(options));
    io.result(description, formatDescription(description));
    for (const warning of description.warnings) io.warn(warning);
  },
});
