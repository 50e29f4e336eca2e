/** `dino select`: images worth labelling first; see src/explore/select.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { pick, seed, whole } from '../flags.js';
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

export const command = defineCommand({
  args: { index: indexArgument },
  options: {
    size: whole(1).meta({ description: 'how many images', missing: 'how many images to choose' }),
    by: z.enum(['diverse', 'typical', 'both']).default('both').meta({
      description:
        'diverse covers all images, typical takes them where they are dense, both one of each kind',
      placeholder: '<way>',
    }),
    labelled: z.string().optional().meta({
      description: 'text file of images that have labels: the chosen ones complement them',
      placeholder: '<list>',
    }),
    seed: seed().default(0).describe('seed of k-means'),
    ...exactOption,
    ...resultOptions,
  },
  examples: [
    'dino select photos.index --size 100 --output label-these.txt',
    'dino select photos.index --size 500 --by diverse --labelled label-these.txt --copy-to next',
  ],
  rules: ({ options }) => resultProblems(options),

  async run(call) {
    const { options, io } = call;
    await onIndex(call, async ({ index, signal, count }) => {
      const { selectImages } = await import('../../explore/select.js');
      const { rowsOfList } = await import('../../explore/put-images.js');
      const list = options.labelled;
      const { rows: labelled, unknown } =
        list === undefined ? { rows: [], unknown: 0 } : await rowsOfList(index, list);
      if (unknown > 0) io.warn(`${unknown} images of ${list!} are not in the index`);
      const rows = await selectImages(index, {
        ...{ ...pick(options, 'size', 'by', 'seed'), labelled, ...exactly(options), signal },
        onProgress: (done, total) => count('images compared', done, total),
      });
      const images = rows.map((row) => index.pathOf(row));
      await putResults(call, index, { '': images });
      io.result(
        { index: index.folder, images: index.count, by: options.by, selected: images },
        images.map(shown).join('\n'),
      );
    });
  },
});
