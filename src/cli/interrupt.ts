/** Signals that ask a command to stop. */
import { onLostOutput } from './lost-output.js';
import { Interrupted } from './outcome.js';

/** `signal` is aborted when the command should stop; `release()` gives the process its default handling back. */
export interface Interrupt {
  signal: AbortSignal;
  release: () => void;
}

/**
 * A signal that is aborted by Ctrl-C, by SIGTERM, and when the terminal or the reader of the output goes away: the first
 * time the command may end in good order. A second Ctrl-C or SIGTERM ends the process at once. SIGHUP never does: a
 * terminal that closes sends it several times, and the parent process passes it on.
 */
export function interruptSignal(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) return;
    controller.abort(new Interrupted('interrupted'));
    onFirst();
  };
  let isAsked = false;
  const handle = (): void => {
    if (isAsked) process.exit(130);
    isAsked = true;
    stop();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const; // Slurm often sends SIGUSR1 before a job's time is up
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

/** Works with interruptSignal()'s signal, and releases it however the work ends. */
export async function interruptible(
  onFirst: () => void,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const interrupt = interruptSignal(onFirst);
  try {
    await work(interrupt.signal);
  } finally {
    interrupt.release();
  }
}

/** interruptSignal(), aborted also when the process that started this one ends. */
export function stopSignal(onFirst: () => void): Interrupt {
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
