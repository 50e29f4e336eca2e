/**
 * The safetensors format (github huggingface/safetensors, "Format"): 8 bytes of header length, a JSON header with
 * each tensor's name, dtype, shape and place, and the bytes. Written here rather than taken from a package so that a file of
 * unknown origin can do no harm: every offset is checked before a byte is used, as the Rust implementation does (no holes,
 * no overlap, nothing beyond the end). Tensors are views of one buffer with the file's data, not copies.
 */
import { being, checkCall, filePath } from '../plain/check-options.js';
import { CheckpointError } from '../errors.js';
import { elementSize, fromTypedArray, isDType, noGrad, scope, type DType, Tensor } from '../torch/index.js';
import { printable } from '../plain/printable.js';
import { FileBytes } from '../files/file-bytes.js';
import { typedView } from './typed-view.js';
import { tooLongName } from './weights-entry.js';
import { writeWhole } from '../files/atomic-file.js';

/** The reference implementation refuses longer headers too. */
const MAX_HEADER_BYTES = 100_000_000;

const dtypeByCode = new Map<string, DType>([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I64', 'int64'],
  ['I32', 'int32'],
  ['U16', 'uint16'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
]);
const codeByDtype = new Map([...dtypeByCode].map(([code, dtype]) => [dtype, code]));
/** The format's other dtypes by PyTorch's names, and bits per element. They are described, and refused when they are read. */
const otherDtypes = new Map<string, readonly [dtype: string, bits: number]>([
  ['I8', ['int8', 8]],
  ['I16', ['int16', 16]],
  ['U32', ['uint32', 32]],
  ['U64', ['uint64', 64]],
  ['F8_E4M3', ['float8_e4m3fn', 8]],
  ['F8_E5M2', ['float8_e5m2', 8]],
  ['F8_E8M0', ['float8_e8m0fnu', 8]],
  ['C64', ['complex64', 64]],
  ['F6_E2M3', ['float6_e2m3fn', 6]],
  ['F6_E3M2', ['float6_e3m2fn', 6]],
  ['F4', ['float4_e2m1fn', 4]],
]);

/** One tensor's place in a file; offsets are bytes from the end of the header. */
export interface SafetensorsEntry {
  name: string;
  /** PyTorch's name; the engine doesn't have all of them. */
  dtype: string;
  /** Why it can't be read; null when it can. */
  problem: string | null;
  shape: number[];
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  entries: SafetensorsEntry[];
  metadata: Record<string, string>;
  /** Where the data begin, bytes from the start of the file. */
  dataStart: number;
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Checks a header's JSON against the number of data bytes that follow it. */
function parseHeader(json: string, dataBytes: number, file: string): Omit<SafetensorsHeader, 'dataStart'> {
  const refuse = (what: string): never => {
    throw new CheckpointError(`${file} is not a valid safetensors file: ${what}`);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (error) {
    return refuse(`the header is not JSON (${(error as Error).message})`);
  }
  if (!isObject(parsed)) return refuse('the header is not an object');
  const metadata: Record<string, string> = {};
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    const tooLong = tooLongName(name);
    if (tooLong !== null) return refuse(tooLong);
    if (!isObject(value)) return refuse(`the entry of ${name} is not an object`);
    if (name === '__metadata__') {
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== 'string') return refuse(`metadata ${key} is not text`);
        Object.defineProperty(metadata, key, {
          value: text,
          enumerable: true,
          writable: true,
          configurable: true,
        });
      }
      continue;
    }
    const { dtype: code, shape, data_offsets: offsets } = value;
    if (typeof code !== 'string' || !/^\w{1,20}$/.test(code)) return refuse(`${name} has no valid dtype`);
    const known = dtypeByCode.get(code);
    const [dtype, bits] =
      known === undefined ? (otherDtypes.get(code) ?? [code, null]) : [known, 8 * elementSize[known]];
    const problem =
      known === undefined ? `is ${dtype}; supported are ${[...codeByDtype.keys()].join(', ')}` : null;
    if (!Array.isArray(shape) || !shape.every(isWhole)) return refuse(`${name} has no valid shape`);
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isWhole)) {
      return refuse(`${name} has no valid data_offsets`);
    }
    const [begin, end] = offsets as [number, number];
    const numel = shape.reduce((product, size) => product * size, 1);
    // of a dtype newer than this code only the place is known
    const bytes = bits === null ? end - begin : (numel * bits) / 8;
    if (begin > end || end > dataBytes || end - begin !== bytes || !Number.isSafeInteger(numel)) {
      const isCut = end > dataBytes && end - begin === bytes;
      return refuse(
        `${name} is ${dtype} [${shape.join(', ')}], ${bytes} bytes, but lies at ${begin} to ${end} of ${dataBytes}` +
          (isCut ? ': the file ends too early. Is the download complete?' : ''),
      );
    }
    entries.push({ name, dtype, problem, shape, begin, end });
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== position)
      return refuse(`${name} begins at ${begin}, where ${position} was expected (hole or overlap)`);
    position = end;
  }
  if (position !== dataBytes) return refuse(`${dataBytes - position} bytes at the end belong to no tensor`);
  return { entries, metadata };
}

