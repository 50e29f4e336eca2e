/** The backbone (and head) of any file of weights, by the reference's names, with its architecture. */
import { CheckpointError, ConfigError } from '../errors.js';
import { ops, scope, type Tensor } from '../torch/index.js';
import { verifyCheckpointFile } from '../train/checkpoint-files.js';
import { type Architecture, inferArchitecture, tellsImageSize } from './architecture.js';
import { type LocatedWeights, locateWeights } from './locate.js';
import { type BackboneSources, backboneSources } from './names.js';
import { openWeights, type WeightsFile } from './weights-file.js';

export interface NetworkOptions {
  /** Which network of a checkpoint; default `teacher`. */
  checkpointKey?: string | undefined;
  /** Attention heads of a lone weights file of unusual size; no tensor's shape tells them. */
  numHeads?: number | undefined;
  /** The backbone is one's own: its architecture is not read off the tensors; loadModel() fills in its width. */
  custom?: boolean | undefined;
}

export interface Network {
  located: LocatedWeights;
  /** Names, shapes, origin; closed. */
  file: WeightsFile;
  found: BackboneSources;
  architecture: Architecture;
  /** CPU tensors by the reference's names. */
  backbone: Map<string, Tensor>;
  /** The DINO head's by the reference's names (`mlp.0.weight`, ...); null without one, or when it wasn't asked for. */
  head: Map<string, Tensor> | null;
}

/** What openNetwork() finds without reading a tensor. */
export type NetworkHeader = Omit<Network, 'backbone' | 'head'>;

/**
 * Opens WEIGHTS and finds out what they are. Dispose of `file` when done.
 * @throws CheckpointError when there are none, or not of a backbone that is known.
 */
export function openNetwork(weights: string, options: NetworkOptions = {}): NetworkHeader {
  const { checkpointKey = 'teacher' } = options;
  const located = locateWeights(weights, checkpointKey);
  const numHeads = options.numHeads ?? located.numHeads ?? undefined;
  if (numHeads !== undefined && !(Number.isInteger(numHeads) && numHeads > 0))
    throw new ConfigError(`numHeads ${numHeads}; expected a whole number above 0`);
  const file = openWeights(located.file, checkpointKey, located.within ?? undefined);
  try {
    const found = backboneSources(
      new Map(file.entries.map(({ name, shape }) => [name, shape])),
      located.file,
    );
    const { settings } = located;
    const ownSize = settings?.imgSize ?? settings?.globalCropsSize;
    if (options.custom === true) {
      const sizes = { embedDim: 0, depth: 1, numHeads: 0, patchSize: 1, imgSize: ownSize ?? 224 };
      return { located, file, found, architecture: { arch: 'custom', ...sizes } };
    }
    if (settings?.arch === 'custom') {
      throw new CheckpointError(
        `${located.file} is a backbone of someone's own (arch custom): in code, give loadModel() its builder as ` +
          '`backbone`; commands know the named architectures alone',
      );
    }
    const architecture = inferArchitecture(found.shapes, located.file, numHeads);
    if (!tellsImageSize(architecture) && ownSize !== undefined) architecture.imgSize = ownSize;
    return { located, file, found, architecture };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/** Reads WEIGHTS. @throws CheckpointError when they can't be read, or not of a backbone that is known. */
export function readNetwork(weights: string, options: NetworkOptions & { withHead?: boolean } = {}): Network {
  const header = openNetwork(weights, options);
  using file = header.file;
  const { found } = header;
  verifyCheckpointFile(header.located.file);
  try {
    const backbone = new Map(
      [...found.sources].map(([name, from]) => {
        const [only, ...more] = from;
        if (more.length === 0) return [name, file.read(only as string)];
        return [name, scope(() => ops.cat(from.map((each) => file.read(each))))];
      }),
    );
    const wantsHead = options.withHead === true && found.head.size > 0;
    const head = wantsHead ? new Map([...found.head].map(([name, from]) => [name, file.read(from)])) : null;
    return { ...header, backbone, head };
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw new CheckpointError(`${header.located.file}: ${(error as Error).message}`, { cause: error });
  }
}
