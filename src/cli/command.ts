/**
 * What a command is: a table of arguments, a table of options (flags.ts), rules between them, and what it does. From these
 * its help is written and its line is read; all that is wrong with a line is reported at once.
 */
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { ConfigError } from '../errors.js';
import { fewNames } from '../plain/few-names.js';
import { flagKind } from '../plain/flag-values.js';
import {
  checkValue,
  flagsOf,
  metaOf,
  type Parsed,
  type Raw,
  readOption,
  scanFlags,
  type Table,
} from './flags.js';
import { Output } from './output.js';

/** What was given, as far as it is right by itself; what is missing or wrong is left out, and reported already. */
export interface Given<A extends Table, O extends Table> {
  args: Partial<Parsed<A>>;
  options: Partial<Parsed<O>>;
  /** The options that are on the line, also those whose values are wrong. */
  named: ReadonlySet<keyof O>;
}

/** What a command is called with. */
export interface Call<A extends Table, O extends Table> {
  args: Parsed<A>;
  options: Parsed<O>;
  io: Output;
}

/** A command: its file exports one as `command`. */
export interface CommandDefinition<A extends Table, O extends Table> {
  /** In their order; the last may be a list. */
  args: A;
  options: O;
  /** In place of the usage line that follows from the arguments. */
  usage?: string;
  /** Lines at the end of the help. */
  examples: readonly string[];
  /** What must hold between options and arguments: a sentence for each rule that is broken. */
  rules?(given: Given<A, O>): string[] | Promise<string[]>;
  /** Calls the public API and prints through `io`. */
  run(call: Call<A, O>): Promise<void> | void;
}
/** Any command, for what runs them all. */
export type AnyCommand = CommandDefinition<Table, Table>;

/** Infers the types of a definition; a command without arguments leaves them out. */
export const defineCommand = <O extends Table, A extends Table = Record<never, never>>(
  definition: Omit<CommandDefinition<A, O>, 'args'> & { args?: A },
): CommandDefinition<A, O> => ({ ...definition, args: definition.args ?? ({} as A) });

const jsonOption = { json: z.boolean().default(false).describe('print one JSON object on stdout') };

/** A line of one command, read. */
export interface Line<A extends Table, O extends Table> extends Given<A, O> {
  problems: string[];
  /** The help, where it is asked for. */
  help: string | null;
}

/** Of the arguments that are too many, as many are named. */
const SHOWN_WORDS = 3;

/** `<images>`, `[weights]`, `<frames...>`. */
function argumentName(name: string, schema: z.ZodType): string {
  const shown = `${name}${flagKind(schema) === 'words' ? '...' : ''}`;
  return schema.safeParse(undefined).success ? `[${shown}]` : `<${shown}>`;
}

/** The words of a line for each argument; those that are too many are a problem. */
function readArguments(table: Table, words: readonly string[], problems: string[]): Record<string, unknown> {
  const args: Record<string, unknown> = {};
  let rest = words;
  for (const [name, schema] of Object.entries(table)) {
    const isList = flagKind(schema) === 'words';
    const raw = rest.length === 0 ? undefined : isList ? rest : rest[0];
    rest = isList ? [] : rest.slice(1);
    const wording = { label: name, missing: `argument <${name}> is missing`, shown: raw?.toString() };
    const value = checkValue(schema, raw, wording, problems);
    if (value !== undefined) args[name] = value;
  }
  if (rest.length > 0) problems.push(unexpected(rest, table));
  return args;
}

/** Words left over: the first of them, since `photos/*` can be thousands, and what the command takes. */
function unexpected(words: readonly string[], table: Table): string {
  const taken = Object.entries(table).map(([name, schema]) => {
    const { description } = metaOf(schema);
    return `${argumentName(name, schema)}${description === undefined ? '' : `: ${description}`}`;
  });
  const expected = taken.length === 0 ? 'options only' : taken.join('; ');
  return `unexpected ${words.length === 1 ? 'argument' : 'arguments'} ${fewNames(words, SHOWN_WORDS)}; expected ${expected}`;
}

/** Reads the line of one command, and all that is wrong with it. */
export async function readLine<A extends Table, O extends Table>(
  command: CommandDefinition<A, O>,
  name: string,
  tokens: readonly string[],
  summary = '',
): Promise<Line<A, O>> {
  const table: Table = { ...command.options, ...jsonOption };
  const flags = flagsOf(table);
  let help = '';
  const reader = new Command(name).description(summary).exitOverride().allowExcessArguments(true);
  // what commander refuses is thrown, and printed in one place
  reader.configureOutput({ writeOut: (part) => (help += part), writeErr: () => undefined });
  if (command.usage !== undefined) reader.usage(command.usage);
  for (const [argument, schema] of Object.entries(command.args))
    reader.argument(argumentName(argument, schema), metaOf(schema).description);
  for (const { option } of flags) reader.addOption(option);
  const helpOption = reader.createOption('-h, --help', 'show this help');
  reader.addHelpOption(helpOption);
  reader.addHelpText('after', `\nExample:\n${command.examples.map((line) => `  ${line}`).join('\n')}`);

  const helpFlag = { name: 'help', taking: 'switch', aliases: [], option: helpOption } as const;
  const { argv, problems } = scanFlags(tokens, [...flags, helpFlag]);
  const end = argv.indexOf('--');
  if ((end === -1 ? argv : argv.slice(0, end)).includes('--help')) {
    reader.outputHelp();
    return { args: {}, options: {}, named: new Set(), problems, help };
  }
  for (const argument of reader.registeredArguments) argument.required = false; // a missing one is reported below
  try {
    reader.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throw new ConfigError([...problems, error.message.replace(/^error: /, '')]);
  }
  const options: Record<string, unknown> = {};
  const named = new Set<string>();
  for (const { name: key, option } of flags) {
    const schema = table[key]!;
    const isNamed = reader.getOptionValueSource(option.attributeName()) === 'cli';
    if (isNamed) named.add(key);
    const raw = isNamed ? (reader.getOptionValue(option.attributeName()) as Raw) : undefined;
    const label = option.long!;
    const what = metaOf(schema).missing;
    const missing = `${label} is missing${what === undefined ? '' : `: ${what}`}`;
    const value = readOption(schema, raw, { label, missing }, problems);
    if (value !== undefined) options[key] = value;
  }
  const given = {
    args: readArguments(command.args, reader.args, problems),
    options,
    named,
  } as Given<A, O>; // by the tables' own schemas
  problems.push(...((await command.rules?.(given)) ?? []));
  return { ...given, problems, help: null };
}

/**
 * Reads the line of one command and runs it.
 * @throws ConfigError with everything that is wrong with the line, before the command does anything.
 */
export async function runCommand(
  command: AnyCommand,
  name: string,
  summary: string,
  tokens: readonly string[],
): Promise<void> {
  const { problems, help, ...given } = await readLine(command, name, tokens, summary);
  if (help !== null) {
    process.stdout.write(help);
    return;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const io = new Output((given.options as { json?: boolean }).json === true);
  try {
    await command.run({ ...given, io }); // whole, without problems
  } finally {
    io.end();
  }
}
