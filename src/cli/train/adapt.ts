/** `dino adapt`: `dino train --init` for weights that are good already, which are kept unless training makes them better. */
import { z } from 'zod';
import { defineCommand, type Given } from '../command.js';
import { inProcesses } from './processes.js';
import { readTrainLine, trainIn, trainOptions } from './train.js';

const adaptArguments = {
  weights: z.string().describe('trained weights: a file, a folder of Hugging Face, or a run'),
  images: z
    .string()
    .describe('folder of images (class folders, nested or flat), text file of paths, or shards'),
};

/** A run that was begun goes on with `dino train --resume`; the weights are the argument. */
const NOT_HERE = ['resume', 'init', 'resumeFrom', 'preset', 'config'] as const;
const adaptOptions = Object.fromEntries(
  Object.entries(trainOptions).filter(([name]) => !(NOT_HERE as readonly string[]).includes(name)),
) as Omit<typeof trainOptions, (typeof NOT_HERE)[number]>;

type AdaptGiven = Pick<Given<typeof adaptArguments, typeof adaptOptions>, 'args' | 'options'>;

const lineOf = ({ args, options }: AdaptGiven) =>
  readTrainLine({
    args: { images: args.images ?? '' }, // one that is missing is named already
    options: { ...options, ...(args.weights === undefined ? {} : { init: args.weights }) },
  });

export const command = defineCommand({
  args: adaptArguments,
  options: adaptOptions,
  examples: [
    'dino adapt dinov2_vits14_pretrain.pth photos --output runs/mine --for 1h',
    'dino adapt runs/first other-photos --output runs/second',
    'dino adapt weights.pth photos --knn-train labelled/train --knn-val labelled/val --knn-every 5',
  ],
  rules: (given) => lineOf(given).problems,

  async run(call) {
    const { line } = lineOf(call);
    await inProcesses(call, (world, io) => trainIn(world, line, call.options.studio, io));
  },
});
