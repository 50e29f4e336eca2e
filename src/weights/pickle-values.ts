/**
 * What a pickle may hold besides plain containers, as data: argparse.Namespace, numpy's arrays, scalars and dtypes, bytes
 * as protocol 2 writes them, paths. Each entry of the table replaces a class or function of Python that pickles call by
 * one that only makes a value. Anything else is refused by name, or, in a file of weights, replaced by a PickleOpaque
 * (src/weights/pickle.ts).
 */
import { CheckpointError } from '../errors.js';

/** Counts what is copied, so that a small file can't ask for much memory; throws when it is too much. */
export interface Budget {
  charge(items: number): void;
  refuse(what: string): never;
}

/** A class or function that a pickle names. Only our own function for it ever runs. */
export class PickleGlobal {
  constructor(
    /** `collections.OrderedDict` */
    readonly name: string,
    /** Makes the result of calling it; null when it can't be called. */
    readonly call: ((args: readonly unknown[], budget: Budget) => unknown) | null,
  ) {}
}

/** A value whose state comes after it (`BUILD`, Python's __setstate__). */
export abstract class PickleObject {
  /** `module.Class` */
  abstract get name(): string;
  abstract setState(state: unknown, budget: Budget): void;
}

/**
 * Replaces an object of an unknown class, or the result of an unknown function: nothing is instantiated or called.
 * What a pickle adds to it afterwards, such as the entries of a subclass of dict, is kept.
 */
export class PickleOpaque extends PickleObject {
  /** Entries of an unknown subclass of dict. */
  readonly entries = new Map<unknown, unknown>();
  /** Items of an unknown subclass of list or set. */
  readonly items: unknown[] = [];

  constructor(override readonly name: string) {
    super();
  }

  override setState(): void {
    // attributes are useless without the class
  }
}

/** Attributes that Python keeps beside the entries of a dict: those of an OrderedDict, as state_dict() returns it. */
const dictAttributes = new WeakMap<ReadonlyMap<unknown, unknown>, ReadonlyMap<unknown, unknown>>();
export const attributesOf = (
  dict: ReadonlyMap<unknown, unknown>,
): ReadonlyMap<unknown, unknown> | undefined => dictAttributes.get(dict);
/** @internal */
export function setAttributes(
  dict: ReadonlyMap<unknown, unknown>,
  attributes: ReadonlyMap<unknown, unknown>,
): void {
  dictAttributes.set(dict, attributes);
}

/** `argparse.Namespace`: the settings that the reference keeps in its checkpoints. */
export class PickleNamespace extends PickleObject {
  override get name(): string {
    return 'argparse.Namespace';
  }
  readonly entries = new Map<string, unknown>();

  override setState(state: unknown, budget: Budget): void {
    if (!(state instanceof Map)) return budget.refuse('an argparse.Namespace whose state is not a dict');
    budget.charge(state.size);
    for (const [key, value] of state as Map<unknown, unknown>) {
      if (typeof key !== 'string') return budget.refuse('an argparse.Namespace with a name that is not text');
      this.entries.set(key, value);
    }
  }
}

/** Bytes of an item by numpy's kind letter and size; null for unsupported ones. */
const NUMPY_KINDS = new Map<string, readonly number[]>([
  ['b', [1]],
  ['i', [1, 2, 4, 8]],
  ['u', [1, 2, 4, 8]],
  ['f', [2, 4, 8]],
]);

/** `numpy.dtype`. */
export class NumpyDtype extends PickleObject {
  override get name(): string {
    return 'numpy.dtype';
  }
  /** b, i, u, f, S (bytes), U (text), O (any value). */
  readonly kind: string;
  /** Bytes per item. */
  readonly itemSize: number;
  #littleEndian: boolean | null = null;

  constructor(code: string, budget: Budget) {
    super();
    const match = /^[<>|=]?([biufSUO])(\d{0,9})$/.exec(code === '?' ? 'b1' : code);
    const kind = match?.[1] ?? '';
    const count = Number(match?.[2] === '' ? '8' : match?.[2]);
    const sizes = NUMPY_KINDS.get(kind);
    if (match === null || (sizes !== undefined && !sizes.includes(count)))
      budget.refuse(`a numpy dtype ${show(code)}`);
    this.kind = kind;
    this.itemSize = kind === 'U' ? 4 * count : count;
  }

