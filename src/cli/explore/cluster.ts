/** `dino cluster`: groups of similar images; see src/explore/cluster.ts. */
import { defineCommand } from '../command.js';
import { pick, seed, whole } from '../flags.js';
import { indexArgument, onIndex, putResults, resultOptions, resultProblems, shown } from './options.js';

export const command = defineCommand({
  args: { index: indexArgument },
  options: {
    clusters: whole(1, 100_000).optional().describe('how many (default: chosen by the silhouette)'),
    typical: whole(1, 1000).default(5).describe('most typical images shown of each'),
    seed: seed().default(0).describe('seed of k-means'),
    ...resultOptions,
  },
  examples: ['dino cluster photos.index', 'dino cluster photos.index --clusters 12 --link-to kinds'],
  rules: ({ options }) => resultProblems(options),

  async run(call) {
    const { options, io } = call;
    await onIndex(call, async ({ index, signal, count }) => {
      const { clusterIndex } = await import('../../explore/cluster.js');
      const { clusters, silhouette, tried } = await clusterIndex(index, {
        ...pick(options, 'clusters', 'typical', 'seed'),
        signal,
        onProgress: (done, total) => count('tries of k-means', done, total),
        onWarning: (message) => io.warn(message),
      });
      const digits = String(clusters.length).length;
      const name = (i: number): string => `cluster-${String(i + 1).padStart(digits, '0')}`;
      const paths = clusters.map(({ rows }) => rows.map((row) => index.pathOf(row)));
      await putResults(call, index, Object.fromEntries(paths.map((images, i) => [name(i), images])));
      io.result(
        {
          ...{ index: index.folder, images: index.count, silhouette, tried },
          clusters: clusters.map(({ typical, tightness }, i) => ({
            ...{ name: name(i), size: paths[i]!.length, tightness, typical, images: paths[i]! },
          })),
        },
        [
          `${clusters.length} clusters of ${index.count} images, silhouette ${silhouette.toFixed(3)}`,
          ...clusters.flatMap(({ rows, tightness, typical }, i) => [
            '',
            `${name(i)}: ${rows.length} images, mean similarity to the centre ${tightness.toFixed(3)}; most typical:`,
            ...typical.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`),
          ]),
        ].join('\n'),
      );
    });
  },
});
