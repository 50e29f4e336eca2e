/**
 * Runs jobs (jobs/index.ts) in processes of their own. Quick jobs share one, which stays for a while with what it has
 * loaded, and take turns; long ones have a process each. A job's crash ends its process, and is an error of that job.
 */
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../errors.js';
import { readBelow } from '../files/read-below.js';
import type { TaskProgress } from '../plain/studio-api/index.js';
import { StudioError } from './files.js';
import type { JobName, Jobs } from './jobs/job.js';
import type { FromWorker, ToWorker } from './worker.js';

/** A model stays loaded this long after its last use. */
const IDLE_MS = 5 * 60_000;
/** How long a cancelled job has to end by itself. */
const GRACE_MS = 5000;
/** Computing for the page must not slow a training: lower than normal. */
const NICENESS = 5;

export interface RunJobOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TaskProgress) => void) | undefined;
  /** `shared` (default): one after the other in one process. `own`: a process for this one. */
  process?: 'shared' | 'own';
}

interface Pending {
  resolve: (output: unknown) => void;
  reject: (error: Error) => void;
  onProgress?: ((progress: TaskProgress) => void) | undefined;
}

class Worker {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #isEnded = false;
  #stderr = '';

  constructor(
    folders: readonly string[],
    readonly onEnd: () => void,
  ) {
    // without the flags of this process: those of a test runner or debugger are not meant for it
    this.#child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), [], {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, ...readBelow(folders), NODE_TEST_CONTEXT: undefined },
    });
    this.#child.on('message', (message) => this.#handle(message as FromWorker));
    this.#child.on('error', (error) => this.#ended(error.message));
    this.#child.on('exit', (code, signal) =>
      this.#ended(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`),
    );
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-2000);
    });
    try {
      if (this.#child.pid !== undefined) os.setPriority(this.#child.pid, NICENESS);
    } catch {
      // not every system has priorities
    }
  }

  get isBusy(): boolean {
    return this.#pending.size > 0;
  }

  run(name: JobName, input: unknown, { signal, onProgress }: RunJobOptions): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (this.#isEnded) return reject(new EngineError('the process that computes has ended'));
      const abort = (): void => {
        this.#send({ type: 'abort', id });
        // a job that doesn't react is killed, together with what its process has loaded
        setTimeout(() => {
          if (this.#pending.has(id)) this.end();
        }, GRACE_MS).unref();
      };
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener('abort', abort);
          done(value);
        };
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject), onProgress });
      signal?.addEventListener('abort', abort, { once: true });
      this.#send({ type: 'run', id, name, input });
    });
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  #send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message);
  }

  #handle(message: FromWorker): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (message.type === 'progress') return pending.onProgress?.(message.progress);
    this.#pending.delete(message.id);
    if (message.type === 'done') pending.resolve(message.output);
    else pending.reject(new StudioError(message.status ?? 422, message.message, message.code));
  }

  #ended(how: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const last = this.#stderr.trim().split('\n').slice(-3).join('\n');
    const memory = how.includes('SIGKILL') ? ' (is memory short?)' : '';
    const error = new EngineError(
      `the process that computed this has ended: ${how}${memory}${last === '' ? '' : `\n${last}`}`,
    );
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.onEnd();
  }
}

export class JobRunner {
  #shared: Worker | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  readonly #all = new Set<Worker>();

  /** @param folders - Below which jobs may read; absolute, links followed. */
  constructor(readonly folders: readonly string[]) {}

  /**
   * @throws StudioError with the job's own message when it fails (422, unless it threw one itself), EngineError when its
   *   process has ended, the signal's reason when it is aborted.
   */
  async run<K extends JobName>(
    name: K,
    input: Jobs[K]['input'],
    options: RunJobOptions = {},
  ): Promise<Jobs[K]['output']> {
    const { signal } = options;
    const work = async (worker: () => Worker): Promise<Jobs[K]['output']> => {
      signal?.throwIfAborted();
      try {
        return (await worker().run(name, input, options)) as Jobs[K]['output'];
      } catch (error) {
        signal?.throwIfAborted();
        throw error;
      }
    };
    if (options.process === 'own') {
      const worker = this.#start(() => undefined);
      try {
        return await work(() => worker);
      } finally {
        worker.end();
      }
    }
    const result = this.#turn.then(() => work(() => this.#sharedWorker()));
    this.#turn = result.catch(() => undefined).then(() => this.#rest());
    return result;
  }

  close(): void {
    clearTimeout(this.#idle);
    for (const worker of this.#all) worker.end();
  }

  #start(onEnd: () => void): Worker {
    const worker: Worker = new Worker(this.folders, () => {
      this.#all.delete(worker);
      onEnd();
    });
    this.#all.add(worker);
    return worker;
  }

  #sharedWorker(): Worker {
    clearTimeout(this.#idle);
    this.#shared ??= this.#start(() => (this.#shared = null));
    return this.#shared;
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (this.#shared?.isBusy === false) this.#shared.end();
    }, IDLE_MS).unref();
  }
}
