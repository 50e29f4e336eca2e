/**
 * PyTorch's own files (torch/serialization.py): since 1.6 a zip whose data.pkl refers to storages that are entries
 * data/0, data/1, ...; before that several consecutive pickles and then the storages. The pickle is read only as data
 * (src/weights/pickle.ts); a tensor is a description until it is read, so that the teacher of a full checkpoint costs no
 * more than the teacher.
 */
import { checkCall, filePath, instanceOf } from '../plain/check-options.js';
import { CheckpointError } from '../errors.js';
import { elementSize, fromTypedArray, isDType, scope, type Tensor } from '../torch/index.js';
import { FileBytes } from '../files/file-bytes.js';
import { type PickleOptions, readPickle, readPickleAt } from './pickle.js';
import { whatItIs } from './identify.js';
import {
  addGlobal,
  type Budget,
  globalKey,
  isShape,
  PickleGlobal,
  PickleOpaque,
  show,
} from './pickle-values.js';
import { typedView } from './typed-view.js';
import { isZip, ZipArchive } from './zip.js';

/** The most bytes of a pickle; the tensors' numbers lie outside of it. */
const MAX_PICKLE_BYTES = 256 * 2 ** 20;
/** Numbers that old files begin with (serialization.py MAGIC_NUMBER, PROTOCOL_VERSION). */
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;
/** Bytes by which a file is identified. */
const START_BYTES = 4096;

/** Storage classes of `torch`, and bytes per element; dtypes that the engine doesn't have may occur, but can't be read. */
const STORAGES: Readonly<Record<string, readonly [dtype: string, bytes: number]>> = {
  FloatStorage: ['float32', 4],
  DoubleStorage: ['float64', 8],
  HalfStorage: ['float16', 2],
  BFloat16Storage: ['bfloat16', 2],
  LongStorage: ['int64', 8],
  IntStorage: ['int32', 4],
  ShortStorage: ['int16', 2],
  CharStorage: ['int8', 1],
  ByteStorage: ['uint8', 1],
  BoolStorage: ['bool', 1],
  ComplexFloatStorage: ['complex64', 8],
  ComplexDoubleStorage: ['complex128', 16],
  QInt8Storage: ['qint8', 1],
  QUInt8Storage: ['quint8', 1],
  QInt32Storage: ['qint32', 4],
};
const BYTES_OF_DTYPE = new Map<string, number>([
  ...Object.values(STORAGES),
  ['uint16', 2],
  ['uint32', 4],
  ['uint64', 8],
  ['complex32', 4],
  ...['e4m3fn', 'e5m2', 'e4m3fnuz', 'e5m2fnuz', 'e8m0fnu'].map((name) => [`float8_${name}`, 1] as const),
]);

class StorageType {
  constructor(
    readonly dtype: string,
    readonly bytes: number,
  ) {}
}

/** A storage that a pickle refers to. */
interface Storage {
  key: string;
  dtype: string;
  /** In elements, as the pickle says. */
  length: number;
  /** Bytes per element; null for an unknown class of storages. */
  bytes: number | null;
}

/** A tensor of a file that has not been read yet. */
export class PthTensor {
  constructor(
    readonly shape: readonly number[],
    /** PyTorch's name; the engine doesn't have all of them. */
    readonly dtype: string,
    /** Steps from one index to the next in each dimension, and where the first element is: in elements. */
    readonly strides: readonly number[],
    readonly offset: number,
    /** @internal null without one: a sparse tensor, one on the meta device. */
    readonly storage: Storage | null,
    /** Why it can't be read, such as `is sparse`; null when it can. */
    readonly problem: string | null = isDType(dtype)
      ? null
      : `is ${dtype}; supported are ${Object.keys(elementSize).join(', ')}`,
  ) {}

  /** Number of elements. */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }
}

/** What a torch file holds: containers with PthTensor for tensors (see readPickle for the others). */
export class PthFile implements Disposable {
  readonly value: unknown;
  /** The zip format, or the one before it. */
  readonly format: 'zip' | 'legacy';
  /** Names of Python's classes and functions in it that are not read; their results are PickleOpaque in `value`. */
  readonly unknown: readonly string[];
  readonly #source: FileBytes;
  readonly #read: (storage: Storage) => Buffer<ArrayBuffer>;
  readonly #storages = new Map<string, ArrayBuffer>();
  #copied = 0;

