/**
 * One command, many processes: starts a copy of a command line for each device of this machine, and restarts them all when
 * one is lost. It does what torchrun does, for one machine and without Python.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import {
  callback,
  checkCall,
  command,
  count,
  optionsOf,
  signal as abortSignal,
  variables,
} from '../plain/check-options.js';
import { restartCount } from './place.js';
import { isPaused } from './process-state.js';

export interface LaunchOptions {
  /** Program and arguments of each process, as for spawn(). */
  command: readonly string[];
  /** Number of processes. */
  processes: number;
  /** How often they may all be restarted after one was lost. Default 0. */
  maxRestarts?: number;
  /** How long the others have to notice that one is lost, and to end, before they are killed; milliseconds. */
  graceMs: number;
  /** Environment variables in addition to this process's own. */
  env?: Readonly<Record<string, string>>;
  /** Aborting it sends SIGTERM to all. */
  signal?: AbortSignal;
  /** Lines about what happens: a lost process, a restart, an error of a rank above 0. */
  onNote?: (line: string) => void;
}

/** Exit codes after which a restart is pointless: success, bad usage, an interruption, and a closed output pipe. */
const FINAL_CODES: ReadonlySet<number> = new Set([0, 2, 130, 141]);

/** How a process ended. */
export interface Ended {
  rank: number;
  pid: number;
  /** Null when a signal ended it. */
  code: number | null;
  /** SIGSTOP for one that was paused when others ended, and was killed for that reason. */
  signal: NodeJS.Signals | null;
}

/** "rank 1 (process 42 on host) was ended by SIGKILL" */
export function describeEnd({ rank, pid, code, signal }: Ended): string {
  const how =
    signal === null
      ? `ended with code ${code}`
      : signal === 'SIGSTOP'
        ? 'was stopped (SIGSTOP)'
        : `was ended by ${signal}`;
  return `rank ${rank} (process ${pid} on ${hostname()}) ${how}`;
}

/** A port that is free at the moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

const launchOptions = optionsOf<LaunchOptions>(
  { command, processes: count(1), graceMs: count() },
  { maxRestarts: count(), env: variables, signal: abortSignal, onNote: callback },
);

/**
 * Runs the processes to their end. Rank 0 has this process's terminal; of the others only stderr is shown, with each line
 * labelled by rank.
 *
 * @returns The process that caused the failure of the last attempt; null when all ended well.
 */
export async function launch(options: LaunchOptions): Promise<Ended | null> {
  checkCall('launch()', ['options', launchOptions, options]);
  const { maxRestarts = 0, onNote = () => undefined } = options;
  for (let attempt = 0; ; attempt++) {
    const bad = await runOnce(options, attempt, onNote);
    if (bad === null || (bad.code !== null && FINAL_CODES.has(bad.code)) || options.signal?.aborted === true)
      return bad;
    if (attempt >= maxRestarts) return bad;
    onNote(`${describeEnd(bad)}: restarting from the newest checkpoint (${attempt + 1} of ${maxRestarts})`);
  }
}

/** Runs all processes once. */
async function runOnce(
  options: LaunchOptions,
  attempt: number,
  onNote: (line: string) => void,
): Promise<Ended | null> {
  const { processes, graceMs, signal } = options;
  const port = await freePort();
  const seen = new Set<string>();
  const children = Array.from({ length: processes }, (_, rank) =>
    start(options, rank, port, attempt, onNote, seen),
  );
  const killAll = (name: NodeJS.Signals): void => {
    for (const child of children.filter(isRunning)) child.kill(name);
  };
  let isAskedToStop = false;
  const onAbort = (): void => {
    isAskedToStop = true;
    killAll('SIGTERM');
  };
  const onExit = (): void => killAll('SIGKILL');
  process.on('exit', onExit);
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted === true) onAbort();
  const ended: Ended[] = [];
  const stopped: Ended[] = [];
  const killed = new Set<ChildProcess>();
  const kill = (child: ChildProcess): void => {
    if (killed.has(child)) return;
    killed.add(child);
    if (isStopped(child))
      stopped.push({ rank: children.indexOf(child), pid: child.pid ?? 0, code: null, signal: 'SIGSTOP' });
    child.kill('SIGKILL');
  };
  let grace: NodeJS.Timeout | undefined;
  let watch: NodeJS.Timeout | undefined;
  await Promise.all(
    children.map(
      (child, rank) =>
        new Promise<void>((resolve) => {
          child.on('error', (error) => onNote(`rank ${rank} can't be started: ${error.message}`));
          child.on('close', (code, name) => {
            // A process that is asked to stop before it has anything to save, or after its work, dies of the signal: it did
            // what it was asked, and is not lost.
            const how =
              isAskedToStop && name === 'SIGTERM' ? { code: 130, signal: null } : { code, signal: name };
            if (code !== 0 && !killed.has(child)) ended.push({ rank, pid: child.pid ?? 0, ...how });
            // when one is lost the others notice by themselves, and rank 0 writes a checkpoint; when one is done, all are
            // done or nearly so, except that a stopped one never ends
            grace ??= setTimeout(() => children.filter(isRunning).forEach(kill), graceMs);
            watch ??= setInterval(() => children.filter(isStopped).forEach(kill), 500);
            resolve();
          });
        }),
    ),
  );
  clearTimeout(grace);
  clearInterval(watch);
  signal?.removeEventListener('abort', onAbort);
  process.off('exit', onExit);
  // the others end because one did: the cause is the one whose exit differs from theirs
  const cause =
    ended.find(({ code }) => code !== null && FINAL_CODES.has(code)) ??
    ended.find(({ signal: by }) => by !== null) ??
    (ended.length > 0 ? stopped[0] : undefined);
  return cause ?? ended[0] ?? null;
}

const isRunning = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode === null && signalCode === null;

const isStopped = (child: ChildProcess): boolean =>
  child.pid !== undefined && isRunning(child) && isPaused(child.pid);

function start(
  { command, processes, env }: LaunchOptions,
  rank: number,
  port: number,
  attempt: number,
  onNote: (line: string) => void,
  seen: Set<string>,
): ChildProcess {
  const [program = '', ...args] = command;
  // torchrun may have started this process: its store is not meant for the children
  const outer = Object.entries(process.env).filter(([name]) => !name.startsWith('TORCHELASTIC_'));
  const child = spawn(program, args, {
    env: {
      ...Object.fromEntries(outer),
      ...env,
      DINO_LAUNCHER: '1',
      DINO_RESTART_COUNT: String(restartCount() + attempt),
      RANK: String(rank),
      WORLD_SIZE: String(processes),
      LOCAL_RANK: String(rank),
      LOCAL_WORLD_SIZE: String(processes),
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: String(port),
    },
    // rank 0 draws progress and prints the result; a closed channel tells the children that this process is gone
    stdio: rank === 0 ? ['ignore', 'inherit', 'inherit', 'ipc'] : ['ignore', 'ignore', 'pipe', 'ipc'],
    detached: true, // Ctrl-C reaches them only through this process
  });
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (seen.has(line)) return; // often all of them print the same error
      seen.add(line);
      onNote(`[rank ${rank}] ${line}`);
    });
  }
  return child;
}