  override setState(state: unknown, budget: Budget): void {
    // (version, byte order, subarray, names, fields, item size, alignment, flags)
    if (this.#littleEndian !== null) budget.refuse('a numpy dtype that is set twice');
    if (!Array.isArray(state) || (state[2] ?? null) !== null || (state[3] ?? null) !== null)
      return budget.refuse('a numpy dtype with fields');
    const order: unknown = state[1];
    if (order !== '<' && order !== '>' && order !== '|' && order !== '=')
      return budget.refuse('a numpy dtype without a byte order');
    this.#littleEndian = order !== '>';
  }

  get isLittleEndian(): boolean {
    return this.#littleEndian ?? true;
  }

  /** The items in raw bytes, a whole number of them. */
  read(bytes: Uint8Array): unknown[] {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const little = this.isLittleEndian;
    const size = this.itemSize;
    const one = this.#reader(view, little);
    return Array.from({ length: size === 0 ? 0 : bytes.length / size }, (_, i) => one(i * size));
  }

  #reader(view: DataView, little: boolean): (at: number) => unknown {
    const size = this.itemSize;
    switch (this.kind) {
      case 'b':
        return (at) => view.getUint8(at) !== 0;
      case 'f':
        if (size === 8) return (at) => view.getFloat64(at, little);
        if (size === 4) return (at) => view.getFloat32(at, little);
        return (at) => halfToNumber(view.getUint16(at, little));
      case 'i':
        if (size === 8) return (at) => plainInteger(view.getBigInt64(at, little));
        if (size === 4) return (at) => view.getInt32(at, little);
        return size === 2 ? (at) => view.getInt16(at, little) : (at) => view.getInt8(at);
      case 'u':
        if (size === 8) return (at) => plainInteger(view.getBigUint64(at, little));
        if (size === 4) return (at) => view.getUint32(at, little);
        return size === 2 ? (at) => view.getUint16(at, little) : (at) => view.getUint8(at);
      case 'U':
        return (at) => {
          let text = '';
          for (let i = at; i < at + size; i += 4) {
            const point = view.getUint32(i, little);
            if (point === 0) break;
            text += point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd';
          }
          return text;
        };
      default: // S
        return (at) => {
          let text = '';
          for (let i = at; i < at + size && view.getUint8(i) !== 0; i++)
            text += String.fromCharCode(view.getUint8(i));
          return text;
        };
    }
  }
}

/** `numpy.ndarray`. */
export class NumpyArray extends PickleObject {
  override get name(): string {
    return 'numpy.ndarray';
  }
  #shape: readonly number[] = [0];
  #dtype: NumpyDtype | null = null;
  #data: Uint8Array | readonly unknown[] = [];
  #isFortran = false;

  /** Sizes of the dimensions; [] for a scalar. */
  get shape(): readonly number[] {
    return this.#shape;
  }

  /** `f8`, `i4`, `U12`, ... */
  get dtype(): string {
    const { kind, itemSize } = this.#dtype ?? { kind: 'f', itemSize: 8 };
    return kind === 'O' ? 'O' : `${kind}${kind === 'U' ? itemSize / 4 : itemSize}`;
  }

  /** Values of an object array; none for others. */
  get objects(): readonly unknown[] {
    return this.#data instanceof Uint8Array ? [] : this.#data;
  }

  override setState(state: unknown, budget: Budget): void {
    // (version, shape, dtype, is Fortran order, data)
    if (!Array.isArray(state) || state.length !== 5) return budget.refuse('a numpy array without its state');
    this.fill(state[1], state[2], state[4], state[3] === true, budget);
  }

