/** `dino segment fit`: see src/segment/fit-segmenter.ts. */
import { z } from 'zod';
import type { SegmentReport } from '../../segment/scores.js';
import { printable } from '../../plain/printable.js';
import { aligned, percent } from '../classify/print.js';
import { defineCommand } from '../command.js';
import { counter } from '../counter.js';
import { decimal, pick, seed, whole } from '../flags.js';
import { interruptible } from '../interrupt.js';
import { warnOfUnpaired } from '../unpaired.js';
import { modelOptions, openModel, weightsArgument } from '../weights/options.js';

const folder = (description: string) => z.string().optional().meta({ description, placeholder: '<folder>' });

export const command = defineCommand({
  args: {
    weights: weightsArgument,
    images: z.string().describe('folder of images, at any depth, or text file of paths'),
    masks: z
      .string()
      .describe("folder of PNGs with the images' names: each value (palette index or gray) is a class"),
  },
  options: {
    output: z.string().meta({
      description: 'the segmenter, one file that also holds the model',
      placeholder: '<file>',
      short: '-o',
      missing: 'a file for the segmenter, such as roads.safetensors',
    }),
    validationImages: folder('images to measure it on, as well as by cross-validation'),
    validationMasks: folder('their masks'),
    classes: z.array(z.string().min(1)).min(1).optional().meta({
      description: 'names of the classes, in rising order of their values (default: the values)',
      placeholder: '<name...>',
    }),
    ignore: z
      .string()
      .regex(/^(none|\d{1,2}|1\d\d|2[0-4]\d|25[0-5])$/, 'expected a value of 0 to 255, or none')
      .optional()
      .meta({
        description: 'value of the pixels that do not count, or none',
        placeholder: '<value>',
        note: 'default: 255, except where masks hold only 0 and 255',
      }),
    size: whole(1, 8192)
      .optional()
      .describe(
        "shorter side that images are computed at, pixels (default: 480/224 of the model's own size)",
      ),
    layers: whole(1, 1000).default(1).describe('how many of the last blocks are concatenated'),
    penalty: decimal(1e-12).default(1e-4).describe('of the squared weights'),
    folds: whole(0, 1000).default(5).describe('parts for cross-validation, 0 for none'),
    seed: seed().default(0).describe('of the division into parts'),
    ...modelOptions,
  },
  examples: [
    'dino segment fit runs/first images masks --output roads.safetensors --classes background road',
    'dino segment fit runs/first train/images train/masks --validation-images val/images --validation-masks val/masks -o roads.safetensors',
  ],
  rules: ({ options }) => [
    ...((options.validationImages === undefined) === (options.validationMasks === undefined)
      ? []
      : ['--validation-images and --validation-masks go together']),
    ...(options.folds === 1 ? ['--folds is 1; expected at least 2, or 0 for no cross-validation'] : []),
  ],

  async run({ args, options, io }) {
    await interruptible(
      () => io.note('interrupted'),
      async (signal) => {
        const [{ fitSegmenter }, { saveSegmenter }, { assertWritable }, { CheckpointError }] =
          await Promise.all([
            import('../../segment/fit-segmenter.js'),
            import('../../segment/segmenter-file.js'),
            import('../../files/output.js'),
            import('../../errors.js'),
          ]);
        const { checkNotInput } = await import('../../files/new-places.js');
        assertWritable(options.output, CheckpointError);
        const { validationImages = [], validationMasks = [] } = options;
        const given = [args.weights, args.images, args.masks].concat(validationImages, validationMasks);
        checkNotInput(options.output, given);
        const model = await openModel(args.weights, options, io);
        checkNotInput(options.output, model.origin.files);
        const count = counter(io);
        const start = performance.now();
        const { ignore } = options;
        const result = await fitSegmenter(model, {
          ...{ images: args.images, masks: args.masks, signal },
          ...pick(options, 'validationImages', 'validationMasks', 'classes', 'size', 'layers', 'penalty'),
          ...pick(options, 'folds', 'seed'),
          ...(ignore === undefined ? {} : { ignore: ignore === 'none' ? null : Number(ignore) }),
          onProgress: ({ part, done, total }) => count(PARTS[part], done, total),
          onWarning: (message) => io.warn(message),
        });
        const { segmenter, ...rest } = result;
        const { images, classes, skipped, withoutMask, withoutImage } = rest;
        for (const { path, reason } of skipped) io.warn(`skipped ${path}: ${reason}`);
        warnOfUnpaired(io, withoutMask, 'image', 'without a mask');
        warnOfUnpaired(io, withoutImage, 'mask', 'without an image');
        io.warnOfLists(result);
        saveSegmenter(segmenter, options.output);
        const seconds = (performance.now() - start) / 1000;
        const { crossValidation, validation } = rest;
        io.result(
          { output: options.output, ...rest, size: segmenter.head.size, seconds },
          [
            ...(crossValidation === null ? [] : [reportText(crossValidation)]),
            ...(validation === null ? [] : [reportText(validation)]),
            `${options.output}: ${images} images, ${classes.length} classes, ${skipped.length} skipped, ` +
              `${withoutMask.length} without a mask, ${withoutImage.length} masks without an image`,
          ].join('\n'),
        );
      },
    );
  },
});

const PARTS = { images: 'features', validation: 'validation', fit: 'fit' } as const;

function reportText({ from, images, meanIou, pixelAccuracy, classes }: SegmentReport): string {
  const where = from === 'validation' ? 'on validation images' : 'by cross-validation';
  return [
    `mIoU ${percent(meanIou)}%, ${percent(pixelAccuracy)}% of the pixels right, ${where} (${images} images)`,
    ...aligned([
      ['class', 'value', 'IoU'],
      ...classes.map(({ name, value, iou }) => [printable(name), String(value), percent(iou)]),
    ]),
    '',
  ].join('\n');
}
