/**
 * Weights in several files, as Hugging Face's save_pretrained() writes large models: an index,
 * `model.safetensors.index.json` or `pytorch_model.bin.index.json`, says which tensor lies in which file beside it.
 */
import path from 'node:path';
import { CheckpointError } from '../errors.js';
import { readTextIfThere } from '../files/guarded.js';
import { messageOf, printable } from '../plain/printable.js';
import type { Tensor } from '../torch/index.js';
import { show } from './pickle-values.js';
import type { WeightsEntry, WeightsFile } from './weights-entry.js';

/** The most bytes of an index, which has some 100 per tensor. */
const MAX_INDEX_BYTES = 64 * 2 ** 20;
const MAX_SHARDS = 10_000;

export const isShardIndex = (file: string): boolean => file.endsWith('.index.json');

/** Names of tensors, by their file. */
function readIndex(file: string, within?: string): Map<string, string[]> {
  const text = readTextIfThere(file, { within, maxBytes: MAX_INDEX_BYTES, failure: CheckpointError });
  let map: unknown;
  try {
    map = (JSON.parse(text ?? '') as { weight_map?: unknown }).weight_map;
  } catch (error) {
    throw new CheckpointError(`${printable(file)} is not JSON: ${messageOf(error)}`, { cause: error });
  }
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new CheckpointError(
      `${file} is not an index of weights: expected weight_map, the file of each tensor`,
    );
  const shards = new Map<string, string[]>();
  for (const [name, shard] of Object.entries(map)) {
    // a shard is in the same folder as its index: an index of unknown origin must not lead elsewhere
    if (
      typeof shard !== 'string' ||
      shard === '' ||
      path.basename(shard) !== shard ||
      /[\\/]|^\.\.?$/.test(shard)
    )
      throw new CheckpointError(
        `${file}: ${show(name)} is listed in ${show(String(shard))}; expected the name of a file beside the index`,
      );
    const names = shards.get(shard);
    if (names === undefined) shards.set(shard, [name]);
    else names.push(name);
  }
  if (shards.size === 0 || shards.size > MAX_SHARDS)
    throw new CheckpointError(`${file}: its weight_map names ${shards.size} files`);
  return shards;
}

/**
 * The files that a file of weights is read from: itself, and those that it is an index of. @throws CheckpointError for a
 * bad index.
 */
export const partsOfWeights = (file: string): string[] =>
  isShardIndex(file)
    ? [file, ...[...readIndex(file).keys()].map((shard) => path.join(path.dirname(file), shard))]
    : [file];

/**
 * Opens all files of an index. Dispose of the result when done.
 * @param open - Opens one of them.
 * @param within - A run folder: below it no link is followed.
 * @throws CheckpointError when one is missing, or lacks a tensor that the index says it has.
 */
export function openSharded(file: string, open: (file: string) => WeightsFile, within?: string): WeightsFile {
  const parts: WeightsFile[] = [];
  const close = (): void => {
    for (const part of parts.splice(0)) part[Symbol.dispose]();
  };
  try {
    const entries: WeightsEntry[] = [];
    const partOf = new Map<string, WeightsFile>();
    for (const [shard, names] of readIndex(file, within)) {
      const part = open(path.join(path.dirname(file), shard));
      parts.push(part);
      const known = new Map(part.entries.map((entry) => [entry.name, entry]));
      for (const name of names) {
        const entry = known.get(name);
        if (entry === undefined)
          throw new CheckpointError(
            `${part.file} has no tensor ${show(name)}, which ${path.basename(file)} says it has: the files are of different versions`,
          );
        entries.push({ ...entry, place: `${shard}:${entry.place}` }); // places are those within a file
        partOf.set(name, part);
      }
    }
    const [first] = parts as [WeightsFile, ...WeightsFile[]];
    return {
      file,
      files: [file, ...parts.flatMap((part) => part.files)],
      format: first.format,
      bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
      entries,
      metadata: first.metadata,
      values: first.values,
      standIns: [...new Set(parts.flatMap((part) => part.standIns))],
      attributes: (prefix) => first.attributes(prefix),
      read(name): Tensor {
        const part = partOf.get(name);
        if (part === undefined) throw new CheckpointError(`${file} has no tensor ${show(name)}`);
        return part.read(name);
      },
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
