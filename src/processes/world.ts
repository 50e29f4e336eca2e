/**
 * The processes that train together, and what they exchange besides gradients: that all are present and were started the
 * same way, who stops, which images were bad, and, when one is lost, which one it was and how far it got.
 *
 * Large data goes through the process group. Small values go through the store, where a wait can also watch for a failure
 * reported by another process, and can say who has not arrived.
 */
import { lookup } from 'node:dns/promises';
import { createSocket } from 'node:dgram';
import { hostname, networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { DinoError, EngineError, ProcessError, ShapeError } from '../errors.js';
import { callback, checkCall, text } from '../plain/check-options.js';
import { fewNames } from '../plain/few-names.js';
import { fromTypedArray, Heartbeat, ProcessGroup, Store, tensor, torchVersion } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { type Place, restartCount } from './place.js';
import { isRunning } from './process-state.js';

export interface JoinOptions {
  place: Place;
  /** How long to wait for the others: to arrive, in a collective, for a sign of life. Milliseconds. */
  timeoutMs: number;
}

/** How a process introduces itself when it arrives. */
interface Hello {
  size: number;
  host: string;
  pid: number;
  version: string;
  torch: string;
}

/** Why the training ends, as reported by the first process that finds out. */
interface Verdict {
  message: string;
  /** The lost processes, which will never read this. */
  lost: number[];
}

/** Between two heartbeats. */
const BEAT_MS = 1000;
/** Silence after which a process counts as lost, even if it seems to run. */
const SILENCE_MS = 10_000;
/** Time within which every live process's heartbeat thread has seen a verdict. */
const NEWS_MS = 4 * BEAT_MS;
/** How long a store may fail to answer before the process that keeps it counts as lost. */
const ASK_MS = 5000;

const ranks = (list: readonly number[]): string =>
  list.length === 1 ? `rank ${list[0]}` : `ranks ${fewNames(list.map(String), 16)}`;

export class World {
  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  readonly localSize: number;
  /** Null for a process on its own. */
  readonly group: ProcessGroup | null;
  /** Whether a launcher has restarted these processes. */
  readonly isRestart: boolean;
  readonly #store: Store | null;
  readonly #heartbeat: Heartbeat | null;
  readonly #timeoutMs: number;
  #hellos: Hello[] = [];
  #step = 0;
  #calls = 0;
  /** Communication has failed: connections must be abandoned, not closed. */
  #isBroken = false;
  /** The state was saved after the failure. */
  #hasSaved = false;
  /** The launcher keeps the store, not rank 0. */
  readonly #isStoreApart: boolean;

  private constructor(
    place: Pick<Place, 'rank' | 'size' | 'localRank' | 'localSize' | 'attempt'>,
    parts: {
      store: Store;
      group: ProcessGroup;
      heartbeat: Heartbeat;
      hellos: Hello[];
      timeoutMs: number;
      isStoreApart: boolean;
    } | null,
  ) {
    ({ rank: this.rank, size: this.size, localRank: this.localRank, localSize: this.localSize } = place);
    this.isRestart = place.attempt > 0;
    this.group = parts?.group ?? null;
    this.#store = parts?.store ?? null;
    this.#heartbeat = parts?.heartbeat ?? null;
    this.#timeoutMs = parts?.timeoutMs ?? 0;
    this.#hellos = parts?.hellos ?? [];
    this.#isStoreApart = parts?.isStoreApart ?? false;
  }

  /** The world of a process on its own. */
  static alone(place?: Place | null): World {
    const only = { rank: 0, size: 1, localRank: 0, localSize: 1, attempt: restartCount() };
    return new World(place ?? only, null);
  }

  /**
   * Connects to the others. Collective.
   *
   * @throws ProcessError when the port is in use, the master can't be reached, a process has not arrived after `timeoutMs`,
   *   or they differ in the number of processes or in the version of this package or of libtorch.
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
    const heartbeat = new Heartbeat(store, {
      ...{ key: `beat/${rank}`, step: 0, intervalMs: BEAT_MS, newsKey: 'verdict' },
    });
    return new World(place, { store, group, heartbeat, hellos, timeoutMs, isStoreApart: place.agentStore });
  }

  /** Whether this is the process that writes the run folder. */
  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** Rank 0's value, in every process; only rank 0 calls `make`. The value must survive JSON. */
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

  /** Calls `make` only in the process that writes; null in the others. */
  async onFirst<T>(make: () => T | Promise<T>): Promise<T | null> {
    checkCall('onFirst()', ['make', callback, make]);
    return this.isFirst ? make() : null;
  }

  /** Waits until all processes have arrived here, for as long as all are alive. */
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

  /** Waits for a key's value, for as long as the processes that it depends on are alive. */
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
            `${ranks(silent)} did not reach ${what} within ${this.#timeoutMs / 1000} s (--dist-timeout)`,
          );
        [before, deadline] = [now, performance.now() + this.#timeoutMs];
      }
      await sleep(pause);
    }
  }

  /** "<beats> <step>", or an empty text before the first beat. */
  async #beat(rank: number): Promise<string> {
    const store = this.#store as Store;
    const [here] = await store.check([`beat/${rank}`]);
    return here === true ? store.get(`beat/${rank}`, ASK_MS) : '';
  }

  /**
   * Shares what the processes have found since the last step: whether one of them was asked to stop, and everyone's `found`
   * in one list. Collective.
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

  /**
   * Does `work`, which needs the others, and `rescue` if one of them is lost during it.
   *
   * @param rescue - Returns whether it has saved anything.
   * @throws ProcessError, in place of what `work` threw, when another process caused it.
   */
  async attempt<T>(rescue: () => Promise<boolean>, work: () => T | Promise<T>): Promise<T> {
    checkCall('attempt()', ['rescue', callback, rescue], ['work', callback, work]);
    try {
      return await work();
    } catch (thrown) {
      const error = await this.#seeOthers(thrown);
      if (error instanceof ProcessError) this.#hasSaved = await rescue();
      throw error;
    }
  }

  /**
   * Rank 0, if it is lost and this process must write in its place because it is rank 1; else null. Call it after a failure.
   */
  async predecessor(): Promise<{ pid: number; host: string } | null> {
    const store = this.#store;
    const first = this.#hellos[0];
    if (this.rank !== 1 || store === null || first === undefined) return null;
    // the store dies with rank 0; if there was a verdict before, rank 0 ended in an orderly way
    if (!this.#isStoreApart && this.#heartbeat?.news != null) return null;
    if (this.#isStoreApart) {
      const silent = await this.#silent(store).catch((): number[] => []);
      return silent.includes(0) ? first : null;
    }
    const asked = store.check(['verdict']).then(
      () => 'lives',
      () => 'gone', // a killed process's connections close before the process itself disappears
    );
    const answer = await Promise.race([asked, sleep(ASK_MS, 'silent', { ref: false })]);
    return answer === 'gone' || (answer === 'silent' && !this.#runsHere(0)) ? first : null;
  }

  /** A failure that doesn't name its cause is attributed to another process if one of them has gone silent. */
  async #seeOthers(error: unknown): Promise<unknown> {
    const isPlain =
      error instanceof DinoError && !(error instanceof EngineError || error instanceof ShapeError);
    const store = this.#store;
    if (store === null || isPlain || error instanceof ProcessError) return error;
    const { message } = error as Error;
    const late = sleep(SILENCE_MS + ASK_MS, null, { ref: false });
    const isTheirs = async (): Promise<boolean> => {
      const [failed] = await store.check(['verdict']);
      return failed === true || (await this.#silent(store)).length > 0;
    };
    const is = await Promise.race([isTheirs().catch(() => true), late]); // if the store is gone, so is a process
    return is === false ? error : new ProcessError(message, { cause: error });
  }

  /** The values of all processes, by rank. They must survive JSON. Collective. */
  async gather<T>(value: T): Promise<T[]> {
    if (this.group === null) return [value];
    const own = new TextEncoder().encode(JSON.stringify(value));
    return (await this.gatherArrays(own)).map((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as T);
  }

  /** The arrays of all processes, by rank; lengths may differ. Collective. */
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
   * Tells the others why this process ends, or learns the reason from them: which process was lost, and its last step.
   *
   * @returns What to throw in place of `thrown`.
   */
  async explain(thrown: unknown): Promise<unknown> {
    if (this.#store === null || this.#isBroken) return thrown;
    this.#isBroken = true;
    const store = this.#store;
    const error = await this.#seeOthers(thrown);
    const late = sleep(SILENCE_MS + ASK_MS, null, { ref: false });
    const asked = await Promise.race([this.#verdict(store, error).catch(() => null), late]);
    if (!(error instanceof ProcessError)) return error;
    const { news } = this.#heartbeat as Heartbeat;
    const verdict = asked ?? (news === null ? null : (JSON.parse(news) as Verdict));
    const saved = this.#hasSaved ? ', and saved the state after it' : '';
    const after = `This process stopped after step ${this.#step}${saved}.`;
    if (verdict !== null) return new ProcessError(`${verdict.message} ${after}`, { cause: error });
    const keeper =
      this.#isStoreApart || this.isFirst
        ? 'The store can no longer be reached'
        : `Rank 0 (${this.#processOf(0)}), which keeps the store, was killed, is stopped or can't be reached`;
    return new ProcessError(`${keeper} (${error.message}). ${after}`, { cause: error });
  }

  /** The first process that finds the cause reports it; the others wait for the report. */
  async #verdict(store: Store, error: unknown): Promise<Verdict> {
    const isOwn = !(error instanceof ProcessError);
    await store.set(`left/${this.rank}`, '');
    if ((await store.add('verdicts', 1)) === 1 || isOwn) {
      const verdict: Verdict = isOwn
        ? {
            message: `Rank ${this.rank} (${hostname()}) failed after step ${this.#step}: ${(error as Error).message}`,
            lost: [],
          }
        : await this.#whoIsLost(store, error.message);
      await store.set('verdict', JSON.stringify(verdict));
    }
    const verdict = JSON.parse(await store.get('verdict', SILENCE_MS + ASK_MS)) as Verdict;
    if (this.isFirst) await this.#waitForReaders(store, verdict.lost);
    return verdict;
  }

  async #whoIsLost(store: Store, problem: string): Promise<Verdict> {
    const lost = await this.#silent(store);
    if (lost.length === 0) return { message: `The processes lost touch with each other: ${problem}.`, lost };
    const steps = await Promise.all(lost.map(async (i) => (await this.#beat(i)).split(' ')[1] ?? '?'));
    const each = lost.map(
      (i, n) =>
        `Rank ${i} (${this.#processOf(i)}) was killed, is stopped or can't be reached; its last step was ${steps[n]}.`,
    );
    return { message: each.join(' '), lost };
  }

  /** Whether a process is on this machine and running; false says nothing about those on other machines. */
  #runsHere(rank: number): boolean {
    const { host, pid } = this.#hellos[rank] as Hello;
    return host === hostname() && isRunning(pid);
  }

  #processOf(rank: number): string {
    const { host = '?', pid = 0 } = this.#hellos[rank] ?? {};
    return `process ${pid} on ${host}`;
  }

  /**
   * The processes that have gone silent: no heartbeat and no sign of ending. A process that is seen running on this machine
   * gets more time than others: its heartbeat may only be slow.
   */
  async #silent(store: Store): Promise<number[]> {
    const read = (): Promise<string[]> => Promise.all(this.#hellos.map((_, i) => this.#beat(i)));
    const before = await read();
    const start = performance.now();
    for (;;) {
      await sleep(BEAT_MS / 4);
      const now = await read();
      const left = await store.check(this.#hellos.map((_, i) => `left/${i}`));
      const silent = now.flatMap((beat, i) => (beat === before[i] && !left[i] && i !== this.rank ? [i] : []));
      const waited = performance.now() - start;
      if (silent.length === 0 || waited > SILENCE_MS) return silent;
      if (waited > 2.5 * BEAT_MS && !silent.some((i) => this.#runsHere(i))) return silent;
    }
  }

  /** Rank 0 keeps the store, so it stays until the live processes have read the verdict, directly or by their heartbeats. */
  async #waitForReaders(store: Store, lost: readonly number[]): Promise<void> {
    const keys = this.#hellos.flatMap((_, i) => (lost.includes(i) ? [] : [`left/${i}`]));
    const until = performance.now() + NEWS_MS;
    while (performance.now() < until && !(await store.check(keys)).every(Boolean)) await sleep(BEAT_MS / 5);
    await sleep(BEAT_MS / 2);
  }

  /** Ends in an orderly way. Collective. */
  async leave(): Promise<void> {
    if (this.group === null || this.#isBroken) return;
    await this.meet('the end');
    this.#heartbeat?.stop();
    this.group.close();
    if (this.isFirst) await sleep(BEAT_MS / 5); // the others have read that all have arrived
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

/** Waits until all have arrived, and checks that they were started the same way. */
async function meet(store: Store, { rank, size }: Place, timeoutMs: number): Promise<Hello[]> {
  if ((await store.add(`claim/${rank}`, 1)) > 1) {
    throw new ProcessError(`Two processes claim to be rank ${rank} of ${size}: each needs its own RANK.`);
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
  // in order, so that rank 0's number of processes is compared first
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
      throw new ProcessError(`The processes were started differently: ${differences.join('; ')}.`);
    hellos.push(hello);
  }
  return hellos;
}

/**
 * The address at which the others reach this machine: that of the route to the master. The machine's own name, which Gloo
 * would use, resolves to 127.0.1.1 on many machines.
 */
async function ownAddress({ host, port }: Place, isManyHosts: boolean): Promise<string> {
  const wanted = process.env['GLOO_SOCKET_IFNAME']?.split(',')[0];
  if (wanted !== undefined && wanted !== '') return `interface:${wanted}`;
  const { address: master, family } = await lookup(host);
  const isLoopback = /^(127\.|::1$)/.test(master);
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  if (isLoopback && isManyHosts) {
    // the master may be configured as localhost: take this machine's first address that others can see
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
