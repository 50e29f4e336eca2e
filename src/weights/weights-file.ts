/**
 * A file of weights, whatever its format: names and shapes at once, tensors on demand. Of a PyTorch file that holds more
 * than one network (a full checkpoint of the reference's main_dino.py) it is the one asked for.
 */
import { statSync } from 'node:fs';
import { CheckpointError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import { PickleNamespace, show } from './pickle-values.js';
import { PthFile, PthTensor } from './pth.js';
import { readSafetensors, readSafetensorsHeader } from './safetensors.js';

export interface WeightsEntry {
  name: string;
  shape: readonly number[];
  dtype: string;
}

export interface WeightsFile extends Disposable {
  readonly file: string;
  readonly format: 'safetensors' | 'pth';
  readonly bytes: number;
  readonly entries: readonly WeightsEntry[];
  /** Of a safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Of a full checkpoint: the key that was taken, the epochs behind it, the settings it was trained with. */
  readonly checkpoint: { key: string; epoch: number | null; args: Record<string, unknown> | null } | null;
  /** A tensor on the CPU; those of one file may share memory. @throws CheckpointError when there is none. */
  read(name: string): Tensor;
}

/** Names under which other trainings keep their one network. */
const WRAPPERS = ['state_dict', 'model', 'model_state_dict'];

/**
 * Opens a .safetensors file or what torch.save wrote (.pth, .pt, .bin). Dispose of it when done; tensors that were read
 * stay.
 *
 * @param key - Which network of a full checkpoint: `teacher`, `student`.
 * @param within - A run folder, whose weights are .safetensors: below it no link is followed.
 * @throws CheckpointError when it can't be read, or holds no tensors by name.
 */
export function openWeights(file: string, key: string, within?: string): WeightsFile {
  if (file.endsWith('.safetensors')) return checkNames(openSafetensors(file, within));
  const pth = new PthFile(file);
  try {
    return checkNames(new OpenPth(pth, key));
  } catch (error) {
    pth.close();
    throw error;
  }
}

/** Names are printed to terminals, which take some characters as commands. */
function checkNames(weights: WeightsFile): WeightsFile {
  const odd = weights.entries.find(({ name }) => /\p{Cc}/u.test(name));
  if (odd === undefined) return weights;
  throw new CheckpointError(`${weights.file} has a tensor called ${show(odd.name)}: no name of a parameter`);
}

function openSafetensors(file: string, within?: string): WeightsFile {
  const { entries, metadata } = readSafetensorsHeader(file, within);
  let tensors: Map<string, Tensor> | undefined;
  const taken = new Set<string>();
  return {
    file,
    format: 'safetensors',
    bytes: statSync(file).size,
    entries,
    metadata,
    checkpoint: null,
    read(name) {
      tensors ??= readSafetensors(file, within).tensors; // one read, one buffer
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new CheckpointError(`${file} has no tensor ${show(name)}`);
      taken.add(name);
      return tensor;
    },
    [Symbol.dispose]() {
      for (const [name, tensor] of tensors ?? []) if (!taken.has(name)) tensor.dispose();
    },
  };
}

/** The entries of a dict that are tensors by name; null when it has none. */
function tensorsOf(value: unknown): Map<string, PthTensor> | null {
  if (!(value instanceof Map)) return null;
  const tensors = new Map<string, PthTensor>();
  for (const [name, entry] of value as Map<unknown, unknown>)
    if (typeof name === 'string' && entry instanceof PthTensor) tensors.set(name, entry);
  return tensors.size === 0 ? null : tensors;
}

class OpenPth implements WeightsFile {
  readonly file: string;
  readonly format = 'pth';
  readonly bytes: number;
  readonly entries: readonly WeightsEntry[];
  readonly metadata = {};
  readonly checkpoint: WeightsFile['checkpoint'];
  readonly #pth: PthFile;
  readonly #tensors: Map<string, PthTensor>;

  constructor(pth: PthFile, key: string) {
    this.#pth = pth;
    this.file = pth.file;
    this.bytes = statSync(pth.file).size;
    const { value } = pth;
    const parts = new Map<string, Map<string, PthTensor>>();
    if (value instanceof Map) {
      for (const [name, part] of value as Map<unknown, unknown>) {
        const tensors = tensorsOf(part);
        if (typeof name === 'string' && tensors !== null) parts.set(name, tensors);
      }
    }
    const taken = parts.has(key) ? key : WRAPPERS.find((name) => parts.has(name));
    const tensors = taken === undefined ? tensorsOf(value) : parts.get(taken);
    if (tensors == null) {
      const names =
        value instanceof Map ? [...value.keys()].map((name) => show(String(name))).slice(0, 10) : [];
      throw new CheckpointError(
        `${pth.file}: expected a dict of tensors by name, or one that has it as '${show(key)}'; ` +
          (value instanceof Map
            ? `it has ${names.join(', ') || 'nothing'}` +
              (parts.size > 0
                ? `. Choose by --checkpoint-key: ${[...parts.keys()].map(show).join(', ')}`
                : '')
            : 'it holds something else'),
      );
    }
    this.#tensors = tensors;
    this.entries = [...tensors].map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
    this.checkpoint = null;
    if (taken !== undefined && value instanceof Map) {
      const epoch: unknown = value.get('epoch');
      const args: unknown = value.get('args');
      this.checkpoint = {
        key: taken,
        epoch: typeof epoch === 'number' ? epoch : null,
        args: args instanceof PickleNamespace ? plainArgs(args) : null,
      };
    }
  }

  read(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new CheckpointError(`${this.file} has no tensor ${show(name)}`);
    return this.#pth.tensor(tensor);
  }

  [Symbol.dispose](): void {
    this.#pth.close();
  }
}

/** The settings that are numbers, text, booleans, or lists of such. */
function plainArgs(args: PickleNamespace): Record<string, unknown> {
  const isPlain = (value: unknown): boolean =>
    value === null || ['number', 'string', 'boolean'].includes(typeof value);
  const entries = [...args.entries].filter(
    ([, value]) => isPlain(value) || (Array.isArray(value) && value.length < 100 && value.every(isPlain)),
  );
  return Object.fromEntries(
    entries.map(([name, value]) => [name, Array.isArray(value) ? [...(value as unknown[])] : value]),
  );
}
