/** `dino duplicates`: groups of near-duplicate images; see src/explore/duplicates.ts. */
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
    .option('--threshold <similarity>', 'cosine similarity above which two images count as the same', '0.95');
  addExactOption(command);
  addResultOptions(command);
  addExamples(
    command,
    'dino duplicates photos.index --threshold 0.97',
    'dino duplicates photos.index --link-to look-at-these',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, io } = invocation;
  const threshold = readNumber(invocation, 'threshold', { min: 1e-6, max: 1, whole: false });
  await checkResultOptions(invocation);
  check(invocation);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const [{ ImageIndex }, { findDuplicates }] = await Promise.all([
      import('../explore/image-index.js'),
      import('../explore/duplicates.js'),
    ]);
    using index = ImageIndex.open(args[0]!);
    const count = counter(io);
    const groups = await findDuplicates(index, {
      ...{ threshold, ...exactOf(invocation), signal: interrupt.signal },
      onProgress: (done, total) => count('images compared', done, total),
      onWarning: (message) => io.warn(message),
    });
    const digits = String(groups.length).length;
    await putResults(
      invocation,
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
        `${groups.length} groups; ${copies} of ${index.count} images are copies at ${threshold}`,
        ...groups.flatMap((group) => [
          '',
          `keep    ${shown(group.keep.path)}`,
          ...group.copies.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`),
        ]),
      ].join('\n'),
    );
  } finally {
    interrupt.release();
  }
}
