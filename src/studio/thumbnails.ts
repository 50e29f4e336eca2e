/**
 * Pictures for the page: decoded, made small and encoded again as WebP, in processes of their own (picture-process.ts), so
 * that no file can end the server or fill its memory. Some run at once, one picture each, and stay for a while: what a
 * process dies of is that picture's, and the next one gets another process.
 */
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { DataError } from '../errors.js';
import { readBelow } from '../files/read-below.js';
import type { PictureReply, PictureRequest } from './picture-process.js';

const MOST_PROCESSES = 4;
/** A picture may take this long; the largest that are decoded take some seconds. */
const TIME_LIMIT_MS = 30_000;
/** Resident memory of a process, bytes: what the largest images that are decoded take, and some more. */
const MEMORY_LIMIT = 1.5 * 2 ** 30;
/** A process that nobody needs stays this long. */
const IDLE_MS = 60_000;
type Answer = Exclude<PictureReply, { problem: string }>;

interface Asked {
  request: PictureRequest;
  resolve: (answer: Answer) => void;
  reject: (error: unknown) => void;
  signal: AbortSignal | undefined;
}

export interface PictureOptions {
  /** The folders below which files are read, links followed. */
  readBelow: readonly string[];
  /** For one picture. Default 30 s. */
  timeLimitMs?: number;
  /** Of a process that makes pictures, bytes. Default 1.5 GiB. */
  memoryLimit?: number;
}

export class Pictures {
  readonly #options: PictureOptions;
  readonly #waiting: Asked[] = [];
  readonly #idle = new Set<Helper>();
  readonly #all = new Set<Helper>();

  constructor(options: PictureOptions) {
    this.#options = options;
  }

  /**
   * A picture of at most `side` x `side` pixels, upright, as WebP.
   * @param source - A file's path, links followed, or its bytes.
   * @throws DataError when it can't be decoded, or takes too long or too much memory; the signal's reason when aborted.
   */
  async thumbnail(
    source: string | Uint8Array,
    side: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { data } = await this.#ask({ source, side }, signal);
    return new Uint8Array(data!);
  }

  /** Width and height, upright, in pixels. @throws DataError when it is not an image, or has too many pixels. */
  async size(bytes: Uint8Array, signal?: AbortSignal): Promise<{ width: number; height: number }> {
    const { size } = await this.#ask({ source: bytes, side: null }, signal);
    return { width: size.width, height: size.height };
  }

  close(): void {
    for (const { signal, reject } of this.#waiting.splice(0))
      reject(signal?.reason ?? new Error('the studio is closing'));
    for (const helper of this.#all) helper.end();
  }

  #ask(request: PictureRequest, signal: AbortSignal | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject, signal });
      this.#giveOut();
    });
  }

  #giveOut(): void {
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      // the page does not need it any more, for example after scrolling
      if (next.signal?.aborted !== true) {
        const helper = [...this.#idle].pop() ?? this.#start();
        if (helper === null) return;
        this.#idle.delete(helper);
        helper.work(next);
      } else next.reject(next.signal.reason);
      this.#waiting.shift();
    }
  }

  #start(): Helper | null {
    if (this.#all.size >= Math.min(MOST_PROCESSES, os.availableParallelism())) return null;
    const helper = new Helper(this.#options, {
      onFree: () => {
        this.#idle.add(helper);
        this.#giveOut();
      },
      onEnd: () => {
        this.#idle.delete(helper);
        this.#all.delete(helper);
        this.#giveOut();
      },
    });
    this.#all.add(helper);
    return helper;
  }
}

/** A process, and the picture that it works on. */
class Helper {
  readonly #child: ChildProcess;
  readonly #timeLimitMs: number;
  readonly #onFree: () => void;
  #work: Asked | null = null;
  #limit: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #isEnded = false;

  constructor(
    { readBelow: folders, timeLimitMs = TIME_LIMIT_MS, memoryLimit = MEMORY_LIMIT }: PictureOptions,
    { onFree, onEnd }: { onFree: () => void; onEnd: () => void },
  ) {
    this.#timeLimitMs = timeLimitMs;
    this.#onFree = onFree;
    // without the flags of this process: those of a test runner or debugger are not meant for it
    this.#child = fork(
      fileURLToPath(new URL('./picture-process.js', import.meta.url)),
      [String(memoryLimit)],
      {
        serialization: 'advanced',
        execArgv: [],
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        env: { ...process.env, ...readBelow(folders), NODE_TEST_CONTEXT: undefined },
      },
    );
    this.#child.on('message', (reply) => this.#reply(reply as PictureReply));
    const ended = (how: string): void => {
      if (this.#isEnded) return;
      this.#isEnded = true;
      clearTimeout(this.#idle);
      this.#settle((work) => work.reject(failure(work, `the process that decoded it has ended (${how})`)));
      onEnd();
    };
    this.#child.once('error', (error) => ended(error.message));
    this.#child.once('exit', (code, signal) => ended(signal ?? `code ${code}`));
    this.#child.unref();
    this.#child.channel?.unref();
  }

  work(work: Asked): void {
    clearTimeout(this.#idle);
    this.#work = work;
    this.#child.send(work.request, (error) => {
      if (error !== null) this.end();
    });
    this.#limit = setTimeout(() => {
      const reason = `decoding it takes more than ${this.#timeLimitMs / 1000} s`;
      this.#settle(() => work.reject(failure(work, reason)));
      this.end();
    }, this.#timeLimitMs);
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  #settle(settle: (work: Asked) => void): void {
    const work = this.#work;
    this.#work = null;
    clearTimeout(this.#limit);
    if (work !== null) settle(work);
  }

  #reply(reply: PictureReply): void {
    this.#settle((work) => {
      if ('problem' in reply) work.reject(failure(work, reply.problem));
      else work.resolve(reply);
    });
    if ('problem' in reply && reply.isOver) return this.end();
    this.#idle = setTimeout(() => this.end(), IDLE_MS).unref();
    this.#onFree();
  }
}

function failure({ request: { source } }: Asked, reason: string): DataError {
  const name = typeof source === 'string' ? source : 'The image';
  return new DataError(`${name} can't be decoded: ${reason}`);
}
