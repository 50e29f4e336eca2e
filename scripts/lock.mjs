/** A lock between processes of one machine: two set-ups at the same time would write the same files. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** Waits until no other living process holds the lock. @returns A function that releases it. */
export async function lock(file, say) {
  mkdirSync(path.dirname(file), { recursive: true });
  for (let waited = 0; ; waited++) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let owner;
    try {
      owner = Number(readFileSync(file, 'utf8'));
    } catch {
      continue; // released between the two calls
    }
    // An empty file is a lock being written; one that stays empty was left by a crash.
    if (owner === 0 ? waited > 20 : !isAlive(owner)) rmSync(file, { force: true });
    else {
      if (waited === 2) say(`waiting for another set-up (process ${owner})`);
      await sleep(250);
    }
  }
}
