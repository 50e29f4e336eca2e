/** `--nproc`: a command in several processes, started here or by a launcher. */
import { z } from 'zod';
import { ConfigError, ProcessError } from '../../errors.js';
import type { World } from '../../processes/world.js';
import { decimal, type Parsed, whole } from '../flags.js';
import { interruptSignal } from '../interrupt.js';
import { Interrupted, Reported } from '../outcome.js';
import { Output } from '../output.js';
import { reportError } from '../report-error.js';

const group = 'Several processes (docs/distributed.md):';

export const processOptions = {
  nproc: z
    .union([z.literal('auto'), whole(1)], { error: 'expected auto or a whole number, at least 1' })
    .default(1)
    .meta({ description: 'processes on this machine: a number, or auto for one a CUDA device', group }),
  distTimeout: decimal(0.1).default(300).meta({
    description: 'how long processes wait for each other before one counts as lost',
    placeholder: '<seconds>',
    group,
  }),
};

/** For commands that can continue after a process was lost. */
export const restartOptions = {
  maxRestarts: whole(0)
    .default(0)
    .meta({ description: 'with --nproc: how often to restart by itself after a process was lost', group }),
};

export type ProcessOptions = Parsed<typeof processOptions> & Partial<Parsed<typeof restartOptions>>;

/** How long the others need, beyond the timeout, to find out which process is lost and to write a checkpoint. */
const GRACE_MS = 60_000;

/**
 * Does a command's work: in this process, alone or with those that a launcher started, or in processes of its own.
 *
 * @param work - Called in every process that works; the Output that it gets prints only in rank 0.
 * @throws ConfigError when --nproc is given to a process that a launcher started.
 */
export async function inProcesses(
  { options, io }: { options: ProcessOptions; io: Output },
  work: (world: World, io: Output) => Promise<void>,
): Promise<void> {
  const { nproc, maxRestarts = 0 } = options;
  const timeoutMs = 1000 * options.distTimeout;
  const { placeFromEnvironment } = await import('../../processes/place.js');
  const place = placeFromEnvironment();
  const isAlone = place === null || (place.size === 1 && place.launcher !== 'dino'); // a launcher may start one a machine
  if (place !== null && !isAlone && place.launcher !== 'dino' && nproc !== 1) {
    throw new ConfigError(
      `--nproc starts processes itself, but this one was started by a launcher (rank ${place.rank} of ${place.size}): ` +
        'leave it out',
    );
  }
  if (isAlone) {
    const processes = nproc === 'auto' ? await deviceCount() : nproc;
    if (processes > 1) return startProcesses(processes, io, { timeoutMs, maxRestarts });
  }
  const { joinWorld } = await import('../../processes/join-world.js');
  const world = await joinWorld({ timeoutMs });
  try {
    await work(world, world.isFirst ? io : new Output(false, true)); // the others print only what goes wrong
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
      `${end.charAt(0).toUpperCase()}${end.slice(1)}. Continue with --resume; --max-restarts N does so by itself.`,
    );
  } finally {
    interrupt.release();
  }
}
