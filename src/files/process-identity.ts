/**
 * Which process a pid means. Pids are reused, and each container counts from 1: a pid read from a file identifies a process
 * only together with where it was assigned (this boot of this machine, its pid namespace) and when the process started.
 *
 * On Linux this comes from /proc, elsewhere from `ps`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { hostname } from 'node:os';

const isLinux = process.platform === 'linux';

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function linkOf(file: string): string | null {
  try {
    return readlinkSync(file);
  } catch {
    return null;
  }
}

/** Identifies the set of processes that share pids with this one; null where the system doesn't say. */
export function pidSpace(): string | null {
  // one set of pids for the whole machine, which has no identifier but its name
  if (!isLinux) return `host ${hostname()}`;
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim();
  const pids = linkOf('/proc/self/ns/pid');
  // start times use the clock of the time namespace, which older kernels lack
  return boot === undefined || pids === null ? null : `${boot} ${pids} ${linkOf('/proc/self/ns/time') ?? ''}`;
}

/** What `ps` prints about one process, in a fixed language and time zone. */
function ask(pid: number, columns: string): string | null {
  const { status, stdout } = spawnSync('ps', ['-o', columns, '-p', String(pid)], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  });
  return status === 0 && stdout.trim() !== '' ? stdout.trim() : null;
}

/** Whether a process exists, whoever owns it and even if nothing about it may be read. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What the system says about a process of this pid space. */
export interface ProcessState {
  /** `hidden`: it exists, but nothing else about it may be read. */
  is: 'alive' | 'gone' | 'hidden';
  /** When it started: a text that no other process with this pid has. */
  start: string | null;
}

/** A zombie, whose exit status has not been collected yet, counts as gone. */
export function processState(pid: number): ProcessState {
  let start: string | null;
  if (isLinux) {
    const stat = read(`/proc/${pid}/stat`);
    // the name in brackets may hold anything; field 3 is the state, field 22 the start in clock ticks after boot
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
    if (/^[ZX]/.test(fields[0] ?? '')) return { is: 'gone', start: null };
    start = fields[19] ?? null;
  } else start = ask(pid, 'lstart=');
  if (start !== null) return { is: 'alive', start };
  return { is: exists(pid) ? 'hidden' : 'gone', start };
}

/** Whether a process belongs to this user. */
export function isOwn(pid: number): boolean {
  const uid = isLinux ? /^Uid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1] : ask(pid, 'uid=');
  return uid !== undefined && uid !== null && Number(uid) === process.getuid?.();
}

/**
 * Whether a process has a file open for writing; null where the system doesn't say. Unlike the text of a lock file, this
 * can't be forged.
 */
export function hasOpenForWriting(pid: number, wanted: { dev: number; ino: number }): boolean | null {
  if (!isLinux) return null;
  const isOpen = (): boolean =>
    readdirSync(`/proc/${pid}/fd`).some((name) => {
      try {
        const { dev, ino } = statSync(`/proc/${pid}/fd/${name}`);
        const flags = /^flags:\s+([0-7]+)/m.exec(read(`/proc/${pid}/fdinfo/${name}`) ?? '')?.[1] ?? '0';
        return dev === wanted.dev && ino === wanted.ino && (Number.parseInt(flags, 8) & 3) !== 0;
      } catch {
        return false; // closed in the meantime
      }
    });
  try {
    return isOpen() || isOpen(); // it may be reopening the file at this moment
  } catch {
    return null;
  }
}
