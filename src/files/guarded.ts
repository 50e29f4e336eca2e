/**
 * Opening what somebody else may have put there. People open run and index folders that others made: from a colleague, a
 * download, a shared disk. A link in such a folder must not lead a write out of it, a FIFO or a device must not hold a
 * reader up for ever, and no file may fill the memory. Everything in this package that opens a file of such a folder goes
 * through this module.
 *
 * `within` names the folder that was given, which may itself be reached through links; below it no link is followed, for
 * reading or writing. (A folder in which somebody else writes at this very moment is not guarded against: between the look
 * at a name and its opening, only the last part is held by O_NOFOLLOW.)
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  readlinkSync,
  rmSync,
  statSync,
  type Stats,
} from 'node:fs';
import { type FileHandle, open as openLater } from 'node:fs/promises';
import path from 'node:path';
import { DataError, type DinoError } from '../errors.js';
import { messageOf, printable } from '../plain/printable.js';
import { folderReason, systemReason } from './system-reason.js';
import { isBelow, leadsOutside, OUTSIDE } from './read-below.js';

/** How an error is made; a DataError by default. */
export type Failure = new (message: string, options?: ErrorOptions) => DinoError;

export interface GuardOptions {
  /** The folder below which no link is followed. Without it links are: the file is one that the caller was given. */
  within?: string | undefined;
  /** What is thrown; DataError by default. */
  failure?: Failure;
}

export interface ReadOptions extends GuardOptions {
  /** The most bytes that the file may have; the file is refused before any is read. */
  maxBytes: number;
  /** A file of this program's own, as in the user's cache: it may lie outside the folders of read-below.ts. */
  isOwn?: boolean;
}

/** The most that a small text of a run or index (settings, a manifest, an evaluation) may have, in bytes. */
export const SMALL_FILE_BYTES = 16 * 2 ** 20;

// 0 where the system lacks them (Windows), where links need rights that a stranger's archive doesn't have
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;
// a FIFO without a writer would hold open() up for ever
const NO_WAIT = constants.O_NONBLOCK ?? 0;

/** Opens for reading whatever it is, and waits for nothing: what it is must be looked at before it is read. */
export const READ_FLAGS = constants.O_RDONLY | NO_WAIT;

/**
 * What is at a place, links followed; undefined for nothing, also where a part of the way is a file.
 * @throws `failure` when it can't be looked at: links in a circle, a folder without access.
 */
export function statIfThere(place: string, failure: Failure = DataError): Stats | undefined {
  try {
    return statSync(place, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw new failure(`${printable(place)} can't be opened: ${systemReason(error)}`, { cause: error });
  }
}

/**
 * The names in a folder of a run or index; none when it isn't there.
 * @throws `failure` when it is something else than a folder, or reached through a link below `within`.
 */
export function namesIn(folder: string, { within, failure = DataError }: GuardOptions): string[] {
  if (within !== undefined) refuseLinks(within, folder, failure);
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new failure(`${printable(folder)} can't be opened: ${systemReason(error)}`, { cause: error });
  }
}

/** What a thing is, for people: "a FIFO", "a folder". */
export function kindOf(stat: Stats): string {
  if (stat.isFile()) return 'a regular file';
  if (stat.isDirectory()) return 'a folder';
  if (stat.isSymbolicLink()) return 'a symbolic link';
  if (stat.isFIFO()) return 'a FIFO';
  if (stat.isSocket()) return 'a socket';
  return 'a device';
}

/**
 * Checks that no part of a path below a folder is a symbolic link. Parts that don't exist are fine.
 *
 * @throws `failure` that names the link and where it leads, or when the path is not below the folder.
 */
export function refuseLinks(within: string, file: string, failure: Failure = DataError): void {
  if (!isBelow(within, file))
    throw new failure(`internal: ${printable(file)} is not in ${printable(within)}`);
  let at = within;
  for (const part of path.relative(within, file).split(path.sep)) {
    if (part === '') return; // the folder itself, which may be reached through links
    at = path.join(at, part);
    let stat: Stats | undefined;
    try {
      stat = lstatSync(at, { throwIfNoEntry: false });
    } catch (error) {
      throw new failure(`${printable(at)} can't be opened: ${messageOf(error)}`, { cause: error });
    }
    if (stat === undefined) return;
    if (stat.isSymbolicLink())
      throw new failure(
        `${printable(at)} is a symbolic link (to ${JSON.stringify(printable(readlinkSync(at)))}): links inside a run or index folder are not ` +
          'followed, because they can lead out of it. If you trust it, put what it leads to in its place.',
      );
  }
}

/** The flags with which a file is opened, after links on the way to it were looked for. @throws `failure` for such a link. */
function flagsFor(file: string, flags: number, { within, failure }: GuardOptions): number {
  if (within === undefined) return flags | NO_WAIT;
  refuseLinks(within, file, failure);
  return flags | NO_WAIT | NO_FOLLOW;
}

/** What is thrown when the system refuses to open a file. */
const notOpened = (file: string, error: unknown, { failure = DataError }: GuardOptions): DinoError =>
  new failure(`${printable(file)} can't be opened: ${systemReason(error)}`, { cause: error });

