/** `dino eval video-segmentation`: see src/eval/video-segmentation.ts. */
import type { Command } from 'commander';
import { addExamples, check, interruptSignal, type Invocation, readNumber, setAliases } from '../command.js';
import { addModelOptions, counter, evalAliases, keepResult, loadForEvaluation } from './options.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .option('--data <folder>', 'DAVIS: JPEGImages/480p and Annotations/480p with a folder a video')
    .option('-o, --output <folder>', 'where the masks go, a folder a video')
    .option('--sequences <name,name>', 'videos (default: ImageSets/2017/val.txt, or all without that file)')
    .option('--n-last-frames <n>', 'frames before that labels are taken from, besides the first', '7')
    .option(
      '--size-mask-neighborhood <n>',
      'patches farther away than this are not looked at; 0 for all',
      '12',
    )
    .option('--topk <n>', 'the most similar patches give their labels', '5')
    .option('--size <n>', 'shorter side of the frames, pixels', '480')
    .option('--no-measure', 'write the masks alone, without J and F');
  addModelOptions(command);
  setAliases(command, { ...evalAliases, '--data-path': '--data', '--davis-path': '--data' });
  addExamples(command, 'dino eval video-segmentation runs/first --data DAVIS --output masks');
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, io } = invocation;
  const data = options['data'] as string | undefined;
  const output = options['output'] as string | undefined;
  const names = options['sequences'] as string | undefined;
  const numbers = {
    nLastFrames: readNumber(invocation, 'nLastFrames', { min: 0 }),
    sizeMaskNeighborhood: readNumber(invocation, 'sizeMaskNeighborhood', { min: 0 }),
    topk: readNumber(invocation, 'topk', { min: 1 }),
    size: readNumber(invocation, 'size', { min: 1, max: 8192 }),
  };
  check(invocation, [
    ...(data === undefined ? ['--data is missing: a folder with DAVIS'] : []),
    ...(output === undefined ? ['--output is missing: a folder for the masks'] : []),
  ]);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const { evaluateVideoSegmentation } = await import('../../eval/video-segmentation.js');
    const model = await loadForEvaluation(invocation);
    const count = counter(io);
    const result = await evaluateVideoSegmentation(model, {
      ...numbers,
      data: data!,
      output: output!,
      measure: options['measure'] !== false,
      ...(names === undefined ? {} : { sequences: names.split(',').map((name) => name.trim()) }),
      signal: interrupt.signal,
      onProgress: ({ sequence, done, total }) => count(sequence, done, total),
      onWarning: (message) => io.warn(message),
    });
    await keepResult(io, model, 'video-segmentation', { data, ...numbers, ...result });
    const percent = (value: number): string => (100 * value).toFixed(1).padStart(6);
    const rows = result.sequences.flatMap(({ name, objects }) =>
      (objects ?? []).map(
        ({ label, J, F }) => `${`${name} ${label}`.padEnd(28)}${percent(J.mean)}${percent(F.mean)}`,
      ),
    );
    const { scores } = result;
    const table =
      scores === null
        ? ['nothing to measure J and F with']
        : [
            `${'video, object'.padEnd(28)}     J     F`,
            ...rows,
            `${'mean'.padEnd(28)}${percent(scores.J.mean)}${percent(scores.F.mean)}`,
            `J&F ${percent(scores.JF).trim()}   J recall ${percent(scores.J.recall).trim()}, decay ` +
              `${percent(scores.J.decay).trim()}   F recall ${percent(scores.F.recall).trim()}, decay ` +
              percent(scores.F.decay).trim(),
          ];
    io.result(result, [...table, `masks in ${output!}`].join('\n'));
  } finally {
    interrupt.release();
  }
}
