/** `dino eval attention-segmentation`: see src/eval/attention-segmentation.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { imageSize, pick, share } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { warnOfUnpaired } from '../unpaired.js';
import { modelOptions, openModel, weightsArgument } from '../weights/options.js';
import { keepResult } from './options.js';

export const command = defineCommand({
  args: { weights: weightsArgument },
  options: {
    images: z.string().meta({
      description: 'images, at any depth',
      placeholder: '<folder>',
      missing: 'a folder of images',
    }),
    masks: z.string().meta({
      description: 'PNGs of the same names: labels of objects, 0 for background, 255 for void',
      placeholder: '<folder>',
      missing: 'a folder of PNGs with the objects of the images',
    }),
    threshold: share()
      .default(0.6)
      .meta({ description: "share of a head's attention that its mask keeps", placeholder: '<share>' }),
    foreground: z.boolean().default(false).describe('take all labels of a mask together as one object'),
    imageSize: imageSize()
      .optional()
      .meta({
        description: "shorter side, or height,width, pixels (default: about twice the model's own size)",
        aliases: ['--resize'],
      }),
    ...modelOptions,
  },
  examples: ['dino eval attention-segmentation runs/first --images JPEGImages --masks SegmentationClass'],

  async run({ args, options, io }) {
    const { images, masks, threshold, foreground } = options;
    const size = pick(options, 'imageSize');
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const { evaluateAttentionSegmentation } = await import('../../eval/attention-segmentation.js');
        const model = await openModel(args.weights, options, io);
        const count = counter(io);
        const result = await evaluateAttentionSegmentation(model, {
          ...size,
          ...{ images, masks, threshold, signal },
          objects: foreground ? 'foreground' : 'each',
          onProgress: ({ done, total }) => count('images', done, total),
          onWarning: (message) => io.warn(message),
        });
        const kept = { imageFolder: images, masks, foreground, ...size, ...result };
        await keepResult(io, model, 'attention-segmentation', kept);
        io.warnOfLists(result);
        const { skipped, withoutMask, withoutImage, tooSmall, objects } = result;
        if (withoutMask > 0) io.note(`${withoutMask} images have no mask and are left out`);
        warnOfUnpaired(io, withoutImage, 'mask', 'without an image');
        for (const { path, reason } of skipped.slice(0, 5)) io.warn(`${path}: ${reason}`);
        if (skipped.length > 5) io.warn(`${skipped.length - 5} more images left out`);
        if (tooSmall > 0)
          io.warn(
            `${tooSmall} of ${tooSmall + objects} objects do not count: they are too small for a pixel at the size that the ` +
              'model sees, or in the strip at the right or bottom edge that is no whole patch; try a larger --image-size',
          );
        const lines = [
          `${result.images} images, ${objects} objects, attention thresholded to keep ${threshold}`,
          `Jaccard ${result.bestPerImage.toFixed(1)}   best head for each object`,
          `Jaccard ${result.bestHead.toFixed(1)}   the one best head`,
          `heads   ${result.heads.map((value) => value.toFixed(1)).join(' ')}`,
        ];
        io.result(result, lines.join('\n'));
      },
    );
  },
});
