/**
 * A contestant of the benchmark: a process that prepares itself, reports `ready`, and then, for every line `run` on its
 * input, does its work once and answers with one line of JSON. So two contestants can run side by side and take turns.
 */
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';

/** Highest resident memory so far, MiB (Linux), or null. */
export function peakMemory() {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
  } catch {
    return null;
  }
}

/** `work` returns how many units it did (steps, images), optionally with other results; the answer has the seconds per unit. */
export async function contestant(work) {
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== 'run') break;
    const start = performance.now();
    const done = await work();
    const { units, ...found } = typeof done === 'number' ? { units: done } : done;
    const seconds = (performance.now() - start) / 1000 / units;
    console.log(JSON.stringify({ seconds, peakMiB: peakMemory(), ...found }));
  }
  process.exit(0);
}
