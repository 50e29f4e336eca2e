/**
 * Who may write in a run or index folder: the process that its file `lock` names (lock-files.ts). Several may want it at
 * once, on several machines, and whoever held it may have been killed; exactly one gets it.
 *
 * Taking: the text is written beside and linked to its name, which fails when the name is there. A stale lock is never
 * deleted: who wants it links his own to `lock.after-<its id>`, of which there is one, looks whether `lock` is still the
 * one that he saw, and renames his over it. So each holder has one successor, and one that was killed on the way is
 * succeeded in the same way: the holder is the last of that chain. To give a lock back is to succeed oneself, and to delete.
 *
 * Is the holder there? Where its number is counted as ours (same boot, same pid namespace), the system knows: a process of
 * that number that began at that time. Elsewhere (another machine, another container, after a reboot) the number says
 * nothing, and nor do host names, which containers share or change: the holder counts up `beat` in its lock every ten
 * seconds, and who wants the folder watches whether it moves, by his own clock.
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
import { hasOpenForWriting, isOwn, numberSpace, processState } from './process-identity.js';
import { systemReason } from './system-reason.js';

/** Between two signs of life of a holder. */
const BEAT_MS = 10_000;
/** How long a lock must be watched without one before its holder counts as gone. */
const LEASE_MS = 60_000;
/** Between two looks at it. */
const LOOK_MS = 1000;
/** `unknown` when only its beat can tell. */
type Standing = 'there' | 'gone' | 'unknown';

function standingOf(lock: Found): Standing {
  if (!lock.isWhole) return 'unknown';
  const { is, start } = processState(lock.pid);
  if (lock.started === null) {
    // an earlier version's: the number alone
    if (lock.host !== hostname()) return 'there';
    return lock.pid === process.pid || is === 'gone' ? 'gone' : 'there';
  }
  if (lock.space === null || lock.space !== numberSpace() || is === 'hidden') return 'unknown';
  return is === 'there' && start === lock.started ? 'there' : 'gone';
}

/** Who holds a folder, as its lock says. */
export interface LockHolder {
  pid: number;
  host: string;
  /** Whether the process is there; null when this one can't know: it is on another machine, or in another container. */
  isAlive: boolean | null;
}

/** Null without a lock, or when it can't be read as one. */
export function readLock(folder: string): LockHolder | null {
  try {
    const last = readChain(folder).at(-1);
    if (last?.isWhole !== true) return null;
    const { pid, host, started } = last;
    const standing = standingOf(last);
    // an earlier version's lock of another machine: nothing moves in it
    const isKnown = standing !== 'unknown' && (started !== null || host === hostname());
    return { pid, host, isAlive: isKnown ? standing === 'there' : null };
  } catch {
    return null;
  }
}

/** Somebody else has the folder now, or it isn't where it was. */
export class FolderLostError extends DataError {
  constructor(
    message: string,
    /** Where the folder was moved to, with all that is in it; null when nobody knows. */
    readonly movedTo: string | null,
  ) {
    super(message);
  }
}

export interface LockOptions {
  /** A launcher has ended the processes that it had started before: one that can't be asked from here is gone. */
  isRestart?: boolean;
  /** Told what is waited for, before a wait. */
  onWait?: ((message: string) => void) | undefined;
  /** Aborting it ends a wait. */
  signal?: AbortSignal | undefined;
  /** Milliseconds; for tests. */
  beatMs?: number;
  leaseMs?: number;
}

const whoIs = ({ pid, host, isWhole }: Found): string => {
  if (!isWhole) return 'somebody whose lock is not whole';
  return `process ${pid}${host === hostname() ? '' : ` on ${printable(host)}`}`;
};

function inUse(folder: string, lock: Found): DataError {
  const self =
    lock.pid === process.pid && lock.started === processState(process.pid).start ? ' (this one)' : '';
  const advice =
    lock.started === null
      ? `Wait for it or stop it; if you are sure that it is gone, delete ${printable(lock.file)}.`
      : 'Wait for it, or stop it.';
  return new DataError(`${printable(folder)} is in use by ${whoIs(lock)}${self}. ${advice}`);
}

/** Watches a lock that only its beat can tell of. @returns Whether it has moved; null when it is another one, or none. */
async function moves(folder: string, lock: Found, options: LockOptions): Promise<boolean | null> {
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
    // a pause of this process, or of the whole machine, is no time that was watched
    watched += Math.min(performance.now() - before, 2 * lookMs);
  }
  return false;
}

