/**
 * The files of a folder's lock: what they say, and giving one a name so that exactly one process has it. What they mean is
 * told in folder-lock.ts:
 *
 *   lock               who holds the folder: JSON, see LockText
 *   lock.after-<id>    who takes it over from the holder <id>, which is gone; at once renamed to `lock`
 *   lock.new-<id>      a lock that is being written
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { DataError } from '../errors.js';
import { printable } from '../plain/printable.js';
import { openToRead } from './guarded.js';
import { textWithBeat } from './lock-heartbeat.js';
import { numberSpace, processState } from './process-identity.js';

/** A lock's text has some 300 bytes. */
const MAX_LOCK_BYTES = 4096;
/** Holders that were each killed while they succeeded another; more is a trap. */
const MAX_CHAIN = 100;
/** What file systems say that have no hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

export const lockPath = (folder: string): string => path.join(folder, 'lock');
export const successorPath = (folder: string, id: string): string => path.join(folder, `lock.after-${id}`);

/** What a lock says. */
export interface LockText {
  pid: number;
  host: string;
  /** As processState() tells it; null in a lock of version 0.1, which has the two above alone. */
  started: string | null;
  /** As numberSpace() tells it. */
  space: string | null;
  /** Of this one taking of this folder. */
  id: string;
}

/** A lock as it was found. */
export interface Found extends LockText {
  file: string;
  /** False for a text that this program didn't write, or not to its end. */
  isWhole: boolean;
  /** Changes with every beat. */
  mark: string;
  /** The very file. */
  inode: { dev: number; ino: number };
}

function parse(text: string): Omit<LockText, 'id'> & { id: string | null; isWhole: boolean } {
  let value: Record<string, unknown> = {};
  try {
    value = Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    // half a lock, or none of ours
  }
  const { pid, host, started, space, id } = value;
  const short = (one: unknown): string | null => (typeof one === 'string' && one.length <= 255 ? one : null);
  const isPid = Number.isSafeInteger(pid) && (pid as number) > 0;
  return {
    pid: isPid ? (pid as number) : 0,
    host: short(host) ?? '',
    started: short(started),
    space: short(space),
    id: typeof id === 'string' && /^[0-9a-f-]{1,64}$/.test(id) ? id : null, // it is part of a file's name
    isWhole: isPid && short(host) !== null,
  };
}

/** Null when there is no such file. @throws DataError for a link, FIFO, device, or what can't be read. */
export function readLockFile(folder: string, file: string): Found | null {
  let opened: { fd: number; size: number };
  try {
    opened = openToRead(file, { within: folder, maxBytes: MAX_LOCK_BYTES });
  } catch (error) {
    if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(MAX_LOCK_BYTES);
    const text = bytes.toString('utf8', 0, readSync(opened.fd, bytes, 0, MAX_LOCK_BYTES, 0));
    const { mtimeNs } = fstatSync(opened.fd, { bigint: true });
    const found = parse(text);
    const id = found.id ?? createHash('sha256').update(text).digest('hex').slice(0, 32);
    const { dev, ino } = fstatSync(opened.fd);
    return { ...found, id, file, mark: `${text} ${mtimeNs}`, inode: { dev, ino } };
  } finally {
    closeSync(opened.fd);
  }
}

/** The holder and those before it that didn't come to the end of their taking, oldest first; empty when nobody has it. */
export function readChain(folder: string): Found[] {
  const chain: Found[] = [];
  for (let file = lockPath(folder); ;) {
    const found = readLockFile(folder, file);
    if (found === null) return chain;
    chain.push(found);
    if (chain.length > MAX_CHAIN)
      throw new DataError(
        `${printable(folder)} has more than ${MAX_CHAIN} locks: delete lock and lock.after-* there`,
      );
    file = successorPath(folder, found.id);
  }
}

/** A lock of this process's that has no name yet. */
export class Draft {
  readonly id = randomUUID();
  readonly text: string;
  readonly #folder: string;
  readonly #file: string;
  #fd: number | null = null;

  constructor(folder: string) {
    this.#folder = folder;
    this.#file = path.join(folder, `lock.new-${this.id}`);
    const lock: LockText = {
      pid: process.pid,
      host: hostname(),
      started: processState(process.pid).start ?? '',
      space: numberSpace(),
      id: this.id,
    };
    this.text = textWithBeat(lock);
  }

  /** Gives it a name that nobody has. @returns Whether nobody had. @throws The system's error. */
  takeName(name: string): boolean {
    try {
      this.#write(this.#file);
      linkSync(this.#file, name);
      return true;
    } catch (error) {
      this.close();
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      // who has just got the folder clears away what others left: look again
      if (code === 'ENOENT' && existsSync(this.#folder)) return false;
      if (!NO_LINKS.has(code ?? '')) throw error;
      return this.#writeAs(name);
    } finally {
      rmSync(this.#file, { force: true });
    }
  }

  /** The open file, from now on the caller's to close. */
  takeDescriptor(): number | null {
    const fd = this.#fd;
    this.#fd = null;
    return fd;
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  /** It stays open, so that it never has a name that its holder doesn't have open. */
  #write(file: string): void {
    this.#fd = openSync(file, 'wx+');
    writeSync(this.#fd, this.text);
  }

  /** Without links, somebody may see half of it: he watches then. */
  #writeAs(name: string): boolean {
    try {
      this.#write(name);
      return true;
    } catch (error) {
      this.close();
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      rmSync(name, { force: true });
      throw error;
    }
  }
}

/** One attempt. @returns The lock, or null when somebody was quicker: look again. */
export function take(folder: string, chain: readonly Found[]): Draft | null {
  const draft = new Draft(folder);
  const last = chain.at(-1);
  if (last === undefined) return draft.takeName(lockPath(folder)) ? draft : null;
  const name = successorPath(folder, last.id);
  if (!draft.takeName(name)) return null;
  try {
    // somebody may have succeeded it, and be done with it, since it was looked at
    const isOurs = readChain(folder).at(-1)?.id === draft.id;
    if (isOurs) renameSync(name, lockPath(folder));
    else rmSync(name, { force: true });
    if (!isOurs) {
      draft.close();
      return null;
    }
  } catch (error) {
    draft.close();
    rmSync(name, { force: true });
    throw error;
  }
  for (const { file } of chain.slice(1)) rmSync(file, { force: true });
  return draft;
}

/** What killed processes left beside a lock. */
export function clearDrafts(folder: string, id: string): void {
  for (const name of readdirSync(folder)) {
    if (/^lock\.(new|after)-[0-9a-f-]+$/.test(name) && !name.endsWith(id))
      rmSync(path.join(folder, name), { force: true });
  }
}
