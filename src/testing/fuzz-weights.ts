/**
 * Fuzzes the readers of files of weights: whatever the input, the output must be tensors or a CheckpointError, in limited
 * time and memory. Blind mutations of whole files mostly break a checksum, so more than half of them change a pickle or a
 * header inside and rebuild the file around it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { CheckpointError } from '../errors.js';
import { scope } from '../torch/index.js';
import { FileBytes } from '../files/file-bytes.js';
import { formatDescription } from '../cli/weights/describe.js';
import { describeWeights } from '../weights/describe.js';
import { PthFile, PthTensor } from '../weights/pth.js';
import { PickleOpaque } from '../weights/pickle-values.js';
import { openWeights } from '../weights/weights-file.js';
import { ZipArchive } from '../weights/zip.js';
import { zip } from './pickle-ops.js';
import { below, choose, generator, type Random } from './random.js';

export interface FuzzOptions {
  /** Files to mutate: .pth and .safetensors. */
  sources: readonly string[];
  count: number;
  seed: number;
  /** Path of the mutated file, without extension. */
  scratch: string;
  /** Called with each mutated file that caused anything else. */
  onFailure?: (bytes: Buffer, error: unknown) => void;
}

export interface FuzzResult {
  /** Number of files read despite the mutation, and of those refused with a CheckpointError. */
  read: number;
  refused: number;
  failures: number;
  /** Time of the slowest file, milliseconds. */
  slowestMs: number;
  /** Highest resident memory, MiB. */
  peakMiB: number;
  /** How often each error occurred, by the first words of its message. */
  reasons: Map<string, number>;
}

/** Extreme values of fields. */
const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
const OPCODES = Buffer.concat([
  Buffer.from('(.012NIJKLMFGSTUVXBC)tl]aed}suqrpghjcRbioPQ'),
  Buffer.from(Array.from({ length: 0x99 - 0x80 }, (_, i) => 0x80 + i)),
]);
const WORDS = [
  'cos\nsystem\n',
  'cbuiltins\neval\n',
  'ctorch._utils\n_rebuild_tensor_v2\n',
  'ccollections\nOrderedDict\n',
  'cargparse\nNamespace\n',
  'cnumpy.core.multiarray\n_reconstruct\n',
  'cnumpy.core.multiarray\nscalar\n',
  'c_codecs\nencode\n',
  'c__main__\nConfig\n',
  'ccollections\ndefaultdict\n',
  'ccollections\nCounter\n',
  'ccollections\ndeque\n',
  'ctypes\nSimpleNamespace\n',
  'ctorch._utils\n_rebuild_tensor_v3\n',
  'ctorch._utils\n_rebuild_qtensor\n',
  'ctorch._utils\n_rebuild_sparse_tensor\n',
  'ctorch._utils\n_rebuild_meta_tensor_no_storage\n',
  'ctorch._utils\n_rebuild_parameter_with_state\n',
  'ctorch._tensor\n_rebuild_from_type_v2\n',
  'ctorch\nfloat8_e4m3fn\n',
  'ctorch\nQInt8Storage\n',
  'i__main__\nConfig\n',
  ')\x81}b',
  ')R',
  'tR',
  '\x85\x85\x85',
  'h\0h\0',
];

function mutateBytes(bytes: Buffer, other: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return Buffer.from(other);
  const at = below(random, bytes.length);
  const copy = Buffer.from(bytes);
  switch (below(random, 9)) {
    case 0: // a bit
      copy[at] = (copy[at] as number) ^ (1 << below(random, 8));
      return copy;
    case 1: // a byte
      copy[at] = below(random, 256);
      return copy;
    case 2: // an opcode
      copy[at] = choose(random, [...OPCODES]);
      return copy;
    case 3: {
      // a field of four bytes
      if (at + 4 <= copy.length) copy.writeUInt32LE(choose(random, EXTREMES), at);
      return copy;
    }
    case 4: // the end
      return copy.subarray(0, at);
    case 5: {
      // a part repeated, or a part of another file
      const from = random() < 0.5 ? bytes : other;
      const start = below(random, from.length);
      const part = from.subarray(start, start + 1 + below(random, 64));
      return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
    }
    case 6: // a part removed
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(random, 16))]);
    case 7: // a word of another program
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(choose(random, WORDS), 'latin1'),
        bytes.subarray(at),
      ]);
    default: {
      // a digit, as in a header of JSON or in the lines of protocol 0
      const digits = [...bytes.keys()].filter(
        (i) => (bytes[i] as number) >= 48 && (bytes[i] as number) <= 57,
      );
      if (digits.length > 0) copy[choose(random, digits)] = 48 + below(random, 10);
      return copy;
    }
  }
}

