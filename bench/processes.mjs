/** A step's batch divided among several of our processes, each with its own threads: all run step.mjs at the same time. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { contestant } from './contestant.mjs';

const c = JSON.parse(process.argv[2]);
const folder = mkdtempSync(path.join(tmpdir(), 'dino-bench-'));
const script = fileURLToPath(new URL('./step.mjs', import.meta.url));
const processes = Array.from({ length: c.processes }, (_, rank) => {
  const own = {
    ...c,
    rank,
    size: c.processes,
    store: path.join(folder, 'store'),
    batch: c.batch / c.processes,
  };
  const child = spawn(process.execPath, [script, JSON.stringify(own)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: String(c.threads) },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    if ((await lines.next()).done) throw new Error(`process ${rank} ended`);
  };
  return { child, answer };
});
await Promise.all(processes.map(({ answer }) => answer())); // ready
process.on('exit', () => {
  for (const { child } of processes) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
await contestant(async () => {
  for (const { child } of processes) child.stdin.write('run\n');
  await Promise.all(processes.map(({ answer }) => answer()));
  return c.steps;
});
