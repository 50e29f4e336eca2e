/** `dino eval retrieval`: see src/eval/retrieval.ts. */
import { z } from 'zod';
import type { RetrievalResult } from '../../eval/retrieval.js';
import { defineCommand } from '../command.js';
import { pick, whole } from '../flags.js';
import { processOptions } from '../train/processes.js';
import { modelOptions, weightsArgument } from '../weights/options.js';
import { keepResult, loaderOptions, onModel } from './options.js';

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

const yesOrNo = (description: string) =>
  z.boolean().default(false).meta({ description, placeholder: '<true|false>' });

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    dataPath: z.string().meta({
      description: 'folder that holds roxford5k and rparis6k',
      placeholder: '<folder>',
      missing: 'a folder that holds roxford5k or rparis6k',
    }),
    dataset: z.string().default('roxford5k').meta({
      description: 'roxford5k or rparis6k, or another folder of the same layout',
      placeholder: '<name>',
    }),
    imsize: whole(1, 8192).default(224).describe('longer side of the images, pixels'),
    multiscale: yesOrNo('mean features over three scales'),
    cropQueries: yesOrNo("cut each query's box out of its image"),
    ...modelOptions,
    ...loaderOptions(16),
    ...processOptions,
  },
  examples: ['dino eval retrieval runs/first --data-path revisited --dataset rparis6k --multiscale'],

  async run(call) {
    const { options } = call;
    const { dataPath } = options;
    await onModel(call, async ({ model, world, io, signal, count }) => {
      const { evaluateRetrieval } = await import('../../eval/retrieval.js');
      const result = await evaluateRetrieval(model, {
        ...pick(options, 'dataPath', 'dataset', 'imsize', 'multiscale', 'cropQueries'),
        ...pick(options, 'batchSize', 'numWorkers'),
        signal,
        world,
        onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
      });
      if (world.isFirst) await keepResult(io, model, 'retrieval', { dataPath, ...result });
      io.result(result, table(result));
    });
  },
});