/** A folder that this process holds. */
export class FolderLock {
  readonly #folder: string;
  #id: string;
  readonly #beatMs: number;
  /** The lock stays open: it shows where the folder was moved to, and to others who holds it. */
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
      // by this name, which the system goes on to follow; the one that it was made by is gone
      this.#fd = openSync(file, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0));
      draft.close();
    } catch {
      this.#fd = draft.takeDescriptor(); // too many open files
    }
    this.#heartbeat = new Heartbeat({ file, id: draft.id, text: draft.text, beatMs: this.#beatMs });
  }

  /** Where the lock file is now: Linux says so of an open file. */
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
   * Looks whether the folder is still this process's.
   * @throws FolderLostError when somebody else has it, or it was moved or deleted. A disk that doesn't answer is no reason.
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
          'It ends here, so that only one of them writes there.',
        null,
      );
    }
    const movedTo = this.#place();
    if (movedTo === null && this.#isSameFolder()) return this.#takeAgain();
    throw new FolderLostError(
      movedTo === null
        ? `${printable(folder)} is not there any more: it was moved or deleted while this process wrote in it.`
        : `${printable(folder)} was moved to ${printable(movedTo)} while this process wrote in it.`,
      movedTo,
    );
  }

  /** A folder that was deleted may be made again, by a person or by a write that came between. */
  #isSameFolder(): boolean {
    const now = statSync(this.#folder, { throwIfNoEntry: false });
    // numbers of inodes are given again
    const names = ['dev', 'ino', 'birthtimeMs'] as const;
    return now !== undefined && names.every((name) => now[name] === this.#made[name]);
  }

  /** Somebody deleted the lock by hand; the folder is still the same. */
  #takeAgain(): void {
    let draft: Draft | null;
    try {
      draft = take(this.#folder, []);
      if (draft !== null) this.#begin(draft);
    } catch {
      return; // the disk is full: at the next look
    }
    if (draft === null) this.check();
  }

  /** Gives the folder back. Never throws: whoever comes next finds that this process is gone. */
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
      // nobody may take it over between the look and the deleting
      isLast = draft.takeName(name);
    } catch {
      // a full disk has no room for it
    }
    draft.close();
    try {
      if (isLast && mine()) rmSync(lockPath(folder), { force: true });
      if (isLast) rmSync(name, { force: true });
    } catch {
      // the disk is gone
    }
  }
}

/**
 * Makes a folder when needed and takes it for this process. Waits, for a minute at most, where only time can tell whether
 * the process that has it still lives.
 *
 * @throws DataError when it can't be written, or a living process has it; the signal's reason when aborted.
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

/** Null when the lock has changed while it was watched: look again. */
async function isHeldBy(folder: string, last: Found, options: LockOptions): Promise<boolean | null> {
  const standing = standingOf(last);
  if (standing === 'gone') return false;
  const isElsewhere = standing === 'unknown' || (last.started === null && last.host !== hostname());
  if (isElsewhere && options.isRestart === true) return false;
  // a copy of a folder has a copy of its lock, which its holder doesn't have open
  const isSure = last.started === null || hasOpenForWriting(last.pid, last.inode) !== false;
  if (standing === 'there' && isSure) return true;
  if (readChain(folder).at(-1)?.id !== last.id) return null; // given back just now
  return moves(folder, last, options);
}

/**
 * Sends a signal to the process that holds a folder, once it is certain that it does.
 *
 * @returns Its number.
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
      `Its lock is of an earlier version and doesn't tell which process ${pid} on ${printable(host)} is meant: ` +
        'stop it where it was started, with Ctrl-C.',
    );
  if (space === null || space !== numberSpace())
    return refuse(
      `It is held by ${who} on ${printable(host)}, another machine or container: stop it there, with Ctrl-C or SIGINT.`,
    );
  if (pid < 2) return refuse(`Its lock names ${who}, which is never one that this program started.`);
  if (standingOf(last) !== 'there') return refuse('The process that held this folder is gone.');
  if (!isOwn(pid)) return refuse(`${who} belongs to another user: ask them to stop it.`);
  const holds = hasOpenForWriting(pid, last.inode);
  if (holds === false || (holds === null && process.platform === 'linux'))
    return refuse(`${who} doesn't hold this folder, whatever its lock says: is it a copy of another one?`);
  process.kill(pid, signal);
  return pid;
}
