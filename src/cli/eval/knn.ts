/** `dino eval knn`: see src/eval/knn.ts. */
import { z } from 'zod';
import type { KnnResult } from '../../eval/knn.js';
import { defineCommand } from '../command.js';
import { decimal, pick, whole } from '../flags.js';
import { processOptions } from '../train/processes.js';
import { weightsArgument } from '../weights/options.js';
import {
  evalOptions,
  keepResult,
  labelledFolders,
  labelledOptions,
  labelledProblems,
  loading,
  onModel,
  precisionOf,
  precisionOption,
  warnOfMissing,
} from './options.js';

const folder = (description: string) => z.string().optional().meta({ description, placeholder: '<folder>' });

function table(result: KnnResult, ks: readonly number[]): string {
  const { valImages, classes, trainImages, resize, crop } = result;
  return [
    `${valImages} images of ${classes} classes against ${trainImages}` +
      (crop > 0 ? `, resize ${resize}, crop ${crop}` : ''),
    ...ks.map(
      (k) =>
        `k ${String(k).padStart(4)}   top-1 ${result.top1[k]!.toFixed(2)}%   top-5 ${result.top5[k]!.toFixed(2)}%` +
        (result.center === null ? '' : `   centred: top-1 ${result.center.top1[k]!.toFixed(2)}%`) +
        (result.pca === null ? '' : `   whitened: top-1 ${result.pca.top1[k]!.toFixed(2)}%`),
    ),
  ].join('\n');
}

export const command = defineCommand({
  args: {
    weights: weightsArgument.optional().describe('run folder or weights; not with --load-features'),
  },
  options: {
    ...labelledOptions('labelled images among which neighbours are looked up', 'labelled images to classify'),
    k: z
      .array(whole(1))
      .min(1)
      .default([10, 20, 100, 200])
      .meta({ description: 'numbers of neighbours', aliases: ['--nb-knn'] }),
    temperature: decimal(1e-6).default(0.07).describe('temperature of the votes'),
    dumpFeatures: folder('write the features there'),
    loadFeatures: folder('read features that --dump-features wrote, in place of a model'),
    ...evalOptions(128),
    ...precisionOption,
    ...processOptions,
  },
  examples: [
    'dino eval knn runs/first --train imagenette/train --val imagenette/val --dump-features features',
    'dino eval knn --load-features features --k 5,10',
  ],
  rules({ args, options }) {
    if (options.loadFeatures !== undefined)
      return options.dumpFeatures === undefined && args.weights === undefined
        ? []
        : ['--load-features goes without weights and without --dump-features'];
    return [
      ...labelledProblems(options),
      ...(args.weights === undefined ? ['argument <weights> is missing, or --load-features'] : []),
    ];
  },

  async run({ args: { weights = '' }, options, io: output }) {
    const { k, temperature, loadFeatures } = options;
    if (loadFeatures !== undefined) {
      const { evaluateKnnFeatures } = await import('../../eval/knn.js');
      const { availableDevices } = await import('../../torch/index.js');
      const device = options.device === 'auto' ? (availableDevices()[0] ?? 'cpu') : options.device;
      const result = evaluateKnnFeatures(loadFeatures, {
        ...{ k, temperature, device },
        onWarning: (message) => output.warn(message),
      });
      output.result(result, table(result, k));
      return;
    }
    const folders = labelledFolders(options);
    await onModel({ args: { weights }, options, io: output }, async ({ model, world, io, signal, count }) => {
      const { evaluateKnn } = await import('../../eval/knn.js');
      const { onPrecision, ...asked } = await precisionOf(options, model, io);
      let { precision } = options;
      const result = await evaluateKnn(model, {
        ...loading(options),
        ...folders,
        ...pick(options, 'k', 'temperature', 'dumpFeatures'),
        ...asked,
        onPrecision(choice) {
          ({ precision } = choice);
          onPrecision(choice);
        },
        signal,
        world,
        onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
        onWarning: (message) => io.warn(message),
      });
      warnOfMissing(io, result);
      const kept = { ...folders, temperature, precision, ...result };
      if (world.isFirst) await keepResult(io, model, 'knn', kept);
      io.result(result, table(result, k));
    });
  },
});
