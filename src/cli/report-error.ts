/** The end of every failure: what to print, and the exit code. */
import { CommanderError } from 'commander';
import { ConfigError, DinoError } from '../errors.js';
import { systemReason } from '../files/system-reason.js';
import { messageText, stackText, terminalText } from '../printable.js';

/** Plain words for what a user can mend; a stack only for our own bugs, or with DEBUG=dino. */
export function describeError(error: unknown): { text: string; code: string; exitCode: number } {
  if (error instanceof ConfigError) {
    const text =
      error.problems.length > 1
        ? error.problems.map((problem) => `  - ${problem}`).join('\n')
        : error.message;
    const title = error.problems.length > 1 ? `${error.problems.length} problems:\n` : '';
    return { text: title + text, code: error.code, exitCode: 2 };
  }
  if (error instanceof CommanderError) {
    return { text: error.message.replace(/^error: /, ''), code: 'CONFIG', exitCode: 2 };
  }
  if (error instanceof DinoError) return { text: error.message, code: error.code, exitCode: 1 };
  if (error instanceof Error) {
    const system = error as NodeJS.ErrnoException;
    // a failed system call names its path and reason
    if (system.syscall !== undefined)
      return { text: systemReason(error), code: system.code ?? 'SYSTEM', exitCode: 1 };
    const internal = error.message.startsWith('internal:') ? error.message : `internal: ${error.message}`;
    return { text: internal, code: 'INTERNAL', exitCode: 1 };
  }
  return { text: `internal: ${String(error)}`, code: 'INTERNAL', exitCode: 1 };
}

/** Prints an error to stderr, and with --json one object to stdout; returns the exit code. */
export function reportError(error: unknown, json: boolean): number {
  const { text, code, exitCode } = describeError(error);
  const wantsStack = code === 'INTERNAL' || process.env['DEBUG'] === 'dino';
  process.stderr.write(`dino: ${messageText(text)}\n`);
  if (wantsStack && error instanceof Error) {
    process.stderr.write(`${stackText(error)}\n`);
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
      process.stderr.write(`caused by ${stackText(cause)}\n`);
    }
  }
  if (json) {
    const problems = error instanceof ConfigError ? { problems: error.problems } : {};
    process.stdout.write(
      `${terminalText(JSON.stringify({ error: { code, message: text, ...problems } }))}\n`,
    );
  }
  return exitCode;
}
