/**
 * What the commands share: reading a command line so that all unknown flags are reported at once and the reference's
 * spelling (--out_dim 256, --norm_last_layer true, --global_crops_scale 0.4 1.) works, printing, and interruption.
 */
import { Command, CommanderError, type Option } from 'commander';
import { ConfigError } from '../errors.js';
import { messageText, terminalText } from '../plain/printable.js';
import { onLostOutput } from './lost-output.js';
import { didYouMean } from '../plain/did-you-mean.js';

/** Ctrl-C, or what stands for it, ended the command in good order; exit code 130. */
export class Interrupted extends Error {}

/** The command has said what is wrong, or a process that did its work has; this one ends with the exit code. */
export class Reported extends Error {
  constructor(readonly exitCode: number) {
    super('what is wrong was told');
  }
}

/** What a command gets. */
export interface Invocation {
  args: string[];
  /** Values by commander's camelCase names. */
  options: Record<string, unknown>;
  /** Unknown flags and missing arguments: throw them with what the command itself finds, see `check`. */
  problems: string[];
  io: Output;
}

/** A command's file exports these. */
export interface CommandModule {
  /** Adds arguments, options and an example. */
  define(command: Command): void;
  run(invocation: Invocation): Promise<void>;
}

/** Results go to stdout; everything on the way to stderr. */
export class Output {
  readonly #endings: (() => void)[] = [];

  /** @param isSilent - Says nothing: of several processes one speaks. */
  constructor(
    readonly json: boolean,
    readonly isSilent = false,
  ) {}

  /** Something to do when the command is over, however it ended: a bar that is still drawn would keep it running. */
  atEnd(ending: () => void): void {
    this.#endings.push(ending);
  }
  /** Called once, by who made this. */
  end(): void {
    for (const ending of this.#endings.splice(0)) ending();
  }

  /** A line about what is happening. */
  note(line: string): void {
    if (!this.isSilent) process.stderr.write(`${messageText(line)}\n`);
  }
  warn(line: string): void {
    this.note(`warning: ${line}`);
  }
  /** What lists of images have to say, as results of commands bring it along: files that were left out. */
  warnOfLists({ remarks }: { remarks: readonly string[] }): void {
    for (const remark of remarks) this.warn(remark);
  }
  /** The command's result: the object with --json, the text without. */
  result(value: unknown, text: string): void {
    if (this.isSilent) return;
    // in JSON control characters are escaped already, but for the upper ones
    const said = terminalText(this.json ? JSON.stringify(value) : text);
    process.stdout.write(said.endsWith('\n') ? said : `${said}\n`);
  }
}

/** How an option reads its value, kept on the Option object by the functions below. */
const optionKinds = new WeakMap<Option, 'boolean' | 'list' | 'words'>();

/** An option that takes true or false, or stands alone for true, or as --no-NAME for false. */
export function booleanOption(option: Option): Option {
  optionKinds.set(option, 'boolean');
  return option;
}

/** An option that takes several numbers: `--scale 0.4 1` or `--scale 0.4,1`. */
export function listOption(option: Option): Option {
  optionKinds.set(option, 'list');
  return option;
}

/** An option that takes all words up to the next flag; its value has them apart by line ends. */
export function wordsOption(option: Option): Option {
  optionKinds.set(option, 'words');
  return option;
}

const BOOLEAN_WORD = /^(true|false|on|off|yes|no|0|1)$/i;
const NUMBERS = /^[-+]?[\d.][\d.eE+-]*(,[-+]?[\d.][\d.eE+-]*)*,?$/;

export interface ScannedLine {
  /** The command line in the form that commander reads. */
  argv: string[];
  /** One entry an unknown flag. */
  problems: string[];
}

/**
 * Rewrites a command line: underscores in flag names become dashes, values are joined to their flags with `=`, and
 * unknown flags are taken out and named.
 */
export function scanFlags(
  tokens: readonly string[],
  options: readonly Option[],
  aliases: AliasMap = {},
): ScannedLine {
  const byFlag = new Map<string, Option>();
  for (const option of options) {
    if (option.long) byFlag.set(option.long, option);
    if (option.short) byFlag.set(option.short, option);
  }
  const names = options.filter((option) => option.long && !option.hidden).map((option) => option.long!);
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
    let flag = token.startsWith('--') ? '--' + spelled.slice(2).replaceAll('_', '-') : spelled;
    flag = aliases[flag] ?? flag;
    let option = byFlag.get(flag);
    if (option === undefined && flag.startsWith('--no-')) {
      const positive = byFlag.get('--' + flag.slice('--no-'.length));
      if (positive && optionKinds.get(positive) === 'boolean') {
        option = positive;
        flag = positive.long!;
        value = 'false';
      }
    }
    if (option === undefined) {
      problems.push(`unknown flag ${spelled}${didYouMean(flag, names)}`);
      // its value must not be taken for an argument
      const after = tokens[i + 1];
      if (equals === -1 && after !== undefined && (NUMBERS.test(after) || BOOLEAN_WORD.test(after))) i++;
      continue;
    }
    const next = tokens[i + 1];
    if (value === undefined && (option.required || option.optional)) {
      const kind = optionKinds.get(option);
      if (kind === 'boolean') {
        value = next !== undefined && BOOLEAN_WORD.test(next) ? tokens[++i] : 'true';
      } else if (kind === 'list') {
        const parts: string[] = [];
        while (i + 1 < tokens.length && NUMBERS.test(tokens[i + 1]!)) parts.push(tokens[++i]!);
        // what is no number is taken all the same, and refused with the flag's name
        if (parts.length === 0 && next !== undefined && !next.startsWith('-')) parts.push(tokens[++i]!);
        value = parts.join(',');
      } else if (kind === 'words') {
        const words: string[] = [];
        while (i + 1 < tokens.length && !tokens[i + 1]!.startsWith('-')) words.push(tokens[++i]!);
        value = words.join('\n');
      } else if (next !== undefined && !next.startsWith('--')) {
        value = tokens[++i];
      }
      if (value === undefined || value === '') {
        problems.push(`${flag} needs a value`);
        continue;
      }
    }
    if (value === undefined || !option.long) argv.push(value === undefined ? flag : `${flag}=${value}`);
    else argv.push(`${option.long}=${value}`);
  }
  return { argv, problems };
}

