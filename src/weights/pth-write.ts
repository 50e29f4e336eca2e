/**
 * PyTorch files in the zip format (torch/serialization.py _save), of plain values and tensors, which `torch.load` reads with
 * weights_only=True: the pickle names only classes that this allows.
 */
import { being, checkCall, filePath } from '../plain/check-options.js';
import { CheckpointError } from '../errors.js';
import { elementSize, scope, Tensor, type DType } from '../torch/index.js';
import { writeWhole } from '../files/atomic-file.js';
import { ZipWriter } from './zip-write.js';

/** A value of a PyTorch file: a Map is a dict, an array a list. */
export type PthValue =
  null | boolean | number | string | Tensor | readonly PthValue[] | ReadonlyMap<string, PthValue>;

/** PyTorch has no class of storages of uint16. */
const STORAGE_OF: Record<Exclude<DType, 'uint16'>, string> & Partial<Record<DType, string>> = {
  float32: 'FloatStorage',
  float64: 'DoubleStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
};

/** Folder inside the archive, as torch.save names it for a stream: the same weights give the same bytes. */
const FOLDER = 'archive';
/** Format of PyTorch's archives (caffe2/serialize/versions.h), in use since 1.6. */
const VERSION = '3\n';

const isPthValue = (value: unknown): boolean => {
  if (value === null || ['boolean', 'number', 'string'].includes(typeof value)) return true;
  if (value instanceof Map)
    return [...value].every(([key, entry]) => typeof key === 'string' && isPthValue(entry));
  return value instanceof Tensor || (Array.isArray(value) && value.every(isPthValue));
};
const VALUES = 'null, booleans, numbers, text, tensors, and lists and Maps of them';
const pthValue = being(VALUES, isPthValue);
const pthAttributes = being(
  `an object of values by name: ${VALUES}`,
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null) &&
    Object.values(value).every(isPthValue),
);

/**
 * Writes what `torch.load(file, weights_only=True)` returns: dicts, lists, numbers, text and tensors (from any device,
 * contiguous in the file).
 *
 * @param attributes - Of the outermost dict, which then is an OrderedDict, as state_dict() returns: they are not entries, so
 *   that load_state_dict() never sees them.
 *
 * @throws CheckpointError when the file can't be written, or would be larger than 4 GiB, or has a tensor of uint16; an older
 *   `file` is then untouched.
 */
export function writePth(
  file: string,
  value: PthValue,
  attributes?: Readonly<Record<string, PthValue>>,
): void {
  checkCall(
    'writePth()',
    ['file', filePath, file],
    ['value', pthValue, value],
    ['attributes', pthAttributes.optional(), attributes],
  );
  const tensors: Tensor[] = [];
  const pickle = new PickleWriter((tensor) => tensors.push(tensor) - 1).write(value, attributes);
  writeWhole(
    file,
    (write) => {
      const archive = new ZipWriter(write);
      archive.add(`${FOLDER}/data.pkl`, pickle);
      archive.add(`${FOLDER}/byteorder`, Buffer.from('little'));
      for (const [key, tensor] of tensors.entries()) {
        scope(() => {
          const array =
            tensor.numel === 0 ? new Uint8Array(0) : tensor.detach().to('cpu').contiguous().data();
          const bytes = new Uint8Array(
            array.buffer,
            array.byteOffset,
            tensor.numel * elementSize[tensor.dtype],
          );
          archive.add(`${FOLDER}/data/${key}`, bytes);
        });
      }
      archive.add(`${FOLDER}/version`, Buffer.from(VERSION));
      archive.end();
    },
    { failure: CheckpointError },
  );
}

/** Protocol 2, as torch.save uses; without a memo, which would only make pickles shorter. */
class PickleWriter {
  readonly #chunks: Buffer[] = [];
  readonly #keyOf: (tensor: Tensor) => number;

  constructor(keyOf: (tensor: Tensor) => number) {
    this.#keyOf = keyOf;
  }

  write(value: PthValue, attributes?: Readonly<Record<string, PthValue>>): Buffer {
    this.#bytes(0x80, 2);
    if (attributes === undefined) this.#value(value);
    else if (value instanceof Map) {
      this.#text('ccollections\nOrderedDict\n)R');
      this.#entries(value as ReadonlyMap<string, PthValue>);
      this.#text('}');
      this.#entries(new Map(Object.entries(attributes)));
      this.#text('b'); // BUILD
    } else throw new CheckpointError('only a dict can have attributes in a .pth file');
    this.#text('.');
    return Buffer.concat(this.#chunks);
  }

  #bytes(...bytes: number[]): void {
    this.#chunks.push(Buffer.from(bytes));
  }
  #text(opcodes: string): void {
    this.#chunks.push(Buffer.from(opcodes, 'latin1'));
  }

  #string(text: string): void {
    const bytes = Buffer.from(text);
    const head = Buffer.alloc(5, 'X'); // BINUNICODE
    head.writeUInt32LE(bytes.length, 1);
    this.#chunks.push(head, bytes);
  }

  #number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) {
      const bytes = Buffer.alloc(5, 'J'); // BININT
      bytes.writeInt32LE(value, 1);
      this.#chunks.push(bytes);
    } else if (Number.isSafeInteger(value)) {
      const bytes = Buffer.alloc(10, 0x8a); // LONG1
      bytes[1] = 8;
      bytes.writeBigInt64LE(BigInt(value), 2);
      this.#chunks.push(bytes);
    } else {
      const bytes = Buffer.alloc(9, 'G'); // BINFLOAT
      bytes.writeDoubleBE(value, 1);
      this.#chunks.push(bytes);
    }
  }

  #tuple(values: readonly number[]): void {
    this.#text('(');
    for (const value of values) this.#number(value);
    this.#text('t');
  }

  /** MARK, entries, SETITEMS */
  #entries(entries: ReadonlyMap<string, PthValue>): void {
    this.#text('(');
    for (const [key, entry] of entries) {
      this.#string(key);
      this.#value(entry);
    }
    this.#text('u');
  }

  #value(value: PthValue): void {
    if (value === null) this.#text('N');
    else if (typeof value === 'boolean') this.#bytes(value ? 0x88 : 0x89);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#string(value);
    else if (value instanceof Tensor) this.#tensor(value);
    else if (value instanceof Map) {
      this.#text('}');
      this.#entries(value as ReadonlyMap<string, PthValue>);
    } else {
      this.#text('](');
      for (const entry of value as readonly PthValue[]) this.#value(entry);
      this.#text('e');
    }
  }

  /** _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) */
  #tensor(tensor: Tensor): void {
    const { shape, dtype, numel } = tensor;
    const strides = shape.map((_, dim) =>
      shape.slice(dim + 1).reduce((product, size) => product * Math.max(size, 1), 1),
    );
    const storage = STORAGE_OF[dtype];
    if (storage === undefined)
      throw new CheckpointError(`a tensor of ${dtype} can't be written to a .pth file`);
    this.#text('ctorch._utils\n_rebuild_tensor_v2\n((');
    this.#string('storage');
    this.#text(`ctorch\n${storage}\n`);
    this.#string(String(this.#keyOf(tensor)));
    this.#string('cpu');
    this.#number(numel);
    this.#text('tQ');
    this.#number(0);
    this.#tuple(shape);
    this.#tuple(strides);
    this.#bytes(0x89); // requires_grad is False
    this.#text('ccollections\nOrderedDict\n)RtR');
  }
}
