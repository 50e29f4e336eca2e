/**
 * A file of weights in any format, whatever its ending: the names and shapes of all its tensors at once, tensors on demand.
 * In a PyTorch file a tensor's name is its path through the dicts, joined by dots: `teacher.module.backbone.norm.weight`.
 */
import { statSync } from 'node:fs';
import { checkCall, filePath } from '../plain/check-options.js';
import { CheckpointError } from '../errors.js';
import { printable } from '../plain/printable.js';
import type { Tensor } from '../torch/index.js';
import { isSafetensors, startOf, UNKNOWN, whatItIs } from './identify.js';
import { attributesOf, NumpyArray, PickleNamespace, PickleOpaque, show } from './pickle-values.js';
import { PthFile, PthTensor } from './pth.js';
import { SafetensorsReader } from './safetensors.js';
import { isShardIndex, openSharded } from './sharded.js';
import { tooLongName, type WeightsEntry, type WeightsFile } from './weights-entry.js';
import { isZip } from './zip.js';

/** How deep tensors are searched for, and how many. */
const MAX_DEPTH = 16;
const MAX_ENTRIES = 1_000_000;

/**
 * Opens a safetensors file, what torch.save wrote (.pth, .pt, .bin, .ckpt), or the index of several; by its content, not its
 * ending. Dispose of it when done; tensors that were read stay.
 *
 * @param within - A run folder: below it no link is followed.
 * @throws CheckpointError that says what the file is when it is damaged or none of these.
 */
export function openWeights(file: string, within?: string): WeightsFile {
  checkCall('openWeights()', ['file', filePath, file]);
  if (isShardIndex(file)) return openSharded(file, (shard) => openOne(shard, within), within);
  return openOne(file, within);
}

function openOne(file: string, within?: string): WeightsFile {
  const start = startOf(file, within);
  if (isSafetensors(start)) return openSafetensors(file, within);
  const isTorch = isZip(start.start) || (start.start[0] === 0x80 && start.start[2] === 0x8a);
  if (file.endsWith('.safetensors') && !isTorch) {
    const what = whatItIs(start);
    if (what === UNKNOWN) return openSafetensors(file, within); // which says where it is damaged
    throw new CheckpointError(`${printable(file)} is not a safetensors file: it is ${what}`);
  }
  const pth = new PthFile(file, within);
  try {
    return new OpenPth(pth);
  } catch (error) {
    pth.close();
    throw error;
  }
}

/** Names are printed to terminals, which interpret some characters as commands. */
const shownName = (name: string): string => (/\p{Cc}/u.test(name) ? show(name) : name);

function openSafetensors(file: string, within?: string): WeightsFile {
  const reader = new SafetensorsReader(file, within);
  const { entries, metadata } = reader.header;
  const named = new Map(entries.map((entry) => [shownName(entry.name), entry]));
  return {
    file,
    files: [file],
    format: 'safetensors',
    bytes: statSync(file).size,
    entries: [...named].map(([name, { shape, dtype, problem, begin, end }]) => ({
      ...{ name, shape, dtype, problem, dict: '', place: `${begin}-${end}` },
    })),
    metadata,
    values: new Map(),
    standIns: [],
    attributes: () => new Map(Object.entries(metadata)),
    read(name) {
      const entry = named.get(name);
      if (entry === undefined) throw new CheckpointError(`${printable(file)} has no tensor ${show(name)}`);
      return reader.read(entry);
    },
    [Symbol.dispose]: () => reader.close(),
  };
}

class OpenPth implements WeightsFile {
  readonly file: string;
  readonly files: readonly string[];
  readonly format = 'pth';
  readonly bytes: number;
  readonly entries: readonly WeightsEntry[];
  readonly metadata = {};
  readonly values: ReadonlyMap<unknown, unknown>;
  readonly standIns: readonly string[];
  readonly #pth: PthFile;
  readonly #tensors = new Map<string, PthTensor>();
  readonly #attributes = new Map<string, ReadonlyMap<unknown, unknown>>();

