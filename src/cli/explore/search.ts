/** `dino search`: images like others; see src/explore/search.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { pick, whole } from '../flags.js';
import { deviceOption } from '../weights/options.js';
import {
  exactly,
  exactOption,
  indexArgument,
  onIndex,
  putResults,
  resultOptions,
  resultProblems,
  shown,
} from './options.js';

const REGION = 'expected x,y,width,height, as in --region 120,80,64,64';

export const command = defineCommand({
  args: {
    index: indexArgument,
    image: z.array(z.string()).min(1).describe('images to look for; several are averaged'),
  },
  options: {
    minus: z.array(z.string()).default([]).meta({
      description: 'an image that the found ones should be unlike; may be given again',
      placeholder: '<image>',
      repeated: true,
    }),
    top: whole(1, 1_000_000).default(20).describe('how many to find'),
    weights: z
      .string()
      .optional()
      .meta({ description: "the index's weights, when they were moved", placeholder: '<file>' }),
    ...deviceOption,
    region: z
      .array(z.number({ error: REGION }).min(0, REGION))
      .length(4, REGION)
      .transform((sides) => sides as [x: number, y: number, width: number, height: number])
      .optional()
      .meta({
        description: 'look for this part of the image: pixels, or shares of its sides',
        placeholder: '<x,y,w,h>',
      }),
    ...exactOption,
    ...resultOptions,
  },
  examples: [
    'dino search photos.index cat.jpg another-cat.jpg --minus dog.jpg',
    'dino search photos.index street.jpg --region 120,80,64,64 --copy-to found',
  ],
  rules: ({ options }) => resultProblems(options),

  async run(call) {
    const { args, options, io } = call;
    await onIndex(call, async ({ index, signal }) => {
      const { loadIndexModel, searchIndex } = await import('../../explore/search.js');
      const start = performance.now();
      const matches = await searchIndex(index, {
        ...{ plus: args.image, ...pick(options, 'minus', 'top', 'region'), ...exactly(options), signal },
        model: () =>
          loadIndexModel(index, {
            ...pick(options, 'device', 'weights'),
            onWarning: (message) => io.warn(message),
          }),
      });
      const seconds = (performance.now() - start) / 1000;
      await putResults(call, index, { '': matches.map((match) => match.path) });
      io.result(
        { index: index.folder, images: index.count, matches, seconds },
        matches.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`).join('\n'),
      );
    });
  },
});
