/**
 * Checks the arguments of a public function before it does anything: wrong arguments, unknown options and values of the
 * wrong type are reported together, in one ConfigError in plain words. Checks that need more than the value itself (a size
 * below the model's patch, a row that an index lacks) are left to the function.
 */
import { z } from 'zod';
import { ConfigError } from '../errors.js';
import { didYouMean } from './did-you-mean.js';

// ------------------------------------------------------------------------------------------------ in plain words

const SHOWN = 60;

/** A value as shown in a message: short JSON, or what kind of value it is. */
export function show(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const prototype: unknown = Object.getPrototypeOf(value);
    const name = (prototype as { constructor?: { name?: unknown } } | null)?.constructor?.name;
    if (typeof name === 'string' && name !== 'Object') return `a ${name}`;
  }
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    return Array.isArray(value) ? 'a list' : 'an object'; // it contains itself, or a bigint
  }
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}...`;
}

/** zod's types in plain words. */
const KINDS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'some text',
  boolean: 'true or false',
  tuple: 'a list of numbers',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** What zod found wrong with a value, in the form "expected X". */
function expected(issue: z.core.$ZodIssue): string {
  // the schema has a better message
  if (issue.message.startsWith('expected ')) return issue.message;
  if (issue.code === 'invalid_type') return `expected ${KINDS[issue.expected] ?? `a ${issue.expected}`}`;
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    const isLeast = issue.code === 'too_small';
    const bound = Number(isLeast ? issue.minimum : issue.maximum);
    if (issue.origin === 'string')
      return isLeast ? 'expected some text' : `expected at most ${bound} characters`;
    const [open, closed] = isLeast ? ['more than', 'at least'] : ['less than', 'at most'];
    const amount = `${issue.inclusive === false ? open : closed} ${bound}`;
    return `expected ${amount}${issue.origin !== 'array' ? '' : bound === 1 ? ' entry' : ' entries'}`;
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const each = issue.errors.flatMap((issues) => issues.slice(0, 1).map(expected));
    return [...new Set(each)].join(' or ').replaceAll('or expected ', 'or ');
  }
  if (issue.code === 'invalid_union') return 'expected a different value';
  if (issue.code === 'invalid_value') {
    return `expected ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(String).join(', ')}`;
  }
  return issue.message;
}

/** The problems with one value, a few words each; empty when it is valid. */
export function expectations(schema: z.ZodType, value: unknown): string[] {
  const result = schema.safeParse(value);
  if (result.success) return [];
  const messages = result.error.issues.map((issue) => {
    const where = issue.path.length > 0 ? `entry ${Number(issue.path[0]) + 1}: ` : '';
    return where + expected(issue);
  });
  return [...new Set(messages)];
}

// ---------------------------------------------------------------------------------------------------- the kinds

/** A value for which `is` returns true. @param what - In words: `a folder`, `a model, from loadModel()`. */
export const being = (what: string, is: (value: unknown) => boolean): z.ZodType =>
  z.custom(is, { error: `expected ${what}` });

export const count = (least = 0): z.ZodType => z.int().min(least);
export const finite = z.number();
export const yesOrNo = z.boolean();
export const text = z
  .string()
  .min(1)
  .refine((value) => !value.includes('\0'), 'expected text without zero bytes');
export const oneOf = (names: readonly string[]): z.ZodType => z.enum(names as [string, ...string[]]);
export const anything = z.unknown();

/** A file system path: no path may contain a zero byte. */
const isPath = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && !value.includes('\0');
export const filePath = being('a path', isPath);

/** A side in pixels, or [height, width]; the model decides which sizes are valid. */
export const pixels = being('a number of pixels, or [height, width]', (value) => {
  const sides = Array.isArray(value) ? value : [value, value];
  return sides.length === 2 && sides.every((side) => Number.isFinite(side) && side > 0);
});

export const callback = being('a function', (value) => typeof value === 'function');
export const signal = being('an AbortSignal', (value) => {
  const { aborted, addEventListener } = Object(value) as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
});

/** Environment variables. */
export const variables = being(
  'an object of variables',
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((text) => text === undefined || typeof text === 'string'),
);

export const command = being(
  'a program and its arguments',
  (value) => Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === 'string'),
);

/** An instance of a class. @param what - `an open index, from ImageIndex.open()`. */
export const instanceOf = (
  // eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- classes whose constructor is private too
  constructor: Function & { prototype: object },
  what: string,
): z.ZodType => being(what, (value) => value instanceof constructor);

/** A list whose entries all satisfy `is`; the first that doesn't is reported. @param what - The entries, in the plural. */
export const listOf = (what: string, is: (value: unknown) => boolean): z.ZodType =>
  z.custom((value) => Array.isArray(value) && value.every(is), {
    error: ({ input }) => {
      if (!Array.isArray(input)) return `expected a list of ${what}`;
      const wrong = input.findIndex((entry) => !is(entry));
      return `expected ${what}, but [${wrong}] is ${show(input[wrong])}`;
    },
  });
export const paths = listOf('paths', isPath);
export const words = listOf('words', (value) => typeof value === 'string');
export const rows = listOf('whole numbers', (value) => Number.isSafeInteger(value) && Number(value) >= 0);

type RequiredNames<T> = { [K in keyof T]-?: object extends Pick<T, K> ? never : K }[keyof T];
type OptionalNames<T> = Exclude<keyof T, RequiredNames<T>>;

/** The schema of an options object. The compiler checks that it has exactly the properties of T. */
export function optionsOf<T extends object>(
  required: Record<RequiredNames<T>, z.ZodType>,
  optional: Record<OptionalNames<T>, z.ZodType>,
): z.ZodType {
  const shape: Record<string, z.ZodType> = { ...required };
  for (const [name, schema] of Object.entries<z.ZodType>(optional)) shape[name] = schema.optional();
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? 'expected an object of options' : undefined),
  });
}

// ---------------------------------------------------------------------------------------------------- the check

const NAMELESS = ['options', 'query', 'body'];

/** `region[2]`, `weights.given`. */
const place = (path: readonly PropertyKey[]): string =>
  path
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`))
    .join('');

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (found, key) =>
      found === null || found === undefined ? found : (found as Record<PropertyKey, unknown>)[key],
    value,
  );
}