  /**
   * @param within - A run folder: below it no link is followed.
   * @throws CheckpointError when it is not a torch file, or incomplete.
   */
  constructor(
    readonly file: string,
    within?: string,
  ) {
    checkCall('PthFile()', ['file', filePath, file]);
    this.#source = new FileBytes(file, within);
    try {
      const start = this.#source.read(0, Math.min(4, this.#source.size));
      this.format = isZip(start) ? 'zip' : 'legacy';
      const opened = this.format === 'zip' ? openZip(this.#source) : openLegacy(this.#source);
      this.value = opened.value;
      this.unknown = opened.unknown;
      this.#read = opened.read;
    } catch (error) {
      this.#source.close();
      throw error;
    }
  }

  /**
   * Reads a tensor to the CPU. Tensors that share a storage share memory here too.
   * @throws CheckpointError when the engine doesn't have its dtype, it has no numbers of its own (as `problem` says), or
   *   its storage is damaged.
   */
  tensor(description: PthTensor): Tensor {
    checkCall('tensor()', ['description', instanceOf(PthTensor, 'a PthTensor of this file'), description]);
    const { dtype, shape, strides, offset, storage, numel, problem } = description;
    if (problem !== null || storage === null || !isDType(dtype)) {
      throw new CheckpointError(
        `${this.file}: a tensor [${shape.join(', ')}] ${problem ?? 'has no storage'}`,
      );
    }
    const buffer = this.#storage(storage);
    const begin = offset * elementSize[dtype];
    if (isRowMajor(shape, strides) || numel === 0)
      return fromTypedArray(typedView(buffer, dtype, begin, numel), shape, dtype);
    // any other order of the elements, such as channels last, is made contiguous
    this.#copied += numel * elementSize[dtype];
    if (this.#copied > this.#source.size)
      throw new CheckpointError(
        `${this.file}: its tensors are views that would take more memory than the file`,
      );
    return scope(() => {
      const whole = fromTypedArray(typedView(buffer, dtype, 0, storage.length), [storage.length], dtype);
      return whole.asStrided(shape, strides, offset).contiguous();
    });
  }

  #storage(storage: Storage): ArrayBuffer {
    let buffer = this.#storages.get(storage.key);
    if (buffer === undefined) {
      buffer = this.#read(storage).buffer;
      this.#storages.set(storage.key, buffer);
    }
    return buffer;
  }

  /** Closes the file; tensors that were read stay. */
  close(): void {
    this.#storages.clear();
    this.#source.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    if (shape[dim] !== 1 && strides[dim] !== expected) return false;
    expected *= shape[dim] as number;
  }
  return true;
}

interface Opened {
  value: unknown;
  unknown: string[];
  read: (storage: Storage) => Buffer<ArrayBuffer>;
}

function openZip(source: FileBytes): Opened {
  const { file } = source;
  const archive = new ZipArchive(source);
  const names = [...archive.entries.keys()];
  const pickles = names.filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickleName] = pickles;
  if (pickleName === undefined || pickles.length > 1) {
    throw new CheckpointError(
      `${file} is ${whatItIs({ zip: names })}, not a PyTorch file: it has ${pickles.length} data.pkl`,
    );
  }
  const folder = pickleName.slice(0, -'data.pkl'.length);
  if (archive.entries.has(`${folder}constants.pkl`)) {
    throw new CheckpointError(
      `${file} is a TorchScript archive, a program together with its weights. Save the weights alone in Python: ` +
        `torch.save(torch.jit.load('${file}').state_dict(), 'weights.pth')`,
    );
  }
  const orderName = `${folder}byteorder`;
  if (archive.entries.has(orderName) && archive.read(orderName).toString('latin1') !== 'little')
    throw new CheckpointError(`${file} was written on a big-endian machine`);
  const size = archive.entries.get(pickleName)?.size ?? 0;
  if (size > MAX_PICKLE_BYTES) throw new CheckpointError(`${file}: data.pkl has ${size} bytes`);
  const entryOf = (storage: Storage): string => `${folder}data/${storage.key}`;
  const unknown: string[] = [];
  const value = readPickle(
    archive.read(pickleName),
    file,
    torchOptions(unknown, (storage, budget) => {
      const entry = archive.entries.get(entryOf(storage));
      if (entry === undefined) return budget.refuse(`a tensor whose storage ${show(storage.key)} is missing`);
      if (storage.bytes !== null && entry.size !== storage.length * storage.bytes) {
        budget.refuse(
          `a storage ${show(storage.key)} of ${storage.length} ${storage.dtype}, ` +
            `${storage.length * storage.bytes} bytes, but the file has ${entry.size} for it`,
        );
      }
    }),
  );
  return { value, unknown, read: (storage) => archive.read(entryOf(storage)) };
}

