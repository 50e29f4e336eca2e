/**
 * PyTorch's own files (torch/serialization.py): since 1.6 a zip whose data.pkl refers to storages that are entries
 * data/0, data/1, ...; before that some pickles in a row and then the storages. The pickle is read as data alone
 * (src/weights/pickle.ts); a tensor is a description until it is asked for, so that the teacher of a full checkpoint
 * costs no more than the teacher.
 */
import { checkCall, filePath, instanceOf } from '../check-options.js';
import { CheckpointError } from '../errors.js';
import { elementSize, fromTypedArray, isDType, scope, type Tensor } from '../torch/index.js';
import { FileBytes } from '../files/file-bytes.js';
import { type PickleOptions, readPickle, readPickleAt } from './pickle.js';
import { addGlobal, type Budget, isShape, PickleGlobal, show } from './pickle-values.js';
import { typedView } from './typed-view.js';
import { isZip, ZipArchive } from './zip.js';

/** Bytes of the largest pickle; the numbers of tensors lie outside of it. */
const MAX_PICKLE_BYTES = 256 * 2 ** 20;
/** Numbers that old files begin with (serialization.py MAGIC_NUMBER, PROTOCOL_VERSION). */
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** Storage classes of `torch`, and bytes an element; dtypes that the engine doesn't have can be there unread. */
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
};
const BYTES_OF_DTYPE = new Map<string, number>([
  ...Object.values(STORAGES),
  ['uint16', 2],
  ['uint32', 4],
  ['uint64', 8],
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
  /** Bytes an element. */
  bytes: number;
}

/** A tensor of a file that has not been read yet. */
export class PthTensor {
  constructor(
    readonly shape: readonly number[],
    /** PyTorch's name; the engine has not all of them. */
    readonly dtype: string,
    /** Steps from one index to the next in each dimension, and where the first element is: in elements. */
    readonly strides: readonly number[],
    readonly offset: number,
    /** @internal */
    readonly storage: Storage,
  ) {}

  /** Number of elements. */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }
}

/** What a torch file holds: containers with PthTensor in place of tensors (see readPickle for the others). */
export class PthFile implements Disposable {
  readonly value: unknown;
  /** Whether it is the zip format or the one before. */
  readonly format: 'zip' | 'legacy';
  readonly #source: FileBytes;
  readonly #read: (storage: Storage) => Buffer<ArrayBuffer>;
  readonly #storages = new Map<string, ArrayBuffer>();
  #copied = 0;

