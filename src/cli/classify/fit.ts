/** `dino classify fit`: see src/classify/fit-classifier.ts. */
import path from 'node:path';
import { z } from 'zod';
import type { FitClassifierResult } from '../../classify/fit-classifier.js';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { decimal, pick, seed, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { evalOptions, loading } from '../eval/options.js';
import { openModel, weightsArgument } from '../weights/options.js';
import { labelledSource, reportText } from './print.js';

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    labelled: z
      .string()
      .describe(
        'folder with one folder of images per class, shards with labels, or an index whose images have labels',
      ),
  },
  options: {
    output: z.string().meta({
      description: 'the classifier, one file that also holds the model',
      placeholder: '<file>',
      short: '-o',
      missing: 'a file for the classifier, such as pets.safetensors',
    }),
    report: z.string().optional().meta({
      description: 'the report, an HTML file with the confusion matrix and the worst mistakes',
      placeholder: '<file>',
      note: 'default: beside the classifier, NAME.html',
    }),
    validation: z.string().optional().meta({
      description: 'labelled images to measure it on, as well as by cross-validation',
      placeholder: '<folder>',
    }),
    method: z.enum(['logistic', 'knn']).default('logistic').meta({
      description: 'logistic regression, or k nearest neighbours',
      placeholder: '<name>',
    }),
    scaling: z.enum(['auto', 'none', 'standardize', 'center', 'pca']).default('auto').meta({
      description: 'how features are scaled first; auto chooses by cross-validation',
      placeholder: '<how>',
    }),
    c: z
      .array(decimal(Number.MIN_VALUE))
      .min(1)
      .optional()
      .meta({ description: 'logistic: values of C to choose from', note: 'default: 1e-5 to 1e4' }),
    k: z
      .array(whole(1))
      .min(1)
      .optional()
      .meta({ description: 'knn: numbers of neighbours to choose from', note: 'default: 1 to 200' }),
    classWeight: z.enum(['none', 'balanced']).default('none').meta({
      description: 'balanced: each class counts the same, however many images it has',
      placeholder: '<how>',
    }),
    folds: whole(2, 1000).default(5).describe('parts for cross-validation'),
    seed: seed().default(0).describe('of the division into parts'),
    features: z.enum(['cls', 'patch-mean']).default('cls').meta({
      description: 'the class token, or the mean of the patches',
      placeholder: '<kind>',
    }),
    layers: whole(1, 1000).default(1).describe('how many of the last blocks are concatenated'),
    ...evalOptions(64),
  },
  examples: [
    'dino classify fit runs/first pets --output pets.safetensors',
    'dino classify fit runs/first pets/train --validation pets/val --output pets.safetensors --class-weight balanced',
  ],
  rules({ options: { method, scaling, c, k, output, report } }) {
    return [
      ...(output !== undefined && (report ?? reportBeside(output)) === output
        ? ['--output has the name of the report: end it in .safetensors, or give another --report']
        : []),
      ...(method === 'knn' && c !== undefined ? ['--c: only --method logistic has one'] : []),
      ...(method === 'logistic' && k !== undefined ? ['--k: only --method knn has one'] : []),
      ...(method === 'knn' && scaling === 'standardize'
        ? ['--scaling standardize: k-NN compares features of length 1; take none, center or pca']
        : []),
    ];
  },

  async run({ args, options, io }) {
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const [
          { fitClassifier },
          { saveClassifier },
          { assertWritable },
          { checkReportBeside, writeClassifierReport },
        ] = await Promise.all([
          import('../../classify/fit-classifier.js'),
          import('../../classify/classifier-file.js'),
          import('../../files/output.js'),
          import('../../classify/report-page.js'),
        ]);
        const [{ CheckpointError }, { checkNotInput }] = await Promise.all([
          import('../../errors.js'),
          import('../../files/new-places.js'),
        ]);
        assertWritable(options.output, CheckpointError);
        const report = options.report ?? reportBeside(options.output);
        assertWritable(report);
        if (options.report === undefined) checkReportBeside(report);
        const { validation = [] } = options;
        const refuseInputs = (...inputs: string[]): void =>
          [options.output, report].forEach((file) => checkNotInput(file, inputs));
        refuseInputs(...[args.weights, args.labelled].concat(validation));
        const images = await labelledSource(args.labelled, io);
        const model = await openModel(args.weights, options, io);
        refuseInputs(...model.origin.files);
        const count = counter(io);
        const start = performance.now();
        const result = await fitClassifier(model, {
          ...{ ...loading(options), images, signal },
          ...pick(options, 'validation', 'method', 'scaling', 'c', 'k', 'classWeight', 'folds', 'seed'),
          ...pick(options, 'features', 'layers'),
          onProgress: ({ part, done, total }) => count(PARTS[part], done, total),
          onWarning: (message) => io.warn(message),
        });
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        io.warnOfLists(result);
        saveClassifier(result.classifier, options.output);
        await writeClassifierReport(report, result);
        const seconds = (performance.now() - start) / 1000;
        const { classifier, ...rest } = result;
        io.result(
          { output: options.output, report, ...rest, takes: classifier.takes, seconds },
          `${shown(result, options.output)}\nreport: ${report}`,
        );
      },
    );
  },
});

const PARTS = { images: 'features', validation: 'features of validation', fit: 'settings' } as const;

/** The result for people. */
function shown(result: FitClassifierResult, output: string): string {
  const { method, images, classes, scaling, value, trials, crossValidation, validation } = result;
  const { skipped, leftOut, temperature } = result;
  const setting = method === 'logistic' ? `C ${Number(value.toPrecision(3))}` : `k ${value}`;
  return [
    ...(crossValidation === null ? [] : [reportText(crossValidation, validation === null)]),
    ...(validation === null ? [] : [reportText(validation, true)]),
    `${method === 'logistic' ? 'logistic regression' : 'k nearest neighbours'}: ${setting}, scaling ${scaling}` +
      `${trials.length > 1 ? `, the best of ${trials.length} settings` : ''}, temperature ${temperature.toFixed(2)}`,
    `${output}: ${images} images of ${classes.length} classes, ${skipped.length} skipped, ${leftOut.count} left out`,
  ].join('\n');
}

/** `pets.html` for `pets.safetensors`. */
const reportBeside = (model: string): string =>
  `${model.slice(0, model.length - path.extname(model).length)}.html`;
