/** `dino eval copy-detection`: see src/eval/copy-detection.ts. */
import type { Command } from 'commander';
import type { CopyDetectionResult, CopyScores } from '../eval/copy-detection.js';
import { addExamples, type Invocation, readNumber, setAliases } from './command.js';
import {
  addLoaderOptions,
  addModelOptions,
  evalAliases,
  keepResult,
  onModel,
  readLoaderOptions,
} from './eval-options.js';
import { addProcessOptions } from './processes.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .option('--data-path <folder>', 'Copydays: original, strong, jpegqual/N, crops/N')
    .option('--whitening-path <folder>', 'images that the whitening is learnt on (default: no whitening)')
    .option('--distractors-path <folder>', 'images that are searched beside the originals (default: none)')
    .option('--imsize <n>', 'side of the square that images are stretched to, pixels', '320');
  addModelOptions(command);
  addLoaderOptions(command, 16);
  addProcessOptions(command);
  setAliases(command, evalAliases);
  addExamples(
    command,
    'dino eval copy-detection runs/first --data-path copydays --distractors-path yfcc/a --whitening-path yfcc/b',
  );
}

function table(result: CopyDetectionResult): string {
  const row = (name: string, { map, microAp, queries }: CopyScores): string =>
    `${name.padEnd(12)}${map.toFixed(2).padStart(7)} ${microAp.toFixed(2).padStart(9)} ${String(queries).padStart(8)}`;
  const { originals, distractors, whitening, imsize, blocks, copies } = result;
  return [
    `${originals} originals and ${distractors} distractors, images of ${imsize} pixels, ` +
      (whitening > 0 ? `whitening learnt on ${whitening} images` : 'no whitening'),
    '                mAP  micro-AP  queries',
    ...Object.entries(blocks).map(([name, scores]) => row(name, scores)),
    ...(copies === null ? [] : [row('all copies', copies)]),
  ].join('\n');
}

export async function run(invocation: Invocation): Promise<void> {
  const { options } = invocation;
  const settings = {
    imsize: readNumber(invocation, 'imsize', { min: 1, max: 8192 }),
    ...readLoaderOptions(invocation),
  };
  const dataPath = options['dataPath'] as string | undefined;
  const folders = {
    ...(options['whiteningPath'] === undefined ? {} : { whiteningPath: options['whiteningPath'] as string }),
    ...(options['distractorsPath'] === undefined
      ? {}
      : { distractorsPath: options['distractorsPath'] as string }),
  };
  if (dataPath === undefined) invocation.problems.push("--data-path is missing: Copydays' folder");
  await onModel(invocation, async ({ model, world, io, signal, count }) => {
    const { evaluateCopyDetection } = await import('../eval/copy-detection.js');
    const result = await evaluateCopyDetection(model, {
      ...settings,
      ...folders,
      dataPath: dataPath!,
      signal,
      world,
      onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
      onWarning: (message) => io.warn(message),
    });
    if (result.skipped.length > 0) io.warn(`${result.skipped.length} unreadable images left out`);
    io.warnOfLists(result);
    if (world.isFirst) await keepResult(io, model, 'copy-detection', { dataPath, ...folders, ...result });
    io.result(result, table(result));
  });
}
