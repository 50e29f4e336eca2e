/** `dino index`: embeds images into an index on disk; see src/explore/build-index.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { evalOptions, keptPrecisionOption, keptSizeOptions, loading, precisionOf } from '../eval/options.js';
import { pick } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { WHITEN_CHOICES } from '../../plain/feature-transform.js';
import { openModel, weightsArgument } from '../weights/options.js';

const READ = {
  none: 'compared as they are',
  center: 'centred before they are compared',
  pca: 'whitened before they are compared',
};
const PARTS = { images: 'images', views: 'other views of images', check: 'checked searches' };

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    images: z.string().describe('folder of images, or a text file of paths'),
  },
  options: {
    output: z.string().meta({
      description: 'the index: a new folder, or an index to bring up to date',
      placeholder: '<folder>',
      short: '-o',
      aliases: ['--output-dir'],
      missing: 'a folder for the index',
    }),
    features: z.enum(['cls', 'patch-mean']).optional().meta({
      description: 'cls or patch-mean, which finds regions within their image',
      placeholder: '<kind>',
      note: 'default: that of the index, cls for a new one',
    }),
    whiten: z.enum(WHITEN_CHOICES).optional().meta({
      description:
        'how features are compared: pca whitens them, center subtracts their mean, none takes them as they are; auto (default for a new index) chooses the one by which images are best found by another view of them',
      placeholder: '<how>',
    }),
    ...evalOptions(64),
    ...keptSizeOptions,
    ...keptPrecisionOption,
  },
  examples: ['dino index runs/first photos --output photos.index', 'dino search photos.index photos/cat.jpg'],

  async run({ args, options, io }) {
    const { output } = options;
    let isRebuilding = false;
    await interruptible(
      () =>
        io.note(
          isRebuilding ? 'interrupted: the index stays as it was' : 'interrupted: writing what is embedded',
        ),
      async (signal) => {
        const { buildIndex } = await import('../../explore/build-index.js');
        const model = await openModel(args.weights, options, io);
        const count = counter(io);
        const start = performance.now();
        const result = await buildIndex(model, args.images, {
          ...loading(options),
          ...(await precisionOf(options, model, io)),
          ...{ output, signal, ...pick(options, 'features', 'whiten') },
          weights: { given: args.weights, ...pick(options, 'checkpointKey', 'numHeads') },
          onWait: (message) => io.note(message),
          onRebuild: (reason) => {
            isRebuilding = true;
            io.warn(
              `everything is embedded again: ${reason}. The old index stays until that is done, and if it is interrupted ` +
                'it begins again; to have both indexes, give another --output',
            );
          },
          onProgress: ({ part, done, total }) => {
            if (total > 0) count(PARTS[part], done, total);
          },
        });
        const seconds = (performance.now() - start) / 1000;
        io.warnOfLists(result);
        for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
        const { images, added, changed, removed, width, recall, skipped, repeated, whitening } = result;
        io.result(
          { ...result, seconds },
          `${output}: ${images} images of ${width} values; ${added} new, ${changed} changed, ${removed} removed, ` +
            `${skipped.length} skipped, ${result.leftOut.count} left out, ` +
            `${repeated === 0 ? '' : `${repeated} named again, `}${seconds.toFixed(1)} s` +
            (recall < 1
              ? `; approximate search finds ${(100 * recall).toFixed(1)}% of the ten nearest`
              : '') +
            `\nfeatures are ${READ[whitening.mode]}: ${whitening.reason}`,
        );
      },
    );
  },
});