function readHeader(source: FileBytes): SafetensorsHeader & { dataBytes: number } {
  const { file, size } = source;
  if (size < 8) throw new CheckpointError(`${file} is not a valid safetensors file: it has ${size} bytes`);
  const length = source.read(0, 8).readBigUInt64LE();
  if (length > BigInt(Math.min(MAX_HEADER_BYTES, size - 8))) {
    throw new CheckpointError(
      `${file} is not a valid safetensors file: its header claims ${length} bytes, the file has ${size}`,
    );
  }
  const header = source.read(8, Number(length));
  const dataStart = 8 + header.length;
  const dataBytes = size - dataStart;
  return { ...parseHeader(header.toString('utf8'), dataBytes, file), dataStart, dataBytes };
}

/**
 * Names, dtypes and shapes without the data.
 * @param source - A path, or an open file, which stays open.
 * @param within - A run or index folder: below it no link is followed.
 * @throws CheckpointError for a file that is incomplete or not of this format.
 */
export function readSafetensorsHeader(source: string | FileBytes, within?: string): SafetensorsHeader {
  if (!(source instanceof FileBytes)) {
    checkCall('readSafetensorsHeader()', ['source', filePath, source]);
    using opened = new FileBytes(source, within);
    return readSafetensorsHeader(opened);
  }
  const { entries, metadata, dataStart } = readHeader(source);
  return { entries, metadata, dataStart };
}

export interface SafetensorsFile {
  /** CPU tensors by name, in the order of the file, sharing one buffer. Dispose of them or leave it to the GC. */
  tensors: Map<string, Tensor>;
  metadata: Record<string, string>;
}

/** A file's tensors on demand; its data are read once, with the first tensor. Close it. */
export class SafetensorsReader {
  readonly header: SafetensorsHeader;
  readonly #source: FileBytes;
  readonly #dataBytes: number;
  #data: ArrayBuffer | null = null;

