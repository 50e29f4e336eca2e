/** A segmenter as one file, see src/classify/head-file.ts. */
import { z } from 'zod';
import {
  commonFields,
  type HeadKind,
  holdsHead,
  MAX_SIDE,
  readHeadFile,
  writeHeadFile,
} from '../classify/head-file.js';
import type { LoadModelOptions } from '../model.js';
import { callback, checkCall, filePath, instanceOf, optionsOf, text } from '../plain/check-options.js';
import { fromTypedArray } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { Segmenter } from './segmenter.js';

const schema = z.object({
  format: z.literal('dino-segmenter'),
  version: z.literal(1),
  ...commonFields,
  classes: z
    .array(z.object({ value: z.int().min(0).max(255), name: z.string().min(1) }))
    .min(2)
    .max(255),
  size: z.int().positive().max(MAX_SIDE),
  layers: z.int().positive(),
});

const KIND: HeadKind<typeof schema> = {
  name: 'segmenter',
  command: 'dino segment fit WEIGHTS IMAGES MASKS --output MODEL',
  key: 'dino_segmenter',
  format: 'dino-segmenter',
  version: 1,
  schema,
  prefix: 'head.segmenter.',
};

/**
 * Writes a segmenter to one file, the backbone included: it can be moved to another machine.
 * @throws CheckpointError when it can't be written; an existing file is then untouched.
 */
export function saveSegmenter(segmenter: Segmenter, file: string): void {
  checkCall(
    'saveSegmenter()',
    ['segmenter', instanceOf(Segmenter, 'a segmenter, from fitSegmenter() or loadSegmenter()'), segmenter],
    ['file', filePath, file],
  );
  const { classes, size, layers, weight, bias } = segmenter.head;
  const description = { package: packageVersion, classes: [...classes], size, layers };
  writeHeadFile(KIND, file, segmenter.model, description, () => ({
    weight: fromTypedArray(weight, [bias.length, weight.length / bias.length]),
    bias: fromTypedArray(bias, [bias.length]),
  }));
}

/** @throws As holdsHead(). */
export const holdsSegmenter = (weights: string): boolean => holdsHead(KIND, weights);

export type LoadSegmenterOptions = Pick<LoadModelOptions, 'device' | 'onWarning'>;

const loadOptions = optionsOf<LoadSegmenterOptions>({}, { device: text, onWarning: callback });

/**
 * Loads what saveSegmenter() wrote. No code of the file is run.
 * @throws CheckpointError when it holds no segmenter, is damaged, or its backbone is not the one that the layer was fitted to;
 *   EngineError when the device is not available.
 */
export function loadSegmenter(file: string, options: LoadSegmenterOptions = {}): Segmenter {
  checkCall('loadSegmenter()', ['file', filePath, file], ['options', loadOptions, options]);
  return readHeadFile(KIND, file, options, ({ model, description, reader }) => {
    const { classes, size, layers } = description;
    for (const key of ['value', 'name'] as const)
      if (new Set(classes.map((one) => one[key])).size < classes.length)
        reader.refuse(`two classes have the same ${key}`);
    if (layers > model.architecture.depth)
      reader.refuse(`layers ${layers}, and its backbone has fewer blocks`);
    const weight = reader.floats('weight', [classes.length, model.embedDim * layers]);
    const head = { classes, size, layers, weight, bias: reader.floats('bias', [classes.length]) };
    return new Segmenter(model, head, true);
  });
}