function openLegacy(source: FileBytes): Opened {
  const { file } = source;
  const bytes = source.read(0, Math.min(source.size, MAX_PICKLE_BYTES));
  const noTorchFile = (): never => {
    throw new CheckpointError(
      `${file} is not a PyTorch file: it is ${whatItIs({ start: bytes.subarray(0, START_BYTES), size: source.size, file })}. ` +
        'Expected what torch.save writes (.pth), or a .safetensors file',
    );
  };
  // the ten bytes of the magic number, after PROTO and LONG1
  if (bytes.length < 14 || bytes[0] !== 0x80 || bytes[2] !== 0x8a || bytes[3] !== 10) noTorchFile();
  const magic = readPickleAt(bytes, 0, file);
  if (magic.value !== MAGIC_NUMBER) noTorchFile();
  const protocol = readPickleAt(bytes, magic.end, file);
  if (protocol.value !== LEGACY_PROTOCOL)
    throw new CheckpointError(`${file}: protocol ${String(protocol.value)}, expected ${LEGACY_PROTOCOL}`);
  const system = readPickleAt(bytes, protocol.end, file);
  if (system.value instanceof Map && system.value.get('little_endian') === false)
    throw new CheckpointError(`${file} was written on a big-endian machine`);
  const storages = new Map<string, Storage>();
  const unknown: string[] = [];
  const main = readPickleAt(
    bytes,
    system.end,
    file,
    torchOptions(unknown, (storage, budget) => {
      const known = storages.get(storage.key) ?? storage;
      if (known.length !== storage.length || known.dtype !== storage.dtype)
        budget.refuse(`a storage ${show(storage.key)} of two sizes or dtypes`);
      storages.set(storage.key, storage);
    }),
  );
  const keys = readPickleAt(bytes, main.end, file);
  if (!Array.isArray(keys.value)) return noTorchFile();
  const places = new Map<string, number>();
  let position = keys.end;
  for (const key of keys.value as unknown[]) {
    const storage = storages.get(String(key));
    if (storage === undefined || places.has(storage.key))
      throw new CheckpointError(
        `${file}: it lists a storage ${show(String(key))} that no tensor uses, or lists it twice`,
      );
    const length = source.read(position, 8).readBigInt64LE();
    if (length !== BigInt(storage.length)) {
      throw new CheckpointError(
        `${file}: a storage has ${length} elements where the pickle says ${storage.length}: it is damaged`,
      );
    }
    if (storage.bytes === null)
      throw new CheckpointError(
        `${file}: a storage is a ${storage.dtype}, whose length is unknown, and so are the places of those after it`,
      );
    places.set(storage.key, position + 8);
    position += 8 + storage.length * storage.bytes;
    if (position > source.size)
      throw new CheckpointError(`${file} ends before its storages do: it is damaged or not whole`);
  }
  const read = (storage: Storage): Buffer<ArrayBuffer> => {
    const place = places.get(storage.key);
    if (place === undefined)
      throw new CheckpointError(`${file}: the storage ${show(storage.key)} of a tensor is missing`);
    return source.read(place, storage.length * (storage.bytes ?? 0));
  };
  return { value: main.value, unknown, read };
}

/**
 * The names that a torch file's pickle may use, and the meaning of its persistent ids.
 * @param unknown - Gets the names of unknown classes and functions.
 */