/** Entries of a PyTorch file, in order. */
function entriesOf(file: string): Map<string, Buffer> | null {
  const source = new FileBytes(file);
  try {
    const archive = new ZipArchive(source);
    return new Map([...archive.entries.keys()].map((name) => [name, archive.read(name)]));
  } catch {
    return null; // the format before zip
  } finally {
    source.close();
  }
}

/** The file with one to three changes inside, rebuilt with valid checksums and lengths. */
function mutateInside(source: Source, other: Buffer, random: Random): Buffer {
  const times = 1 + below(random, 3);
  const change = (bytes: Buffer): Buffer => {
    let changed = bytes;
    for (let i = 0; i < times; i++) changed = mutateBytes(changed, other, random);
    return changed;
  };
  if (source.entries !== null) {
    const name = choose(random, [...source.entries.keys()]);
    const inner =
      random() < 0.8 ? ([...source.entries.keys()].find((each) => each.endsWith('.pkl')) ?? name) : name;
    const entries = Object.fromEntries(
      [...source.entries].map(([key, bytes]) => [key, key === inner ? change(bytes) : bytes]),
    );
    return zip(entries);
  }
  if (source.file.endsWith('.safetensors')) {
    const end = 8 + Number(source.bytes.readBigUInt64LE());
    const header = change(source.bytes.subarray(8, end));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, source.bytes.subarray(end)]);
  }
  return change(source.bytes);
}

interface Source {
  file: string;
  bytes: Buffer;
  entries: Map<string, Buffer> | null;
}

/** Reads every tensor in a value completely, except those with dtypes that the engine doesn't have. */
function readAll(file: PthFile, value: unknown): void {
  if (value instanceof PthTensor) {
    if (value.problem === null) file.tensor(value).toTypedArray();
  } else if (value instanceof Map) for (const entry of value.values()) readAll(file, entry);
  else if (Array.isArray(value) || value instanceof Set) for (const entry of value) readAll(file, entry);
  else if (value instanceof PickleOpaque) readAll(file, [...value.entries.values(), ...value.items]);
}

function read(file: string): void {
  scope(() => {
    if (!file.endsWith('.safetensors')) {
      using pth = new PthFile(file);
      readAll(pth, pth.value);
    }
    using weights = openWeights(file);
    for (const { name, problem } of weights.entries) if (problem === null) weights.read(name).toTypedArray();
    try {
      formatDescription(describeWeights(file));
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error; // it can be read, but is not a network
    }
  });
}

/** Mutates, reads and counts. */
export async function fuzzWeights(options: FuzzOptions): Promise<FuzzResult> {
  const random = generator(options.seed);
  const sources: Source[] = options.sources.map((file) => ({
    file,
    bytes: readFileSync(file),
    entries: file.endsWith('.safetensors') ? null : entriesOf(file),
  }));
  const result: FuzzResult = {
    read: 0,
    refused: 0,
    failures: 0,
    slowestMs: 0,
    peakMiB: 0,
    reasons: new Map(),
  };
  for (let i = 0; i < options.count; i++) {
    const source = choose(random, sources);
    const other = choose(random, sources).bytes;
    const bytes =
      random() < 0.6 ? mutateInside(source, other, random) : mutateBytes(source.bytes, other, random);
    const file = `${options.scratch}${source.file.endsWith('.safetensors') ? '.safetensors' : '.pth'}`;
    writeFileSync(file, bytes);
    const start = performance.now();
    try {
      read(file);
      result.read++;
    } catch (error) {
      if (error instanceof CheckpointError) {
        result.refused++;
        const reason = error.message.replace(file, '').replace(/[^a-z ]+/gi, ' ').trim().split(/ +/).slice(0, 7).join(' '); // prettier-ignore
        result.reasons.set(reason, (result.reasons.get(reason) ?? 0) + 1);
      } else {
        result.failures++;
        options.onFailure?.(bytes, error);
      }
    }
    result.slowestMs = Math.max(result.slowestMs, performance.now() - start);
    if (i % 64 !== 0) continue;
    await eventLoopTurn(); // garbage-collected memory is freed between turns of the event loop
    result.peakMiB = Math.max(result.peakMiB, process.memoryUsage.rss() / 2 ** 20);
  }
  return result;
}
