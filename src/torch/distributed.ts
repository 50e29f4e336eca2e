/**
 * Many processes as one: c10d's stores, process groups, collectives and gradient reducer, as torch.distributed has them.
 * Every process of a group calls the same collectives in the same order. What waits for other processes ends after the
 * group's timeout, or as soon as a connection breaks, with a ProcessError.
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

/** c10d's own words, as a ProcessError that says what was being done. */
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

/** A store whose keeper is paused, or behind a link that was cut, never answers: c10d would wait for ever. */
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

/** A file's lock may be slow on a network's disk. */
const FILE_TIMEOUT_MS = 300_000;

export interface TcpStoreOptions {
  host: string;
  port: number;
  /** Whether this process keeps the values; exactly one does. */
  isServer: boolean;
  /** How long to try to reach the server, and how long any later question may take. */
  timeoutMs: number;
  /** The server listens on 127.0.0.1 alone. Default false: whoever reaches the port may read and write. */
  isLocal?: boolean;
}

/** Small values that processes leave for one another by name. */
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

  /** A store in a file that all processes see; c10d's FileStore. The file belongs to one run and is left behind. */
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

  /** Waits until somebody has set it. @throws ProcessError when nobody has in time. */
  get(key: string, timeoutMs: number): Promise<string> {
    return answer(`store: waiting for ${key}`, timeoutMs + this.#timeoutMs, () =>
      native.storeGet(this.handle, key, timeoutMs),
    );
  }

  /** Adds to a counter that begins at 0. @returns The sum. */
  add(key: string, amount: number): Promise<number> {
    return answer(`store: adding to ${key}`, this.#timeoutMs, () =>
      native.storeAdd(this.handle, key, amount),
    );
  }

  /** Which of the keys somebody has set. */
  check(keys: readonly string[]): Promise<boolean[]> {
    return answer('store: looking for keys', this.#timeoutMs, () => native.storeCheck(this.handle, keys));
  }

  close(): void {
    native.closeStore(this.handle);
  }
}

/** Says in a store, again and again, that this process lives and how many steps it has done. */
export class Heartbeat {
  readonly #handle: HeartbeatHandle;

  /**
   * Sets `key` to "<beats> <step>" every `intervalMs`, also while JavaScript is busy, and with each new step; and looks
   * for a value of `newsKey`.
   */
  constructor(store: Store, options: { key: string; step: number; intervalMs: number; newsKey: string }) {
    const { key, step, intervalMs, newsKey } = options;
    this.#handle = attempt('heartbeat', () =>
      native.startHeartbeat(store.handle, key, step, intervalMs, newsKey),
    );
  }

  /** The value of `newsKey` as soon as it was seen, and for as long as this process lives; null before. */
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
  /** This machine's address as the others reach it, or `interface:` and the name of a network interface. */
  address: string;
  /** How long a collective may wait for the others. */
  timeoutMs: number;
  /** NCCL for tensors on CUDA devices; default where there is one. Else Gloo takes them through the host's memory. */
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

  /** The sum over all processes, in place; other work may go on in this thread meanwhile. */
  allReduce(tensor: Tensor): Promise<void> {
    return this.#finish('all-reduce', () => native.allReduce(this.handle, tensor.handle));
  }

  /** allReduce() that blocks this thread: inside of a step, which does so anyway. */
  allReduceSync(tensor: Tensor): void {
    attempt('all-reduce', () => native.waitWork(native.allReduce(this.handle, tensor.handle)));
  }

  /** Everybody's tensor, by rank. All have the same shape and dtype. */
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

  /** The values of `root`, in place of everybody's; the shapes and dtypes are the same everywhere. */
  async broadcast(tensors: readonly Tensor[], root = 0): Promise<void> {
    await attemptAsync('broadcast', () =>
      native.broadcast(
        this.handle,
        tensors.map((tensor) => tensor.handle),
        root,
      ),
    );
  }

  /** Waits until all are here. */
  barrier(): Promise<void> {
    return this.#finish('barrier', () => native.barrier(this.handle));
  }

  /** Ends the connections. After an error leave it open: it would wait for what is under way. */
  close(): void {
    native.closeGroup(this.handle);
  }
}

/**
 * Ends this process at once: after a ProcessError, when threads may still wait for a lost process, and would keep an
 * orderly exit waiting too. Nothing after it runs, not even `finally` or 'exit' listeners.
 */
export function exitNow(code: number): void {
  native.exitNow(code);
}

/** As DistributedDataParallel has it. */
const BUCKET_BYTES = 25 * 2 ** 20;

/**
 * Gradients averaged over a group by c10d's Reducer: buckets of them go out while the backward pass computes the others.
 *
 * @example
 * lossOf(first).backward(); // accumulates here alone
 * reducer.prepare();
 * lossOf(second).backward(); // reduces the sums as they are ready
 * reducer.finish();
 */
export class GradientReducer {
  readonly #handle: ReducerHandle;

  /** Collective. @param parameters - Those that are trained, in the same order everywhere. */
  constructor(parameters: readonly Parameter[], group: ProcessGroup) {
    this.#handle = attempt('gradient reducer', () =>
      native.createReducer(
        parameters.map((parameter) => parameter.handle),
        group.handle,
        BUCKET_BYTES,
      ),
    );
  }

  /** Before the last backward pass of a step. Without it finish() reduces everything. */
  prepare(): void {
    attempt('gradients', () => native.prepareReducer(this.#handle));
  }

  /** Blocks until every gradient is the mean over the group. One that a parameter has nowhere stays null. */
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
 * Batch normalisation by the mean and variance over a group's batches, with its gradient (torch.nn.SyncBatchNorm, on every
 * device). The running statistics, when given, are moved in place.
 *
 * @param x - (B, C, ...)
 * @param weight - (C)
 * @param bias - (C)
 * @returns x's shape and dtype.
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
    throw operatorError('synchronised batch normalisation', undefined, [x, weight, bias], error);
  }
}