function torchOptions(unknown: string[], check: (storage: Storage, budget: Budget) => void): PickleOptions {
  const globals = new Map<string, PickleGlobal>();
  const addAll = (names: readonly string[], call: PickleGlobal['call'], module = 'torch._utils'): void => {
    for (const name of names) addGlobal(globals, module, name, call);
  };
  const types = new Map<PickleGlobal, StorageType>();
  const addType = (module: string, name: string, type: StorageType): void => {
    addGlobal(globals, module, name, null);
    types.set(globals.get(globalKey(module, name)) as PickleGlobal, type);
  };
  for (const [name, [dtype, bytes]] of Object.entries(STORAGES)) {
    for (const module of ['torch', 'torch.storage', 'torch.cuda'])
      addType(module, name, new StorageType(dtype, bytes));
  }
  addType('torch.storage', 'UntypedStorage', new StorageType('uint8', 1));
  const dtypes = new Map<PickleGlobal, string>();
  for (const dtype of BYTES_OF_DTYPE.keys()) {
    addGlobal(globals, 'torch', dtype, null);
    dtypes.set(globals.get(globalKey('torch', dtype)) as PickleGlobal, dtype);
  }
  const dtypeOf = (value: unknown, budget: Budget): string => {
    if (!(value instanceof PickleGlobal)) return budget.refuse('a tensor without a dtype');
    return dtypes.get(value) ?? show(value.name.replace(/^torch\./, ''));
  };

  addAll(['_rebuild_tensor_v2', '_rebuild_tensor'], (args, budget) => {
    const [storage, offset, shape, strides, , , attributes] = args;
    // views that PyTorch negates or conjugates when it reads them
    const isView = attributes instanceof Map && [...attributes.values()].includes(true);
    const problem = isView ? 'is a view whose values are negated' : null;
    return describe({ storage, offset, shape, strides, dtype: null, problem }, budget);
  });
  addAll(['_rebuild_tensor_v3'], (args, budget) => {
    const [storage, offset, shape, strides, , , dtype] = args;
    return describe(
      { storage, offset, shape, strides, dtype: dtypeOf(dtype, budget), problem: null },
      budget,
    );
  });
  addAll(['_rebuild_qtensor'], (args, budget) => {
    const [storage, offset, shape, strides] = args;
    return describe({ storage, offset, shape, strides, dtype: null, problem: 'is quantised' }, budget);
  });
  addAll(['_rebuild_meta_tensor_no_storage'], (args, budget) => {
    const [dtype, shape] = args;
    if (!isShape(shape)) return budget.refuse('a tensor without a valid shape');
    const problem = 'is on the meta device: it has a shape but no numbers';
    return withoutStorage(shape, dtypeOf(dtype, budget), problem, budget);
  });
  addAll(['_rebuild_sparse_tensor', '_rebuild_sparse_csr_tensor'], (args, budget) => {
    // (layout, (indices, values, size, ...)); of the compressed ones (..., values, size, ...)
    const parts: unknown[] = Array.isArray(args[1]) ? (args[1] as unknown[]) : [];
    const shape = parts.find(isShape);
    const values = parts.filter((part): part is PthTensor => part instanceof PthTensor).at(-1);
    return withoutStorage(shape ?? [], values?.dtype ?? 'unknown', 'is sparse', budget);
  });
  const firstTensor = (args: readonly unknown[], budget: Budget): unknown => {
    if (args[0] instanceof PthTensor || args[0] instanceof PickleOpaque) return args[0];
    return budget.refuse('a parameter without a tensor');
  };
  addAll(['_rebuild_parameter', '_rebuild_parameter_with_state'], firstTensor);
  addAll(
    ['_rebuild_from_type_v2'],
    (args, budget) => {
      // (function, class, its arguments, attributes): a tensor with attributes of its own, or of a class of its own
      const [make, type, given] = args;
      const isMaker = make instanceof PickleGlobal && make.name.startsWith('torch._utils.');
      if (!isMaker || make.call === null || !(type instanceof PickleGlobal) || !Array.isArray(given))
        return new PickleOpaque(type instanceof PickleGlobal ? type.name : 'a tensor of its own class');
      const made = make.call(given as unknown[], budget);
      if (!(made instanceof PthTensor) || PLAIN_TENSORS.has(type.name)) return made;
      return withoutStorage(
        made.shape,
        made.dtype,
        `is a ${show(type.name)}, a tensor of its own class`,
        budget,
      );
    },
    'torch._tensor',
  );
  addAll(['Tensor', 'per_tensor_affine', 'per_channel_affine'], null, 'torch');
  addAll(['_get_layout'], ([name]) => (typeof name === 'string' ? name : 'a layout'), 'torch.serialization');
  addAll(['Parameter', 'Buffer'], null, 'torch.nn.parameter');
  addAll(
    ['Size'],
    (args, budget) => {
      const [sizes = []] = args;
      if (!isShape(sizes)) return budget.refuse('a torch.Size that is not one');
      budget.charge(sizes.length);
      return Object.freeze([...sizes]);
    },
    'torch',
  );
  addAll(
    ['device'],
    (args, budget) => {
      const [type, index] = args;
      if (typeof type !== 'string' || type.length > 20)
        return budget.refuse('a torch.device that is not one');
      return typeof index === 'number' ? `${type}:${index}` : type;
    },
    'torch',
  );

  return {
    globals,
    onUnknown: (name) => unknown.push(name),
    persistent: (id, budget) => {
      // ('storage', class, key, where it was, elements[, view of another])
      const [tag, type, key, , length, view = null] = Array.isArray(id) ? (id as unknown[]) : [];
      const name = typeof key === 'string' ? key : typeof key === 'number' ? String(key) : '';
      if (tag === 'module' && type instanceof PickleGlobal) return type; // a class with its source, up to PyTorch 1.5
      if (tag !== 'storage' || !(type instanceof PickleGlobal) || !/^[\w-]{1,64}$/.test(name))
        return budget.refuse('a reference to something outside of it that is not a storage');
      if (!Number.isSafeInteger(length) || (length as number) < 0 || (length as number) > 2 ** 48)
        return budget.refuse(`a storage of ${String(length)} elements`);
      if (view !== null) return budget.refuse('a storage that is a view of another');
      const { dtype, bytes } = types.get(type) ?? { dtype: show(type.name), bytes: null };
      const storage = new StorageRef(name, dtype, length as number, bytes);
      check(storage, budget);
      return storage;
    },
  };
}

