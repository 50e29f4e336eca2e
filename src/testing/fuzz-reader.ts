/** The process in which mutants of a folder are read; started by fuzz-folder.ts. */
import { readFileSync } from 'node:fs';
import { DinoError } from '../errors.js';
import { type FromReader, type ReadFolder, SECRET, type ToReader } from './fuzz-folder.js';

function peakMiB(): number {
  try {
    return Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024);
  } catch {
    return Math.round(process.resourceUsage().maxRSS / 1024);
  }
}

const { read } = (await import(process.argv[2]!)) as { read: ReadFolder };

async function answer({ folder, scratch }: ToReader): Promise<FromReader> {
  const result: FromReader = { errors: [], failures: [], peakMiB: 0, cpuMs: 0 };
  const start = process.cpuUsage();
  for (const [name, run] of read(folder, scratch)) {
    let output: string | undefined;
    try {
      output = JSON.stringify(await run());
    } catch (error) {
      const { message, stack } = error as Error;
      output = message;
      if (error instanceof DinoError && !message.startsWith('internal:')) result.errors.push(message);
      else result.failures.push(`${name}: ${(stack ?? message).split('\n').slice(0, 4).join('\n')}`);
    }
    if (output?.includes(SECRET) === true) result.failures.push(`${name} revealed a file outside`);
    if (({} as { polluted?: unknown }).polluted !== undefined) {
      delete (Object.prototype as { polluted?: unknown }).polluted;
      result.failures.push(`${name} gave every object a new property`);
    }
  }
  result.peakMiB = peakMiB();
  const { user, system } = process.cpuUsage(start);
  result.cpuMs = Math.round((user + system) / 1000);
  return result;
}

process.on('message', (message: ToReader) => {
  void answer(message).then((result) => process.send!(result));
});
process.on('disconnect', () => process.exit(0));
