/** `dino classify export`: see src/classify/export-classifier.ts. */
import { z } from 'zod';
import { defineCommand } from '../command.js';
import { imageSize, pick } from '../flags.js';
import { megabytes, NOT_CHECKED } from '../export/options.js';

export const command = defineCommand({
  args: { model: z.string().describe('a classifier, from dino classify fit') },
  options: {
    output: z.string().meta({
      description: 'the ONNX file, from an image to the probability of each class',
      placeholder: '<file>',
      short: '-o',
      missing: 'a file such as pets.onnx',
    }),
    imageSize: imageSize()
      .optional()
      .meta({
        description: 'side of the images, or height,width (default: as the classifier was fitted)',
        placeholder: '<pixels>',
        aliases: ['--size'],
      }),
    dynamicSize: z.boolean().default(false).describe('take images of any size'),
  },
  examples: ['dino classify export pets.safetensors --output pets.onnx'],
  rules: ({ options, named }) =>
    named.has('imageSize') && options.dynamicSize === true
      ? ['--image-size and --dynamic-size exclude each other: one size, or any']
      : [],

  async run({ args, options, io }) {
    const [{ loadClassifier }, { checkClassifierOnnx, exportClassifier }] = await Promise.all([
      import('../../classify/classifier-file.js'),
      import('../../classify/export-classifier.js'),
    ]);
    using classifier = loadClassifier(args.model, {
      device: 'cpu',
      onWarning: (message) => io.warn(message),
    });
    const result = exportClassifier(classifier, options.output, pick(options, 'imageSize', 'dynamicSize'));
    const { crop } = classifier.takes;
    const check = await checkClassifierOnnx(classifier, result.file, result.imageSize ?? [crop, crop]);
    const input = result.inputs['pixel_values']!.join(' x ');
    const words =
      check === null
        ? NOT_CHECKED
        : `checked in onnxruntime: off by ${Math.max(...Object.values(check.differences)).toExponential(1)} at most`;
    io.result(
      { ...result, check },
      `${result.file}: ${megabytes(result.bytes)}, opset ${result.opset}, pixel_values ${input} to ` +
        `${Object.keys(result.outputs).join(', ')}\n${words}`,
    );
  },
});
