/** What /proc says about another process of this machine (Linux). */
import { readFileSync } from 'node:fs';

/** Its state, as the letter that `ps` prints; null when the process or /proc doesn't exist. */
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

/** Whether a process exists and is neither paused nor dead. */
export const isRunning = (pid: number): boolean => /[^TtZXx]/.test(stateOf(pid) ?? '');
