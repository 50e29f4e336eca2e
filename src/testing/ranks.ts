/** Runs `dino` command lines in separate processes, for tests with several. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const dinoBin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  child: ChildProcess;
  /** Stderr so far. */
  stderr: () => string;
  ended: Promise<Ended>;
}

/** An environment without a launcher's variables, with one thread per process. */
export function plainEnvironment(more: Record<string, string> = {}): Record<string, string | undefined> {
  const launcher =
    /^(RANK|WORLD_SIZE|LOCAL_|MASTER_|TORCHELASTIC_|SLURM_|OMPI_|PMI_|DINO_LAUNCHER|DINO_RESTART)/;
  const kept = Object.entries(process.env).filter(([name]) => !launcher.test(name));
  return { ...Object.fromEntries(kept), OMP_NUM_THREADS: '1', ...more };
}

export function start(
  command: readonly string[],
  env: Record<string, string> = {},
  options: { onLine?: (line: string) => void } = {},
): Running {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: plainEnvironment(env), stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data: Buffer) => (output.stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => {
    const before = output.stderr.lastIndexOf('\n') + 1;
    output.stderr += data.toString();
    const whole = output.stderr.slice(before, output.stderr.lastIndexOf('\n') + 1);
    for (const line of whole.split('\n').filter(Boolean)) options.onLine?.(line);
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
  return { child, stderr: () => output.stderr, ended };
}

/** Runs `dino ...` to its end. */
export const dino = (args: readonly string[], env: Record<string, string> = {}): Promise<Ended> =>
  start([process.execPath, dinoBin, ...args], env).ended;

/** The variables that a launcher gives rank `rank` of `size`. */
export const rankVariables = (
  rank: number,
  size: number,
  port: number,
  host = '127.0.0.1',
): Record<string, string> => ({
  ...{
    RANK: String(rank),
    WORLD_SIZE: String(size),
    LOCAL_RANK: String(rank),
    LOCAL_WORLD_SIZE: String(size),
  },
  ...{ MASTER_ADDR: host, MASTER_PORT: String(port) },
});
