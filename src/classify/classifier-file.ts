/**
 * A classifier as one safetensors file, which holds all that it needs: the backbone under `backbone.`, its record as any
 * exported file has it, and the head under `head.classifier.`. Commands that take weights read the backbone from it. What is
 * not a tensor (names of classes, temperature, sizes of images) is JSON in the metadata; nothing in it is code.
 */
import { z } from 'zod';
import { makeFolderOf } from '../files/output.js';
import { CheckpointError } from '../errors.js';
import { fingerprintWeights } from '../eval/linear-checkpoint.js';
import { loadModel, type LoadModelOptions } from '../model.js';
import { checkCall, filePath, instanceOf, optionsOf, text, callback } from '../plain/check-options.js';
import type { ClassifierHead } from '../plain/classifier-head.js';
import { type FeatureTransform, TRANSFORM_MODES } from '../plain/feature-transform.js';
import { issueLines, printable } from '../plain/printable.js';
import { fromTypedArray, scope, type Tensor } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { recordOf } from '../weights/record.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { openWeights } from '../weights/weights-file.js';
import { Classifier } from './classifier.js';
import { CLASS_WEIGHTS, HEAD_FEATURES, METHODS } from './fit-classifier.js';

const KEY = 'dino_classifier';
const VERSION = 1;
const BACKBONE = 'backbone.';
const HEAD = 'head.classifier.';
/** No image is evaluated at a larger side. */
const MAX_SIDE = 8192;

const share = z.number().min(0).max(1);
const whole = z.int().nonnegative();
const schema = z.object({
  format: z.literal('dino-classifier'),
  version: z.literal(VERSION),
  package: z.string(),
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
  /** SHA-256 of the backbone's tensors. */
  backbone: z.string().regex(/^[0-9a-f]{64}$/),
});
type Description = z.infer<typeof schema>;

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
  return {
    ...own,
    ...(mean === null ? {} : { 'transform.mean': fromTypedArray(mean, [mean.length]) }),
    ...(matrix === null || mean === null
      ? {}
      : { 'transform.matrix': fromTypedArray(matrix, [mean.length, mean.length]) }),
  };
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
  const description: Description = {
    ...{ format: 'dino-classifier', version: VERSION, package: packageVersion, method: head.kind },
    ...{ classes: [...head.classes], temperature: head.temperature, transform: head.transform?.mode ?? null },
    ...{ k: head.kind === 'knn' ? head.k : null, takes, origin },
    backbone: fingerprintWeights(model.backbone),
  };
  makeFolderOf(file, CheckpointError);
  scope(() => {
    const tensors = new Map<string, Tensor>();
    for (const [name, tensor] of model.backbone.stateDict()) tensors.set(BACKBONE + name, tensor);
    for (const [name, tensor] of Object.entries(headTensors(head))) tensors.set(HEAD + name, tensor);
    writeSafetensors(file, tensors, {
      ...{ format: 'pt', ...recordOf(model.architecture, model.backbone.normalization, model.origin.headsAreGuess) },
      [KEY]: JSON.stringify(description),
    });
  });
}

/** @throws CheckpointError for a file without a classifier, or a damaged one. */
function describe(file: string, metadata: Readonly<Record<string, string>>): Description {
  const json = metadata[KEY];
  if (json === undefined)
    throw new CheckpointError(
      `${printable(file)} holds no classifier: make one with dino classify fit WEIGHTS LABELLED --output MODEL`,
    );
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new CheckpointError(`${printable(file)}: the classifier's description is not JSON`, {
      cause: error,
    });
  }
  const { format, version } = Object(value) as { format?: unknown; version?: unknown };
  if (format === 'dino-classifier' && version !== VERSION)
    throw new CheckpointError(
      `${printable(file)} holds a classifier of version ${printable(String(version))}; this dino reads ${VERSION}`,
    );
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(
      `${printable(file)}: the classifier's description is damaged:\n${issueLines(parsed.error)}`,
    );
  return parsed.data;
}

/** Reads the head's tensors by name, and checks their shapes and values. */
class HeadReader {
  constructor(
    readonly file: string,
    readonly read: (name: string) => Tensor | null,
  ) {}

  refuse(what: string): never {
    throw new CheckpointError(`${printable(this.file)}: the classifier is damaged: ${what}`);
  }

  /** @param shape - null for a dimension of any length. */
  array(name: string, shape: readonly (number | null)[], dtype: 'float32' | 'int32' = 'float32') {
    using tensor = this.read(name);
    if (tensor === null) return this.refuse(`${name} is missing`);
    const fits =
      tensor.dtype === dtype &&
      tensor.ndim === shape.length &&
      shape.every((size, i) => size === null || size === tensor.size(i));
    if (!fits)
      return this.refuse(
        `${name} is ${tensor.toString()}; expected ${dtype}[${shape.map((size) => size ?? 'any').join(', ')}]`,
      );
    const values = tensor.toTypedArray();
    if (values.length === 0) return this.refuse(`${name} is empty`);
    if (dtype === 'float32' && !(values as Float32Array).every(Number.isFinite))
      return this.refuse(`${name} has values that are not finite`);
    return values;
  }

  floats(name: string, shape: readonly (number | null)[]): Float32Array {
    return this.array(name, shape) as Float32Array;
  }
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
  const labels = reader.array('labels', [features.length / width], 'int32') as Int32Array;
  if (labels.some((label) => label < 0 || label >= size))
    reader.refuse('a label is not the number of a class');
  const voteWeights = reader.floats('vote_weights', [size]);
  if (voteWeights.some((weight) => weight <= 0)) reader.refuse('a vote must count more than 0');
  return { kind: method, classes, temperature, transform, k, features, labels, voteWeights };
}

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
  using weights = openWeights(file);
  const description = describe(file, weights.metadata);
  const model = loadModel(file, options);
  try {
    const { takes, origin } = description;
    const names = new Set(weights.entries.map(({ name }) => name));
    const reader = new HeadReader(file, (name) =>
      names.has(HEAD + name) ? weights.read(HEAD + name) : null,
    );
    if (fingerprintWeights(model.backbone) !== description.backbone)
      reader.refuse('its backbone has changed since the classifier was fitted to it');
    const head = readHead(description, model.embedDim * takes.layers, reader);
    return new Classifier(model, head, takes, origin, true);
  } catch (error) {
    model.dispose();
    throw error;
  }
}
