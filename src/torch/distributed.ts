/**
 * Several processes working as one: c10d's stores, process groups, collectives and gradient reducer, as in
 * torch.distributed. Every process of a group must call the same collectives in the same order. Waiting for other processes
 * ends with a ProcessError after the group's timeout, or as soon as a connection breaks.
 */
import { ProcessError } from '../errors.js';
import { cudaDeviceCount } from './device.js';
import { operatorError } from './dispatch.js';
import { native } from './native.js';
import type {
  GroupHandle,
  HeartbeatHandle,
  ReducerHandle,
  StoreHandle,
  WorkHandle,
} from './native-distributed.js';
import { empty } from './creation.js';
import { Tensor, type Parameter } from './tensor.js';

/** c10d's message, as a ProcessError that says what was being done. */
function problem(what: string, error: unknown): ProcessError {
  const message = error instanceof Error ? error.message : String(error);
  return new ProcessError(`${what}: ${message}`, { cause: error });
}

function attempt<T>(what: string, fn: () => T): T {
  try {
    return fn();
  } catch (error) {
    throw problem(what, error);
  }
}

async function attemptAsync<T>(what: string, fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw problem(what, error);
  }
}

/** Adds a time limit: if the store's process is paused, or the link to it was cut, c10d would wait forever. */
async function answer<T>(what: string, limitMs: number, fn: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ProcessError(`${what}: no answer within ${limitMs / 1000} s`));
    }, limitMs);
  });
  try {
    return await Promise.race([attemptAsync(what, fn), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Locking a file may be slow on a network file system. */
const FILE_TIMEOUT_MS = 300_000;

export interface TcpStoreOptions {
  host: string;
  port: number;
  /** Whether this process keeps the values; exactly one must. */
  isServer: boolean;
  /** How long to try to reach the server, and how long any later request may take. */
  timeoutMs: number;
  /** The server listens only on 127.0.0.1. Default false: anyone who can reach the port may read and write. */
  isLocal?: boolean;
}

/** Small values that processes share by name. */
export class Store {
  /** @internal */
  readonly handle: StoreHandle;
  readonly #timeoutMs: number;

  private constructor(handle: StoreHandle, timeoutMs: number) {
    this.handle = handle;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * A store kept by one process and reached over TCP; c10d's TCPStore.
   * @throws ProcessError when the port is in use, or the server can't be reached in time.
   */
  static async tcp({ host, port, isServer, timeoutMs, isLocal = false }: TcpStoreOptions): Promise<Store> {
    const what = isServer ? `the store can't listen on port ${port}` : `no store at ${host}:${port}`;
    return new Store(
      await attemptAsync(what, () => native.tcpStore(host, port, isServer, timeoutMs, isLocal)),
      timeoutMs,
    );
  }

  /** A store in a file that all processes can access; c10d's FileStore. Use a new file for each run; it is not deleted. */
  static file(path: string, processes: number): Store {
    return new Store(
      attempt(`store ${path}`, () => native.fileStore(path, processes)),
      FILE_TIMEOUT_MS,
    );
  }

  /** The same store with `name/` before every key. */
  prefix(name: string): Store {
    return new Store(native.prefixStore(name, this.handle), this.#timeoutMs);
  }

  set(key: string, value: string): Promise<void> {
    return answer(`store: setting ${key}`, this.#timeoutMs, () => native.storeSet(this.handle, key, value));
  }

  /** Waits until a process has set the key. @throws ProcessError when none has in time. */
  get(key: string, timeoutMs: number): Promise<string> {
    return answer(`store: waiting for ${key}`, timeoutMs + this.#timeoutMs, () =>
      native.storeGet(this.handle, key, timeoutMs),
    );
  }

  /** Adds to a counter that starts at 0. @returns The sum. */
  add(key: string, amount: number): Promise<number> {
    return answer(`store: adding to ${key}`, this.#timeoutMs, () =>
      native.storeAdd(this.handle, key, amount),
    );
  }

  /** Which of the keys have been set. */
  check(keys: readonly string[]): Promise<boolean[]> {
    return answer('store: looking for keys', this.#timeoutMs, () => native.storeCheck(this.handle, keys));
  }

  close(): void {
    native.closeStore(this.handle);
  }
}

/** Regularly reports in a store that this process is alive and how many steps it has done. */
export class Heartbeat {
  readonly #handle: HeartbeatHandle;

  /**
   * Sets `key` to "<beats> <step>" every `intervalMs`, also while JavaScript is busy, and at each new step; also watches for
   * a value of `newsKey`.
   */
  constructor(store: Store, options: { key: string; step: number; intervalMs: number; newsKey: string }) {
    const { key, step, intervalMs, newsKey } = options;
    this.#handle = attempt('heartbeat', () =>
      native.startHeartbeat(store.handle, key, step, intervalMs, newsKey),
    );
  }

  /** The value of `newsKey` once it has been seen; null before. */
  get news(): string | null {
    return native.heartbeatNews(this.#handle);
  }

  set step(step: number) {
    native.setHeartbeatStep(this.#handle, step);
  }

  stop(): void {
    native.stopHeartbeat(this.#handle);
  }
}

export interface GroupOptions {
  rank: number;
  size: number;
  /** The address at which the others reach this machine, or `interface:` and the name of a network interface. */
  address: string;
  /** How long a collective may wait for the others. */
  timeoutMs: number;
  /** Use NCCL for tensors on CUDA devices; default if there are any. Otherwise Gloo copies them through host memory. */
  nccl?: boolean;
}

/**
 * Processes that work together; c10d's ProcessGroup, over Gloo and, between CUDA devices, NCCL.
 *
 * @example
 * const group = await ProcessGroup.connect(store, { rank, size, address: '127.0.0.1', timeoutMs: 60_000 });
 * await group.allReduce(sum);
 */
export class ProcessGroup {
  /** @internal */
  readonly handle: GroupHandle;
  readonly rank: number;
  readonly size: number;

  private constructor(handle: GroupHandle, rank: number, size: number) {
    this.handle = handle;
    this.rank = rank;
    this.size = size;
  }

  /** Connects all processes with each other. @throws ProcessError when one is missing after the timeout. */
  static async connect(store: Store, options: GroupOptions): Promise<ProcessGroup> {
    const { rank, size, address, timeoutMs, nccl = cudaDeviceCount() > 0 } = options;
    const handle = await attemptAsync('connecting the processes', () =>
      native.createGroup(store.handle, rank, size, address, timeoutMs, nccl),
    );
    return new ProcessGroup(handle, rank, size);
  }

  #finish(what: string, work: () => WorkHandle): Promise<void> {
    return attemptAsync(what, () => native.workDone(work()));
  }

  /** The sum over all processes, in place; this thread can do other work in the meantime. */
  allReduce(tensor: Tensor): Promise<void> {
    return this.#finish('all-reduce', () => native.allReduce(this.handle, tensor.handle));
  }

  /** allReduce() that blocks this thread: for use inside a step, which blocks anyway. */
  allReduceSync(tensor: Tensor): void {
    attempt('all-reduce', () => native.waitWork(native.allReduce(this.handle, tensor.handle)));
  }

  /** The tensors of all processes, by rank. All must have the same shape and dtype. */
  async allGather(tensor: Tensor): Promise<Tensor[]> {
    const { dtype, device } = tensor;
    const outputs = Array.from({ length: this.size }, () => empty(tensor.shape, { dtype, device }));
    await this.#finish('all-gather', () =>
      native.allGather(
        this.handle,
        outputs.map((output) => output.handle),
        tensor.handle,
      ),
    );
    return outputs;
  }

  /** Overwrites the tensors of all processes with those of `root`; shapes and dtypes must be the same everywhere. */
  async broadcast(tensors: readonly Tensor[], root = 0): Promise<void> {
    await attemptAsync('broadcast', () =>
      native.broadcast(
        this.handle,
        tensors.map((tensor) => tensor.handle),
        root,
      ),
    );
  }

  /** Waits until all processes have called it. */
  barrier(): Promise<void> {
    return this.#finish('barrier', () => native.barrier(this.handle));
  }

  /** Closes the connections. After an error don't call it: it would wait for pending collectives. */
  close(): void {
    native.closeGroup(this.handle);
  }
}

/**
 * Ends this process immediately. Use it after a ProcessError, when threads may still be waiting for a lost process, which an
 * orderly exit would have to wait for too. Nothing else runs, not even `finally` blocks or 'exit' listeners.
 */
export function exitNow(code: number): void {
  native.exitNow(code);
}

/** DistributedDataParallel's default. */
const BUCKET_BYTES = 25 * 2 ** 20;

/**
 * Averages gradients over a group with c10d's Reducer: it sends them in buckets while the backward pass computes the others.
 *
 * @example
 * lossOf(first).backward(); // accumulates only in this process
 * reducer.prepare();
 * lossOf(second).backward(); // reduces the sums as they become ready
 * reducer.finish();
 */
export class GradientReducer {
  readonly #handle: ReducerHandle;

  /** Collective. @param parameters - The trained parameters, in the same order everywhere. */
  constructor(parameters: readonly Parameter[], group: ProcessGroup) {
    this.#handle = attempt('gradient reducer', () =>
      native.createReducer(
        parameters.map((parameter) => parameter.handle),
        group.handle,
        BUCKET_BYTES,
      ),
    );
  }

  /** Call before the last backward pass of a step. Without it finish() reduces everything. */
  prepare(): void {
    attempt('gradients', () => native.prepareReducer(this.#handle));
  }

  /** Blocks until every gradient is the mean over the group. A parameter without a gradient in any process keeps null. */
  finish(): void {
    attempt('reducing gradients', () => native.finishReducer(this.#handle));
  }

  close(): void {
    native.closeReducer(this.#handle);
  }
}

export interface SyncBatchNormOptions {
  runningMean: Tensor | null;
  runningVar: Tensor | null;
  momentum: number;
  eps: number;
}

/**
 * Batch normalization by the mean and variance over a group's batches, with its gradient (torch.nn.SyncBatchNorm, on every
 * device). The running statistics, if given, are updated in place.
 *
 * @param x - (B, C, ...)
 * @param weight - (C)
 * @param bias - (C)
 * @returns A tensor with x's shape and dtype.
 */
export function syncBatchNorm(
  group: ProcessGroup,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  { runningMean, runningVar, momentum, eps }: SyncBatchNormOptions,
): Tensor {
  const [mean, variance] = [runningMean?.handle ?? null, runningVar?.handle ?? null];
  const { handle } = group;
  try {
    return new Tensor(
      native.syncBatchNorm(handle, x.handle, weight.handle, bias.handle, mean, variance, momentum, eps),
    );
  } catch (error) {
    throw operatorError('synchronized batch normalization', undefined, [x, weight, bias], error);
  }
}
