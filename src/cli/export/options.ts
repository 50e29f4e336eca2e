/** Options of `dino export`, and which of them each format takes. */
import { z } from 'zod';
import { WHITEN_CHOICES } from '../../plain/feature-transform.js';
import { WEB_DTYPES } from '../../plain/web-manifest.js';
import type { Model } from '../../model.js';
import type { Call, Given } from '../command.js';
import { type Parsed, whole } from '../flags.js';
import { weightsArgument, weightsOptions } from '../weights/options.js';

const FORMATS = ['safetensors', 'pth', 'onnx', 'transformers', 'web'] as const;
export type Format = (typeof FORMATS)[number];

export const exportArguments = { weights: weightsArgument };

export const exportOptions = {
  format: z.enum(FORMATS).meta({
    description:
      "safetensors: a .safetensors file; pth: a PyTorch file for torch.load and the reference's scripts; " +
      'onnx: an ONNX file; transformers: a folder for transformers.js; ' +
      'web: a folder for any static server, a page that shows attention and neighbours in the browser',
    placeholder: '<name>',
    missing: FORMATS.join(', '),
  }),
  output: z.string().meta({
    description: 'the file, or the folder',
    placeholder: '<path>',
    short: '-o',
    missing: 'the file or folder to write',
  }),
  ...weightsOptions,
  dynamicSize: z.boolean().default(false).describe('onnx, transformers: take images of any size'),
  attention: z.boolean().default(false).describe("onnx: also give the last block's attention"),
  withHead: z
    .boolean()
    .default(false)
    .describe("safetensors, pth: also write the DINO head, under the names of the reference's checkpoints"),
  card: z
    .boolean()
    .optional()
    .describe(
      'also write a model card, README.md beside the file or in the folder; one of your own is left as it is (default: with transformers)',
    ),
  images: z.string().optional().meta({
    description: 'web: folder or list of images among which the page finds neighbours',
    placeholder: '<source>',
  }),
  index: z.string().optional().meta({
    description: 'web: the same, from an index that dino index made with these weights',
    placeholder: '<folder>',
  }),
  dtype: z.enum(WEB_DTYPES).optional().meta({
    description: 'web: how weights are stored (default: fp16)',
    placeholder: '<name>',
  }),
  whiten: z.enum(WHITEN_CHOICES).optional().meta({
    description: 'web, with --images: how features are compared, as in dino index (default: auto)',
    placeholder: '<how>',
  }),
  title: z.string().optional().meta({ description: "web: the page's heading", placeholder: '<words>' }),
  imageSize: z
    .array(whole(1))
    .min(1)
    .optional()
    .meta({
      description:
        'side of the images that the position embeddings are resized for, or with onnx height,width (default: as they are)',
      placeholder: '<pixels>',
      aliases: ['--size'],
    }),
};

export type ExportOptions = Parsed<typeof exportOptions>;
export type ExportCall = Call<typeof exportArguments, typeof exportOptions>;
export type GivenToExport = Given<typeof exportArguments, typeof exportOptions>;

/** What a format doesn't take, and what excludes what. */
export function exportProblems({ options, named }: GivenToExport): string[] {
  const { format, imageSize = [] } = options;
  if (format === undefined) return [];
  const problems: string[] = [];
  const isWeights = format === 'safetensors' || format === 'pth';
  if (format !== 'web')
    for (const name of ['images', 'index', 'dtype', 'whiten', 'title'] as const)
      if (named.has(name)) problems.push(`--${name}: only --format web takes it`);
  const most = format === 'onnx' ? 2 : 1;
  if (format === 'web' && named.has('imageSize'))
    problems.push('--image-size: the page takes images of any size');
  else if (imageSize.length > most)
    problems.push(`--image-size takes ${most === 2 ? 'one number or two' : 'one number with this format'}`);
  if (format === 'onnx' && named.has('imageSize') && named.has('dynamicSize'))
    problems.push('--image-size and --dynamic-size exclude each other: one size, or any');
  if (named.has('dynamicSize') && isWeights) problems.push('--dynamic-size: only ONNX files have that');
  if (named.has('withHead') && !isWeights)
    problems.push(`--with-head: --format ${format} writes only the backbone`);
  if (named.has('card') && format === 'web') problems.push('--card: a page is not a model repository');
  if (named.has('attention') && format !== 'onnx' && format !== 'web')
    problems.push('--attention: only --format onnx gives it, and --format web wherever a network has it');
  if (named.has('whiten') && named.has('index'))
    problems.push('--whiten: an index compares features in its own way; make it with dino index --whiten');
  else if (named.has('whiten') && format === 'web' && !named.has('images'))
    problems.push('--whiten: the page finds no neighbours: give --images or leave it out');
  if (named.has('images') && named.has('index')) problems.push('--images and --index: give one of the two');
  return problems;
}

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export const NOT_CHECKED = 'not checked: onnxruntime-node is not installed (npm install onnxruntime-node)';

/** Size for the check of a file that takes any: not a multiple of the learnt grid. */
export function sizeToTry({ architecture }: Model): [height: number, width: number] {
  const { imgSize, patchSize } = architecture;
  return [imgSize + 2 * patchSize, imgSize + patchSize];
}
