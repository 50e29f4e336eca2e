/** `dino segment predict`: see src/segment/segmenter.ts. */
import { z } from 'zod';
import { printable } from '../../plain/printable.js';
import { imagesToPredict } from '../classify/images.js';
import { percent } from '../classify/print.js';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { interruptible } from '../interrupt.js';
import { deviceOption } from '../weights/options.js';

export const command = defineCommand({
  args: {
    model: z.string().describe('a segmenter, from dino segment fit'),
    images: z.string().describe('an image, a folder of images, a text file of paths, or shards'),
  },
  options: {
    output: z.string().meta({
      description: 'new folder for masks/NAME.png (indexed PNGs) and overlays/NAME.jpg',
      placeholder: '<folder>',
      short: '-o',
      missing: 'a folder for the masks',
    }),
    overlays: z.boolean().default(true).describe('write only the masks'),
    ...deviceOption,
  },
  examples: ['dino segment predict roads.safetensors photos --output segmented'],

  async run({ args, options, io }) {
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const [{ loadSegmenter }, { checkSegmentFolder }] = await Promise.all([
          import('../../segment/segmenter-file.js'),
          import('../../segment/segmenter.js'),
        ]);
        checkSegmentFolder(options.output, options.overlays);
        const source = await imagesToPredict(args.images);
        using segmenter = loadSegmenter(args.model, {
          device: options.device,
          onWarning: (message) => io.warn(message),
        });
        const count = counter(io);
        const result = await segmenter.segmentAll(source, {
          ...{ output: options.output, overlays: options.overlays, signal },
          onProgress: ({ done, total }) => count('images', done, total),
        });
        const { images, skipped, classes, leftOut } = result;
        for (const { path, reason } of skipped) io.warn(`skipped ${path}: ${reason}`);
        io.warnOfLists(result);
        const shares = classes.map(({ name }, c) => {
          const mean = images.reduce((sum, image) => sum + image.shares[c]!, 0) / images.length;
          return `${printable(name)} ${percent(mean)}%`;
        });
        io.result(
          { output: options.output, ...result },
          `${options.output}: ${images.length + skipped.length} images: ${images.length} segmented, ${skipped.length} skipped; ` +
            `${leftOut.count} other files left out\n${shares.join(', ')}`,
        );
      },
    );
  },
});
