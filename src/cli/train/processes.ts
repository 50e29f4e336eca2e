/** `--nproc`: a command in several processes, started here or by a launcher. */
import type { Command } from 'commander';
import { ProcessError } from '../../errors.js';
import type { World } from '../../processes/world.js';
import {
  check,
  Interrupted,
  interruptSignal,
  type Invocation,
  Output,
  readNumber,
  Reported,
} from '../command.js';
import { reportError } from '../report-error.js';

export function addProcessOptions(command: Command, options: { restarts?: boolean } = {}): void {
  command.optionsGroup('Several processes (docs/distributed.md):');
  command
    .option('--nproc <n>', 'processes on this machine: auto for one a CUDA device, or a number', '1')
    .option(
      '--dist-timeout <seconds>',
      'how long processes wait for each other before one counts as lost',
      '300',
    );
  if (options.restarts === true) {
    command.option(
      '--max-restarts <n>',
      'with --nproc: how often to go on by itself after a process was lost',
      '0',
    );
  }
}

/** How long the others need beyond the time-out to find out who is lost and to write a checkpoint, milliseconds. */
const GRACE_MS = 60_000;

/**
 * Does a command's work: in this process, alone or with those that a launcher started, or in processes of its own. Call it
 * when everything on the command line has been read.
 *
 * @param work - Called in every process that works; what it prints is shown for rank 0 alone.
 * @throws ConfigError with the invocation's problems.
 */
export async function inProcesses(
  invocation: Invocation,
  work: (world: World, io: Output) => Promise<void>,
): Promise<void> {
  const { options, io, problems } = invocation;
  const timeoutMs = 1000 * readNumber(invocation, 'distTimeout', { min: 0.1, whole: false });
  const maxRestarts =
    options['maxRestarts'] === undefined ? 0 : readNumber(invocation, 'maxRestarts', { min: 0 });
  const isAuto = options['nproc'] === 'auto';
  const wanted = isAuto ? 1 : readNumber(invocation, 'nproc', { min: 1 });
  const { placeFromEnvironment } = await import('../../processes/place.js');
  const place = placeFromEnvironment();
  const isAlone = place === null || (place.size === 1 && place.launcher !== 'dino'); // a launcher may start one a machine
  if (place !== null && !isAlone && place.launcher !== 'dino' && (isAuto || wanted > 1)) {
    problems.push(
      `--nproc starts processes itself, but this one was started by a launcher (rank ${place.rank} of ${place.size}): ` +
        'leave it out',
    );
  }
  check(invocation);
  if (isAlone) {
    const processes = isAuto ? await deviceCount() : wanted;
    if (processes > 1) return startProcesses(processes, io, { timeoutMs, maxRestarts });
  }
  const { joinWorld } = await import('../../processes/join-world.js');
  const world = await joinWorld({ timeoutMs });
  try {
    await work(world, world.isFirst ? io : new Output(false, true)); // the others say what goes wrong, nothing else
    await world.leave();
  } catch (error) {
    if (error instanceof Interrupted) {
      await world.leave();
      throw error;
    }
    const reason = await world.explain(error);
    if (world.size === 1) throw reason;
    const { exitNow } = await import('../../torch/index.js');
    exitNow(reportError(reason, io.json && world.isFirst));
  }
}

async function deviceCount(): Promise<number> {
  const { cudaDeviceCount } = await import('../../torch/index.js');
  return Math.max(1, cudaDeviceCount());
}

async function startProcesses(
  processes: number,
  io: Output,
  { timeoutMs, maxRestarts }: { timeoutMs: number; maxRestarts: number },
): Promise<void> {
  const { describeEnd, launch } = await import('../../processes/launch.js');
  const interrupt = interruptSignal(() => undefined);
  try {
    const bad = await launch({
      command: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
      processes,
      maxRestarts,
      graceMs: timeoutMs + GRACE_MS,
      signal: interrupt.signal,
      onNote: (line) => io.note(line),
    });
    if (bad === null) return;
    if (bad.code === 130) throw new Interrupted('interrupted');
    if (bad.code !== null) throw new Reported(bad.code); // the process has said why
    const end = describeEnd(bad);
    throw new ProcessError(
      `${end.charAt(0).toUpperCase()}${end.slice(1)}. Go on with --resume, or by itself with --max-restarts N.`,
    );
  } finally {
    interrupt.release();
  }
}

/** Ctrl-C, as interruptSignal(), or the end of the process that started this one. */
export function stopSignal(onFirst: () => void): { signal: AbortSignal; release: () => void } {
  const interrupt = interruptSignal(onFirst);
  if (process.env['DINO_LAUNCHER'] === undefined || !process.channel) return interrupt;
  const orphaned = new AbortController();
  const onEnd = (): void => orphaned.abort(new Interrupted('interrupted'));
  process.once('disconnect', onEnd);
  process.channel.unref();
  return {
    signal: AbortSignal.any([interrupt.signal, orphaned.signal]),
    release: () => {
      process.off('disconnect', onEnd);
      interrupt.release();
    },
  };
}
