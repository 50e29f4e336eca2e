/** The benchmark's side of its contestants (contestant.mjs): starts them, and gives them their turns. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Starts a contestant; `turn()` makes it work once and returns its answer. */
export async function start(command, args, threads) {
  const child = spawn(command, args, {
    cwd: path.dirname(fileURLToPath(import.meta.url)),
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, OMP_NUM_THREADS: String(threads) },
  });
  let errors = '';
  child.stderr.on('data', (text) => (errors = (errors + text).slice(-3000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${command} ${args[0]} ended:\n${errors}`);
    return JSON.parse(value);
  };
  await answer();
  return {
    turn: () => {
      child.stdin.write('run\n');
      return answer();
    },
    stop: () => child.stdin.end(),
  };
}
