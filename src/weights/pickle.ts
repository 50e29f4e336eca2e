/**
 * A reader of Python's pickles, protocols 0 to 5 (CPython's Lib/pickletools.py describes every opcode), that runs
 * no code: a pickle is a program for a small machine whose instructions may call any function of Python, and here only the
 * functions of a table can be called, which make plain data. A pickle of unknown origin can't take more memory than the
 * limits below allow: copies are counted, and the result has no cycles, is not nested deeply, and stays small when each
 * shared part is counted wherever it is used.
 */
import { being, callback, checkCall, instanceOf, optionsOf, text } from '../plain/check-options.js';
import { CheckpointError } from '../errors.js';
import { checkValue } from './pickle-check.js';
import { PickleInput } from './pickle-input.js';
import { kindOf, classNameOf, parseFloatLine, unescapeUnicode, unquote } from './pickle-text.js';
import {
  type Budget,
  checkKey,
  globalKey,
  PickleGlobal,
  PickleObject,
  PickleOpaque,
  plainGlobals,
  refuseGlobal,
  setAttributes,
  setEntry,
  show,
} from './pickle-values.js';

/** The most values, copies included, and containers: a checkpoint of the largest model has some ten thousand. */
const MAX_VALUES = 10_000_000;
const MAX_CONTAINERS = 500_000;

export interface PickleOptions {
  /** More classes and functions that make data, by globalKey(). */
  globals?: ReadonlyMap<string, PickleGlobal>;
  /** Resolves a persistent id; without it such ids are refused. */
  persistent?: (id: unknown, budget: Budget) => unknown;
  /**
   * Called with the name of each unknown class and function. Their results are replaced by a PickleOpaque, and none of
   * them is run. Without this they are refused.
   */
  onUnknown?: (name: string) => void;
}

const pickled = being('a Uint8Array', (value) => value instanceof Uint8Array);
const pickleOptions = optionsOf<PickleOptions>(
  {},
  { globals: instanceOf(Map, 'a Map of what addGlobal() makes'), persistent: callback, onUnknown: callback },
);

/**
 * Reads one pickle. It returns null, booleans, numbers (bigint beyond 2^53), strings, Uint8Array for bytes, arrays for
 * lists, frozen arrays for tuples, Map for dicts, Set, PickleNamespace, NumpyArray, and what `options` add (with
 * `onUnknown` PickleOpaque, and PickleGlobal for a class that is a value). Text of Python 2 has one character per byte.
 *
 * @param where - Names the pickle in errors: usually the file.
 * @throws CheckpointError when it names or calls anything but plain data, is damaged, or takes too much memory.
 */
export function readPickle(bytes: Uint8Array, where: string, options: PickleOptions = {}): unknown {
  checkCall(
    'readPickle()',
    ['bytes', pickled, bytes],
    ['where', text, where],
    ['options', pickleOptions, options],
  );
  return readPickleAt(bytes, 0, where, options).value;
}

/** The same for one of several consecutive pickles. @returns Its value, and where the next one begins. */
export function readPickleAt(
  bytes: Uint8Array,
  start: number,
  where: string,
  options: PickleOptions = {},
): { value: unknown; end: number } {
  const machine = new Machine(bytes, start, where, options);
  const value = machine.run();
  checkValue(value, where, options.onUnknown !== undefined);
  return { value, end: machine.position };
}

const ascii = (code: string): number => code.charCodeAt(0);
/** The most names of unknown classes that are reported. */
const MAX_UNKNOWN = 1000;

