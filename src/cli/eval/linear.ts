/** `dino eval linear`: see src/eval/linear.ts. */
import path from 'node:path';
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { decimal, pick, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { openModel, weightsArgument } from '../weights/options.js';
import {
  evalOptions,
  keepResult,
  labelledFolders,
  labelledOptions,
  labelledProblems,
  loading,
  warnOfMissing,
} from './options.js';

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    ...labelledOptions(
      'labelled images that the classifier is trained on',
      'labelled images that it is measured on',
    ),
    output: z
      .string()
      .optional()
      .meta({
        description:
          'checkpoint and log, from which the same command resumes (default: evaluations/linear of the run)',
        placeholder: '<folder>',
        aliases: ['--output-dir'],
      }),
    nLastBlocks: whole(1)
      .optional()
      .describe('blocks whose class tokens are concatenated (default: 4, or all if there are fewer)'),
    avgpoolPatchtokens: z.boolean().default(false).meta({
      description: "add the mean of the last block's patch tokens",
      placeholder: '<true|false>',
    }),
    epochs: whole(1).default(100).describe('epochs of training'),
    lr: decimal(1e-12).default(0.001).describe('learning rate for a batch of 256, scaled by the batch size'),
    valFreq: whole(1).default(1).describe('validate every so many epochs'),
    numLabels: whole(1)
      .optional()
      .describe('outputs of the classifier (default: the number of training folders)'),
    seed: whole(0).default(0).describe('seed of the initial weights, the order and the crops'),
    evaluate: z.boolean().default(false).describe('only measure the classifier of --linear-weights'),
    linearWeights: z.string().optional().meta({
      description: 'a classifier, such as the checkpoint of an earlier evaluation',
      placeholder: '<file>',
    }),
    ...evalOptions(128),
  },
  examples: ['dino eval linear runs/first --data-path imagenette --epochs 20 --lr 0.01'],
  rules: ({ options }) => [
    ...labelledProblems(options),
    ...((options.evaluate === true) === (options.linearWeights !== undefined)
      ? []
      : ['--evaluate and --linear-weights FILE go together']),
  ],

  async run({ args, options, io }) {
    const folders = labelledFolders(options);
    const { epochs } = options;
    await interruptible(
      () => io.note('interrupted: the same command continues from the last epoch'),
      async (signal) => {
        const { evaluateLinear } = await import('../../eval/linear.js');
        const { runOfWeights } = await import('../../eval/save-evaluation.js');
        const { evaluationsPath } = await import('../../run/run-folder.js');
        const model = await openModel(args.weights, options, io);
        const run = runOfWeights(model.file);
        const output =
          options.output ?? (run === null ? undefined : path.join(evaluationsPath(run), 'linear'));
        if (output === undefined && options.linearWeights === undefined) {
          io.warn('no --output, and the weights do not belong to a run: nothing to resume from is kept');
        }
        const count = counter(io);
        const result = await evaluateLinear(model, {
          ...loading(options),
          ...folders,
          ...pick(options, 'epochs', 'lr', 'valFreq', 'seed', 'avgpoolPatchtokens'),
          ...pick(options, 'nLastBlocks', 'numLabels', 'linearWeights'),
          ...(output === undefined ? {} : { output }),
          signal,
          onProgress: ({ part, epoch, done, total }) =>
            count(
              options.linearWeights === undefined ? `epoch ${epoch + 1}/${epochs} ${part}` : 'images',
              done,
              total,
            ),
          onEpoch: ({ epoch, trainLoss, top1 }) =>
            io.note(
              `epoch ${epoch + 1}/${epochs}: loss ${trainLoss.toFixed(4)}` +
                (top1 === undefined ? '' : `, top-1 ${top1.toFixed(2)}%`),
            ),
          onWarning: (message) => io.warn(message),
        });
        warnOfMissing(io, result);
        const given = pick(options, 'seed', 'numLabels', 'linearWeights');
        await keepResult(io, model, 'linear', { ...folders, ...given, ...result });
        const { top1, top5, bestTop1, valImages, classes, trainImages } = result;
        io.result(
          result,
          `${valImages} images of ${classes} classes, ${trainImages === null ? `classified by ${options.linearWeights}` : `trained on ${trainImages}`}, resize ${result.resize}, crop ${result.crop}\n` +
            `top-1 ${top1.toFixed(2)}%   ${top5 === null ? '' : `top-5 ${top5.toFixed(2)}%   `}best top-1 ${bestTop1.toFixed(2)}%`,
        );
      },
    );
  },
});
