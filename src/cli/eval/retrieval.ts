/** `dino eval retrieval`: see src/eval/retrieval.ts. */
import type { Command } from 'commander';
import type { RetrievalResult } from '../../eval/retrieval.js';
import { addExamples, booleanOption, type Invocation, readNumber, setAliases } from '../command.js';
import {
  addLoaderOptions,
  addModelOptions,
  evalAliases,
  keepResult,
  onModel,
  readBoolean,
  readLoaderOptions,
} from './options.js';
import { addProcessOptions } from '../train/processes.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .option('--data-path <folder>', 'folder with roxford5k and rparis6k in it')
    .option('--dataset <name>', 'roxford5k or rparis6k, or another folder of the same layout', 'roxford5k')
    .option('--imsize <n>', 'longer side of the images, pixels', '224');
  command.addOption(
    booleanOption(command.createOption('--multiscale <bool>', 'mean features over three scales')),
  );
  command.addOption(
    booleanOption(command.createOption('--crop-queries <bool>', "cut each query's box out of its image")),
  );
  addModelOptions(command);
  addLoaderOptions(command, 16);
  addProcessOptions(command);
  setAliases(command, evalAliases);
  addExamples(
    command,
    'dino eval retrieval runs/first --data-path revisited --dataset rparis6k --multiscale',
  );
}

function table(result: RetrievalResult): string {
  const show = (value: number | null): string => (value === null ? '-' : value.toFixed(2)).padStart(6);
  const row = (name: string, { map, mp }: RetrievalResult['easy']): string =>
    `${name.padEnd(8)}${show(map)}   ${show(mp[1])} ${show(mp[5])} ${show(mp[10])}`;
  const { dataset, images, queries, imsize, multiscale } = result;
  return [
    `${dataset}: ${queries} queries among ${images} images of ${imsize} pixels${multiscale ? ', three scales' : ''}`,
    '           mAP     mP@1   mP@5  mP@10',
    row('easy', result.easy),
    row('medium', result.medium),
    row('hard', result.hard),
  ].join('\n');
}

export async function run(invocation: Invocation): Promise<void> {
  const { options } = invocation;
  const settings = {
    dataset: options['dataset'] as string,
    imsize: readNumber(invocation, 'imsize', { min: 1, max: 8192 }),
    multiscale: readBoolean(invocation, 'multiscale'),
    cropQueries: readBoolean(invocation, 'cropQueries'),
    ...readLoaderOptions(invocation),
  };
  const dataPath = options['dataPath'] as string | undefined;
  if (dataPath === undefined)
    invocation.problems.push('--data-path is missing: a folder with roxford5k or rparis6k in it');
  await onModel(invocation, async ({ model, world, io, signal, count }) => {
    const { evaluateRetrieval } = await import('../../eval/retrieval.js');
    const result = await evaluateRetrieval(model, {
      ...settings,
      dataPath: dataPath!,
      signal,
      world,
      onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
    });
    if (world.isFirst) await keepResult(io, model, 'retrieval', { dataPath, ...result });
    io.result(result, table(result));
  });
}
