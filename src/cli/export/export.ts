/** `dino export`: a model as a file for other programs. Each format is a module of its own, imported when asked for. */
import type { Command } from 'commander';
import { didYouMean } from '../../plain/did-you-mean.js';
import { addExamples, check, type Invocation, listOption, setAliases } from '../command.js';
import { addWeightsOptions, readWeightsOptions } from '../eval/options.js';
import type { ExportTarget } from './target.js';

interface Format {
  summary: string;
  load: () => Promise<{ exportTo: (target: ExportTarget, invocation: Invocation) => void | Promise<void> }>;
}

const formats: Readonly<Record<string, Format>> = {
  safetensors: { summary: 'a .safetensors file', load: () => import('./weights.js') },
  pth: {
    summary: "a PyTorch file that torch.load and the reference's scripts take",
    load: () => import('./weights.js'),
  },
  onnx: { summary: 'an ONNX file', load: () => import('./onnx.js') },
  transformers: { summary: 'a folder for transformers.js', load: () => import('./onnx.js') },
  web: {
    summary: 'a folder for any static server: attention and neighbours in the browser',
    load: () => import('./web.js'),
  },
};
/** Flags that the page alone has a use for. */
const WEB_ONLY = ['images', 'index', 'dtype', 'title'] as const;

export function define(command: Command): void {
  const described = Object.entries(formats).map(([name, { summary }]) => `${name}: ${summary}`);
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .option('--format <name>', described.join('; '))
    .option('-o, --output <path>', 'the file, or the folder');
  addWeightsOptions(command);
  command
    .option('--dynamic-size', 'onnx, transformers: take images of any size')
    .option('--attention', "onnx: the last block's attention too")
    .option('--with-head', "safetensors, pth: the DINO head too, by the names of the reference's checkpoints")
    .option('--images <source>', 'web: folder or list of images among which the page finds neighbours')
    .option('--index <folder>', 'web: the same, from an index that dino index made with these weights')
    .option('--dtype <name>', 'web: how weights are stored: fp16 (default), fp32 or q8')
    .option('--title <words>', "web: the page's heading");
  command.addOption(
    listOption(
      command.createOption(
        '--image-size <pixels>',
        'side of the images that the position embeddings are resized for, or with onnx height,width (default: as they are)',
      ),
    ),
  );
  setAliases(command, { '--size': '--image-size' });
  addExamples(
    command,
    'dino export runs/first --format pth --image-size 224 --output weights.pth',
    'dino export dino_deitsmall16_pretrain.pth --format safetensors --output model.safetensors',
    'dino export runs/first --format onnx --output model.onnx --attention',
    'dino export runs/first --format transformers --output dino-model',
    'dino export runs/first --format web --output site --images photos',
  );
}

export async function run(invocation: Invocation): Promise<void> {
  const { options, args } = invocation;
  const output = options['output'] as string | undefined;
  const name = options['format'] as string | undefined;
  const known = Object.keys(formats);
  const problems: string[] = [];
  if (name === undefined) problems.push(`--format is missing: ${known.join(', ')}`);
  else if (!Object.hasOwn(formats, name))
    problems.push(`--format is ${name}${didYouMean(name, known)}; expected ${known.join(', ')}`);
  if (output === undefined) problems.push('--output is missing: where shall it go?');
  if (name !== 'web')
    for (const flag of WEB_ONLY)
      if (options[flag] !== undefined) problems.push(`--${flag}: only --format web has a use for it`);
  const which = readWeightsOptions(invocation);
  check(invocation, problems);
  const { exportTo } = await (formats[name as string] as Format).load();
  await exportTo(
    {
      weights: args[0] as string,
      output: output as string,
      format: name as string,
      which,
    },
    invocation,
  );
}
