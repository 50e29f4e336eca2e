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
import { DinoError, EngineError, ProcessError, ShapeError } from '../errors.js';
import { callback, checkCall, text } from '../plain/check-options.js';
import { fromTypedArray, Heartbeat, ProcessGroup, Store, tensor, torchVersion } from '../torch/index.js';
import { packageVersion } from '../version.js';
import { type Place, restartCount } from './place.js';
import { isRunning } from './process-state.js';

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
  /** Those that will never read this. */
  lost: number[];
}

/** Between two signs of life. */
const BEAT_MS = 1000;
/** After which a process counts as lost, even one that runs. */
const SILENCE_MS = 10_000;
/** In which every heart that beats has heard of a verdict. */
const NEWS_MS = 4 * BEAT_MS;
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
  /** The state was saved after that. */
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
    const heartbeat = new Heartbeat(store, {
      ...{ key: `beat/${rank}`, step: 0, intervalMs: BEAT_MS, newsKey: 'verdict' },
    });
    return new World(place, { store, group, heartbeat, hellos, timeoutMs, isStoreApart: place.agentStore });
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

  /**
   * Does what needs the others, and `rescue` when one of them is lost meanwhile.
   *
   * @param rescue - Says whether it has saved anything.
   * @throws ProcessError, in place of what `work` threw, when another process is behind it.
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
   * Whether it falls to this process to write, because rank 0 is lost and this is rank 1: rank 0, as it was. Ask when
   * something has failed.
   */
  async predecessor(): Promise<{ pid: number; host: string } | null> {
    const store = this.#store;
    const first = this.#hellos[0];
    if (this.rank !== 1 || store === null || first === undefined) return null;
    // its own store goes with it, and with whatever news there was before it went in order
    if (!this.#isStoreApart && this.#heartbeat?.news != null) return null;
    if (this.#isStoreApart) {
      const silent = await this.#silent(store).catch((): number[] => []);
      return silent.includes(0) ? first : null;
    }
    const asked = store.check(['verdict']).then(
      () => 'lives',
      () => 'gone', // which a killed process's connections are before it is
    );
    const answer = await Promise.race([asked, sleep(ASK_MS, 'silent', { ref: false })]);
    return answer === 'gone' || (answer === 'silent' && !this.#runsHere(0)) ? first : null;
  }

  /** A failure whose words leave open what is behind it is another process's when one of them has gone silent. */
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
    const is = await Promise.race([isTheirs().catch(() => true), late]); // a store that is gone is a process that is
    return is === false ? error : new ProcessError(message, { cause: error });
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
        ? "The store can't be reached any more"
        : `Rank 0 (${this.#processOf(0)}), which keeps the store, was killed, is stopped or can't be reached`;
    return new ProcessError(`${keeper} (${error.message}). ${after}`, { cause: error });
  }

  /** The first process that finds something out says it; the others wait for its word. */
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

  /** Whether a process is on this machine, and seen to run: false says nothing of those on others. */
  #runsHere(rank: number): boolean {
    const { host, pid } = this.#hellos[rank] as Hello;
    return host === hostname() && isRunning(pid);
  }

  #processOf(rank: number): string {
    const { host = '?', pid = 0 } = this.#hellos[rank] ?? {};
    return `process ${pid} on ${host}`;
  }

  /**
   * Those that say nothing any more: neither that they live, nor that they end. A process of this machine that is seen to
   * run has more time than others: its heart may only be slow.
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

  /** Rank 0 keeps the store: it stays until those that live have read, or their hearts have heard the news for them. */
  async #waitForReaders(store: Store, lost: readonly number[]): Promise<void> {
    const keys = this.#hellos.flatMap((_, i) => (lost.includes(i) ? [] : [`left/${i}`]));
    const until = performance.now() + NEWS_MS;
    while (performance.now() < until && !(await store.check(keys)).every(Boolean)) await sleep(BEAT_MS / 5);
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
