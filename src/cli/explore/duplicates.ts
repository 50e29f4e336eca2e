/** `dino duplicates`: groups of near-duplicate images; see src/explore/duplicates.ts. */
import { defineCommand } from '../command.js';
import { decimal } from '../flags.js';
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
    threshold: decimal(1e-6, 1).optional().meta({
      description:
        'cosine similarity from which two images count as the same (default: by how far apart the images of the index are)',
      placeholder: '<similarity>',
    }),
    ...exactOption,
    ...resultOptions,
  },
  examples: [
    'dino duplicates photos.index --threshold 0.97',
    'dino duplicates photos.index --link-to look-at-these',
  ],
  rules: ({ options }) => resultProblems(options),

  async run(call) {
    const { options, io } = call;
    await onIndex(call, async ({ index, signal, count }) => {
      const { duplicateThreshold, findDuplicates } = await import('../../explore/duplicates.js');
      const nearest = {
        ...{ ...exactly(options), signal },
        onProgress: (done: number, total: number) => count('images compared', done, total),
      };
      const threshold = options.threshold ?? (await duplicateThreshold(index, nearest));
      const groups = await findDuplicates(index, {
        ...{ ...nearest, threshold },
        onWarning: (message) => io.warn(message),
      });
      const digits = String(groups.length).length;
      await putResults(
        call,
        index,
        Object.fromEntries(
          groups.map(({ keep, copies }, i) => [
            `group-${String(i + 1).padStart(digits, '0')}`,
            [keep.path, ...copies.map((copy) => copy.path)],
          ]),
        ),
      );
      const copies = groups.reduce((sum, group) => sum + group.copies.length, 0);
      io.result(
        { index: index.folder, images: index.count, threshold, groups, copies },
        [
          `${groups.length} groups; ${copies} of ${index.count} images are copies at ${Number(threshold.toFixed(4))}`,
          ...groups.flatMap((group) => [
            '',
            `keep    ${shown(group.keep.path)}`,
            ...group.copies.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`),
          ]),
        ].join('\n'),
      );
    });
  },
});
