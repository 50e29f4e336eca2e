/** `dino search`: images like others; see src/explore/search.ts. */
import type { Command } from 'commander';
import { addExamples, type Invocation, listOption, readNumber } from '../command.js';
import { addExactOption, addResultOptions, exactOf, onIndex, putResults, shown } from './options.js';

export function define(command: Command): void {
  command
    .argument('<index>', 'folder that dino index made')
    .argument('<image...>', 'images to look for; several are averaged')
    .option(
      '--minus <image>',
      'an image that the found ones should be unlike; may be given again',
      (value: string, before: string[] | undefined) => [...(before ?? []), value],
    )
    .option('--top <n>', 'how many to find', '20')
    .option('--weights <file>', "the index's weights, when they were moved")
    .option('--device <name>', 'auto, cpu, cuda:0 or mps', 'auto');
  command.addOption(
    listOption(
      command.createOption(
        '--region <x,y,w,h>',
        'look for this part of the image: pixels, or shares of its sides',
      ),
    ),
  );
  addExactOption(command);
  addResultOptions(command);
  addExamples(
    command,
    'dino search photos.index cat.jpg another-cat.jpg --minus dog.jpg',
    'dino search photos.index street.jpg --region 120,80,64,64 --copy-to found',
  );
}

function readRegion({ options, problems }: Invocation): {
  region?: readonly [number, number, number, number];
} {
  const raw = options['region'] as string | undefined;
  if (raw === undefined) return {};
  const [x = NaN, y = NaN, w = NaN, h = NaN, ...more] = raw.split(',').map(Number);
  if ([x, y, w, h].some((value) => !Number.isFinite(value) || value < 0) || more.length > 0)
    problems.push(`--region is ${raw}; expected x,y,width,height, as in --region 120,80,64,64`);
  return { region: [x, y, w, h] };
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io } = invocation;
  const top = readNumber(invocation, 'top', { min: 1, max: 1_000_000 });
  const region = readRegion(invocation);
  await onIndex(invocation, async (index, signal) => {
    const { loadIndexModel, searchIndex } = await import('../../explore/search.js');
    const weights = options['weights'] as string | undefined;
    const minus = (options['minus'] as string[] | undefined) ?? [];
    const start = performance.now();
    const matches = await searchIndex(index, {
      ...{ plus: args.slice(1), minus, top, ...region, ...exactOf(invocation), signal },
      model: () =>
        loadIndexModel(index, {
          device: options['device'] as string,
          onWarning: (message) => io.warn(message),
          ...(weights === undefined ? {} : { weights }),
        }),
    });
    const seconds = (performance.now() - start) / 1000;
    await putResults(invocation, index, { '': matches.map((match) => match.path) });
    io.result(
      { index: index.folder, images: index.count, matches, seconds },
      matches.map(({ path, similarity }) => `${similarity.toFixed(4)}  ${shown(path)}`).join('\n'),
    );
  });
}
