/**
 * Who may write in a run or index folder: the process named in its file `lock` (lock-files.ts). Several processes may want
 * it at once, on several machines, and the last holder may have been killed; exactly one gets it.
 *
 * Acquiring: the text is written to a temporary file and hard-linked to its final name, which fails if the name exists. A
 * stale lock is never deleted: a contender links its own to `lock.after-<id of the stale one>`, which only one can do,
 * checks that `lock` is still the one it saw, and renames its own over it. So each holder has exactly one successor, and a
 * successor that was killed halfway is succeeded in the same way: the holder is the last of that chain. To release a lock,
 * the holder takes its own successor's name, then deletes both.
 *
 * Is the holder alive? If its pid comes from our pid namespace and boot, the system knows: a process with that pid and that
 * start time. Elsewhere (another machine, another container, after a reboot) the pid means nothing, and neither do host
 * names, which containers share or change. So the holder increments `beat` in its lock every ten seconds, and a contender
 * watches, by its own clock, whether it changes.
 */
import { closeSync, constants, openSync, readlinkSync, rmSync, type Stats, statSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { makeFolder } from './guarded.js';
import {
  clearDrafts,
  Draft,
  type Found,
  lockPath,
  readChain,
  readLockFile,
  successorPath,
  take,
} from './lock-files.js';
import { Heartbeat } from './lock-heartbeat.js';
import { hasOpenForWriting, isOwn, pidSpace, processState } from './process-identity.js';
import { systemReason } from './system-reason.js';

/** Between two heartbeats of a holder. */
const BEAT_MS = 10_000;
/** How long a lock must be watched without a heartbeat before its holder counts as gone. */
const LEASE_MS = 60_000;
/** Between two looks at a watched lock. */
const LOOK_MS = 1000;
/** `unknown` when only its heartbeat can tell. */
type HolderState = 'alive' | 'gone' | 'unknown';

function stateOf(lock: Found): HolderState {
  if (!lock.isWhole) return 'unknown';
  const { is, start } = processState(lock.pid);
  if (lock.started === null) {
    // an earlier version's lock, which has only the pid
    if (lock.host !== hostname()) return 'alive';
    return lock.pid === process.pid || is === 'gone' ? 'gone' : 'alive';
  }
  if (lock.space === null || lock.space !== pidSpace() || is === 'hidden') return 'unknown';
  return is === 'alive' && start === lock.started ? 'alive' : 'gone';
}

/** Who holds a folder, according to its lock. */
export interface LockHolder {
  pid: number;
  host: string;
  /** Whether the process is alive; null when that can't be known from here: another machine or another container. */
  isAlive: boolean | null;
}

/** Null when there is no lock, or it can't be parsed. */
export function readLock(folder: string): LockHolder | null {
  try {
    const last = readChain(folder).at(-1);
    if (last?.isWhole !== true) return null;
    const { pid, host, started } = last;
    const state = stateOf(last);
    // a lock of an earlier version from another machine has no heartbeat
    const isKnown = state !== 'unknown' && (started !== null || host === hostname());
    return { pid, host, isAlive: isKnown ? state === 'alive' : null };
  } catch {
    return null;
  }
}

/** Another process holds the folder now, or it isn't where it was. */
export class FolderLostError extends DataError {
  constructor(
    message: string,
    /** Where the folder was moved to, with everything in it; null when unknown. */
    readonly movedTo: string | null,
  ) {
    super(message);
  }
}

export interface LockOptions {
  /** A launcher has ended the processes that it started earlier: a holder that can't be checked from here is gone. */
  isRestart?: boolean;
  /** Called before a wait, with what is being waited for. */
  onWait?: ((message: string) => void) | undefined;
  /** Aborting it ends a wait. */
  signal?: AbortSignal | undefined;
  /** Milliseconds; for tests. */
  beatMs?: number;
  leaseMs?: number;
}

const whoIs = ({ pid, host, isWhole }: Found): string => {
  if (!isWhole) return 'a process whose lock is incomplete';
  return `process ${pid}${host === hostname() ? '' : ` on ${printable(host)}`}`;
};

function inUse(folder: string, lock: Found): DataError {
  const self =
    lock.pid === process.pid && lock.started === processState(process.pid).start ? ' (this one)' : '';
  const advice =
    lock.started === null
      ? `Wait for it or stop it; if you are sure that it has exited, delete ${printable(lock.file)}.`
      : 'Wait for it, or stop it.';
  return new DataError(`${printable(folder)} is in use by ${whoIs(lock)}${self}. ${advice}`);
}

/** Watches a lock's heartbeat. @returns Whether it changes; null when the lock was replaced or removed. */
async function isBeating(folder: string, lock: Found, options: LockOptions): Promise<boolean | null> {
  const { leaseMs = LEASE_MS, signal, onWait } = options;
  const lookMs = Math.min(LOOK_MS, leaseMs / 10);
  onWait?.(
    `waiting up to ${Math.ceil(leaseMs / 1000)} s to see whether ${whoIs(lock)} still holds ${printable(folder)}`,
  );
  for (let watched = 0; watched < leaseMs;) {
    const before = performance.now();
    await sleep(lookMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    const now = readChain(folder).at(-1);
    if (now?.id !== lock.id) return null;
    if (now.mark !== lock.mark) return true;
    // time in which this process or the whole machine was paused was not watched
    watched += Math.min(performance.now() - before, 2 * lookMs);
  }
  return false;
}

/** A folder that this process holds. */
export class FolderLock {
  readonly #folder: string;
  #id: string;
  readonly #beatMs: number;
  /** The lock stays open: this shows where the folder was moved to, and shows other processes who holds it. */
  #fd: number | null = null;
  #heartbeat: Heartbeat | null = null;
  readonly #made: Stats;
  #isReleased = false;

  /** @internal */
  constructor(folder: string, draft: Draft, beatMs: number) {
    this.#folder = folder;
    this.#id = draft.id;
    this.#beatMs = beatMs;
    this.#made = statSync(folder);
    this.#begin(draft);
  }

  #begin(draft: Draft): void {
    this.#id = draft.id;
    this.#heartbeat?.stop();
    if (this.#fd !== null) closeSync(this.#fd);
    const file = lockPath(this.#folder);
    try {
      // opened under its final name, which the system keeps track of; the temporary name is gone
      this.#fd = openSync(file, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0));
      draft.close();
    } catch {
      this.#fd = draft.takeDescriptor(); // too many open files
    }
    this.#heartbeat = new Heartbeat({ file, id: draft.id, text: draft.text, beatMs: this.#beatMs });
  }

  /** The folder in which the lock file is now, which Linux knows for an open file; null when unknown. */
  #place(): string | null {
    try {
      const file = readlinkSync(`/proc/self/fd/${this.#fd}`);
      const folder = path.dirname(file);
      return file === lockPath(folder) && readLockFile(folder, file)?.id === this.#id ? folder : null;
    } catch {
      return null;
    }
  }

  /**
   * Checks that this process still holds the folder.
   * @throws FolderLostError when another process holds it, or it was moved or deleted; not when the disk doesn't answer.
   */
  check(): void {
    const folder = this.#folder;
    let last: Found | undefined;
    try {
      last = readChain(folder).at(-1);
      if (last?.id === this.#id) return;
    } catch {
      return;
    }
    if (last !== undefined) {
      throw new FolderLostError(
        `${printable(folder)} was taken over by ${whoIs(last)}, while this process was paused or cut off from its disk. ` +
          'It ends now, so that only one process writes there.',
        null,
      );
    }
    const movedTo = this.#place();
    if (movedTo === null && this.#isSameFolder()) return this.#takeAgain();
    throw new FolderLostError(
      movedTo === null
        ? `${printable(folder)} no longer exists: it was moved or deleted while this process was writing to it.`
        : `${printable(folder)} was moved to ${printable(movedTo)} while this process was writing to it.`,
      movedTo,
    );
  }

  /** False for a folder that was deleted and created again, by a person or by a write in between. */
  #isSameFolder(): boolean {
    const now = statSync(this.#folder, { throwIfNoEntry: false });
    // inode numbers are reused
    const names = ['dev', 'ino', 'birthtimeMs'] as const;
    return now !== undefined && names.every((name) => now[name] === this.#made[name]);
  }

  /** The lock was deleted by hand, but the folder is still the same. */
  #takeAgain(): void {
    let draft: Draft | null;
    try {
      draft = take(this.#folder, []);
      if (draft !== null) this.#begin(draft);
    } catch {
      return; // the disk is full: the next check tries again
    }
    if (draft === null) this.check();
  }

  /** Releases the folder. Never throws: if it fails, the next process finds that this one is gone. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#heartbeat?.stop();
    const folder = this.#place() ?? this.#folder;
    if (this.#fd !== null) closeSync(this.#fd);
    const mine = (): boolean => readLockFile(folder, lockPath(folder))?.id === this.#id;
    const name = successorPath(folder, this.#id);
    let isLast = true;
    const draft = new Draft(folder);
    try {
      // no other process may take it over between the check and the deletion
      isLast = draft.takeName(name);
    } catch {
      // the disk is full
    }
    draft.close();
    try {
      if (isLast && mine()) rmSync(lockPath(folder), { force: true });
      if (isLast) rmSync(name, { force: true });
    } catch {
      // the disk is no longer there
    }
  }
}

/**
 * Makes a folder if needed and locks it for this process. Waits, for a minute at most, where only the heartbeat shows
 * whether the process that holds it is alive.
 *
 * @throws DataError when it can't be written to, or a live process holds it; the signal's reason when aborted.
 */
export async function lockFolder(folder: string, options: LockOptions = {}): Promise<FolderLock> {
  try {
    makeFolder(folder, { within: folder });
    for (;;) {
      const chain = readChain(folder);
      const last = chain.at(-1);
      if (last !== undefined) {
        const isHeld = await isHeldBy(folder, last, options);
        if (isHeld === true) throw inUse(folder, last);
        if (isHeld === null) continue;
      }
      const draft = take(folder, chain);
      if (draft === null) continue;
      const lock = new FolderLock(folder, draft, options.beatMs ?? BEAT_MS);
      clearDrafts(folder, draft.id);
      return lock;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw new DataError(
      `${printable(folder)} can't be written to: ${systemReason(error)}. Choose another folder.`,
      { cause: error },
    );
  }
}

/** Null when the lock changed while it was watched: look again. */
async function isHeldBy(folder: string, last: Found, options: LockOptions): Promise<boolean | null> {
  const state = stateOf(last);
  if (state === 'gone') return false;
  const isElsewhere = state === 'unknown' || (last.started === null && last.host !== hostname());
  if (isElsewhere && options.isRestart === true) return false;
  // a copied folder contains a copy of the lock, which the holder doesn't have open
  const isSure = last.started === null || hasOpenForWriting(last.pid, last.inode) !== false;
  if (state === 'alive' && isSure) return true;
  if (readChain(folder).at(-1)?.id !== last.id) return null; // released just now
  return isBeating(folder, last, options);
}

/**
 * Sends a signal to the process that holds a folder, after making sure that it does.
 *
 * @returns Its pid.
 * @throws DataError that says why not.
 */
export function signalHolder(folder: string, signal: NodeJS.Signals): number {
  const refuse = (why: string): never => {
    throw new DataError(why);
  };
  const last = readChain(folder).at(-1);
  if (last === undefined || !last.isWhole) return refuse('No process holds this folder.');
  const { pid, host, started, space } = last;
  const who = `process ${pid}`;
  if (started === null)
    return refuse(
      `Its lock comes from an earlier version and doesn't say which process ${pid} on ${printable(host)} is meant: ` +
        'stop it where it was started, with Ctrl-C.',
    );
  if (space === null || space !== pidSpace())
    return refuse(
      `It is held by ${who} on ${printable(host)}, another machine or container: stop it there, with Ctrl-C or SIGINT.`,
    );
  if (pid < 2) return refuse(`Its lock names ${who}, which this program can't have started.`);
  if (stateOf(last) !== 'alive') return refuse('The process that held this folder is gone.');
  if (!isOwn(pid)) return refuse(`${who} belongs to another user: ask them to stop it.`);
  const holds = hasOpenForWriting(pid, last.inode);
  if (holds === false || (holds === null && process.platform === 'linux'))
    return refuse(`${who} doesn't hold this folder, whatever its lock says: is it a copy of another one?`);
  process.kill(pid, signal);
  return pid;
}
