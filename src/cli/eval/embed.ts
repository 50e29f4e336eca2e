/** `dino embed`: features of images to a file; see src/eval/embed.ts and src/eval/write-features.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { WHITEN_CHOICES } from '../../plain/feature-transform.js';
import { pick, whole } from '../flags.js';
import { processOptions } from '../train/processes.js';
import { weightsArgument } from '../weights/options.js';
import { evalOptions, loading, onModel, precisionOf, precisionOption } from './options.js';

const FORMATS = ['.safetensors', '.npy', '.parquet'];

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    images: z.string().describe('folder of images, text file of paths, or shards'),
  },
  options: {
    output: z
      .string()
      .refine(
        (file) => FORMATS.some((ending) => file.endsWith(ending)),
        `expected a name that ends in ${FORMATS.join(', ')}`,
      )
      .meta({
        description: `the file to write; its ending says the format: ${FORMATS.join(', ')}`,
        placeholder: '<file>',
        short: '-o',
        aliases: ['--output-dir'],
        missing: 'a file name',
      }),
    features: z.enum(['cls', 'patch-mean', 'patches']).default('cls').meta({
      description: 'the class token, the mean of the patches, or each patch',
      placeholder: '<kind>',
    }),
    whiten: z.enum(WHITEN_CHOICES).default('none').meta({
      description:
        'center subtracts the mean of the features, pca whitens them too, and both write what they were fitted as (NAME.mean.npy, NAME.matrix.npy); auto chooses by which images are best found by another view of them',
      placeholder: '<how>',
    }),
    layers: whole(1, 1000).default(1).describe('how many of the last blocks are concatenated'),
    ...evalOptions(64),
    ...precisionOption,
    ...processOptions,
  },
  examples: [
    'dino embed runs/first photos --output features.npy --whiten pca',
    'dino embed runs/first photos --output features.safetensors',
    'dino embed runs/first photos --output features.parquet --features patch-mean --layers 4',
  ],

  async run(call) {
    const { args, options } = call;
    const { output, features, layers, whiten } = options;
    await onModel(call, async ({ model, world, io, signal, count }) => {
      const [{ assertFeaturesWritable, writeFeatures, writtenBeside }, { whitenEmbeddings }] =
        await Promise.all([
          import('../../eval/write-features.js'),
          import('../../eval/whiten-embeddings.js'),
        ]);
      const inputs = [args.weights, args.images, ...model.origin.files];
      if (world.isFirst) assertFeaturesWritable(output, inputs);
      const start = performance.now();
      const settings = { ...loading(options), ...pick(options, 'layers', 'features'), signal };
      const result = await model.embed(args.images, {
        ...{ ...settings, world },
        ...(await precisionOf(options, model, io)),
        onProgress: ({ done, total }) => count('images', done, total),
      });
      const whitened =
        whiten === 'none' || !world.isFirst
          ? null
          : await whitenEmbeddings(model, result, {
              ...{ ...settings, whiten },
              onProgress: ({ done, total }) => count('other views of images', done, total),
            });
      const whitening =
        whitened === null ? null : { mode: whitened.whitening.mode, reason: whitened.whitening.reason };
      const earlier = world.isFirst ? writtenBeside(output) : [];
      const files = world.isFirst ? await writeFeatures(output, whitened ?? result) : [];
      for (const file of earlier)
        if (!files.includes(file)) io.note(`removed ${file}: it was of the features that were here before`);
      const seconds = (performance.now() - start) / 1000;
      for (const { path, reason } of result.skipped) io.warn(`skipped ${path}: ${reason}`);
      io.warnOfLists(result);
      const { shape, skipped, leftOut } = result;
      io.result(
        { files, shape, features, layers, whitening, skipped, leftOut, seconds },
        `${files.join(', ')}: [${shape.join(', ')}] float32, ${skipped.length} skipped, ${leftOut.count} left out, ${seconds.toFixed(1)} s` +
          (whitening === null ? '' : `\nwhitening: ${whitening.mode}; ${whitening.reason}`),
      );
    });
  },
});
