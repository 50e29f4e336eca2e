/** What Linux tells of another process of this machine, in /proc. */
import { readFileSync } from 'node:fs';

/** Its state, a letter as `ps` prints it; null when there is no such process, or no /proc. */
function stateOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.charAt(stat.lastIndexOf(')') + 2); // the name before it may hold anything
  } catch {
    return null;
  }
}

/** Whether a process was paused, by SIGSTOP for example. */
export const isPaused = (pid: number): boolean => /[Tt]/.test(stateOf(pid) ?? '');

/** Whether a process is there, not paused and not dead. */
export const isRunning = (pid: number): boolean => /[^TtZXx]/.test(stateOf(pid) ?? '');
