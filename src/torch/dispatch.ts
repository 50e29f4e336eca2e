/**
 * Calls operators by name. The overload is chosen by matching the arguments against the schemas of the loaded libtorch, in
 * the order of native_functions.yaml, as PyTorch's Python argument parser does.
 */
import { EngineError, ProcessError, ShapeError } from '../errors.js';
import { dtypeCode, isDType, memoryFormatCode } from './dtype.js';
import { GeneratorOwner, TensorOwner, tensorFromHandle } from './handle-owner.js';
import type { TensorHandle } from './handles.js';
import { native, type ArgumentInfo, type OperatorInfo } from './native.js';

interface Overload extends OperatorInfo {
  name: string;
  positional: ArgumentInfo[];
  /** Position of each argument by its camelCase name. */
  index: Map<string, number>;
  selfIndex: number;
}

/** An operator with its overloads, looked up at the first call. */
export class Operator {
  readonly #aten: string;
  readonly #names: readonly string[];
  #overloads: Overload[] | undefined;

  /** @param aten - Name in the namespace `aten`, or `namespace::name`. */
  constructor(aten: string, overloads: readonly string[]) {
    this.#aten = aten;
    this.#names = overloads;
  }

  /** Calls with `self` at the position that the schema gives it. */
  callMethod(self: TensorOwner, args: readonly unknown[]): unknown {
    return this.#call(self, args);
  }

  call(args: readonly unknown[]): unknown {
    return this.#call(undefined, args);
  }

  get #known(): Overload[] {
    this.#overloads ??= this.#names.flatMap((name) => {
      const found = native.findOperator(this.#aten.includes('::') ? this.#aten : `aten::${this.#aten}`, name);
      if (found === null) return [];
      const label = name === '' ? this.#aten : `${this.#aten}.${name}`;
      return {
        ...found,
        name: label,
        positional: found.arguments.filter((argument) => !argument.keywordOnly),
        index: new Map(found.arguments.map((argument, i) => [camelCase(argument.name), i])),
        selfIndex: found.arguments.findIndex((argument) => argument.name === 'self'),
      };
    });
    if (this.#overloads.length === 0) {
      throw new EngineError(`${this.#aten}: libtorch ${native.version} does not have this operator`);
    }
    return this.#overloads;
  }

  #call(self: TensorOwner | undefined, args: readonly unknown[]): unknown {
    const overloads = this.#known;
    let values: unknown[] | undefined;
    let chosen: Overload | undefined;
    // a number may stand for a tensor, but only where no overload takes a number
    for (const numbersAsTensors of [false, true]) {
      for (const overload of overloads) {
        values = bind(overload, self, args, numbersAsTensors);
        if (values !== undefined) {
          chosen = overload;
          break;
        }
      }
      if (chosen) break;
    }
    if (chosen === undefined || values === undefined) {
      const got = [...(self ? [self] : []), ...args].map(describe).join(', ');
      const forms = overloads.map(
        (overload) => `  ${overload.name}(${overload.arguments.map(printArgument).join(', ')})`,
      );
      throw new ShapeError(`${this.#aten}: got (${got}); expected one of\n${forms.join('\n')}`);
    }
    let result: unknown;
    try {
      result = native.callOperator(chosen.handle, values);
    } catch (error) {
      throw operatorError(chosen.name, self, args, error);
    }
    if (chosen.inPlace) return self ?? args[0];
    return wrapResult(result);
  }
}

/** Turns handles into tensors, also in arrays; other results are returned unchanged. */
function wrapResult(result: unknown): unknown {
  if (Array.isArray(result)) return result.map(wrapResult);
  return typeof result === 'object' && result !== null ? tensorFromHandle(result as TensorHandle) : result;
}

/** Whether c10d or Gloo threw it because another process is lost, silent or out of step. Any operator may throw it: see errors.cc. */
export const isAboutProcesses = (error: unknown): boolean =>
  (error as { code?: unknown } | null)?.code === 'PROCESS';

/** The error for a failed operator: its name, its arguments and libtorch's message. */
export function operatorError(
  name: string,
  self: TensorOwner | undefined,
  args: readonly unknown[],
  error: unknown,
): Error {
  const message = error instanceof Error ? error.message : String(error);
  if (isAboutProcesses(error)) return new ProcessError(`${name}: ${message}`, { cause: error });
  const got = [...(self ? [self] : []), ...args].map(describe).join(', ');
  const Kind = /out of memory|internal assert/i.test(message) ? EngineError : ShapeError;
  return new Kind(`${name}(${got}): ${message}`, { cause: error });
}