/**
 * The problems with a value, a line each; empty when it is valid.
 * @param name - What messages call it. For options, queries and bodies they give only the names of the parts.
 */
export function problemsOf(name: string, schema: z.ZodType, value: unknown): string[] {
  const result = schema.safeParse(value);
  if (result.success) return [];
  return result.error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      const known = schema instanceof z.ZodObject && issue.path.length === 0 ? Object.keys(schema.shape) : [];
      return issue.keys.map((key) => `unknown option ${key}${didYouMean(key, known)}`);
    }
    const given = at(value, issue.path);
    const isOption = NAMELESS.includes(name) && issue.path.length > 0;
    const within = issue.path.length > 0 && typeof issue.path[0] !== 'number' ? '.' : '';
    const where = isOption ? place(issue.path) : name + within + place(issue.path);
    return `${where} is ${given === undefined ? 'missing' : show(given)}; ${expected(issue)}`;
  });
}

/** An argument's name (`options` for an options object), what it must be, and its value. */
export type Argument = readonly [name: string, schema: z.ZodType, value: unknown];

/**
 * Checks the arguments of a call.
 * @param call - The function as its caller wrote it: `findDuplicates()`.
 * @throws ConfigError with every problem.
 */
export function checkCall(call: string, ...args: readonly Argument[]): void {
  const problems = args.flatMap(([name, schema, value]) => problemsOf(name, schema, value));
  if (problems.length > 0) throw new ConfigError(problems.map((problem) => `${call}: ${problem}`));
}
