/** `dino video`: attention over a video; see src/explain/video.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { decimal, imageSize, maxPatches, pick, share, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { modelOptions, openModel, weightsArgument } from '../weights/options.js';

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    frames: z
      .array(z.string())
      .min(1)
      .describe("a video, a folder of pictures, a pattern as 'frames/*.jpg', or pictures"),
  },
  options: {
    output: z.string().meta({
      description: 'the video to write, .mp4 or .webm',
      placeholder: '<file>',
      short: '-o',
      aliases: ['--output-path', '--output-dir'],
      missing: 'a video to write, .mp4 or .webm',
    }),
    show: z.enum(['map', 'overlay', 'mask', 'beside']).default('map').meta({
      description: 'the map, the map over the frame, a mask, or frame and map side by side',
      placeholder: '<what>',
    }),
    threshold: share().optional().meta({
      description: 'show only the patches that hold this share of the attention, as 0.6',
      placeholder: '<share>',
    }),
    head: whole(0).optional().describe('one head, counted from 0 (default: the mean of all)'),
    fps: decimal(0.01, 1000)
      .optional()
      .describe("frames a second (default: the video's own, 30 for pictures)"),
    colours: z
      .enum(['inferno', 'viridis'])
      .default('inferno')
      .meta({
        description: 'colours of the map',
        placeholder: '<map>',
        aliases: ['--colors'],
      }),
    imageSize: imageSize()
      .optional()
      .meta({
        description:
          'shorter side, or height,width, pixels (default: the frames as they are, at most 4,096 patches)',
        aliases: ['--resize'],
      }),
    maxPatches: maxPatches(),
    ...modelOptions,
  },
  examples: ['dino video runs/first dog.mp4 --output attention.mp4 --show overlay'],

  async run({ args, options, io }) {
    const settings = pick(
      options,
      'output',
      'show',
      'colours',
      'threshold',
      'head',
      'fps',
      'imageSize',
      'maxPatches',
    );
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const { writeAttentionVideo } = await import('../../explain/video.js');
        const model = await openModel(args.weights, options, io);
        const count = counter(io);
        const result = await writeAttentionVideo(model, args.frames, {
          ...settings,
          signal,
          onProgress: ({ done, total }) => count('frames', done, total ?? done),
          onWarning: (message) => io.warn(message),
        });
        const { frames, width, height, rows, columns } = result;
        io.result(
          result,
          `${options.output}: ${frames} frames of ${width} x ${height}, ${Number(result.fps.toFixed(2))} a second, ` +
            `${rows} x ${columns} patches`,
        );
      },
    );
  },
});