/** Short form of a value for messages: a tensor's dtype, shape and device; anything else as text. */
export function describe(value: unknown): string {
  if (value instanceof TensorOwner) return value.toString();
  if (Array.isArray(value)) {
    const shown = value.slice(0, 8).map(describe);
    return `[${shown.join(', ')}${value.length > 8 ? `, ... ${value.length} in all` : ''}]`;
  }
  if (value === undefined) return 'undefined';
  if (isOptions(value)) {
    return `{${Object.entries(value)
      .map(([key, entry]) => `${key}: ${describe(entry)}`)
      .join(', ')}}`;
  }
  if (typeof value === 'string') return `'${value}'`;
  if (value === null) return 'null';
  const isPlain = typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';
  return isPlain ? String(value) : value.constructor.name;
}

const camelCase = (name: string) =>
  name.replace(/(?<=[a-z0-9])_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

const printArgument = (argument: ArgumentInfo) =>
  `${argument.type} ${camelCase(argument.name)}${argument.hasDefault ? '?' : ''}`;

function isOptions(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** The values in the schema's order, converted for the addon; undefined when they don't fit this overload. */
function bind(
  overload: Overload,
  self: TensorOwner | undefined,
  args: readonly unknown[],
  numbersAsTensors: boolean,
): unknown[] | undefined {
  const last = args.at(-1);
  const options = isOptions(last) ? last : undefined;
  const count = options ? args.length - 1 : args.length;
  const values = new Array<unknown>(overload.arguments.length).fill(undefined);
  const given = new Array<boolean>(overload.arguments.length).fill(false);
  let taken = 0;
  for (let i = 0; i < overload.positional.length; i++) {
    if (self !== undefined && i === overload.selfIndex) {
      values[i] = self;
      given[i] = true;
    } else if (taken < count) {
      values[i] = args[taken++];
      given[i] = values[i] !== undefined;
    }
  }
  if (taken < count) return undefined;
  for (const [name, value] of Object.entries(options ?? {})) {
    const i = overload.index.get(name);
    if (i === undefined || given[i]) return undefined;
    values[i] = value;
    given[i] = value !== undefined;
  }
  for (let i = 0; i < values.length; i++) {
    const argument = overload.arguments[i] as ArgumentInfo;
    if (!given[i]) {
      if (!argument.hasDefault && !argument.type.endsWith('?')) return undefined;
      continue;
    }
    if (!fits(argument.type, argument.length, values[i], numbersAsTensors)) return undefined;
    values[i] = convert(argument.type, values[i]);
  }
  return values;
}

function fits(type: string, length: number | null, value: unknown, numbersAsTensors: boolean): boolean {
  if (type.endsWith('?')) return value === null || fits(type.slice(0, -1), length, value, numbersAsTensors);
  const list = /^(.*)\[\d*\]$/.exec(type);
  if (list) {
    const element = list[1] as string;
    if (Array.isArray(value)) return value.every((entry) => fits(element, null, entry, false));
    return length !== null && fits(element, null, value, false);
  }
  switch (type) {
    case 'Tensor':
      return (
        value instanceof TensorOwner ||
        (numbersAsTensors && (typeof value === 'number' || typeof value === 'boolean'))
      );
    case 'int':
    case 'SymInt':
      return typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value));
    case 'float':
      return typeof value === 'number';
    case 'Scalar':
      return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';
    case 'bool':
      return typeof value === 'boolean';
    case 'ScalarType':
      return isDType(value);
    case 'str':
    case 'Device':
    case 'MemoryFormat':
      return typeof value === 'string';
    case 'Generator':
      return value instanceof GeneratorOwner;
    default:
      return typeof value === 'number';
  }
}

function convert(type: string, value: unknown): unknown {
  if (value instanceof TensorOwner || value instanceof GeneratorOwner) return value.handle;
  if (Array.isArray(value)) return value.map((entry: unknown) => convert(type, entry));
  if (typeof value === 'string') {
    if (type.startsWith('ScalarType')) return dtypeCode(value);
    if (type.startsWith('MemoryFormat')) return memoryFormatCode(value);
  }
  return value;
}