class Machine implements Budget {
  readonly #input: PickleInput;
  readonly #where: string;
  readonly #options: PickleOptions;
  readonly #stack: unknown[] = [];
  /** Heights of the stack where MARKs are. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #unknown = new Map<string, PickleGlobal>();
  #values = 0;
  #containers = 0;
  #opcodeAt = 0;

  /** Whether unknown classes and functions are replaced instead of refused. */
  get #isLenient(): boolean {
    return this.#options.onUnknown !== undefined;
  }

  constructor(bytes: Uint8Array, start: number, where: string, options: PickleOptions) {
    this.#where = where;
    this.#options = options;
    this.#input = new PickleInput(bytes, start, (what) => this.refuse(what), this.#isLenient);
  }

  get position(): number {
    return this.#input.position;
  }

  refuse(what: string): never {
    throw new CheckpointError(`${this.#where}: the pickle has ${what} (byte ${this.#opcodeAt})`);
  }

  charge(items: number): void {
    this.#values += items;
    if (this.#values > MAX_VALUES) this.refuse(`more than ${MAX_VALUES} values`);
  }

  run(): unknown {
    for (;;) {
      this.#opcodeAt = this.position;
      const opcode = this.#input.byte();
      if (opcode === 0x2e) {
        // STOP
        const value = this.#pop();
        if (this.#stack.length > 0 || this.#marks.length > 0) this.refuse('more than one value at its end');
        return value;
      }
      this.#step(opcode);
    }
  }

  // ------------------------------------------------------------------------------------------------ stack
  #push(value: unknown): void {
    this.charge(1);
    this.#stack.push(value);
  }

  #countContainer(): void {
    if (++this.#containers > MAX_CONTAINERS) this.refuse(`more than ${MAX_CONTAINERS} containers`);
  }

  #pushContainer(value: unknown): void {
    this.#countContainer();
    this.#push(value);
  }

  /** Values below the last MARK can only be taken together with the MARK. */
  get #floor(): number {
    return this.#marks.at(-1) ?? 0;
  }

  #pop(): unknown {
    if (this.#stack.length <= this.#floor) this.refuse('an opcode without its operand');
    return this.#stack.pop();
  }

  #top(): unknown {
    if (this.#stack.length <= this.#floor) this.refuse('an opcode without its operand');
    return this.#stack.at(-1);
  }

  #popToMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) return this.refuse('an opcode without its MARK');
    return this.#stack.splice(mark);
  }

  // ------------------------------------------------------------------------------------------------- calls
  #global(module: string, name: string): PickleGlobal {
    const key = globalKey(module, name);
    const found = plainGlobals.get(key) ?? this.#options.globals?.get(key) ?? this.#unknown.get(key);
    return found ?? this.#unknownGlobal(`${module}.${name}`, key);
  }

  #unknownGlobal(name: string, key: string): PickleGlobal {
    const { onUnknown } = this.#options;
    if (onUnknown === undefined) return refuseGlobal(this.#where, name);
    const standIn = new PickleGlobal(name, () => new PickleOpaque(name));
    if (this.#unknown.size < MAX_UNKNOWN) {
      this.#unknown.set(key, standIn);
      onUnknown(name);
    }
    return standIn;
  }

  #call(callee: unknown, args: unknown): unknown {
    // a stand-in may be for an object that is called: getattr(model, 'forward')(...)
    if (callee instanceof PickleOpaque) return this.#opaque(callee.name);
    if (!(callee instanceof PickleGlobal)) return this.refuse(`a call of ${kindOf(callee)}`);
    if (callee.call === null) {
      if (this.#isLenient) return this.#opaque(callee.name);
      return this.refuse(`a call of ${show(callee.name)}, which only stands for a type`);
    }
    if (!Array.isArray(args))
      return this.refuse(`a call of ${show(callee.name)} without a tuple of arguments`);
    this.#countContainer();
    return this.#made(callee.name, () => callee.call?.(args as unknown[], this));
  }

  #opaque(name: string): PickleOpaque {
    this.#countContainer();
    return new PickleOpaque(name);
  }

  /**
   * The result of `make`. Where it refuses, as for a numpy array of records, the result is a stand-in; exceeded limits and
   * bad tensors still refuse the file.
   */
  #made(name: string, make: () => unknown): unknown {
    if (!this.#isLenient || name.startsWith('torch.')) return make();
    try {
      return make();
    } catch (error) {
      if (!(error instanceof CheckpointError) || this.#isExhausted) throw error;
      this.#options.onUnknown?.(name);
      return this.#opaque(name);
    }
  }

  get #isExhausted(): boolean {
    return this.#values > MAX_VALUES || this.#containers > MAX_CONTAINERS;
  }

  #build(): void {
    const state = this.#pop();
    const object = this.#top();
    if (object instanceof PickleObject) {
      const built = this.#made(object.name, () => {
        object.setState(state, this);
        return object;
      });
      if (built !== object) this.#stack[this.#stack.length - 1] = built;
    }
    // attributes of an OrderedDict, such as a state dict's _metadata
    else if (object instanceof Map && state instanceof Map) setAttributes(object, state);
    else if (!(this.#isLenient && (object instanceof Map || Array.isArray(object))))
      this.refuse(`a state for ${kindOf(object)}, which takes none`);
  }

  #persistent(id: unknown): unknown {
    if (this.#options.persistent === undefined)
      return this.refuse('a reference to something outside of it (a persistent id)');
    this.#countContainer();
    return this.#options.persistent(id, this);
  }

  // ------------------------------------------------------------------------------------------- containers
  #append(items: readonly unknown[]): void {
    const top = this.#top();
    const list = top instanceof PickleOpaque ? top.items : top;
    if (!Array.isArray(list) || Object.isFrozen(list)) return this.refuse(`items for ${kindOf(list)}`);
    for (const item of items) (list as unknown[]).push(item);
  }

  #setItems(items: readonly unknown[], target: unknown): void {
    const map = target instanceof PickleOpaque ? target.entries : target;
    if (!(map instanceof Map)) return this.refuse(`entries for ${kindOf(map)}`);
    if (items.length % 2 !== 0) this.refuse('a dict with a key without a value');
    for (let i = 0; i < items.length; i += 2) setEntry(map, items[i], items[i + 1], this);
  }

  #addItems(items: readonly unknown[], set: unknown): void {
    if (set instanceof PickleOpaque) return this.#append(items);
    if (!(set instanceof Set)) return this.refuse(`entries for ${kindOf(set)}`);
    for (const item of items) {
      checkKey(item, this);
      set.add(item);
    }
  }

  #tuple(length: number): void {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.#pop());
    this.#pushContainer(Object.freeze(items.reverse()));
  }

  #putMemo(key: number | bigint): void {
    if (typeof key === 'bigint' || key < 0) return this.refuse(`a memo number ${key}`);
    this.charge(1);
    this.#memo.set(key, this.#top());
  }

  #getMemo(key: number | bigint): void {
    if (!this.#memo.has(Number(key))) this.refuse(`no memo ${key}, which it asks for`);
    this.#push(this.#memo.get(Number(key)));
  }

  // ----------------------------------------------------------------------------------------------- opcodes
  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: {
        // PROTO
        const protocol = this.#input.byte();
        if (protocol > 5) this.refuse(`protocol ${protocol}; 0 to 5 are known`);
        return;
      }
      case 0x95: // FRAME
        this.#input.length64();
        return;
      case ascii('('): // MARK
        this.charge(1);
        this.#marks.push(this.#stack.length);
        return;
      case ascii('0'): // POP
        if (this.#marks.length > 0 && this.#stack.length === this.#floor) this.#marks.pop();
        else this.#pop();
        return;
      case ascii('1'): // POP_MARK
        this.#popToMark();
        return;
      case ascii('2'): // DUP
        return this.#push(this.#top());

      case ascii('N'): // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case ascii('I'): {
        // INT, and how protocol 0 writes booleans
        const text = this.#input.line();
        return this.#push(text === '00' ? false : text === '01' ? true : this.#input.number(text));
      }
      case ascii('J'): // BININT
        return this.#push(this.#input.int32());
      case ascii('K'): // BININT1
        return this.#push(this.#input.byte());
      case ascii('M'): // BININT2
        return this.#push(this.#input.uint16());
      case ascii('L'): // LONG
        return this.#push(this.#input.number(this.#input.line().replace(/L$/, '')));
      case 0x8a: // LONG1
        return this.#push(this.#input.long(this.#input.byte()));
      case 0x8b: // LONG4
        return this.#push(this.#input.long(this.#input.int32()));
      case ascii('F'): // FLOAT
        return this.#push(this.#input.parsed(this.#input.line(), parseFloatLine, 'a number'));
      case ascii('G'): // BINFLOAT
        return this.#push(this.#input.float64());

      case ascii('S'): // STRING
        return this.#push(this.#input.parsed(this.#input.line(), unquote, 'text without quotes:'));
      case ascii('T'): // BINSTRING
        return this.#push(this.#input.latin1(this.#input.int32()));
      case ascii('U'): // SHORT_BINSTRING
        return this.#push(this.#input.latin1(this.#input.byte()));
      case ascii('V'): // UNICODE
        return this.#push(unescapeUnicode(this.#input.line()));
      case ascii('X'): // BINUNICODE
        return this.#push(this.#input.text(this.#input.uint32()));
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(this.#input.text(this.#input.byte()));
      case 0x8d: // BINUNICODE8
        return this.#push(this.#input.text(this.#input.length64()));
      case ascii('B'): // BINBYTES
        return this.#pushContainer(this.#input.copy(this.#input.uint32()));
      case ascii('C'): // SHORT_BINBYTES
        return this.#pushContainer(this.#input.copy(this.#input.byte()));
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#pushContainer(this.#input.copy(this.#input.length64()));

      case ascii(')'): // EMPTY_TUPLE
        return this.#pushContainer(Object.freeze([]));
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#tuple(opcode - 0x84);
      case ascii('t'): // TUPLE
        return this.#pushContainer(Object.freeze(this.#popToMark()));
      case ascii(']'): // EMPTY_LIST
        return this.#pushContainer([]);
      case ascii('l'): // LIST
        return this.#pushContainer(this.#popToMark());
      case ascii('a'): // APPEND
        return this.#append([this.#pop()]);
      case ascii('e'): // APPENDS
        return this.#append(this.#popToMark());
      case ascii('}'): // EMPTY_DICT
        return this.#pushContainer(new Map());
      case ascii('d'): {
        // DICT
        const map = new Map();
        this.#setItems(this.#popToMark(), map);
        return this.#pushContainer(map);
      }
      case ascii('s'): {
        // SETITEM
        const value = this.#pop();
        const key = this.#pop();
        return this.#setItems([key, value], this.#top());
      }
      case ascii('u'): {
        // SETITEMS
        const items = this.#popToMark();
        return this.#setItems(items, this.#top());
      }
      case 0x8f: // EMPTY_SET
        return this.#pushContainer(new Set());
      case 0x90: {
        // ADDITEMS
        const items = this.#popToMark();
        return this.#addItems(items, this.#top());
      }
      case 0x91: {
        // FROZENSET
        const set = new Set();
        this.#addItems(this.#popToMark(), set);
        return this.#pushContainer(set);
      }

      case ascii('p'): // PUT
        return this.#putMemo(this.#input.number(this.#input.line()));
      case ascii('q'): // BINPUT
        return this.#putMemo(this.#input.byte());
      case ascii('r'): // LONG_BINPUT
        return this.#putMemo(this.#input.uint32());
      case 0x94: // MEMOIZE
        return this.#putMemo(this.#memo.size);
      case ascii('g'): // GET
        return this.#getMemo(this.#input.number(this.#input.line()));
      case ascii('h'): // BINGET
        return this.#getMemo(this.#input.byte());
      case ascii('j'): // LONG_BINGET
        return this.#getMemo(this.#input.uint32());

      case ascii('c'): {
        // GLOBAL
        const module = this.#input.line();
        return this.#push(this.#global(module, this.#input.line()));
      }
      case 0x93: {
        // STACK_GLOBAL
        const name = this.#pop();
        const module = this.#pop();
        if (typeof name !== 'string' || typeof module !== 'string')
          return this.refuse('a class whose name is not text');
        return this.#push(this.#global(module, name));
      }
      case ascii('R'): // REDUCE
      case 0x81: {
        // NEWOBJ
        const args = this.#pop();
        return this.#push(this.#call(this.#pop(), args));
      }
      case 0x92: {
        // NEWOBJ_EX
        const named = this.#pop();
        const args = this.#pop();
        const callee = this.#pop();
        if (!(named instanceof Map)) return this.refuse('a call with named arguments that are not a dict');
        if (named.size === 0) return this.#push(this.#call(callee, args));
        if (!this.#isLenient) return this.refuse('a call with named arguments');
        return this.#push(this.#opaque(classNameOf(callee)));
      }
      case ascii('b'): // BUILD
        return this.#build();
      case ascii('i'): {
        // INST: an instance of any class
        const module = this.#input.line();
        const name = this.#input.line();
        if (!this.#isLenient) return refuseGlobal(this.#where, `an instance of ${module}.${name}`);
        this.#popToMark();
        return this.#push(this.#opaque(this.#global(module, name).name));
      }
      case ascii('o'): {
        // OBJ
        if (!this.#isLenient)
          return this.refuse('an instance of a class (OBJ), which only old-style classes need');
        return this.#push(this.#opaque(classNameOf(this.#popToMark()[0])));
      }
      case ascii('P'): // PERSID
        return this.#push(this.#persistent(this.#input.line()));
      case ascii('Q'): // BINPERSID
        return this.#push(this.#persistent(this.#pop()));
      case 0x82: // EXT1
      case 0x83: // EXT2
      case 0x84: // EXT4
        return this.refuse("a class by its number in Python's registry of extensions");
      case 0x97: // NEXT_BUFFER
      case 0x98: // READONLY_BUFFER
        return this.refuse('a buffer that lies outside of it');
      default:
        return this.refuse(`an unknown opcode ${opcode}`);
    }
  }
}
