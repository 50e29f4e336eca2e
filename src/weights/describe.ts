/** Describes a run, a checkpoint or a weights file, for `dino info`; reads only headers and small files. */
import { messageOf } from '../plain/printable.js';
import { lastLine } from '../files/json-lines.js';
import { metricsPath, readRunConfig } from '../run/run-folder.js';
import { checkCall, count, filePath, oneOf, optionsOf, text } from '../plain/check-options.js';
import { hasPatchFeatures } from '../models/architectures.js';
import { NORMALIZATIONS } from '../models/dinov3-architectures.js';
import type { Architecture } from './architecture.js';
import { type NetworkOptions, openNetwork } from './network.js';
import { PickleNamespace } from './pickle-values.js';
import type { WeightsFile } from './weights-entry.js';

export interface WeightsDescription {
  file: string;
  bytes: number;
  format: 'safetensors' | 'pth';
  /** Whose names the tensors have: the original's (which timm mostly keeps), Hugging Face's, or timm's own. */
  layout: 'dino' | 'transformers' | 'timm';
  checkpointKey: string;
  /** The network's name in the file, null without one, and those of the others. */
  network: string | null;
  otherNetworks: string[];
  architecture: Architecture;
  /** Whether it gives a feature for each patch besides the image's; null where that isn't known. */
  patchFeatures: boolean | null;
  /** The number of heads is a guess: the file doesn't say it. */
  headsAreGuess: boolean;
  /** Number of values in the backbone and in the head. */
  backboneParameters: number;
  headParameters: number;
  /** K, when the file has a head. */
  outDim: number | null;
  dtypes: string[];
  /** Tensors that are not used, such as a classifier's. */
  unused: string[];
  /** Python classes and functions that the file names and that are not read; none of them was run. */
  standIns: string[];
  /** For a PyTorch file with several parts: the one taken, its completed epochs, its training's settings. */
  checkpoint: { key: string; epoch: number | null; args: Record<string, unknown> | null } | null;
  metadata: Record<string, string>;
  /** Possible problems of the weights, and choices that were made for the caller. */
  warnings: string[];
  notes: string[];
  run: {
    folder: string;
    step: number | null;
    version: string;
    images: string;
    imageCount: number;
    epochs: number;
    /** The last line of metrics.jsonl that belongs to a step. */
    lastMetrics: Record<string, unknown> | null;
  } | null;
}

/** The settings that are numbers, text, booleans, or lists of such. */
function plainArgs(args: unknown): Record<string, unknown> | null {
  const entries = args instanceof PickleNamespace ? args.entries : args instanceof Map ? args : null;
  if (entries === null) return null;
  const isPlain = (value: unknown): boolean =>
    value === null || ['number', 'string', 'boolean'].includes(typeof value);
  const plain = [...(entries as ReadonlyMap<unknown, unknown>)].filter(
    ([, value]) => isPlain(value) || (Array.isArray(value) && value.length < 100 && value.every(isPlain)),
  );
  return Object.fromEntries(
    plain.map(([name, value]) => [String(name), Array.isArray(value) ? [...(value as unknown[])] : value]),
  );
}

/** The part of a PyTorch file that holds the network, and what is stored with it. */
function checkpointOf(
  file: WeightsFile,
  sources: ReadonlyMap<string, readonly string[]>,
): WeightsDescription['checkpoint'] {
  const [[first = ''] = []] = sources.values();
  const dict = file.entries.find(({ name }) => name === first)?.dict ?? '';
  if (file.format !== 'pth' || dict === '') return null;
  const epoch = file.values.get('epoch');
  return {
    key: dict.slice(0, -1),
    epoch: typeof epoch === 'number' ? epoch : null,
    args: plainArgs(file.values.get('args') ?? file.values.get('hyper_parameters')),
  };
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

type DescribeOptions = Pick<NetworkOptions, 'checkpointKey' | 'numHeads' | 'normalization'>;
const describeOptions = optionsOf<DescribeOptions>(
  {},
  { checkpointKey: text, numHeads: count(1), normalization: oneOf(NORMALIZATIONS) },
);

/** The newest metrics of a run. When they can't be read, the weights are described anyway, with a warning. */
function lastMetrics(run: string, warnings: string[]): Record<string, unknown> | null {
  try {
    return lastLine(metricsPath(run), ({ loss }) => typeof loss === 'number');
  } catch (error) {
    warnings.push(messageOf(error));
    return null;
  }
}

/**
 * @throws CheckpointError when there are no weights, or loadModel() would not take them; ConfigError for an invalid number
 *   of heads.
 */
export function describeWeights(weights: string, options: DescribeOptions = {}): WeightsDescription {
  checkCall('describeWeights()', ['weights', filePath, weights], ['options', describeOptions, options]);
  const network = openNetwork(weights, options);
  const { located, file, found, architecture, checkpointKey, name, others } = network;
  const { headsAreGuess, notes, warnings } = network;
  file[Symbol.dispose]();
  const { entries, metadata } = file;
  const shapeOf = new Map(entries.map(({ name, shape }) => [name, shape]));
  const headShapes = [...found.head.values()].map((name) => shapeOf.get(name) ?? []);
  const lastLayer = shapeOf.get(found.head.get('last_layer.weight_v') ?? ''); // (K, bottleneck)
  const taken = new Set([...found.sources.values(), ...found.head.values()].flat());
  const told = [...warnings];
  let run: WeightsDescription['run'] = null;
  if (located.run !== null && located.settings !== null) {
    const { version, images, imageCount } = readRunConfig(located.run);
    run = {
      folder: located.run,
      step: located.step,
      ...{ version, images, imageCount },
      epochs: located.settings.epochs,
      lastMetrics: lastMetrics(located.run, told),
    };
  }
  return {
    file: located.file,
    bytes: file.bytes,
    format: file.format,
    layout: found.layout,
    checkpointKey,
    network: name,
    otherNetworks: others,
    architecture,
    patchFeatures: hasPatchFeatures(architecture.arch),
    headsAreGuess,
    backboneParameters: [...found.shapes]
      .filter(
        ([name]) => !/(running_(mean|var)|num_batches_tracked|rope_embed\.periods|bias_mask)$/.test(name),
      )
      .reduce((sum, [, shape]) => sum + sizeOf(shape), 0),
    headParameters: headShapes.reduce((sum, shape) => sum + sizeOf(shape), 0),
    outDim: lastLayer?.[0] ?? null,
    dtypes: [...new Set(entries.filter((entry) => taken.has(entry.name)).map((entry) => entry.dtype))],
    unused: found.unused,
    standIns: [...new Set(file.standIns)],
    checkpoint: checkpointOf(file, found.sources),
    metadata: { ...metadata },
    warnings: told,
    notes,
    run,
  };
}