/** Flags that are taken for others: '--batch-size-per-gpu' -> '--batch-size'. */
export type AliasMap = Readonly<Record<string, string>>;

/** Aliases of a command, set in its `define`. */
const aliasesOf = new WeakMap<Command, AliasMap>();
export function setAliases(command: Command, aliases: AliasMap): void {
  aliasesOf.set(command, aliases);
}

/** Adds `Example:` lines at the end of a command's help. */
export function addExamples(command: Command, ...lines: string[]): void {
  command.addHelpText('after', `\nExample:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}

/** Reads the command line of one command and runs it. */
export async function runCommand(
  module: CommandModule,
  name: string,
  summary: string,
  tokens: readonly string[],
): Promise<void> {
  const line = readCommandLine(module, name, tokens, summary);
  if (line.help !== null) {
    process.stdout.write(line.help);
    return;
  }
  const io = new Output(line.options['json'] === true);
  try {
    await module.run({ ...line, io });
  } finally {
    io.end();
  }
}

/**
 * Reads the command line of one command.
 * @returns What run() gets, and the text of its help where that is asked for.
 */
export function readCommandLine(
  module: Pick<CommandModule, 'define'>,
  name: string,
  tokens: readonly string[],
  summary = '',
): Omit<Invocation, 'io'> & { help: string | null } {
  const command = new Command(name).description(summary).exitOverride().allowExcessArguments(true);
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part), writeErr: () => undefined }); // its errors are thrown, and printed in one place
  module.define(command);
  command.option('--json', 'print one JSON object on stdout');
  const help = command.createOption('-h, --help', 'show this help');
  command.addHelpOption(help);
  const { argv, problems } = scanFlags(tokens, [...command.options, help], aliasesOf.get(command));
  if (argv.includes('--help') || argv.includes('-h')) {
    command.outputHelp();
    return { args: [], options: {}, problems, help: text };
  }
  // Arguments are counted here, so that a missing one is reported together with the rest.
  const expected = command.registeredArguments;
  const required = expected.map((argument) => argument.required);
  for (const argument of expected) argument.required = false;
  try {
    command.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throw new ConfigError([...problems, error.message.replace(/^error: /, '')]);
  }
  const args = command.args;
  expected.forEach((argument, index) => {
    if (required[index] && args[index] === undefined)
      problems.push(`argument <${argument.name()}> is missing`);
  });
  if (args.length > expected.length && expected.at(-1)?.variadic !== true) {
    problems.push(`unexpected argument ${args.slice(expected.length).join(', ')}`);
  }
  return { args, options: command.opts<Record<string, unknown>>(), problems, help: null };
}

/** @throws ConfigError with the problems found so far and `more`. */
export function check(invocation: Invocation, more: readonly string[] = []): void {
  const problems = [...invocation.problems, ...more];
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Reads an option as a number within bounds, or adds to `problems`. */
export function readNumber(
  invocation: Invocation,
  name: string,
  bounds: { min: number; max?: number; whole?: boolean },
): number {
  const raw = invocation.options[name];
  const value = typeof raw === 'number' ? raw : Number(raw === '' ? NaN : raw);
  const { min, max = Infinity, whole = true } = bounds;
  if (!(value >= min && value <= max) || !Number.isFinite(value) || (whole && !Number.isInteger(value))) {
    const flag = '--' + name.replace(/[A-Z]/g, (letter) => '-' + letter.toLowerCase());
    const range = max === Infinity ? `at least ${min}` : `${min} to ${max}`;
    invocation.problems.push(
      `${flag} is ${String(raw)}; expected a ${whole ? 'whole ' : ''}number, ${range}`,
    );
  }
  return value;
}

/**
 * A signal that Ctrl-C aborts, and SIGTERM, and the end of the terminal or of whoever reads what is printed: the first
 * time the command may end in good order. A second Ctrl-C, or other order to stop, ends the process at once; a terminal
 * that is closed says so several times, and whoever started this process passes it on.
 */
export function interruptSignal(onFirst: () => void): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) return;
    controller.abort(new Interrupted('interrupted'));
    onFirst();
  };
  let isOrdered = false;
  const handle = (): void => {
    if (isOrdered) process.exit(130);
    isOrdered = true;
    stop();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const; // Slurm's jobs are often told by SIGUSR1
  for (const name of signals) process.on(name, handle);
  process.on('SIGHUP', stop);
  const forget = onLostOutput(stop);
  const release = (): void => {
    for (const name of signals) process.off(name, handle);
    process.off('SIGHUP', stop);
    forget();
  };
  return { signal: controller.signal, release };
}
