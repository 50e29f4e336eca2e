/** A classifier as one file, see head-file.ts. */
import { z } from 'zod';
import type { LoadModelOptions } from '../model.js';
import { callback, checkCall, filePath, instanceOf, optionsOf, text } from '../plain/check-options.js';
import type { ClassifierHead } from '../plain/classifier-head.js';
import { type FeatureTransform, TRANSFORM_MODES } from '../plain/feature-transform.js';
import { fromTypedArray, type Tensor } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { Classifier } from './classifier.js';
import { CLASS_WEIGHTS, HEAD_FEATURES, METHODS } from './fit-classifier.js';
import {
  commonFields,
  type HeadKind,
  holdsHead,
  type HeadReader,
  MAX_SIDE,
  readHeadFile,
  writeHeadFile,
} from './head-file.js';

const share = z.number().min(0).max(1);
const whole = z.int().nonnegative();
const schema = z.object({
  format: z.literal('dino-classifier'),
  version: z.literal(1),
  ...commonFields,
  method: z.enum(METHODS),
  classes: z.array(z.string().min(1)).min(2),
  temperature: z.number().positive(),
  transform: z.enum(TRANSFORM_MODES).nullable(),
  /** Only for k-NN. */
  k: z.int().positive().nullable(),
  takes: z.object({
    features: z.enum(HEAD_FEATURES),
    layers: z.int().positive(),
    resize: z.int().positive().max(MAX_SIDE),
    crop: z.int().positive().max(MAX_SIDE),
  }),
  origin: z.object({
    ...{ images: whole, scaling: z.string(), value: z.number(), classWeight: z.enum(CLASS_WEIGHTS) },
    ...{ folds: whole, seed: whole },
    measured: z
      .object({
        from: z.enum(['cross-validation', 'validation']),
        ...{ images: whole, accuracy: share, low: share, high: share, ece: share },
      })
      .nullable(),
  }),
});
type Description = z.infer<typeof schema>;

const KIND: HeadKind<typeof schema> = {
  name: 'classifier',
  command: 'dino classify fit WEIGHTS LABELLED --output MODEL',
  key: 'dino_classifier',
  format: 'dino-classifier',
  version: 1,
  schema,
  prefix: 'head.classifier.',
};

/** The head's arrays, each with its shape. */
function headTensors(head: ClassifierHead): Record<string, Tensor> {
  const classes = head.classes.length;
  const { mean = null, matrix = null } = head.transform ?? {};
  const own: Record<string, Tensor> =
    head.kind === 'logistic'
      ? {
          weight: fromTypedArray(head.weight, [classes, head.weight.length / classes]),
          bias: fromTypedArray(head.bias, [classes]),
        }
      : {
          features: fromTypedArray(head.features, [
            head.labels.length,
            head.features.length / head.labels.length,
          ]),
          labels: fromTypedArray(head.labels, [head.labels.length]),
          vote_weights: fromTypedArray(head.voteWeights, [classes]),
        };
  if (mean !== null) own['transform.mean'] = fromTypedArray(mean, [mean.length]);
  if (matrix !== null && mean !== null)
    own['transform.matrix'] = fromTypedArray(matrix, [mean.length, mean.length]);
  return own;
}

/**
 * Writes a classifier to one file, the backbone included: it can be moved to another machine.
 * @throws CheckpointError when it can't be written; an existing file is then untouched.
 */
export function saveClassifier(classifier: Classifier, file: string): void {
  checkCall(
    'saveClassifier()',
    [
      'classifier',
      instanceOf(Classifier, 'a classifier, from fitClassifier() or loadClassifier()'),
      classifier,
    ],
    ['file', filePath, file],
  );
  const { model, head, takes, origin } = classifier;
  const description = {
    ...{ package: packageVersion, method: head.kind, classes: [...head.classes], takes, origin },
    ...{ temperature: head.temperature, transform: head.transform?.mode ?? null },
    k: head.kind === 'knn' ? head.k : null,
  };
  writeHeadFile(KIND, file, model, description, () => headTensors(head));
}

function readTransform(
  mode: Description['transform'],
  width: number,
  reader: HeadReader,
): FeatureTransform | null {
  if (mode === null) return null;
  return {
    mode,
    mean: mode === 'none' ? null : reader.floats('transform.mean', [width]),
    matrix: mode === 'pca' ? reader.floats('transform.matrix', [width, width]) : null,
  };
}

/** @param width - Of the features that the model gives. */
function readHead(description: Description, width: number, reader: HeadReader): ClassifierHead {
  const { method, classes, temperature, k } = description;
  const transform = readTransform(description.transform, width, reader);
  const size = classes.length;
  if (new Set(classes).size < size) reader.refuse('two classes have the same name');
  if (method === 'logistic') {
    const weight = reader.floats('weight', [size, width]);
    return { kind: method, classes, temperature, transform, weight, bias: reader.floats('bias', [size]) };
  }
  if (transform === null || k === null) return reader.refuse('k-NN needs k and a transform');
  const features = reader.floats('features', [null, width]);
  const labels = reader.labels('labels', features.length / width, size);
  const voteWeights = reader.floats('vote_weights', [size]);
  if (voteWeights.some((weight) => weight <= 0)) reader.refuse('a vote must count more than 0');
  return { kind: method, classes, temperature, transform, k, features, labels, voteWeights };
}

/** @throws As holdsHead(). */
export const holdsClassifier = (weights: string): boolean => holdsHead(KIND, weights);

export type LoadClassifierOptions = Pick<LoadModelOptions, 'device' | 'backbone' | 'onWarning'>;

const loadOptions = optionsOf<LoadClassifierOptions>(
  {},
  { device: text, backbone: callback, onWarning: callback },
);

/**
 * Loads what saveClassifier() wrote. No code of the file is run.
 * @throws CheckpointError when it holds no classifier, is damaged, or its backbone is not the one that the head was fitted to;
 *   EngineError when the device is not available.
 */
export function loadClassifier(file: string, options: LoadClassifierOptions = {}): Classifier {
  checkCall('loadClassifier()', ['file', filePath, file], ['options', loadOptions, options]);
  return readHeadFile(KIND, file, options, ({ model, description, reader }) => {
    const { takes, origin } = description;
    const head = readHead(description, model.embedDim * takes.layers, reader);
    return new Classifier(model, head, takes, origin, true);
  });
}
