/** The end of every failure: what to print, and the exit code. */
import { CommanderError } from 'commander';
import { ConfigError } from '../errors.js';
import { describeError } from '../files/describe-error.js';
import { messageText, stackText, terminalText } from '../plain/printable.js';

/** Commander's errors are about wrong usage, as wrong settings are. */
const asConfigError = (error: unknown): unknown =>
  error instanceof CommanderError
    ? new ConfigError(error.message.replace(/^error: /, ''), { cause: error })
    : error;

/** Prints an error to stderr, and with --json one object to stdout; returns the exit code. */
export function reportError(error: unknown, json: boolean): number {
  const { text, code, exitCode } = describeError(asConfigError(error));
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
