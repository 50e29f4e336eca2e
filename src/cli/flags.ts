/**
 * A command's options are a table of zod schemas by camelCase names, as the settings of a training are. The schema gives
 * type, bounds, default and description; `.meta()` adds what only a command line has. All the rest follows from the table:
 * the help, the reading of flags, and the type of what the command gets.
 *
 *   imsize: whole(1, 8192).default(224).describe('longer side of the images, pixels'),
 *   output: z.string().meta({ description: 'where the masks go', placeholder: '<folder>', short: '-o' }),
 */
import { Option } from 'commander';
import { z } from 'zod';
import { MAX_PATCHES } from '../plain/attention-size.js';
import { expectations } from '../plain/check-options.js';
import { didYouMean } from '../plain/did-you-mean.js';
import { type FlagKind, flagKind, innermost, readFlagValue } from '../plain/flag-values.js';
import { flagOf } from '../run/settings.js';

declare module 'zod' {
  /** What `.meta()` says about a flag or an argument, besides its description. */
  interface GlobalMeta {
    /** The value in the help, as `<folder>`. A boolean without one is a switch, which takes no value. */
    placeholder?: string;
    /** One letter: `-o`. */
    short?: string;
    /** Other spellings: `--output-dir`. */
    aliases?: readonly string[];
    /** What was expected, for the message when it is missing: `a folder for the masks`. */
    missing?: string;
    /** Heading of the help under which it is listed. */
    group?: string;
    /** Not in the help. */
    hidden?: boolean;
    /** May be given several times; the values are a list. */
    repeated?: boolean;
    /** What the help says in parentheses besides choices and default. */
    note?: string;
  }
}

/** Options, or arguments in their order, by camelCase names. */
export type Table = Readonly<Record<string, z.ZodType>>;
type OptionalNames<T extends Table> = {
  [K in keyof T]: undefined extends z.output<T[K]> ? K : never;
}[keyof T];
/** What a table's options are read as. An optional one that is not given is left out. */
export type Parsed<T extends Table> = {
  [K in Exclude<keyof T, OptionalNames<T>>]: z.output<T[K]>;
} & { [K in OptionalNames<T>]?: Exclude<z.output<T[K]>, undefined> };

/** Some of the options, for a function that takes these: those that were not given stay left out. */
export function pick<T extends object, K extends keyof T>(options: T, ...names: readonly K[]): Pick<T, K> {
  const picked: Partial<T> = {};
  for (const name of names) if (Object.hasOwn(options, name)) picked[name] = options[name];
  return picked as Pick<T, K>;
}

// ------------------------------------------------------------------------------------------- schemas of flags