  constructor(pth: PthFile) {
    this.#pth = pth;
    this.file = pth.file;
    this.files = [pth.file];
    this.bytes = statSync(pth.file).size;
    this.standIns = pth.unknown;
    const { value } = pth;
    this.values = entriesOf(value) ?? new Map<unknown, unknown>();
    const entries: WeightsEntry[] = [];
    this.#walk(value, '', 0, entries);
    this.entries = entries;
    if (entries.length === 0) throw new CheckpointError(`${pth.file}: ${emptiness(value)}`);
  }

  #walk(value: unknown, dict: string, depth: number, entries: WeightsEntry[]): void {
    if (depth > MAX_DEPTH) return;
    const found = entriesOf(value);
    if (found === null) return;
    const attributes = value instanceof Map ? attributesOf(value) : undefined;
    if (attributes !== undefined) this.#attributes.set(dict, attributes);
    for (const [key, entry] of found) {
      if (typeof key !== 'string' && typeof key !== 'number') continue;
      const whole = `${dict}${key}`;
      const tooLong = tooLongName(whole);
      // a dict below such a name is still searched: only a tensor's is refused
      if (tooLong !== null && entry instanceof PthTensor)
        throw new CheckpointError(`${printable(this.file)}: ${tooLong}`);
      const name = tooLong === null ? shownName(whole) : whole;
      if (!(entry instanceof PthTensor)) this.#walk(entry, `${name}.`, depth + 1, entries);
      // {'a': {'b.c': ...}, 'a.b': {'c': ...}}: the first is taken
      else if (!this.#tensors.has(name)) {
        if (entries.length === MAX_ENTRIES)
          throw new CheckpointError(`${this.file} has more than ${MAX_ENTRIES} tensors`);
        this.#tensors.set(name, entry);
        const { shape, dtype, problem, storage, offset } = entry;
        const place = storage === null ? name : `${storage.key}:${offset}:${shape.join()}`;
        entries.push({ name, shape, dtype, problem, dict, place });
      }
    }
  }

  attributes(dict: string): ReadonlyMap<unknown, unknown> | undefined {
    return this.#attributes.get(dict);
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

/** Entries of a dict, a list, or a subclass of dict; null for anything else. */
function entriesOf(value: unknown): ReadonlyMap<unknown, unknown> | null {
  if (value instanceof Map) return value;
  if (value instanceof PickleOpaque) return value.entries;
  if (value instanceof PickleNamespace) return value.entries;
  return Array.isArray(value) ? new Map((value as unknown[]).entries()) : null;
}

/** Describes a torch file without named tensors. */
function emptiness(value: unknown): string {
  const expected = 'expected a dict of tensors by name';
  if (value instanceof PickleOpaque && value.entries.size === 0)
    return (
      `${expected}; it is an object of the class ${show(value.name)}, a whole model saved with torch.save(model). ` +
      "Save only its weights in Python: torch.save(model.state_dict(), 'weights.pth')"
    );
  if (value instanceof PthTensor) return `${expected}; it is one tensor`;
  if (Array.isArray(value)) return `${expected}; it is a list of ${value.length} other values`;
  const entries = entriesOf(value);
  if (entries === null) return `${expected}; it holds something else`;
  const names = [...entries].slice(0, 10).map(([name, entry]) => {
    const inner = [...(entriesOf(entry)?.values() ?? [])];
    const kind =
      entry instanceof PickleOpaque
        ? ` (an object of the class ${show(entry.name)})`
        : inner.some((each) => each instanceof NumpyArray)
          ? " (with NumPy's arrays: make them tensors by torch.from_numpy)"
          : '';
    return show(String(name)) + kind;
  });
  return `${expected}; it has ${names.join(', ') || 'nothing'}`;
}
