/** The machine, whether it is quiet, and a lock: one measurement at a time. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cpuCapability, torchVectors } from '../../dist/torch/index.js';

/** The largest share of the cores that may be busy before a run. */
export const BUSY = 0.5;

export function machine() {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    vectors: `${torchVectors().level}, libtorch ${cpuCapability()}`,
  };
}

/** The commit that is measured; "+" when files differ from it. */
export function commit() {
  const git = (...args) =>
    execFileSync('git', args, { cwd: path.dirname(fileURLToPath(import.meta.url)), encoding: 'utf8' }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '-uno') === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}

/** @throws When the load average says that something else runs. The harness's own children count in it for a minute or two. */
export function assertQuiet() {
  const [load] = os.loadavg();
  const most = BUSY * os.availableParallelism();
  if (load > most)
    throw new Error(
      `the load average is ${load.toFixed(2)}, above ${most}: something else runs, and equal seconds would not be equal. ` +
        'Wait, or give --allow-load, which the results then say.',
    );
}

/** Ticks of 10 ms since boot, over all cores: [busy, all]. */
const ticks = () =>
  os.cpus().reduce(
    ([busy, all], { times }) => {
      const total = Object.values(times).reduce((a, b) => a + b, 0);
      return [busy + total - times.idle, all + total];
    },
    [0, 0],
  );

const share = (part, whole) => Math.round((100 * Math.max(0, part)) / Math.max(1, whole)) / 100;

/** Share of the cores that is busy, over some seconds in which we do nothing. */
export async function busyShare(seconds = 3) {
  const before = ticks();
  await sleep(1000 * seconds);
  const after = ticks();
  return share(after[0] - before[0], after[1] - before[1]);
}

/** CPU time of this process and of its children that have ended, in ms; null where /proc does not say. */
function ownTime() {
  try {
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
    return 10 * [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0); // utime, stime, cutime, cstime
  } catch {
    return null;
  }
}

/**
 * What others took of the cores while `work` ran with its child processes.
 * @returns What `work` gave, and a share from 0 to 1; null where it cannot be known.
 */
export async function watchOthers(work) {
  const [before, ownBefore] = [ticks(), ownTime()];
  const result = await work();
  const [after, ownAfter] = [ticks(), ownTime()];
  const others =
    ownBefore === null || ownAfter === null
      ? null
      : share(after[0] - before[0] - (ownAfter - ownBefore), after[1] - before[1]);
  return { result, others };
}

/** Takes the machine's lock until the returned function is called. @throws When another harness holds it. */
export function takeLock() {
  const file = path.join(os.tmpdir(), 'dino-bench-learning.lock');
  for (;;) {
    try {
      const handle = openSync(file, 'wx');
      writeSync(handle, String(process.pid));
      closeSync(handle);
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const holder = Number(readFileSync(file, 'utf8'));
      if (isAlive(holder))
        throw new Error(`process ${holder} measures already; one at a time (${file})`, { cause: error });
      rmSync(file, { force: true });
    }
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
