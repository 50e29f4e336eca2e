/**
 * The files of a folder's lock: what is in them, and naming one so that exactly one process succeeds. folder-lock.ts
 * explains the protocol:
 *
 *   lock               who holds the folder: JSON, see LockText
 *   lock.after-<id>    who takes it over from the holder <id>, which is gone; renamed to `lock` at once
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
import { pidSpace, processState } from './process-identity.js';

/** A lock's text has about 300 bytes. */
const MAX_LOCK_BYTES = 4096;
/** The longest chain of holders that were each killed while taking over; a longer one was planted. */
const MAX_CHAIN = 100;
/** Error codes of file systems without hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

export const lockPath = (folder: string): string => path.join(folder, 'lock');
export const successorPath = (folder: string, id: string): string => path.join(folder, `lock.after-${id}`);

/** The contents of a lock. */
export interface LockText {
  pid: number;
  host: string;
  /** The start time from processState(); null in a lock of version 0.1, which has only the two fields above. */
  started: string | null;
  /** From pidSpace(). */
  space: string | null;
  /** Unique for each acquisition of the folder. */
  id: string;
}

/** A lock as found on disk. */
export interface Found extends LockText {
  file: string;
  /** False for a text that this program didn't write, or didn't finish writing. */
  isWhole: boolean;
  /** Changes with every beat. */
  mark: string;
  /** Identifies the file itself. */
  inode: { dev: number; ino: number };
}

function parse(text: string): Omit<LockText, 'id'> & { id: string | null; isWhole: boolean } {
  let value: Record<string, unknown> = {};
  try {
    value = Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    // half a lock, or not one of ours
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

/** The stale locks that were not fully taken over, oldest first, then the holder's; empty when the folder is free. */
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

/** A lock of this process that doesn't have its final name yet. */
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
      space: pidSpace(),
      id: this.id,
    };
    this.text = textWithBeat(lock);
  }

  /** Writes the lock under a name that must be free. @returns Whether it was free. @throws The system's error. */
  takeName(name: string): boolean {
    try {
      this.#write(this.#file);
      linkSync(this.#file, name);
      return true;
    } catch (error) {
      this.close();
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      // a process that has just acquired the folder removes others' leftovers: look again
      if (code === 'ENOENT' && existsSync(this.#folder)) return false;
      if (!NO_LINKS.has(code ?? '')) throw error;
      return this.#writeAs(name);
    } finally {
      rmSync(this.#file, { force: true });
    }
  }

  /** Hands over the open file: the caller closes it. */
  takeDescriptor(): number | null {
    const fd = this.#fd;
    this.#fd = null;
    return fd;
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  /** The file stays open, so that no lock has its name without being open in its holder. */
  #write(file: string): void {
    this.#fd = openSync(file, 'wx+');
    writeSync(this.#fd, this.text);
  }

  /** Without hard links another process may see half of it; it then watches the heartbeat. */
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

/** One attempt. @returns The lock, or null when another process was faster: look again. */
export function take(folder: string, chain: readonly Found[]): Draft | null {
  const draft = new Draft(folder);
  const last = chain.at(-1);
  if (last === undefined) return draft.takeName(lockPath(folder)) ? draft : null;
  const name = successorPath(folder, last.id);
  if (!draft.takeName(name)) return null;
  try {
    // another process may have taken it over, and released it, since the chain was read
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

/** Deletes what killed processes left next to a lock. */
export function clearDrafts(folder: string, id: string): void {
  for (const name of readdirSync(folder)) {
    if (/^lock\.(new|after)-[0-9a-f-]+$/.test(name) && !name.endsWith(id))
      rmSync(path.join(folder, name), { force: true });
  }
}