/** A whole number; its message names both bounds. */
export function whole(min: number, max = Infinity): z.ZodNumber {
  const error = `expected a whole number, ${max === Infinity ? `at least ${min}` : `${min} to ${max}`}`;
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

/** A number of at least `min`. */
export function decimal(min: number, max = Infinity): z.ZodNumber {
  const error = `expected a number, ${max === Infinity ? `at least ${min}` : `${min} to ${max}`}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
}

/** A share of a whole: above 0, at most 1. */
export function share(): z.ZodNumber {
  const error = 'expected a number above 0, at most 1';
  return z.number({ error }).gt(0, { error }).max(1, { error });
}

export const seed = (): z.ZodNumber => whole(0, Number.MAX_SAFE_INTEGER);

/** `--image-size 480` or `--image-size 480,854`: the shorter side, or height and width. */
export const imageSize = () =>
  z
    .array(whole(1))
    .min(1)
    .max(2, 'expected one number or two')
    .transform((sides): number | readonly [height: number, width: number] =>
      sides.length === 1 ? sides[0]! : [sides[0]!, sides[1]!],
    );

/** `--max-patches 20000`: a larger picture than is computed by default. */
export const maxPatches = () =>
  whole(1, 2 ** 24)
    .optional()
    .describe(
      `refuse pictures of more patches: time and memory grow with the square (default: ${MAX_PATCHES})`,
    );

// ------------------------------------------------------------------------------------------------- the table

type Meta = z.GlobalMeta;

/** What `.meta()` and `.describe()` said, also before `.optional()`, `.default()` or `.transform()`. */
export function metaOf(schema: z.ZodType): Meta {
  const inside =
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault
      ? (schema.unwrap() as z.ZodType)
      : schema instanceof z.ZodPipe
        ? (schema.in as z.ZodType)
        : null;
  return { ...(inside === null ? {} : metaOf(inside)), ...schema.meta() };
}

type Default = string | number | boolean | readonly (string | number)[];

/** The default before it is transformed, as the help shows it. */
function defaultOf(schema: z.ZodType): Default | undefined {
  if (schema instanceof z.ZodDefault) return schema.def.defaultValue as Default;
  if (schema instanceof z.ZodOptional) return defaultOf(schema.unwrap() as z.ZodType);
  return schema instanceof z.ZodPipe ? defaultOf(schema.in as z.ZodType) : undefined;
}

/** How a flag takes its value; a switch takes none. */
type Taking = FlagKind | 'switch' | 'repeated';

/** One option as the command line has it. */
export interface Flag {
  /** The name in the table. */
  name: string;
  taking: Taking;
  aliases: readonly string[];
  /** For commander, which writes the help. */
  option: Option;
}

const PLACEHOLDERS: Readonly<Record<FlagKind, string>> = {
  number: '<n>',
  list: '<n,n>',
  boolean: '<true|false>',
  text: '<value>',
  words: '<value...>',
};

function takingOf(schema: z.ZodType, { placeholder, repeated }: Meta): Taking {
  const kind = flagKind(schema);
  if (kind === 'boolean' && placeholder === undefined) return 'switch';
  return repeated === true ? 'repeated' : kind;
}

/** The description, with choices and default in parentheses unless it names all choices itself. */
function helpText(schema: z.ZodType, taking: Taking): string {
  const { description = '', note } = metaOf(schema);
  const inner = innermost(schema);
  const choices = inner instanceof z.ZodEnum ? inner.options.map(String) : [];
  const value = defaultOf(schema);
  const notes = [
    ...(choices.every((choice) => description.includes(choice)) ? [] : [`one of ${choices.join(', ')}`]),
    ...(note === undefined ? [] : [note]),
    ...(taking === 'switch' || value === undefined || String(value) === ''
      ? []
      : [`default: ${String(value)}`]),
  ];
  return notes.length === 0 ? description : `${description} (${notes.join('; ')})`;
}

function flagFor(name: string, schema: z.ZodType): Flag {
  const meta = metaOf(schema);
  const taking = takingOf(schema, meta);
  // a switch that is on by default is spelled by what turns it off
  const isOff = taking === 'switch' && defaultOf(schema) === true;
  const long = isOff ? flagOf(name).replace('--', '--no-') : flagOf(name);
  const spelled = meta.short === undefined ? long : `${meta.short}, ${long}`;
  const placeholder = taking === 'switch' ? '' : ` ${meta.placeholder ?? PLACEHOLDERS[flagKind(schema)]}`;
  const option = new Option(spelled + placeholder, helpText(schema, taking));
  if (meta.group !== undefined) option.helpGroup(meta.group);
  if (meta.hidden === true) option.hideHelp();
  if (taking === 'repeated')
    option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  return { name, taking, aliases: meta.aliases ?? [], option };
}

/** The flags of a table, in its order. */
export const flagsOf = (table: Table): Flag[] =>
  Object.entries(table).map(([name, schema]) => flagFor(name, schema));

/** How messages name a value: `--top`, and what they say when it is missing. */
export interface Wording {
  label: string;
  missing: string;
}

/** Checks one value, or adds to `problems`. @param shown - The value as typed; undefined where it was not given. */
export function checkValue(
  schema: z.ZodType,
  value: unknown,
  { label, missing, shown }: Wording & { shown: string | undefined },
  problems: string[],
): unknown {
  const { success, data } = schema.safeParse(value);
  if (success) return data;
  problems.push(
    shown === undefined ? missing : `${label} is ${shown}; ${expectations(schema, value).join('; ')}`,
  );
  return undefined;
}

/** What commander has for an option: its text, its texts, or that a switch is there; undefined where it was not given. */
export type Raw = string | readonly string[] | boolean | undefined;

/** Reads an option, or adds to `problems`. */
export function readOption(schema: z.ZodType, raw: Raw, wording: Wording, problems: string[]): unknown {
  const shown = raw === undefined ? undefined : [raw].flat().join(' ');
  const value = raw === undefined ? undefined : readFlagValue(schema, raw);
  return checkValue(schema, value, { ...wording, shown }, problems);
}

// ---------------------------------------------------------------------------------------------- the scanning

const BOOLEAN_WORD = /^(true|false|on|off|yes|no|0|1)$/i;
const NUMBERS = /^[-+]?[\d.][\d.eE+-]*(,[-+]?[\d.][\d.eE+-]*)*,?$/;

export interface ScannedLine {
  /** The command line in the form that commander reads. */
  argv: string[];
  /** One entry an unknown flag, or a flag without its value. */
  problems: string[];
}

/**
 * Rewrites a command line so that the reference's spelling works (--out_dim 256, --norm_last_layer true,
 * --global_crops_scale 0.4 1.): underscores in flag names become dashes, values are joined to their flags with `=`, and
 * unknown flags are taken out and named.
 */
export function scanFlags(tokens: readonly string[], flags: readonly Flag[]): ScannedLine {
  const bySpelling = new Map<string, Flag>();
  for (const flag of flags) {
    const { long, short } = flag.option;
    for (const spelling of [long, short, ...flag.aliases])
      if (typeof spelling === 'string') bySpelling.set(spelling, flag);
  }
  const names = flags.filter(({ option }) => !option.hidden).map(({ option }) => option.long!);
  const argv: string[] = [];
  const problems: string[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token === '--') {
      argv.push(...tokens.slice(i));
      break;
    }
    if (!token.startsWith('-') || token === '-' || /^-[\d.]/.test(token)) {
      argv.push(token);
      continue;
    }
    const equals = token.indexOf('=');
    const spelled = equals === -1 ? token : token.slice(0, equals);
    let value = equals === -1 ? undefined : token.slice(equals + 1);
    const dashed = token.startsWith('--') ? '--' + spelled.slice(2).replaceAll('_', '-') : spelled;
    let flag = bySpelling.get(dashed);
    if (flag === undefined && dashed.startsWith('--no-')) {
      const positive = bySpelling.get('--' + dashed.slice('--no-'.length));
      if (positive?.taking === 'boolean') {
        flag = positive;
        value = 'false';
      }
    }
    if (flag === undefined) {
      problems.push(`unknown flag ${spelled}${didYouMean(dashed, names)}`);
      // its value must not be taken for an argument
      const after = tokens[i + 1];
      if (equals === -1 && after !== undefined && (NUMBERS.test(after) || BOOLEAN_WORD.test(after))) i++;
      continue;
    }
    const long = flag.option.long!;
    const next = tokens[i + 1];
    if (value === undefined && flag.taking !== 'switch') {
      if (flag.taking === 'boolean') {
        value = next !== undefined && BOOLEAN_WORD.test(next) ? tokens[++i] : 'true';
      } else if (flag.taking === 'list') {
        const parts: string[] = [];
        while (i + 1 < tokens.length && NUMBERS.test(tokens[i + 1]!)) parts.push(tokens[++i]!);
        // what is not a number is taken all the same, and refused with the flag's name
        if (parts.length === 0 && next !== undefined && !next.startsWith('-')) parts.push(tokens[++i]!);
        value = parts.join(',');
      } else if (flag.taking === 'words') {
        const words: string[] = [];
        while (i + 1 < tokens.length && !tokens[i + 1]!.startsWith('-')) words.push(tokens[++i]!);
        value = words.join('\n');
      } else if (next !== undefined && !next.startsWith('--')) {
        value = tokens[++i];
      }
      if (value === undefined || value === '') {
        problems.push(`${long} needs a value`);
        continue;
      }
    }
    argv.push(value === undefined ? long : `${long}=${value}`);
  }
  return { argv, problems };
}
