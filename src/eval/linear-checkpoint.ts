/**
 * The state of a linear evaluation between two epochs: `checkpoint.safetensors` holds linear.weight, linear.bias and
 * their momentum buffers, and in its metadata the epoch, the best accuracy and the settings (checkpoint.pth.tar in the
 * reference). One file, so that it is either whole or absent.
 */
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { z } from 'zod';
import type { ImageList } from '../data/index.js';
import { CheckpointError, ConfigError } from '../errors.js';
import type { Backbone } from '../models/index.js';
import { shellPath } from '../plain/shell.js';
import type { Tensor } from '../torch/index.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { openWeights } from '../weights/weights-file.js';
import type { LinearClassifier, LinearProbe } from './linear-probe.js';

const settingsSchema = z.object({
  epochs: z.int(),
  lr: z.number(),
  batchSize: z.int(),
  resize: z.int(),
  crop: z.int(),
  nLastBlocks: z.int(),
  avgpoolPatchtokens: z.boolean(),
  numLabels: z.int(),
  seed: z.int(),
  /** Fingerprint of the training images. */
  train: z.string(),
  /** Fingerprint of the backbone. */
  weights: z.string(),
  // older checkpoints don't have these
  /** fingerprintFiles() of the validation images, whose best accuracy is kept. */
  val: z.string().optional(),
  /** What features depend on besides the backbone's tensors: attention heads, and mean and deviation of the channels, as JSON. */
  numHeads: z.int().optional(),
  normalization: z.string().optional(),
});

/** What decides the course of the training, and what is measured on the way. */
export type LinearSettings = Required<z.infer<typeof settingsSchema>>;

const stateSchema = z.object({
  /** Epochs done. */
  epoch: z.int().min(0),
  bestTop1: z.number(),
  settings: settingsSchema,
  // older checkpoints don't have these
  /** The classes of the first outputs, in order. */
  classes: z.array(z.string()).optional(),
  /** Training images that can't be read. */
  skipped: z.array(z.object({ path: z.string(), reason: z.string() })).optional(),
});

/** What a checkpoint says besides the tensors and the settings. */
export type LinearState = Required<Omit<z.infer<typeof stateSchema>, 'settings'>>;

