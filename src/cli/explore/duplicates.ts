/** `dino duplicates`: groups of near-duplicate images; see src/explore/duplicates.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, readNumber } from '../command.js';
import { addExactOption, addResultOptions, exactOf, onIndex, putResults, shown } from './options.js';

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
  const { io } = invocation;
  const threshold = readNumber(invocation, 'threshold', { min: 1e-6, max: 1, whole: false });
  await onIndex(invocation, async (index, signal, count) => {
    const { findDuplicates } = await import('../../explore/duplicates.js');
    const groups = await findDuplicates(index, {
      ...{ threshold, ...exactOf(invocation), signal },
      onProgress: (done, total) => count('images compared', done, total),
      onWarning: (message) => io.warn(message),
    });
    const digits = String(groups.length).length;
    await putResults(
      invocation,
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
        `${groups.length} groups; ${copies} of ${index.count} images are copies at ${threshold}`,
        ...groups.flatMap((group) => [
          '',
          `keep    ${shown(group.keep.path)}`,
          ...group.copies.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`),
        ]),
      ].join('\n'),
    );
  });
}
