/** `dino export`: a model as a file for other programs. Each format is a module of its own, imported when asked for. */
import { defineCommand } from '../command.js';
import { type ExportCall, exportArguments, exportOptions, exportProblems, type Format } from './options.js';

const loaders: Readonly<
  Record<Format, () => Promise<{ exportTo: (call: ExportCall) => void | Promise<void> }>>
> = {
  safetensors: () => import('./weights.js'),
  pth: () => import('./weights.js'),
  onnx: () => import('./onnx.js'),
  transformers: () => import('./onnx.js'),
  web: () => import('./web.js'),
};

export const command = defineCommand({
  args: exportArguments,
  options: exportOptions,
  examples: [
    'dino export runs/first --format pth --image-size 224 --output weights.pth',
    'dino export dino_deitsmall16_pretrain.pth --format safetensors --output model.safetensors',
    'dino export runs/first --format onnx --output model.onnx --attention',
    'dino export runs/first --format transformers --output dino-model',
    'dino export runs/first --format web --output site --images photos',
  ],
  rules: exportProblems,

  async run(call) {
    const { args, options } = call;
    const { checkNotInput } = await import('../../files/new-places.js');
    // a run's folder, or one from Hugging Face, has files of the names that an export has
    const { images = [], index = [] } = options;
    checkNotInput(options.output, [args.weights].concat(images, index));
    const { exportTo } = await loaders[options.format]();
    await exportTo(call);
    const { warnOfHead } = await import('./head.js');
    warnOfHead(call);
  },
});
