/**
 * A backbone and a head that was fitted to its features, as one safetensors file that holds all that is needed: the backbone
 * under `backbone.`, its record as any exported file has it, and the head under a prefix of its own. Commands that take weights
 * read the backbone from it. What is not a tensor is JSON in the metadata; nothing in it is code.
 */
import { statSync } from 'node:fs';
import { z } from 'zod';
import { CheckpointError } from '../errors.js';
import { fingerprintWeights } from '../eval/linear-checkpoint.js';
import { checkNotInput } from '../files/new-places.js';
import { makeFolderOf } from '../files/output.js';
import { loadModel, type LoadModelOptions, type Model } from '../model.js';
import { issueLines, printable } from '../plain/printable.js';
import { scope, type Tensor } from '../torch/index.js';
import type { LoadedModel } from '../weights/loaded-model.js';
import { recordOf } from '../weights/record.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { openWeights } from '../weights/weights-file.js';

const BACKBONE = 'backbone.';
/** No image is evaluated at a larger side. */
export const MAX_SIDE = 8192;

/** A kind of head. */
export interface HeadKind<T extends z.ZodType> {
  /** In messages: `classifier`. */
  name: string;
  /** The command that makes one. */
  command: string;
  /** The description's name in the metadata, its `format`, and its version. */
  key: string;
  format: string;
  version: number;
  schema: T;
  /** Of the names of its tensors. It begins with `head.`, which readers of backbones leave alone. */
  prefix: `head.${string}.`;
}

/** What every description has. */
export const commonFields = {
  package: z.string(),
  /** SHA-256 of the backbone's tensors. */
  backbone: z.string().regex(/^[0-9a-f]{64}$/),
};

/**
 * Writes the file. @param tensors - Makes the head's, in a scope().
 * @throws ConfigError when it is a file that the model was read from; CheckpointError when it can't be written: an existing file is
 *   then untouched.
 */
export function writeHeadFile<T extends z.ZodType>(
  kind: HeadKind<T>,
  file: string,
  model: LoadedModel,
  description: Omit<z.output<T>, 'backbone' | 'format' | 'version'>,
  tensors: () => Readonly<Record<string, Tensor>>,
): void {
  checkNotInput(file, model.origin.files);
  const { format, version } = kind;
  const whole = { format, version, ...description, backbone: fingerprintWeights(model.backbone) };
  makeFolderOf(file, CheckpointError);
  scope(() => {
    const all = new Map<string, Tensor>();
    for (const [name, tensor] of model.backbone.stateDict()) all.set(BACKBONE + name, tensor);
    for (const [name, tensor] of Object.entries(tensors())) all.set(kind.prefix + name, tensor);
    writeSafetensors(file, all, {
      ...{
        format: 'pt',
        ...recordOf(model.architecture, model.backbone.normalization, model.origin.headsAreGuess),
      },
      [kind.key]: JSON.stringify(whole),
    });
  });
}

/**
 * Whether these weights are a file that holds such a head.
 * @throws CheckpointError for a file that is damaged or not one of weights.
 */
export function holdsHead({ key }: Pick<HeadKind<z.ZodType>, 'key'>, weights: string): boolean {
  if (statSync(weights, { throwIfNoEntry: false })?.isFile() !== true) return false;
  using file = openWeights(weights);
  return file.metadata[key] !== undefined;
}

function describe<T extends z.ZodType>(
  kind: HeadKind<T>,
  file: string,
  metadata: Readonly<Record<string, string>>,
): z.output<T> {
  const { name, command, key, format, version, schema } = kind;
  const json = metadata[key];
  if (json === undefined)
    throw new CheckpointError(`${printable(file)} holds no ${name}: make one with ${command}`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new CheckpointError(`${printable(file)}: the ${name}'s description is not JSON`, { cause: error });
  }
  const said = Object(value) as { format?: unknown; version?: unknown };
  if (said.format === format && said.version !== version)
    throw new CheckpointError(
      `${printable(file)} holds a ${name} of version ${printable(String(said.version))}; this dino reads ${version}`,
    );
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new CheckpointError(
      `${printable(file)}: the ${name}'s description is damaged:\n${issueLines(parsed.error)}`,
    );
  return parsed.data;
}

/** Reads the head's tensors by name, and checks their shapes and values. */
export class HeadReader {
  constructor(
    readonly file: string,
    readonly name: string,
    readonly read: (name: string) => Tensor | null,
  ) {}

  refuse(what: string): never {
    throw new CheckpointError(`${printable(this.file)}: the ${this.name} is damaged: ${what}`);
  }

  #array(name: string, shape: readonly (number | null)[], dtype: 'float32' | 'int32') {
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
    return values.length === 0 ? this.refuse(`${name} is empty`) : values;
  }

  /** @param shape - null for a dimension of any length. @throws CheckpointError for anything else, or values that are not finite. */
  floats(name: string, shape: readonly (number | null)[]): Float32Array {
    const values = this.#array(name, shape, 'float32') as Float32Array;
    return values.every(Number.isFinite) ? values : this.refuse(`${name} has values that are not finite`);
  }

  /** Class numbers, 0 to below `classes`. */
  labels(name: string, count: number, classes: number): Int32Array {
    const labels = this.#array(name, [count], 'int32') as Int32Array;
    const isRight = labels.every((label) => label >= 0 && label < classes);
    return isRight ? labels : this.refuse('a label is not the number of a class');
  }
}

/**
 * Reads the file. @param make - Makes the result; when it throws, the model is disposed of.
 * @throws CheckpointError when it holds no such head, is damaged, or its backbone is not the one that the head was fitted to;
 *   EngineError when the device is not available.
 */
export function readHeadFile<T extends z.ZodType, R>(
  kind: HeadKind<T>,
  file: string,
  options: LoadModelOptions,
  make: (found: { model: Model; description: z.output<T>; reader: HeadReader }) => R,
): R {
  using weights = openWeights(file);
  const description = describe(kind, file, weights.metadata);
  const model = loadModel(file, options);
  try {
    const names = new Set(weights.entries.map(({ name }) => name));
    const reader = new HeadReader(file, kind.name, (name) =>
      names.has(kind.prefix + name) ? weights.read(kind.prefix + name) : null,
    );
    const { backbone } = description as { backbone: string };
    if (fingerprintWeights(model.backbone) !== backbone)
      reader.refuse(`its backbone has changed since the ${kind.name} was fitted to it`);
    return make({ model, description, reader });
  } catch (error) {
    model.dispose();
    throw error;
  }
}
