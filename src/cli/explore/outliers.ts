/** `dino outliers`: images that don't belong; see src/explore/outliers.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, readNumber } from '../command.js';
import { addExactOption, addResultOptions, exactOf, onIndex, putResults, shown } from './options.js';

export function define(command: Command): void {
  command
    .argument('<index>', 'folder that dino index made')
    .option('--top <n>', 'how many to show', '20')
    .option('--k <n>', "whose distance is the score: the k-th nearest neighbour's", '10');
  addExactOption(command);
  addResultOptions(command);
  addExamples(command, 'dino outliers photos.index --top 50 --copy-to odd');
}

export async function run(invocation: Invocation): Promise<void> {
  const { io } = invocation;
  const top = readNumber(invocation, 'top', { min: 1, max: 1_000_000 });
  const k = readNumber(invocation, 'k', { min: 1, max: 1000 });
  await onIndex(invocation, async (index, signal, count) => {
    const { findOutliers } = await import('../../explore/outliers.js');
    const outliers = await findOutliers(index, {
      ...{ top, k, ...exactOf(invocation), signal },
      onProgress: (done, total) => count('images compared', done, total),
    });
    await putResults(invocation, index, { '': outliers.map((each) => each.path) });
    io.result(
      { index: index.folder, images: index.count, k, outliers },
      [
        'distance  deviations',
        ...outliers.map(
          ({ path, distance, deviation }) =>
            `${distance.toFixed(4).padStart(8)}  ${deviation.toFixed(1).padStart(10)}  ${shown(path)}`,
        ),
      ].join('\n'),
    );
  });
}
