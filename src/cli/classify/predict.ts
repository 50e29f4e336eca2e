/** `dino classify predict`: see src/classify/classifier.ts. */
import { z } from 'zod';
import { printable } from '../../plain/printable.js';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { pick } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { loaderOptions } from '../eval/options.js';
import { deviceOption } from '../weights/options.js';
import { imagesToPredict } from './images.js';
import { percent } from './print.js';

/** Lines of predictions that are printed when they go to a file as well. */
const SHOWN = 5;

export const command = defineCommand({
  args: {
    model: z.string().describe('a classifier, from dino classify fit'),
    images: z.string().describe('an image, a folder of images, a text file of paths, or shards'),
  },
  options: {
    output: z.string().optional().meta({
      description: 'also write the predictions to this file; its ending says the format: .csv, .json, .jsonl',
      placeholder: '<file>',
      short: '-o',
    }),
    ...deviceOption,
    ...loaderOptions(64),
  },
  examples: [
    'dino classify predict pets.safetensors photos --output photos.csv',
    'dino classify predict pets.safetensors photos/one.jpg',
  ],

  async run({ args, options, io }) {
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const [{ loadClassifier }, { checkPredictionsFile, writePredictions }] = await Promise.all([
          import('../../classify/classifier-file.js'),
          import('../../classify/write-predictions.js'),
        ]);
        const { checkNotInput } = await import('../../files/new-places.js');
        const { output } = options;
        if (output !== undefined) {
          checkPredictionsFile(output);
          checkNotInput(output, [args.model, args.images]);
        }
        const images = await imagesToPredict(args.images);
        using classifier = loadClassifier(args.model, {
          device: options.device,
          onWarning: (message) => io.warn(message),
        });
        const count = counter(io);
        const result = await classifier.predict(images, {
          ...{ ...pick(options, 'batchSize', 'numWorkers'), signal },
          onProgress: ({ done, total }) => count('images', done, total),
        });
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        io.warnOfLists(result);
        if (output !== undefined) writePredictions(output, result);
        const { predictions, skipped, classes, leftOut } = result;
        const counts = new Map(classes.map((name) => [name, 0]));
        for (const { label } of predictions) counts.set(label, counts.get(label)! + 1);
        const shown = output === undefined ? predictions : predictions.slice(0, SHOWN);
        const lines = shown.map(
          ({ path, label, probability, runnerUp, runnerUpProbability }) =>
            `${printable(path)}: ${printable(label)} ${percent(probability)}%, ` +
            `then ${printable(runnerUp)} ${percent(runnerUpProbability)}%`,
        );
        if (shown.length < predictions.length) lines.push(`and ${predictions.length - shown.length} more`);
        const byClass = [...counts]
          .filter(([, n]) => n > 0)
          .sort(([, a], [, b]) => b - a)
          .map(([name, n]) => `${n} ${printable(name)}`);
        lines.push(
          `${output === undefined ? '' : `${output}: `}${predictions.length + skipped.length} images: ${predictions.length} classified ` +
            `(${byClass.join(', ')}), ${skipped.length} skipped; ${leftOut.count} other files left out`,
        );
        io.result({ ...result, ...(output === undefined ? {} : { output }) }, lines.join('\n'));
      },
    );
  },
});
