/** The interface of a file of weights, in any format. */
import type { Tensor } from '../torch/index.js';

/** The longest name of a tensor: names are compared with many patterns, whose time grows faster than the name. */
export const MAX_NAME_LENGTH = 4096;

/** What is wrong with a name that is too long, for messages; null for any other. */
export const tooLongName = ({ length }: string): string | null =>
  length > MAX_NAME_LENGTH
    ? `a tensor's name has ${length} characters; at most ${MAX_NAME_LENGTH} are read`
    : null;

export interface WeightsEntry {
  name: string;
  shape: readonly number[];
  /** PyTorch's name; the engine doesn't have all of them. */
  dtype: string;
  /** Why it can't be read, such as `is sparse`; null when it can. */
  problem: string | null;
  /** The dict that it is in: the name's prefix with the dot; '' for the outermost. */
  dict: string;
  /** Where its numbers are: equal places are the same tensor. */
  place: string;
}

export interface WeightsFile extends Disposable {
  readonly file: string;
  /** All files that are read: one, or an index and its parts. */
  readonly files: readonly string[];
  readonly format: 'safetensors' | 'pth';
  readonly bytes: number;
  readonly entries: readonly WeightsEntry[];
  /** Of a safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What the outermost dict of a PyTorch file holds besides tensors: `epoch`, `args`, ... */
  readonly values: ReadonlyMap<unknown, unknown>;
  /** Classes and functions of Python in it that are not read. */
  readonly standIns: readonly string[];
  /** What is stored with the tensors of a dict (see WeightsEntry.dict): a file's metadata, a state dict's attributes. */
  attributes(dict: string): ReadonlyMap<unknown, unknown> | undefined;
  /**
   * A tensor on the CPU; those of one file may share memory. @throws CheckpointError when it doesn't exist or can't be read.
   */
  read(name: string): Tensor;
}
