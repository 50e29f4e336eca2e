/** `dino select`: images worth labelling first; see src/explore/select.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, readNumber } from '../command.js';
import { addExactOption, addResultOptions, exactOf, onIndex, putResults, shown } from './options.js';

const WAYS = ['diverse', 'typical', 'both'] as const;

export function define(command: Command): void {
  command
    .argument('<index>', 'folder that dino index made')
    .option('--size <n>', 'how many images')
    .option(
      '--by <way>',
      `${WAYS.join(', ')}: covering all, from the thick of it, or one of each kind`,
      'both',
    )
    .option('--labelled <list>', 'text file of images that have labels: others are chosen, in view of them')
    .option('--seed <n>', 'where k-means starts', '0');
  addExactOption(command);
  addResultOptions(command);
  addExamples(
    command,
    'dino select photos.index --size 100 --output label-these.txt',
    'dino select photos.index --size 500 --by diverse --labelled label-these.txt --copy-to next',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, io, problems } = invocation;
  const by = options['by'] as (typeof WAYS)[number];
  const seed = readNumber(invocation, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER });
  const size = options['size'] === undefined ? 0 : readNumber(invocation, 'size', { min: 1 });
  if (options['size'] === undefined) problems.push('--size is missing: how many images to choose');
  if (!WAYS.includes(by)) problems.push(`--by is ${by}; expected ${WAYS.join(', ')}`);
  await onIndex(invocation, async (index, signal, count) => {
    const { selectImages } = await import('../../explore/select.js');
    const { rowsOfList } = await import('../../explore/put-images.js');
    const list = options['labelled'] as string | undefined;
    const { rows: labelled, unknown } =
      list === undefined ? { rows: [], unknown: 0 } : await rowsOfList(index, list);
    if (unknown > 0) io.warn(`${unknown} images of ${list!} are not in the index`);
    const rows = await selectImages(index, {
      ...{ size, by, seed, labelled, ...exactOf(invocation), signal },
      onProgress: (done, total) => count('images compared', done, total),
    });
    const images = rows.map((row) => index.pathOf(row));
    await putResults(invocation, index, { '': images });
    io.result(
      { index: index.folder, images: index.count, by, selected: images },
      images.map(shown).join('\n'),
    );
  });
}