  fill(shape: unknown, dtype: unknown, data: unknown, isFortran: boolean, budget: Budget): void {
    if (this.#dtype !== null) budget.refuse('a numpy array that is set twice');
    if (!isShape(shape)) return budget.refuse('a numpy array without a shape');
    if (!(dtype instanceof NumpyDtype)) return budget.refuse('a numpy array without a dtype');
    const count = shape.reduce((product, size) => product * size, 1);
    const given =
      dtype.kind === 'O' ? (Array.isArray(data) ? (data as unknown[]) : null) : toBytes(data, budget);
    const expected = dtype.kind === 'O' ? count : count * dtype.itemSize;
    if (given?.length !== expected) {
      const what = dtype.kind === 'O' ? 'values' : 'bytes';
      budget.refuse(
        `a numpy array [${shape.join(', ')}] with ${given?.length ?? 'no'} ${what} for ${expected}`,
      );
    }
    // copies, since the pickle may still change its own values
    this.#shape = [...shape];
    this.#dtype = dtype;
    if (!(given instanceof Uint8Array)) budget.charge(given.length);
    this.#data = given instanceof Uint8Array ? given : [...given];
    this.#isFortran = isFortran && shape.length > 1;
  }

  /** The items in row-major order. */
  toArray(): unknown[] {
    if (this.#dtype === null) return [];
    const items = this.#data instanceof Uint8Array ? this.#dtype.read(this.#data) : [...this.#data];
    if (!this.#isFortran) return items;
    // column-major: the first index runs fastest
    const strides: number[] = [];
    let stride = 1;
    for (const size of this.#shape) {
      strides.push(stride);
      stride *= size;
    }
    const index = this.#shape.map(() => 0);
    return items.map(() => {
      const at = index.reduce((sum, i, dim) => sum + i * (strides[dim] as number), 0);
      for (let dim = index.length - 1; dim >= 0; dim--) {
        index[dim] = (index[dim] as number) + 1;
        if ((index[dim] as number) < (this.#shape[dim] as number)) break;
        index[dim] = 0;
      }
      return items[at];
    });
  }
}

const MAX_DIMENSIONS = 64;
/** A numpy scalar may be text. */
const MAX_SCALAR_BYTES = 4096;
const MAX_PATH_LENGTH = 4096;

/** Whether a value is a tuple of whole numbers whose product is one too. */
export function isShape(value: unknown): value is number[] {
  if (!Array.isArray(value) || value.length > MAX_DIMENSIONS) return false;
  let product = 1;
  for (const size of value as unknown[]) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) return false;
    product *= size as number;
  }
  return Number.isSafeInteger(product);
}

const plainInteger = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Raw bytes of bytes, or of text that Python 2 wrote (one byte per character). */
function toBytes(value: unknown, budget: Budget): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== 'string') return budget.refuse('bytes that are neither bytes nor text');
  budget.charge(value.length / 8); // characters take less memory than values
  for (let i = 0; i < value.length; i++)
    if (value.charCodeAt(i) > 255) budget.refuse('text where bytes were expected');
  return Buffer.from(value, 'latin1');
}

/** A file's text, safe to print: short, without control characters. */
export function show(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 80)}...` : text;
  return JSON.stringify(short).slice(1, -1);
}

/** Key and value pairs of `dict(pairs)`. */
function pairs(value: unknown, budget: Budget): Map<unknown, unknown> {
  if (!Array.isArray(value)) return budget.refuse('a dict made from something other than pairs');
  budget.charge(value.length);
  const made = new Map<unknown, unknown>();
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2)
      return budget.refuse('a dict made from something other than pairs');
    setEntry(made, pair[0], pair[1], budget);
  }
  return made;
}

/** Adds an entry to a dict, whose keys must be hashable in Python. */
export function setEntry(map: Map<unknown, unknown>, key: unknown, value: unknown, budget: Budget): void {
  checkKey(key, budget);
  map.set(key, value);
}

/** @throws when a value can't be a key of a dict or an entry of a set. Tuples are frozen arrays, lists are not. */
export function checkKey(key: unknown, budget: Budget): void {
  const isObject = typeof key === 'object' && key !== null;
  const isData = key instanceof Uint8Array || (Array.isArray(key) && Object.isFrozen(key));
  // classes are checked where they are values; a stand-in for an object may be hashable
  if (isObject && !isData && !(key instanceof PickleGlobal) && !(key instanceof PickleOpaque))
    budget.refuse('a dict or set with a key that is neither a number nor text');
}

/** `dict(x)` of a dict, of pairs, or of nothing. */
function dictOf(value: unknown, budget: Budget): Map<unknown, unknown> {
  if (value === undefined) return new Map();
  if (!(value instanceof Map)) return pairs(value, budget);
  budget.charge(value.size);
  return new Map(value as Map<unknown, unknown>);
}

/** `list(x)` of a list, a tuple, or of nothing. */
function listOf(value: unknown, budget: Budget): unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) return budget.refuse('a list made from something other than a list');
  budget.charge(value.length);
  return [...(value as unknown[])];
}

function toSet(args: readonly unknown[], budget: Budget): Set<unknown> {
  const [items = [], ...more] = args;
  if (!Array.isArray(items) || more.length > 0)
    return budget.refuse('a set made from something other than a list');
  budget.charge(items.length);
  for (const item of items as unknown[]) checkKey(item, budget);
  return new Set(items as unknown[]);
}

function noArguments(args: readonly unknown[], name: string, budget: Budget): void {
  if (args.length > 0) budget.refuse(`${name} called with ${args.length} arguments`);
}

/** A key of the table: module and name. */
export const globalKey = (module: string, name: string): string => `${module}\n${name}`;

/** Adds a callable to a table. */
export function addGlobal(
  table: Map<string, PickleGlobal>,
  modules: string | readonly string[],
  name: string,
  call: PickleGlobal['call'],
): void {
  for (const module of typeof modules === 'string' ? [modules] : modules)
    table.set(globalKey(module, name), new PickleGlobal(`${module}.${name}`, call));
}

const BUILTINS = ['builtins', '__builtin__'];
const MULTIARRAY = ['numpy.core.multiarray', 'numpy._core.multiarray'];
const NUMERIC = ['numpy.core.numeric', 'numpy._core.numeric'];

/** The classes and functions that every pickle may name. */
export const plainGlobals: ReadonlyMap<string, PickleGlobal> = (() => {
  const table = new Map<string, PickleGlobal>();
  addGlobal(table, 'collections', 'OrderedDict', (args, budget) => {
    if (args.length > 1) budget.refuse(`collections.OrderedDict called with ${args.length} arguments`);
    return args.length === 0 ? new Map() : pairs(args[0], budget);
  });
  // its factory is never called: a missing entry is undefined
  addGlobal(table, 'collections', 'defaultdict', (args, budget) => {
    if (args.length > 2) budget.refuse(`collections.defaultdict called with ${args.length} arguments`);
    return dictOf(args[1], budget);
  });
  addGlobal(table, 'collections', 'Counter', (args, budget) => {
    if (args.length > 1) budget.refuse(`collections.Counter called with ${args.length} arguments`);
    return dictOf(args[0], budget);
  });
  addGlobal(table, 'collections', 'deque', (args, budget) => listOf(args[0], budget));
  addGlobal(table, BUILTINS, 'dict', (args, budget) => dictOf(args[0], budget));
  addGlobal(table, BUILTINS, 'list', (args, budget) => listOf(args[0], budget));
  addGlobal(table, BUILTINS, 'tuple', (args, budget) => Object.freeze(listOf(args[0], budget)));
  for (const name of ['int', 'float', 'bool', 'str']) addGlobal(table, BUILTINS, name, null);
  for (const [module, name] of [
    ['argparse', 'Namespace'],
    ['types', 'SimpleNamespace'],
  ] as const) {
    addGlobal(table, module, name, (args, budget) => {
      noArguments(args, `${module}.${name}`, budget);
      return new PickleNamespace();
    });
  }
  addGlobal(table, BUILTINS, 'set', toSet);
  addGlobal(table, BUILTINS, 'frozenset', toSet);
  addGlobal(table, BUILTINS, 'object', null);
  for (const name of ['bytes', 'bytearray']) {
    addGlobal(table, BUILTINS, name, (args, budget) => {
      const [value, encoding] = args;
      if (args.length === 0) return new Uint8Array(0);
      const isPlain = args.length === 1 && value instanceof Uint8Array;
      if (!isPlain && !(args.length === 2 && (encoding === 'latin1' || encoding === 'latin-1')))
        return budget.refuse(`${name} made from something other than bytes`);
      return toBytes(value, budget);
    });
  }
  // how Python 3 writes bytes for protocol 2
  addGlobal(table, '_codecs', 'encode', (args, budget) => {
    if (args.length !== 2 || args[1] !== 'latin1' || typeof args[0] !== 'string')
      return budget.refuse('_codecs.encode for something other than latin1');
    return toBytes(args[0], budget);
  });
  // how protocols 0 and 1 make an object: (class, base, state of the base)
  addGlobal(table, ['copy_reg', 'copyreg'], '_reconstructor', (args, budget) => {
    const [type, base] = args;
    const isNamespace = type instanceof PickleGlobal && type.name === 'argparse.Namespace';
    const isObject = base instanceof PickleGlobal && base.name.endsWith('.object');
    if (!isNamespace || !isObject || args.length !== 3)
      return budget.refuse('an object of a class other than argparse.Namespace');
    return new PickleNamespace();
  });
  for (const name of ['PosixPath', 'PurePosixPath', 'WindowsPath', 'PureWindowsPath']) {
    const separator = name.endsWith('WindowsPath') ? '\\' : '/';
    addGlobal(table, ['pathlib', 'pathlib._local'], name, (args, budget) => {
      budget.charge(args.length);
      if (!args.every((part) => typeof part === 'string'))
        return budget.refuse('a path with a part that is not text');
      const length = args.reduce((sum, part) => sum + part.length + 1, 0);
      if (length > MAX_PATH_LENGTH) budget.refuse(`a path of ${length} characters`);
      budget.charge(length / 8); // characters take less memory than values
      const joined = args.join(separator);
      return joined.startsWith('//') ? joined.slice(1) : joined;
    });
  }
  addGlobal(table, 'numpy', 'ndarray', null);
  addGlobal(table, 'numpy', 'dtype', (args, budget) => {
    if (typeof args[0] !== 'string') return budget.refuse('a numpy dtype without a name');
    return new NumpyDtype(args[0], budget);
  });
  addGlobal(table, MULTIARRAY, '_reconstruct', (args, budget) => {
    const [type] = args;
    if (!(type instanceof PickleGlobal && type.name === 'numpy.ndarray'))
      return budget.refuse('a numpy array of another class');
    return new NumpyArray();
  });
  addGlobal(table, MULTIARRAY, 'scalar', (args, budget) => {
    const [dtype, data] = args;
    if (!(dtype instanceof NumpyDtype) || dtype.kind === 'O')
      return budget.refuse('a numpy scalar without a dtype');
    const bytes = toBytes(data ?? '', budget);
    if (bytes.length !== dtype.itemSize || bytes.length > MAX_SCALAR_BYTES)
      return budget.refuse(`a numpy scalar of ${dtype.itemSize} bytes with ${bytes.length}`);
    budget.charge(bytes.length / 8);
    return bytes.length === 0 ? '' : dtype.read(bytes)[0];
  });
  addGlobal(table, NUMERIC, '_frombuffer', (args, budget) => {
    const [data, dtype, shape, order] = args;
    const array = new NumpyArray();
    array.fill(shape, dtype, data, order === 'F', budget);
    return array;
  });
  return table;
})();

/** Refuses what a pickle asked for, by name. */
export function refuseGlobal(where: string, name: string): never {
  throw new CheckpointError(
    `${where}: the pickle asks for ${show(name)}, which is refused: only tensors, numpy arrays, plain containers, ` +
      'numbers, text and argparse.Namespace are read, and nothing is ever run. If you trust the file, load it in ' +
      "Python and save only its state_dict: torch.save(model.state_dict(), 'weights.pth')",
  );
}
