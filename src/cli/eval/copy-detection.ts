/** `dino eval copy-detection`: see src/eval/copy-detection.ts. */
import { z } from 'zod';
import type { CopyDetectionResult, CopyScores } from '../../eval/copy-detection.js';
import { defineCommand } from '../command.js';
import { pick, whole } from '../flags.js';
import { processOptions } from '../train/processes.js';
import { modelOptions, weightsArgument } from '../weights/options.js';
import { keepResult, loaderOptions, onModel, warnOfMissing } from './options.js';

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

const placeholder = '<folder>';

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    dataPath: z.string().meta({
      description: 'Copydays: a folder with original, strong, jpegqual/N and crops/N',
      placeholder,
      missing: "Copydays' folder",
    }),
    whiteningPath: z
      .string()
      .optional()
      .meta({ description: 'images that the whitening is learnt on (default: no whitening)', placeholder }),
    distractorsPath: z.string().optional().meta({
      description: 'images that are searched together with the originals (default: none)',
      placeholder,
    }),
    imsize: whole(1, 8192)
      .optional()
      .describe(
        'side of the square that images are stretched to, pixels (default: 320, or near it in whole patches)',
      ),
    ...modelOptions,
    ...loaderOptions(16),
    ...processOptions,
  },
  examples: [
    'dino eval copy-detection runs/first --data-path copydays --distractors-path yfcc/a --whitening-path yfcc/b',
  ],

  async run(call) {
    const { options } = call;
    const folders = pick(options, 'dataPath', 'whiteningPath', 'distractorsPath');
    await onModel(call, async ({ model, world, io, signal, count }) => {
      const { evaluateCopyDetection } = await import('../../eval/copy-detection.js');
      const result = await evaluateCopyDetection(model, {
        ...folders,
        ...pick(options, 'imsize', 'batchSize', 'numWorkers'),
        signal,
        world,
        onProgress: ({ part, done, total }) => count(`features of ${part}`, done, total),
        onWarning: (message) => io.warn(message),
      });
      warnOfMissing(io, result);
      if (world.isFirst) await keepResult(io, model, 'copy-detection', { ...folders, ...result });
      io.result(result, table(result));
    });
  },
});
