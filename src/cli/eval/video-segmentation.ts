/** `dino eval video-segmentation`: see src/eval/video-segmentation.ts. */
import { z } from 'zod';
import type { VideoSegmentationResult } from '../../eval/video-segmentation.js';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { pick, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { modelOptions, openModel, weightsArgument } from '../weights/options.js';
import { keepResult } from './options.js';

const percent = (value: number): string => (100 * value).toFixed(1).padStart(6);

function table({ sequences, scores }: VideoSegmentationResult): string[] {
  if (scores === null) return ['no annotations to measure J and F with'];
  const rows = sequences.flatMap(({ name, objects }) =>
    (objects ?? []).map(
      ({ label, J, F }) => `${`${name} ${label}`.padEnd(28)}${percent(J.mean)}${percent(F.mean)}`,
    ),
  );
  return [
    `${'video, object'.padEnd(28)}     J     F`,
    ...rows,
    `${'mean'.padEnd(28)}${percent(scores.J.mean)}${percent(scores.F.mean)}`,
    `J&F ${percent(scores.JF).trim()}   J recall ${percent(scores.J.recall).trim()}, decay ` +
      `${percent(scores.J.decay).trim()}   F recall ${percent(scores.F.recall).trim()}, decay ` +
      percent(scores.F.decay).trim(),
  ];
}

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    data: z.string().meta({
      description: 'DAVIS: JPEGImages/480p and Annotations/480p, with a folder for each video',
      placeholder: '<folder>',
      aliases: ['--data-path', '--davis-path'],
      missing: 'a folder with DAVIS',
    }),
    output: z.string().meta({
      description: 'where the masks go, a folder for each video',
      placeholder: '<folder>',
      short: '-o',
      aliases: ['--output-dir'],
      missing: 'a folder for the masks',
    }),
    sequences: z
      .string()
      .transform((names) => names.split(',').map((name) => name.trim()))
      .optional()
      .meta({
        description: 'videos (default: those of ImageSets/2017/val.txt, or all if there is no such file)',
        placeholder: '<name,name>',
      }),
    nLastFrames: whole(0).default(7).describe('earlier frames that labels are taken from, besides the first'),
    sizeMaskNeighborhood: whole(0)
      .default(12)
      .describe('patches farther away than this are ignored; 0 for no limit'),
    topk: whole(1).default(5).describe('how many of the most similar patches give their labels'),
    size: whole(1, 8192)
      .optional()
      .describe('shorter side of the frames, pixels (default: 480, or near it in whole patches)'),
    measure: z.boolean().default(true).describe('only write the masks, without J and F'),
    ...modelOptions,
  },
  examples: ['dino eval video-segmentation runs/first --data DAVIS --output masks'],

  async run({ args, options, io }) {
    const { data, output } = options;
    const numbers = pick(options, 'nLastFrames', 'sizeMaskNeighborhood', 'topk', 'size');
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const { evaluateVideoSegmentation } = await import('../../eval/video-segmentation.js');
        const model = await openModel(args.weights, options, io);
        const count = counter(io);
        const result = await evaluateVideoSegmentation(model, {
          ...numbers,
          ...pick(options, 'data', 'output', 'measure', 'sequences'),
          signal,
          onProgress: ({ sequence, done, total }) => count(sequence, done, total),
          onWarning: (message) => io.warn(message),
        });
        await keepResult(io, model, 'video-segmentation', { data, ...numbers, ...result });
        io.result(result, [...table(result), `masks in ${output}`].join('\n'));
      },
    );
  },
});
