/**
 * Opening files in folders that may be untrusted. People open run and index folders that others made: from a colleague, a
 * download, a shared disk. A link in such a folder must not lead a write out of it, a FIFO or a device must not block a
 * reader forever, and no file may exhaust the memory. Everything in this package that opens a file in such a folder goes
 * through this module.
 *
 * `within` is the folder that was given, which may itself be reached through links; no link below it is followed, for
 * reading or writing. (There is no protection against someone who changes the folder at this very moment: between the check
 * of a path and its opening, O_NOFOLLOW protects only the last component.)
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

/** The class of the error that is thrown; DataError by default. */
export type Failure = new (message: string, options?: ErrorOptions) => DinoError;

export interface GuardOptions {
  /** The folder below which no link is followed. Omit it for a file that the user named: links are then followed. */
  within?: string | undefined;
  /** What is thrown; DataError by default. */
  failure?: Failure;
}

export interface ReadOptions extends GuardOptions {
  /** The most bytes that the file may have; a larger file is refused before anything is read. */
  maxBytes: number;
  /** One of this program's own files, such as in the user's cache: it may be outside the folders of read-below.ts. */
  isOwn?: boolean;
}

/** Size limit for small text files of a run or index (settings, a manifest, an evaluation), bytes. */
export const SMALL_FILE_BYTES = 16 * 2 ** 20;

// 0 where the system lacks it (Windows), where creating links takes privileges that unpacking an archive doesn't have
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;
// open() would block forever on a FIFO without a writer
const NO_WAIT = constants.O_NONBLOCK ?? 0;

/** Opens anything for reading without blocking: check what kind of file it is before reading it. */
export const READ_FLAGS = constants.O_RDONLY | NO_WAIT;

/**
 * stat() of a path, following links; undefined if nothing is there, also when a parent is a file.
 * @throws `failure` when it can't be examined: circular links, a folder without access.
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
 * The names in a folder of a run or index; none when it doesn't exist.
 * @throws `failure` when it is not a folder, or is reached through a link below `within`.
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

/** What kind of file it is, in words: "a FIFO", "a folder". */
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
 * @throws `failure` that names the link and its target, or when the path is not below the folder.
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
        `${printable(at)} is a symbolic link (to ${JSON.stringify(printable(readlinkSync(at)))}): links inside such a folder are not ` +
          'followed, because they can lead out of it. If you trust it, replace it with a copy of its target.',
      );
  }
}

/** Checks the path for links and returns the flags to open the file with. @throws `failure` for a link below `within`. */
function flagsFor(file: string, flags: number, { within, failure }: GuardOptions): number {
  if (within === undefined) return flags | NO_WAIT;
  refuseLinks(within, file, failure);
  return flags | NO_WAIT | NO_FOLLOW;
}

/** The error for a file that the system refuses to open. */
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
    throw new failure(
      `${printable(file)} can't be opened: expected a regular file, but it is ${kindOf(stat)}.`,
    );
  if (stat.size > maxBytes)
    throw new failure(
      `${printable(file)} has ${stat.size} bytes; at most ${maxBytes} are allowed for such a file.`,
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
 * Opens a regular file for reading. The caller closes it.
 *
 * @throws `failure` when it doesn't exist, is a folder, FIFO, socket or device, is larger than `maxBytes`, is reached
 *   through a link below `within`, or is where this process may not read (read-below.ts).
 */
export function openToRead(file: string, options: ReadOptions): { fd: number; size: number } {
  refuseOutside(file, options);
  const { fd, stat } = open(file, constants.O_RDONLY, options, options.maxBytes);
  return { fd, size: stat.size };
}

/** openToRead() without blocking on a slow disk. The caller closes the handle. @throws As openToRead(). */
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
    // the file may have become shorter; what was appended since is left out
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

/**
 * Up to so many bytes of a regular file, from `from` on: what it begins with often says what it is.
 * @throws As openToRead().
 */
export function readStart(
  file: string,
  bytes: number,
  { from = 0, maxBytes = Infinity, ...options }: GuardOptions & { from?: number; maxBytes?: number } = {},
): Buffer {
  const { fd } = openToRead(file, { ...options, maxBytes });
  try {
    const start = Buffer.alloc(bytes);
    return start.subarray(0, readSync(fd, start, 0, bytes, from));
  } finally {
    closeSync(fd);
  }
}

/**
 * The last bytes of a regular file as text, none of them before `from`; its first character and line may be cut off.
 * @throws As openToRead().
 */
export function readEnd(
  file: string,
  bytes: number,
  { from = 0, ...options }: GuardOptions & { from?: number },
): string {
  const { fd, size } = openToRead(file, { ...options, maxBytes: Infinity });
  try {
    const end = Buffer.alloc(Math.min(Math.max(0, size - from), bytes));
    return end.toString('utf8', 0, readSync(fd, end, 0, end.length, size - end.length));
  } finally {
    closeSync(fd);
  }
}

/** A regular file's text, or null when it doesn't exist. @throws As openToRead(). */
export function readTextIfThere(file: string, options: ReadOptions): string | null {
  const { within, failure } = options;
  if (within !== undefined) refuseLinks(within, file, failure);
  if (lstatSync(file, { throwIfNoEntry: false }) === undefined) return null;
  return readGuarded(file, options).toString('utf8');
}

export interface GuardedWrite extends GuardOptions {
  within: string;
  /** `append` (default) writes at the end, `empty` empties the file first, `new` requires that it doesn't exist. */
  start?: 'append' | 'empty' | 'new';
}

/**
 * Opens a regular file in a folder for writing in place; creates it when it doesn't exist. The caller closes it.
 *
 * @throws `failure` as openToRead(), and when the file has a second name (a hard link): writing would change that file too.
 */
export function openToWrite(file: string, options: GuardedWrite): number {
  const { start = 'append', failure = DataError } = options;
  const made = constants.O_CREAT | (start === 'new' ? constants.O_EXCL : 0);
  const { fd, stat } = open(file, constants.O_RDWR | constants.O_APPEND | made, options);
  if (stat.nlink > 1) {
    closeSync(fd);
    throw new failure(
      `${printable(file)} is also known by another name (a hard link): writing here would change that file too. ` +
        'Replace it with a copy.',
    );
  }
  if (start === 'empty') ftruncateSync(fd);
  return fd;
}

/**
 * Makes a folder and its missing parents below `within`, which must exist unless it is the folder itself: a run folder that
 * was just renamed is not made a second time.
 * @throws `failure` when one is a link or can't be made.
 */
export function makeFolder(
  folder: string,
  { within, failure = DataError }: GuardOptions & { within: string },
): void {
  refuseLinks(within, folder, failure);
  try {
    const parts = path.relative(within, folder).split(path.sep);
    if (parts[0] === '') mkdirSync(folder, { recursive: true });
    else parts.forEach((_, i) => makeOne(path.join(within, ...parts.slice(0, i + 1))));
  } catch (error) {
    throw new failure(`${printable(folder)} can't be made: ${folderReason(error, folder)}`, { cause: error });
  }
}

/** Makes one folder; its parent must exist. */
function makeOne(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !lstatSync(folder).isDirectory()) throw error;
  }
}

/** Deletes a file or folder below `within`, if it exists; of a link only itself, never its target. @throws As makeFolder(). */
export function removeWithin(
  place: string,
  { within, failure = DataError }: GuardOptions & { within: string },
): void {
  refuseLinks(within, path.dirname(place), failure);
  rmSync(place, { recursive: true, force: true });
}