  /**
   * @throws CheckpointError when it is no torch file, not whole, or its pickle asks for anything but data.
   */
  constructor(readonly file: string) {
    checkCall('PthFile()', ['file', filePath, file]);
    this.#source = new FileBytes(file);
    try {
      const start = this.#source.read(0, Math.min(4, this.#source.size));
      this.format = isZip(start) ? 'zip' : 'legacy';
      const opened = this.format === 'zip' ? openZip(this.#source) : openLegacy(this.#source);
      this.value = opened.value;
      this.#read = opened.read;
    } catch (error) {
      this.#source.close();
      throw error;
    }
  }

  /**
   * Reads a tensor, to the CPU. Those that share a storage share memory here too.
   * @throws CheckpointError when its dtype is one that the engine doesn't have, or its storage is damaged.
   */
  tensor(description: PthTensor): Tensor {
    checkCall('tensor()', ['description', instanceOf(PthTensor, 'a PthTensor of this file'), description]);
    const { dtype, shape, strides, offset, storage, numel } = description;
    if (!isDType(dtype)) {
      throw new CheckpointError(
        `${this.file}: a tensor [${shape.join(', ')}] is ${dtype}; supported are ${Object.keys(elementSize).join(', ')}`,
      );
    }
    const buffer = this.#storage(storage);
    const begin = offset * elementSize[dtype];
    if (isRowMajor(shape, strides) || numel === 0)
      return fromTypedArray(typedView(buffer, dtype, begin, numel), shape, dtype);
    // any other order of the elements, such as channels last, is written out
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
  read: (storage: Storage) => Buffer<ArrayBuffer>;
}

function openZip(source: FileBytes): Opened {
  const { file } = source;
  const archive = new ZipArchive(source);
  const names = [...archive.entries.keys()];
  const pickles = names.filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickleName] = pickles;
  if (pickleName === undefined || pickles.length > 1)
    throw new CheckpointError(
      `${file} is a zip file, but none of PyTorch's: it has ${pickles.length} data.pkl`,
    );
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
  const value = readPickle(
    archive.read(pickleName),
    file,
    torchOptions((storage, budget) => {
      const entry = archive.entries.get(entryOf(storage));
      if (entry === undefined) return budget.refuse(`a tensor whose storage ${show(storage.key)} is missing`);
      if (entry.size !== storage.length * storage.bytes) {
        budget.refuse(
          `a storage ${show(storage.key)} of ${storage.length} ${storage.dtype}, ` +
            `${storage.length * storage.bytes} bytes, but the file has ${entry.size} for it`,
        );
      }
    }),
  );
  return { value, read: (storage) => archive.read(entryOf(storage)) };
}

function openLegacy(source: FileBytes): Opened {
  const { file } = source;
  const bytes = source.read(0, Math.min(source.size, MAX_PICKLE_BYTES));
  const noTorchFile = (): never => {
    throw new CheckpointError(
      `${file} is no PyTorch file: it is neither a zip file nor begins with PyTorch's number. Expected what torch.save ` +
        'writes (.pth), or a .safetensors file',
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
  const main = readPickleAt(
    bytes,
    system.end,
    file,
    torchOptions((storage, budget) => {
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
        `${file}: it lists a storage ${show(String(key))} that no tensor has, or twice`,
      );
    const length = source.read(position, 8).readBigInt64LE();
    if (length !== BigInt(storage.length)) {
      throw new CheckpointError(
        `${file}: a storage has ${length} elements where the pickle says ${storage.length}: it is damaged`,
      );
    }
    places.set(storage.key, position + 8);
    position += 8 + storage.length * storage.bytes;
    if (position > source.size)
      throw new CheckpointError(`${file} ends before its storages do: it is damaged or not whole`);
  }
  const read = (storage: Storage): Buffer<ArrayBuffer> => {
    const place = places.get(storage.key);
    if (place === undefined)
      throw new CheckpointError(`${file}: the storage ${show(storage.key)} of a tensor is missing`);
    return source.read(place, storage.length * storage.bytes);
  };
  return { value: main.value, read };
}

/** What a torch file's pickle may name, and what its persistent ids stand for. */
function torchOptions(check: (storage: Storage, budget: Budget) => void): PickleOptions {
  const globals = new Map<string, PickleGlobal>();
  const types = new Map<PickleGlobal, StorageType>();
  const addType = (module: string, name: string, type: StorageType): void => {
    addGlobal(globals, module, name, null);
    types.set(globals.get(`${module}\n${name}`) as PickleGlobal, type);
  };
  for (const [name, [dtype, bytes]] of Object.entries(STORAGES)) {
    addType('torch', name, new StorageType(dtype, bytes));
    addType('torch.storage', name, new StorageType(dtype, bytes));
  }
  addType('torch.storage', 'UntypedStorage', new StorageType('uint8', 1));
  const dtypes = new Map<PickleGlobal, string>();
  for (const dtype of BYTES_OF_DTYPE.keys()) {
    addGlobal(globals, 'torch', dtype, null);
    dtypes.set(globals.get(`torch\n${dtype}`) as PickleGlobal, dtype);
  }

  addGlobal(globals, 'torch._utils', '_rebuild_tensor_v2', (args, budget) => {
    const [storage, offset, shape, strides] = args;
    return describe(storage, offset, shape, strides, null, budget);
  });
  addGlobal(globals, 'torch._utils', '_rebuild_tensor', (args, budget) => {
    const [storage, offset, shape, strides] = args;
    return describe(storage, offset, shape, strides, null, budget);
  });
  addGlobal(globals, 'torch._utils', '_rebuild_tensor_v3', (args, budget) => {
    const [storage, offset, shape, strides, , , dtype] = args;
    const name = dtype instanceof PickleGlobal ? dtypes.get(dtype) : undefined;
    if (name === undefined) return budget.refuse('a tensor without a dtype');
    return describe(storage, offset, shape, strides, name, budget);
  });
  addGlobal(globals, 'torch._utils', '_rebuild_parameter', (args, budget) => {
    if (!(args[0] instanceof PthTensor)) return budget.refuse('a parameter without a tensor');
    return args[0];
  });
  addGlobal(globals, 'torch', 'Size', (args, budget) => {
    const [sizes = []] = args;
    if (!isShape(sizes)) return budget.refuse('a torch.Size that is none');
    budget.charge(sizes.length);
    return Object.freeze([...sizes]);
  });
  addGlobal(globals, 'torch', 'device', (args, budget) => {
    const [type, index] = args;
    if (typeof type !== 'string' || type.length > 20) return budget.refuse('a torch.device that is none');
    return typeof index === 'number' ? `${type}:${index}` : type;
  });

  return {
    globals,
    persistent: (id, budget) => {
      // ('storage', class, key, where it was, elements[, view of another])
      const [tag, typeName, key, , length, view = null] = Array.isArray(id) ? (id as unknown[]) : [];
      const type = typeName instanceof PickleGlobal ? types.get(typeName) : undefined;
      const name = typeof key === 'string' ? key : typeof key === 'number' ? String(key) : '';
      if (tag !== 'storage' || type === undefined || name === '' || !/^[\w-]{1,64}$/.test(name))
        return budget.refuse('a reference to something outside of it that is no storage');
      if (!Number.isSafeInteger(length) || (length as number) < 0 || (length as number) > 2 ** 48)
        return budget.refuse(`a storage of ${String(length)} elements`);
      if (view !== null) return budget.refuse('a storage that is a view of another');
      const storage = new StorageRef(name, type.dtype, length as number, type.bytes);
      check(storage, budget);
      return storage;
    },
  };
}

class StorageRef implements Storage {
  constructor(
    readonly key: string,
    readonly dtype: string,
    readonly length: number,
    readonly bytes: number,
  ) {}
}

/** Checks a tensor against its storage: everything that it can reach must be there. */
function describe(
  storage: unknown,
  offset: unknown,
  shape: unknown,
  strides: unknown,
  dtype: string | null,
  budget: Budget,
): PthTensor {
  if (!(storage instanceof StorageRef)) return budget.refuse('a tensor without a storage');
  if (!isShape(shape)) return budget.refuse('a tensor without a valid shape');
  const text = `a tensor [${shape.join(', ')}]`;
  const isStride = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!Array.isArray(strides) || strides.length !== shape.length || !strides.every(isStride))
    return budget.refuse(`${text} without valid strides (whole numbers, 0 or more)`);
  if (!isStride(offset)) return budget.refuse(`${text} at a place ${String(offset)}`);
  let elements = storage.length;
  let ref: Storage = storage;
  if (dtype !== null) {
    const bytes = BYTES_OF_DTYPE.get(dtype) as number;
    elements = Math.floor((storage.length * storage.bytes) / bytes);
    ref = { key: storage.key, dtype, length: elements, bytes };
  }
  const numel = shape.reduce((product, size) => product * size, 1);
  const first = offset as number;
  const last = shape.reduce((sum, size, dim) => sum + (size - 1) * (strides[dim] as number), first);
  if (numel > 0 && !(last < elements))
    return budget.refuse(`${text} that reaches element ${last} of a storage of ${elements}`);
  if (first > elements)
    return budget.refuse(`${text} that begins at element ${first} of a storage of ${elements}`);
  if (numel > elements) return budget.refuse(`${text} of ${numel} elements over a storage of ${elements}`);
  budget.charge(2 * shape.length);
  return new PthTensor([...shape], ref.dtype, [...(strides as number[])], first, ref);
}
