/** `dino cluster`: groups of images of a kind; see src/explore/cluster.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, readNumber } from '../command.js';
import { addResultOptions, onIndex, putResults, shown } from './options.js';

export function define(command: Command): void {
  command
    .argument('<index>', 'folder that dino index made')
    .option('--clusters <n>', 'how many; default: chosen by the silhouette')
    .option('--typical <n>', 'most typical images shown of each', '5')
    .option('--seed <n>', 'where k-means starts', '0');
  addResultOptions(command);
  addExamples(
    command,
    'dino cluster photos.index',
    'dino cluster photos.index --clusters 12 --link-to kinds',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, io } = invocation;
  const settings = {
    typical: readNumber(invocation, 'typical', { min: 1, max: 1000 }),
    seed: readNumber(invocation, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER }),
    ...(options['clusters'] === undefined
      ? {}
      : { clusters: readNumber(invocation, 'clusters', { min: 1, max: 100_000 }) }),
  };
  await onIndex(invocation, async (index, signal, count) => {
    const { clusterIndex } = await import('../../explore/cluster.js');
    const { clusters, silhouette, tried } = await clusterIndex(index, {
      ...{ ...settings, signal },
      onProgress: (done, total) => count('tries of k-means', done, total),
    });
    const digits = String(clusters.length).length;
    const name = (i: number): string => `cluster-${String(i + 1).padStart(digits, '0')}`;
    const paths = clusters.map(({ rows }) => rows.map((row) => index.pathOf(row)));
    await putResults(invocation, index, Object.fromEntries(paths.map((images, i) => [name(i), images])));
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
}