/** Classes of tensors that are just tensors. */
const PLAIN_TENSORS = new Set(['torch.Tensor', 'torch.nn.parameter.Parameter', 'torch.nn.parameter.Buffer']);

class StorageRef implements Storage {
  constructor(
    readonly key: string,
    readonly dtype: string,
    readonly length: number,
    readonly bytes: number | null,
  ) {}
}

function withoutStorage(shape: readonly number[], dtype: string, problem: string, budget: Budget): PthTensor {
  budget.charge(shape.length);
  return new PthTensor([...shape], dtype, [], 0, null, problem);
}

/** What a pickle says about a tensor. */
interface Described {
  storage: unknown;
  offset: unknown;
  shape: unknown;
  strides: unknown;
  /** Where it differs from the storage's. */
  dtype: string | null;
  problem: string | null;
}

/** Checks a tensor against its storage, which must contain everything that the tensor can reach. */
function describe(described: Described, budget: Budget): PthTensor {
  const { storage, offset, shape, strides, dtype, problem } = described;
  if (!(storage instanceof StorageRef)) return budget.refuse('a tensor without a storage');
  if (!isShape(shape)) return budget.refuse('a tensor without a valid shape');
  const text = `a tensor [${shape.join(', ')}]`;
  const isStride = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!Array.isArray(strides) || strides.length !== shape.length || !strides.every(isStride))
    return budget.refuse(`${text} without valid strides (whole numbers, 0 or more)`);
  if (!isStride(offset)) return budget.refuse(`${text} at a place ${String(offset)}`);
  budget.charge(2 * shape.length);
  const first = offset as number;
  let ref: Storage = storage;
  if (dtype !== null) {
    const bytes = BYTES_OF_DTYPE.get(dtype) ?? null;
    const length = bytes === null ? 0 : Math.floor((storage.length * (storage.bytes ?? 0)) / bytes);
    ref = { key: storage.key, dtype, length, bytes };
  }
  if (ref.bytes === null)
    return withoutStorage(shape, ref.dtype, problem ?? `is of an unknown kind: ${ref.dtype}`, budget);
  const numel = shape.reduce((product, size) => product * size, 1);
  const last = shape.reduce((sum, size, dim) => sum + (size - 1) * (strides[dim] as number), first);
  if (numel > 0 && !(last < ref.length))
    return budget.refuse(`${text} that reaches element ${last} of a storage of ${ref.length}`);
  if (first > ref.length)
    return budget.refuse(`${text} that begins at element ${first} of a storage of ${ref.length}`);
  const rest = problem === null ? [] : [problem];
  return new PthTensor([...shape], ref.dtype, [...(strides as number[])], first, ref, ...rest);
}
