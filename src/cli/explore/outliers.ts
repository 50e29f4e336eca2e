/** `dino outliers`: images that don't belong; see src/explore/outliers.ts. */
import { defineCommand } from '../command.js';
import { pick, whole } from '../flags.js';
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
    top: whole(1, 1_000_000).default(20).describe('how many to show'),
    k: whole(1, 1000).default(10).describe('the score is the distance to the k-th nearest neighbour'),
    ...exactOption,
    ...resultOptions,
  },
  examples: ['dino outliers photos.index --top 50 --copy-to odd'],
  rules: ({ options }) => resultProblems(options),

  async run(call) {
    const { options, io } = call;
    await onIndex(call, async ({ index, signal, count }) => {
      const { findOutliers } = await import('../../explore/outliers.js');
      const outliers = await findOutliers(index, {
        ...{ ...pick(options, 'top', 'k'), ...exactly(options), signal },
        onProgress: (done, total) => count('images compared', done, total),
      });
      await putResults(call, index, { '': outliers.map((each) => each.path) });
      io.result(
        { index: index.folder, images: index.count, k: options.k, outliers },
        [
          'distance  deviations',
          ...outliers.map(
            ({ path, distance, deviation }) =>
              `${distance.toFixed(4).padStart(8)}  ${deviation.toFixed(1).padStart(10)}  ${shown(path)}`,
          ),
        ].join('\n'),
      );
    });
  },
});
