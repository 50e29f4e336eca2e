/**
 * Acquires a folder's lock in a separate process: `node lock-child.js <folder> <options as JSON>`. For each line on stdin
 * with a time in milliseconds since 1970, it tries at that moment and prints `held`, or why not; `release` releases the lock,
 * `block` keeps its main thread busy for a second.
 */
import { createInterface } from 'node:readline';
import { type FolderLock, lockFolder, type LockOptions } from '../files/folder-lock.js';

const [folder = '', options = '{}'] = process.argv.slice(2);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let lock: FolderLock | null = null;
say('ready');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'release') {
    lock?.release();
    say('released');
  } else if (line === 'block') {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
    say('blocked');
  } else {
    while (Date.now() < Number(line)); // so that all try at the same time
    try {
      lock = await lockFolder(folder, { ...(JSON.parse(options) as LockOptions), onWait: say });
      say('held');
    } catch (error) {
      say((error as Error).message);
    }
  }
}
