/** `dino outliers`: images that don't belong; see src/explore/outliers.ts. */
import type { Command } from 'commander';
import { addExamples, check, interruptSignal, type Invocation, readNumber } from './command.js';
import { counter } from './eval-options.js';
import {
  addExactOption,
  addResultOptions,
  checkResultOptions,
  exactOf,
  putResults,
  shown,
} from './explore-options.js';

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
  const { args, io } = invocation;
  const top = readNumber(invocation, 'top', { min: 1, max: 1_000_000 });
  const k = readNumber(invocation, 'k', { min: 1, max: 1000 });
  await checkResultOptions(invocation);
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const [{ ImageIndex }, { findOutliers }] = await Promise.all([
      import('../explore/image-index.js'),
      import('../explore/outliers.js'),
    ]);
    using index = ImageIndex.open(args[0]!);
    const count = counter(io);
    const outliers = await findOutliers(index, {
      ...{ top, k, ...exactOf(invocation), signal: interrupt.signal },
      onProgress: (done, total) => count('images compared', done, total),
    });
    await putResults(invocation, { '': outliers.map((each) => each.path) });
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
  } finally {
    interrupt.release();
  }
}