/** SHA-256 of the names and values of all parameters and buffers. */
export function fingerprintWeights(backbone: Backbone): string {
  const hash = createHash('sha256');
  for (const [name, tensor] of backbone.stateDict()) {
    const values = tensor.toTypedArray();
    hash.update(name).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}

/**
 * SHA-256 of a list's names, labels and sizes of files: copies of one data set with other pixels, as ImageNet-C's, have the same
 * names. Sizes of images in shards are in the list's own fingerprint.
 */
export function fingerprintFiles({ fingerprint, items }: ImageList): string {
  const hash = createHash('sha256').update(fingerprint);
  for (const { path: file } of items) hash.update(`\n${bytesOf(file)}`);
  return hash.digest('hex');
}

/** -1 for what isn't a file of its own; what is missing is reported when it is read. */
function bytesOf(file: string): number {
  try {
    return statSync(file, { throwIfNoEntry: false })?.size ?? -1;
  } catch {
    return -1; // a circle of links
  }
}

const SLOT = 'momentum_buffer.';

/**
 * Written to a temporary file, flushed and renamed.
 * @param within - The folder below which no link is followed.
 * @throws CheckpointError when the disk is full or not writable.
 */
export function writeLinearCheckpoint(
  file: string,
  within: string,
  settings: LinearSettings,
  probe: LinearProbe,
  state: LinearState,
): void {
  const tensors = new Map<string, Tensor>([...probe.classifier.stateDict(), ...probe.optimizer.stateDict()]);
  writeSafetensors(file, tensors, { linear: JSON.stringify({ ...state, settings }) }, within);
}

const NAMES: Readonly<Record<string, string>> = {
  train: 'the training images',
  val: 'the validation images',
  weights: "the model's weights",
  normalization: "the mean and deviation that the model's images are normalized with",
};

/**
 * Restores classifier and optimizer.
 * @returns Where it was, with null for the best accuracy if the file doesn't say on which images it was measured; null
 *   without a file.
 * @throws CheckpointError for a damaged file; ConfigError that lists every setting that has changed.
 */
export function readLinearCheckpoint(
  file: string,
  within: string,
  settings: LinearSettings,
  probe: LinearProbe,
): (Pick<LinearState, 'epoch' | 'skipped'> & { bestTop1: number | null }) | null {
  if (!existsSync(file)) return null;
  const { tensors, metadata } = readSafetensors(file, within);
  const saved = stateIn(metadata['linear']);
  if (saved === null) {
    throw new CheckpointError(
      `${file} is not a checkpoint of a linear evaluation; delete it or choose another --output`,
    );
  }
  const changed = (Object.keys(settings) as (keyof LinearSettings)[]).filter(
    (key) => saved.settings[key] !== undefined && settings[key] !== saved.settings[key],
  );
  const problems = changed.map((key) =>
    key in NAMES
      ? `${NAMES[key]} are not those of ${file}`
      : `${key} is ${settings[key]}, but was ${saved.settings[key]} in ${file}`,
  );
  if (problems.length > 0) {
    const isTrained = changed.every((key) => key === 'val');
    throw new ConfigError([
      ...problems,
      'An evaluation goes on with the settings that it began with: choose another --output, or delete that file.',
      ...(isTrained
        ? [
            `To measure the classifier that is there on these images: --evaluate --linear-weights ${shellPath(file)}`,
          ]
        : []),
    ]);
  }
  const entries = [...tensors];
  probe.classifier.loadStateDict(new Map(entries.filter(([name]) => !name.startsWith(SLOT))));
  probe.optimizer.loadStateDict(new Map(entries.filter(([name]) => name.startsWith(SLOT))));
  for (const tensor of tensors.values()) tensor.dispose();
  return {
    epoch: saved.epoch,
    bestTop1: saved.settings.val === undefined ? null : saved.bestTop1,
    skipped: saved.skipped ?? [],
  };
}

/** The state in a file's metadata; null when there is none. */
function stateIn(linear: string | undefined): z.infer<typeof stateSchema> | null {
  let value: unknown;
  try {
    value = JSON.parse(linear ?? 'null');
  } catch {
    value = null;
  }
  return stateSchema.safeParse(value).data ?? null;
}

/**
 * Which classes a classifier's outputs are, and how many outputs there are; null when its file doesn't say, as the reference's
 * and older checkpoints.
 */
export function classifierOutputs(file: string): { classes: string[]; numLabels: number } | null {
  using weights = openWeights(file);
  const state = stateIn(weights.metadata['linear']);
  if (state?.classes === undefined) return null;
  return { classes: state.classes, numLabels: state.settings.numLabels };
}

/**
 * Loads a classifier: linear.weight and linear.bias, also under `module.`, from a .safetensors file or what torch.save
 * wrote, such as the reference's checkpoint.pth.tar and its published linear weights.
 * @throws CheckpointError when they are missing or have the wrong shape.
 */
export function readClassifier(file: string, classifier: LinearClassifier): void {
  const weights = openWeights(file);
  try {
    const names = weights.entries.map(({ name }) => name).filter((name) => !name.startsWith(SLOT));
    // what comes before the classifier's own names: module., state_dict.module., ...
    const prefix =
      names.find((name) => /(^|\.)linear\.weight$/.test(name))?.slice(0, -'linear.weight'.length) ?? '';
    const state = new Map(
      names
        .filter((name) => name.startsWith(prefix))
        .map((name) => [name.slice(prefix.length), weights.read(name)]),
    );
    classifier.loadStateDict(state);
    for (const tensor of state.values()) tensor.dispose();
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.message.startsWith(file)) throw error;
    throw new CheckpointError(`${file}: ${error.message}`, { cause: error });
  } finally {
    weights[Symbol.dispose]();
  }
}
