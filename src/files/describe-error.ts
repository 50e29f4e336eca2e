/** How an error is shown to a user, by the command line and by the studio's jobs. */
import { ConfigError, DinoError } from '../errors.js';
import { systemReason } from './system-reason.js';

/** Plain words for what a user can fix; a stack trace only for our own bugs, or with DEBUG=dino. */
export function describeError(error: unknown): { text: string; code: string; exitCode: number } {
  if (error instanceof ConfigError) {
    const text =
      error.problems.length > 1
        ? error.problems.map((problem) => `  - ${problem}`).join('\n')
        : error.message;
    const title = error.problems.length > 1 ? `${error.problems.length} problems:\n` : '';
    return { text: title + text, code: error.code, exitCode: 2 };
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