  /**
   * @param within - A run folder: below it no link is followed.
   * @throws CheckpointError for a file that is incomplete or not of this format.
   */
  constructor(
    readonly file: string,
    within?: string,
  ) {
    this.#source = new FileBytes(file, within);
    try {
      const { dataBytes, ...header } = readHeader(this.#source);
      this.header = header;
      this.#dataBytes = dataBytes;
    } catch (error) {
      this.#source.close();
      throw error;
    }
  }

  /** @throws CheckpointError when the entry is of a dtype that the engine doesn't have. */
  read({ name, dtype, problem, shape, begin, end }: SafetensorsEntry): Tensor {
    if (problem !== null || !isDType(dtype))
      throw new CheckpointError(`${this.file}: ${name} ${problem ?? `is ${dtype}`}`);
    this.#data ??= this.#source.read(this.header.dataStart, this.#dataBytes).buffer;
    const count = (end - begin) / elementSize[dtype];
    // files of writers that sort by element size are aligned; others cost a copy
    return fromTypedArray(typedView(this.#data, dtype, begin, count), shape, dtype);
  }

  close(): void {
    this.#data = null;
    this.#source.close();
  }
}

/**
 * Reads a whole file.
 * @param within - A run folder: below it no link is followed.
 * @throws CheckpointError for a file that is incomplete, not of this format, or with a dtype that the engine doesn't have;
 *   nothing of it is then used.
 */
export function readSafetensors(file: string, within?: string): SafetensorsFile {
  checkCall('readSafetensors()', ['file', filePath, file]);
  const reader = new SafetensorsReader(file, within);
  try {
    const { entries, metadata } = reader.header;
    const odd = entries.find(({ problem }) => problem !== null);
    if (odd !== undefined) throw new CheckpointError(`${printable(`${file}: ${odd.name}`)} ${odd.problem}`);
    return { tensors: new Map(entries.map((entry) => [entry.name, reader.read(entry)])), metadata };
  } finally {
    reader.close();
  }
}

type NamedTensors = ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>;

/** A file's beginning (length and header), and its tensors in their order in the file. */
interface Layout {
  prefix: Buffer;
  list: [name: string, tensor: Tensor][];
  /** Length of the whole file. */
  bytes: number;
}

function layOut(tensors: NamedTensors, metadata: Readonly<Record<string, string>>): Layout {
  const list: [string, Tensor][] =
    tensors instanceof Map
      ? [...(tensors as ReadonlyMap<string, Tensor>)]
      : Object.entries(tensors as Readonly<Record<string, Tensor>>);
  // Widest elements first, so that each is aligned without padding (as the reference implementation does).
  list.sort(([a, x], [b, y]) => elementSize[y.dtype] - elementSize[x.dtype] || (a < b ? -1 : a > b ? 1 : 0));
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set('__metadata__', metadata);
  let position = 0;
  for (const [name, tensor] of list) {
    const tooLong = tooLongName(name);
    if (tooLong !== null) throw new CheckpointError(tooLong);
    if (name === '__metadata__') throw new CheckpointError('a tensor cannot be named __metadata__');
    const code = codeByDtype.get(tensor.dtype);
    if (code === undefined)
      throw new CheckpointError(
        `${printable(name)}: a tensor of ${tensor.dtype} can't be written to a safetensors file`,
      );
    const begin = position;
    position += tensor.numel * elementSize[tensor.dtype];
    header.set(name, { dtype: code, shape: tensor.shape, data_offsets: [begin, position] });
  }
  const prefix = filePrefix(header);
  return { prefix, list, bytes: prefix.length + position };
}

/** A file's beginning: the header's length and the header, padded so that the tensors are aligned to 8 bytes. */
export function filePrefix(header: ReadonlyMap<string, unknown>): Buffer {
  let json = `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8);
  const text = Buffer.from(json);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}

const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);

const namedTensors = being('a Map or an object of tensors by name', (value) => {
  if (value instanceof Map)
    return [...value].every(([name, tensor]) => typeof name === 'string' && tensor instanceof Tensor);
  return isPlain(value) && Object.values(value).every((tensor) => tensor instanceof Tensor);
});
const namedTexts = being(
  'an object of texts by name',
  (value) => isPlain(value) && Object.values(value).every((text) => typeof text === 'string'),
);

/**
 * Writes tensors from any device to one file: first to a temporary file, flushed, then renamed, so that `file` is either
 * whole or absent.
 *
 * @param within - A run folder: below it no link is followed.
 * @throws CheckpointError when the disk is full, the folder is not writable, or the format can't hold a tensor; an older
 *   `file` is then untouched.
 */
export function writeSafetensors(
  file: string,
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>> = {},
  within?: string,
): void {
  checkCall(
    'writeSafetensors()',
    ['file', filePath, file],
    ['tensors', namedTensors, tensors],
    ['metadata', namedTexts, metadata],
  );
  const { prefix, list } = layOut(tensors, metadata);
  writeWhole(
    file,
    (write) => {
      write(prefix);
      for (const [, tensor] of list) {
        if (tensor.numel === 0) continue;
        scope(() => {
          const array = tensor.detach().to('cpu').contiguous().data();
          write(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
        });
      }
    },
    { failure: CheckpointError, within },
  );
}

/**
 * Copies tensors from any device into memory, as the bytes of a file: one copy, made by libtorch with all its threads.
 *
 * @param allocate - Gets the file's length; returns memory of that length or more.
 * @returns The file's bytes, at the start of that memory.
 */
export function copySafetensors(
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>>,
  allocate: (bytes: number) => SharedArrayBuffer,
): Uint8Array {
  const { prefix, list, bytes } = layOut(tensors, metadata);
  const memory = allocate(bytes);
  const file = new Uint8Array(memory, 0, bytes);
  file.set(prefix);
  let position = prefix.length; // a multiple of 8: every tensor is aligned
  for (const [, tensor] of list) {
    const { dtype, shape, numel } = tensor;
    const place = typedView(memory, dtype, position, numel);
    position += place.byteLength;
    if (numel === 0) continue;
    scope(() => noGrad(() => fromTypedArray(place, shape, dtype).copy_(tensor.detach())));
  }
  return file;
}
