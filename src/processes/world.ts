/**
 * The processes that train together, and what they say to each other besides gradients: that they are all there and were
 * started alike, who stops, which images were bad, and, when one is lost, which one it was and how far it had come.
 *
 * Large things go through the process group. Small ones go through the store, where a wait can look at the same time for
 * somebody's report of a failure, and can say who has not come.
 */
import { lookup } from 'node:dns/promises';
import { createSocket } from 'node:dgram';
import { hostname, networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { callback, checkCall, text } from '../check-options.js';
import { ProcessError } from '../errors.js';
import { fromTypedArray, Heartbeat, ProcessGroup, Store, tensor, torchVersion } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { type Place, restartCount } from './place.js';

export interface JoinOptions {
  place: Place;
  /** How long to wait for the others: to come, in a collective, to be heard of. Milliseconds. */
  timeoutMs: number;
}

/** What a process says of itself as it comes. */
interface Hello {
  size: number;
  host: string;
  pid: number;
  version: string;
  torch: string;
}

/** Why the training ends, as the first one that knows says it. */
interface Verdict {
  message: string;
}

/** Between two signs of life. */
const BEAT_MS = 1000;
/** How long a lost store is asked before its keeper counts as lost. */
const ASK_MS = 5000;

const ranks = (list: readonly number[]): string =>
  list.length === 1
    ? `rank ${list[0]}`
    : `ranks ${list.slice(0, 16).join(', ')}${list.length > 16 ? ` and ${list.length - 16} more` : ''}`;

export class World {
  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  readonly localSize: number;
  /** Null for a process alone. */
  readonly group: ProcessGroup | null;
  /** Whether processes were started here before, by a launcher that starts them again. */
  readonly isRestart: boolean;
  readonly #store: Store | null;
  readonly #heartbeat: Heartbeat | null;
  readonly #timeoutMs: number;
  #hellos: Hello[] = [];
  #step = 0;
  #calls = 0;
  /** Something went wrong between the processes: connections are not to be closed, but left. */
  #isBroken = false;

  private constructor(
    place: Pick<Place, 'rank' | 'size' | 'localRank' | 'localSize' | 'attempt'>,
    parts: {
      store: Store;
      group: ProcessGroup;
      heartbeat: Heartbeat;
      hellos: Hello[];
      timeoutMs: number;
    } | null,
  ) {
    ({ rank: this.rank, size: this.size, localRank: this.localRank, localSize: this.localSize } = place);
    this.isRestart = place.attempt > 0;
    this.group = parts?.group ?? null;
    this.#store = parts?.store ?? null;
    this.#heartbeat = parts?.heartbeat ?? null;
    this.#timeoutMs = parts?.timeoutMs ?? 0;
    this.#hellos = parts?.hellos ?? [];
  }

  /** A process that has no company. */
  static alone(place?: Place | null): World {
    const only = { rank: 0, size: 1, localRank: 0, localSize: 1, attempt: restartCount() };
    return new World(place ?? only, null);
  }

  /**
   * Meets the others. Collective.
   *
   * @throws ProcessError when the port is in use, the master can't be reached, somebody has not come after `timeoutMs`, or
   *   they were not started alike: other numbers of processes, versions of this package or of libtorch.
   */
  static async join({ place, timeoutMs }: JoinOptions): Promise<World> {
    const { rank, size } = place;
    if (size === 1) return World.alone(place);
    const root = await openStore(place, timeoutMs);
    const store = root.prefix(`dino/${place.attempt}`);
    const hellos = await meet(store, place, timeoutMs);
    const hosts = new Set(hellos.map(({ host }) => host));
    const address = await ownAddress(place, hosts.size > 1);
    const group = await ProcessGroup.connect(store.prefix('gloo'), { rank, size, address, timeoutMs });
    const heartbeat = new Heartbeat(store, `beat/${rank}`, 0, BEAT_MS);
    return new World(place, { store, group, heartbeat, hellos, timeoutMs });
  }

  /** The process that writes the run's folder. */
  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** Rank 0's value, for everybody: others don't make their own. JSON. */
  async shared<T>(what: string, make: () => T | Promise<T>): Promise<T> {
    checkCall('shared()', ['what', text, what], ['make', callback, make]);
    if (this.#store === null) return make();
    const key = `shared/${this.#calls++}`;
    if (this.isFirst) {
      const value = await make();
      await this.#store.set(key, JSON.stringify(value ?? null));
      return value;
    }
    return JSON.parse(await this.#wait(key, what, () => [0])) as T;
  }

  /** What only the process that writes does; null for the others. */
  async onFirst<T>(make: () => T | Promise<T>): Promise<T | null> {
    checkCall('onFirst()', ['make', callback, make]);
    return this.isFirst ? make() : null;
  }

  /** Waits until all have come here, for as long as all are alive. */
  async meet(what: string): Promise<void> {
    checkCall('meet()', ['what', text, what]);
    if (this.#store === null) return;
    const name = `meet/${this.#calls++}`;
    const store = this.#store;
    await store.set(`${name}/${this.rank}`, '');
    if ((await store.add(`${name}/count`, 1)) === this.size) await store.set(`${name}/all`, '');
    await this.#wait(`${name}/all`, what, async () => {
      const here = await store.check(Array.from({ length: this.size }, (_, i) => `${name}/${i}`));
      return here.flatMap((is, i) => (is ? [] : [i]));
    });
  }

  /** A key's value, for as long as those that it waits for are alive. */
  async #wait(key: string, what: string, awaited: () => number[] | Promise<number[]>): Promise<string> {
    const store = this.#store as Store;
    let before = new Map<number, string>();
    let deadline = performance.now() + this.#timeoutMs;
    for (let pause = 10; ; pause = Math.min(500, pause * 2)) {
      const [here, failed] = await store.check([key, 'verdict']);
      if (failed) throw new ProcessError('another process has failed');
      if (here) return store.get(key, ASK_MS);
      if (performance.now() > deadline) {
        const missing = await awaited();
        const now = new Map(await Promise.all(missing.map(async (i) => [i, await this.#beat(i)] as const)));
        const silent = missing.filter((i) => before.get(i) === now.get(i));
        if (silent.length > 0)
          throw new ProcessError(
            `${ranks(silent)} did not come to ${what} within ${this.#timeoutMs / 1000} s (--dist-timeout)`,
          );
        [before, deadline] = [now, performance.now() + this.#timeoutMs];
      }
      await sleep(pause);
    }
  }

  /** "<beats> <step>", or nothing from one that has not begun. */
  async #beat(rank: number): Promise<string> {
    const store = this.#store as Store;
    const [here] = await store.check([`beat/${rank}`]);
    return here === true ? store.get(`beat/${rank}`, ASK_MS) : '';
  }

  /**
   * What everybody has found since the last step, for everybody: whether one of them was told to stop, and lists of all.
   * Collective.
   */
  async agree<T>(
    step: number,
    stop: boolean,
    found: readonly T[],
  ): Promise<{ stop: boolean; found: readonly T[] }> {
    this.#step = step;
    if (this.group === null) return { stop, found };
    (this.#heartbeat as Heartbeat).step = step;
    using flags = tensor([stop ? 1 : 0, found.length], { dtype: 'float64' });
    await this.group.allReduce(flags);
    const [stops = 0, founds = 0] = flags.toArray();
    return { stop: stops > 0, found: founds > 0 ? (await this.gather(found)).flat() : [] };
  }

  /** Does what needs the others, and `rescue` when one of them is lost meanwhile. */
  async attempt<T>(rescue: () => Promise<void>, work: () => T | Promise<T>): Promise<T> {
    checkCall('attempt()', ['rescue', callback, rescue], ['work', callback, work]);
    try {
      return await work();
    } catch (error) {
      if (error instanceof ProcessError) await rescue();
      throw error;
    }
  }

  /** Everybody's value, by rank. JSON. Collective. */
  async gather<T>(value: T): Promise<T[]> {
    if (this.group === null) return [value];
    const own = new TextEncoder().encode(JSON.stringify(value));
    return (await this.gatherArrays(own)).map((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as T);
  }

  /** Everybody's numbers, by rank; each as many as it has. Collective. */
  async gatherArrays<T extends Uint8Array | Float32Array>(own: T): Promise<T[]> {
    if (this.group === null) return [own];
    using length = tensor([own.length], { dtype: 'int64' });
    const lengths = (await this.group.allGather(length)).map((each) => {
      const size = each.item();
      each.dispose();
      return size;
    });
    const most = Math.max(...lengths);
    if (most === 0) return lengths.map(() => own);
    const padded = (own instanceof Uint8Array ? new Uint8Array(most) : new Float32Array(most)) as T;
    padded.set(own);
    using sent = fromTypedArray(padded, [most]);
    return (await this.group.allGather(sent)).map((each, i) => {
      const values = (each.toTypedArray() as T).slice(0, lengths[i]) as T;
      each.dispose();
      return values;
    });
  }

  /**
   * Tells the others why this process ends, or learns from them why: which process was lost, and its last step.
   *
   * @returns What to throw in place of `error`.
   */
  async explain(error: unknown): Promise<unknown> {
    if (this.#store === null || this.#isBroken) return error;
    this.#isBroken = true;
    const store = this.#store;
    const late = sleep(3 * BEAT_MS + ASK_MS, null, { ref: false });
    const verdict = await Promise.race([this.#verdict(store, error).catch(() => null), late]);
    if (!(error instanceof ProcessError)) return error;
    const after = `This process stopped after step ${this.#step}`;
    if (verdict === null) {
      const keeper = this.isFirst ? 'the store' : 'rank 0, which keeps the store,';
      return new ProcessError(`${keeper} can't be reached any more (${error.message}). ${after}.`, {
        cause: error,
      });
    }
    return new ProcessError(`${verdict.message} ${after}.`, { cause: error });
  }

  /** The first process that finds something out says it; the others wait for its word. */
  async #verdict(store: Store, error: unknown): Promise<Verdict> {
    const isOwn = !(error instanceof ProcessError);
    await store.set(`left/${this.rank}`, '');
    if ((await store.add('verdicts', 1)) === 1 || isOwn) {
      const message = isOwn
        ? `Rank ${this.rank} (${hostname()}) failed after step ${this.#step}: ${(error as Error).message}`
        : await this.#whoIsLost(store, error.message);
      const verdict: Verdict = { message };
      await store.set('verdict', JSON.stringify(verdict));
    }
    const verdict = JSON.parse(await store.get('verdict', 3 * BEAT_MS + ASK_MS)) as Verdict;
    if (this.isFirst) await this.#waitForReaders(store);
    return verdict;
  }

  /** Whose heart has stopped: those whose count does not grow. */
  async #whoIsLost(store: Store, problem: string): Promise<string> {
    const read = (): Promise<string[]> => Promise.all(this.#hellos.map((_, i) => this.#beat(i)));
    const before = await read();
    await sleep(2.5 * BEAT_MS);
    const now = await read();
    const left = await store.check(this.#hellos.map((_, i) => `left/${i}`));
    const lost = now.flatMap((beat, i) => (beat === before[i] && !left[i] ? [i] : []));
    if (lost.length === 0) return `The processes lost touch with each other: ${problem}.`;
    return lost
      .map((i) => {
        const { host = '?', pid = 0 } = this.#hellos[i] ?? {};
        const step = now[i]?.split(' ')[1] ?? '?';
        return `Rank ${i} (process ${pid} on ${host}) was killed, is stopped or can't be reached; its last step was ${step}.`;
      })
      .join(' ');
  }

  /** Rank 0 keeps the store: it stays until those that live have read. */
  async #waitForReaders(store: Store): Promise<void> {
    const keys = this.#hellos.map((_, i) => `left/${i}`);
    for (let i = 0; i < 10; i++) {
      if ((await store.check(keys)).every(Boolean)) break;
      await sleep(BEAT_MS / 5);
    }
    await sleep(BEAT_MS / 2);
  }

  /** The end in good order. Collective. */
  async leave(): Promise<void> {
    if (this.group === null || this.#isBroken) return;
    await this.meet('the end');
    this.#heartbeat?.stop();
    this.group.close();
    if (this.isFirst) await sleep(BEAT_MS / 5); // the others have read that all are there
    this.#store?.close();
  }
}

async function openStore(place: Place, timeoutMs: number): Promise<Store> {
  const { rank, size, localSize, host, port, agentStore } = place;
  const isServer = rank === 0 && !agentStore;
  const isLocal = localSize === size && /^(127\.0\.0\.1|localhost)$/.test(host);
  try {
    return await Store.tcp({ host, port, isServer, timeoutMs, isLocal });
  } catch (error) {
    const { message } = error as Error;
    throw new ProcessError(
      isServer
        ? `Rank 0 can't open port ${port} for the other ${size - 1} processes: is it in use? Choose another ` +
            `MASTER_PORT (${message})`
        : `Rank ${rank} of ${size} found no master at ${host}:${port} within ${timeoutMs / 1000} s ` +
            `(--dist-timeout): rank 0 has not started, MASTER_ADDR or MASTER_PORT is wrong, or a firewall is between ` +
            `(${message})`,
      { cause: error },
    );
  }
}

/** All come, and were started alike. */
async function meet(store: Store, { rank, size }: Place, timeoutMs: number): Promise<Hello[]> {
  if ((await store.add(`claim/${rank}`, 1)) > 1) {
    throw new ProcessError(
      `Two processes say that they are rank ${rank} of ${size}: each needs a RANK of its own.`,
    );
  }
  const own: Hello = {
    size,
    host: hostname(),
    pid: process.pid,
    version: packageVersion,
    torch: torchVersion,
  };
  await store.set(`hello/${rank}`, JSON.stringify(own));
  const deadline = performance.now() + timeoutMs;
  const hellos: Hello[] = [];
  // in order, so that rank 0's word on how many there are comes first
  while (hellos.length < size) {
    const next = hellos.length;
    const [here] = await store.check([`hello/${next}`]);
    if (here !== true) {
      if (performance.now() > deadline) {
        const all = await store.check(Array.from({ length: size }, (_, i) => `hello/${i}`));
        const missing = all.flatMap((is, i) => (is ? [] : [i]));
        throw new ProcessError(
          `Rank ${rank} waited ${timeoutMs / 1000} s (--dist-timeout) for ${ranks(missing)} of ${size}: not started, ` +
            'lost, or WORLD_SIZE is wrong.',
        );
      }
      await sleep(50);
      continue;
    }
    const hello = JSON.parse(await store.get(`hello/${next}`, ASK_MS)) as Hello;
    const differences = (
      [
        ['size', 'WORLD_SIZE'],
        ['version', 'dino-ts'],
        ['torch', 'libtorch'],
      ] as const
    ).flatMap(([name, label]) =>
      hello[name] === own[name]
        ? []
        : [`${label} is ${own[name]} for rank ${rank} and ${hello[name]} for rank ${next}`],
    );
    if (differences.length > 0)
      throw new ProcessError(`The processes were not started alike: ${differences.join('; ')}.`);
    hellos.push(hello);
  }
  return hellos;
}

/**
 * This machine's address as the others reach it: that of the way to the master. The machine's own name, which Gloo would
 * take, is 127.0.1.1 on many.
 */
async function ownAddress({ host, port }: Place, isManyHosts: boolean): Promise<string> {
  const wanted = process.env['GLOO_SOCKET_IFNAME']?.split(',')[0];
  if (wanted !== undefined && wanted !== '') return `interface:${wanted}`;
  const { address: master, family } = await lookup(host);
  const isLoopback = /^(127\.|::1$)/.test(master);
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  if (isLoopback && isManyHosts) {
    // the master may know itself as localhost: its first address that others can see
    return own.find(({ internal, family: kind }) => !internal && kind === 'IPv4')?.address ?? hostname();
  }
  if (isLoopback || own.some(({ address }) => address === master)) return master;
  return new Promise((resolve, reject) => {
    // connecting a datagram socket sends nothing: it looks the route up
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    socket.on('error', reject);
    socket.connect(port, master, () => {
      const { address } = socket.address();
      socket.close();
      resolve(address);
    });
  });
}
