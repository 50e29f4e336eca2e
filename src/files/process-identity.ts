/**
 * Which process a number means. Numbers are given again, and each container counts from 1: a number read from a file says
 * something only together with where it was counted (this boot of this machine, its pid namespace) and when the process
 * began.
 *
 * Linux tells in /proc; elsewhere `ps` does.
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

/** Where this process's numbers are counted; null where the system doesn't tell. The same for all that see each other. */
export function numberSpace(): string | null {
  // one count for the whole machine, which has no other name than its own
  if (!isLinux) return `host ${hostname()}`;
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim();
  const pids = linkOf('/proc/self/ns/pid');
  // starts are told by the clock of the time namespace; older kernels have none
  return boot === undefined || pids === null ? null : `${boot} ${pids} ${linkOf('/proc/self/ns/time') ?? ''}`;
}

/** `ps` about one process, in one language and time zone. */
function ask(pid: number, columns: string): string | null {
  const { status, stdout } = spawnSync('ps', ['-o', columns, '-p', String(pid)], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  });
  return status === 0 && stdout.trim() !== '' ? stdout.trim() : null;
}

/** Whether a process is there, whoever's it is and whatever may be read of it. */
function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What the system says of a process of this number space. */
export interface ProcessState {
  /** `hidden`: it is there, and nothing else is told of it. */
  is: 'there' | 'gone' | 'hidden';
  /** When it began: a text that no other process with its number has. */
  start: string | null;
}

/** A zombie, whose end nobody has asked for yet, is gone. */
export function processState(pid: number): ProcessState {
  let start: string | null;
  if (isLinux) {
    const stat = read(`/proc/${pid}/stat`);
    // the name in brackets may hold anything; the state is field 3, the start in clock ticks after the boot field 22
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
    if (/^[ZX]/.test(fields[0] ?? '')) return { is: 'gone', start: null };
    start = fields[19] ?? null;
  } else start = ask(pid, 'lstart=');
  if (start !== null) return { is: 'there', start };
  return { is: isThere(pid) ? 'hidden' : 'gone', start };
}

/** Whether a process is one of this user's. */
export function isOwn(pid: number): boolean {
  const uid = isLinux ? /^Uid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1] : ask(pid, 'uid=');
  return uid !== undefined && uid !== null && Number(uid) === process.getuid?.();
}

/**
 * Whether a process has a file open for writing; null where the system doesn't tell. What a process has open is nothing
 * that a file of somebody else's can claim.
 */
export function hasOpenForWriting(pid: number, wanted: { dev: number; ino: number }): boolean | null {
  if (!isLinux) return null;
  const look = (): boolean =>
    readdirSync(`/proc/${pid}/fd`).some((name) => {
      try {
        const { dev, ino } = statSync(`/proc/${pid}/fd/${name}`);
        const flags = /^flags:\s+([0-7]+)/m.exec(read(`/proc/${pid}/fdinfo/${name}`) ?? '')?.[1] ?? '0';
        return dev === wanted.dev && ino === wanted.ino && (Number.parseInt(flags, 8) & 3) !== 0;
      } catch {
        return false; // closed meanwhile
      }
    });
  try {
    return look() || look(); // it may be opening it anew just now
  } catch {
    return null;
  }
}