/** @throws `failure` when what was opened is not a regular file, or has too many bytes. */
function checkOpened(
  file: string,
  stat: Stats,
  { failure = DataError }: GuardOptions,
  maxBytes = Infinity,
): void {
  if (!stat.isFile())
    throw new failure(`${printable(file)} can't be opened: expected a regular file, it is ${kindOf(stat)}.`);
  if (stat.size > maxBytes)
    throw new failure(
      `${printable(file)} has ${stat.size} bytes; at most ${maxBytes} are read of such a file.`,
    );
}

function refuseOutside(file: string, { failure = DataError, isOwn = false }: ReadOptions): void {
  if (!isOwn && leadsOutside(file)) throw new failure(`${printable(file)} ${OUTSIDE}`);
}

function open(
  file: string,
  flags: number,
  options: GuardOptions,
  maxBytes?: number,
): { fd: number; stat: Stats } {
  const all = flagsFor(file, flags, options);
  let fd: number;
  try {
    fd = openSync(file, all, 0o644);
  } catch (error) {
    throw notOpened(file, error, options);
  }
  const stat = fstatSync(fd);
  try {
    checkOpened(file, stat, options, maxBytes);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { fd, stat };
}

/**
 * Opens a regular file for reading. Close what it gives.
 *
 * @throws `failure` when it isn't there, is a folder, FIFO, socket or device, is larger than `maxBytes`, is reached
 *   through a link below `within`, or lies where this process may not read (read-below.ts).
 */
export function openToRead(file: string, options: ReadOptions): { fd: number; size: number } {
  refuseOutside(file, options);
  const { fd, stat } = open(file, constants.O_RDONLY, options, options.maxBytes);
  return { fd, size: stat.size };
}

/** The same without waiting for a slow disk. Close what it gives. @throws As openToRead(). */
export async function openHandle(file: string, options: ReadOptions): Promise<FileHandle> {
  refuseOutside(file, options);
  const flags = flagsFor(file, constants.O_RDONLY, options);
  let handle: FileHandle;
  try {
    handle = await openLater(file, flags);
  } catch (error) {
    throw notOpened(file, error, options);
  }
  try {
    checkOpened(file, await handle.stat(), options, options.maxBytes);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A regular file's bytes. @throws As openToRead(). */
export function readGuarded(file: string, options: ReadOptions): Buffer<ArrayBuffer> {
  const { fd, size } = openToRead(file, options);
  try {
    const bytes = Buffer.from(new ArrayBuffer(size));
    let done = 0;
    // it may have become shorter; what was added since is left out
    for (let count = -1; done < size && count !== 0; done += count)
      count = readSync(fd, bytes, done, Math.min(2 ** 30, size - done), done);
    return bytes.subarray(0, done);
  } catch (error) {
    const { failure = DataError } = options;
    throw new failure(`${printable(file)} can't be read: ${messageOf(error)}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** The last bytes of a regular file as text, whose first character and line may be cut. @throws As openToRead(). */
export function readEnd(file: string, bytes: number, options: GuardOptions): string {
  const { fd, size } = openToRead(file, { ...options, maxBytes: Infinity });
  try {
    const end = Buffer.alloc(Math.min(size, bytes));
    return end.toString('utf8', 0, readSync(fd, end, 0, end.length, size - end.length));
  } finally {
    closeSync(fd);
  }
}

/** A regular file's text, null when there is none. @throws As openToRead(). */
export function readTextIfThere(file: string, options: ReadOptions): string | null {
  const { within, failure } = options;
  if (within !== undefined) refuseLinks(within, file, failure);
  if (lstatSync(file, { throwIfNoEntry: false }) === undefined) return null;
  return readGuarded(file, options).toString('utf8');
}

export interface GuardedWrite extends GuardOptions {
  within: string;
  /** `append` (default) writes after what is there, `empty` cuts it off first, `new` wants that there is nothing. */
  start?: 'append' | 'empty' | 'new';
}

/**
 * Opens a regular file of a folder for writing in place; makes it when it isn't there. Close what it gives.
 *
 * @throws `failure` as openToRead(), and when the file has a second name (a hard link): what is written would change that
 *   file too.
 */
export function openToWrite(file: string, options: GuardedWrite): number {
  const { start = 'append', failure = DataError } = options;
  const made = constants.O_CREAT | (start === 'new' ? constants.O_EXCL : 0);
  const { fd, stat } = open(file, constants.O_RDWR | constants.O_APPEND | made, options);
  if (stat.nlink > 1) {
    closeSync(fd);
    throw new failure(
      `${printable(file)} is also known by another name (a hard link): writing here would change that file too. ` +
        'Put a copy of it in its place.',
    );
  }
  if (start === 'empty') ftruncateSync(fd);
  return fd;
}

/** Makes a folder and those above it, below `within`. @throws `failure` when one of them is a link or can't be made. */
export function makeFolder(
  folder: string,
  { within, failure = DataError }: GuardOptions & { within: string },
): void {
  refuseLinks(within, folder, failure);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new failure(`${printable(folder)} can't be made: ${folderReason(error, folder)}`, { cause: error });
  }
}

/** Deletes a file or folder below `within`, if it is there; a link itself, never what it leads to. @throws `failure` as makeFolder(). */
export function removeWithin(
  place: string,
  { within, failure = DataError }: GuardOptions & { within: string },
): void {
  refuseLinks(within, path.dirname(place), failure);
  rmSync(place, { recursive: true, force: true });
}
