/**
 * A folder has one writer, whatever was killed before, on whichever machine. DINO_TEST_KILLS=20 runs that many rounds of
 * the tests that kill processes.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FolderLostError, lockFolder, readLock, signalHolder } from './folder-lock.js';
import { lockPath } from './lock-files.js';
import { Heartbeat, textWithBeat } from './lock-heartbeat.js';
import { pidSpace, processState } from './process-identity.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);
const childFile = fileURLToPath(new URL('../testing/lock-child.js', import.meta.url));

let top = '';
let folder = '';
const running = new Set<ChildProcess>();
beforeEach(() => {
  top = mkdtempSync(path.join(tmpdir(), 'dino-lock-'));
  folder = path.join(top, 'run');
});
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
  rmSync(top, { recursive: true });
});

interface Child {
  process: ChildProcess;
  /** The next line that it prints. */
  next: () => Promise<string>;
  say: (line: string | number) => void;
  kill: () => Promise<void>;
}

function start(options: object = {}, before: readonly string[] = []): Child {
  const [program = '', ...args] = [...before, process.execPath, childFile, folder, JSON.stringify(options)];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  running.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    process: child,
    next: async () => {
      const line = (await lines.next()) as IteratorResult<string, undefined>;
      return line.value ?? 'ended';
    },
    say: (line) => void child.stdin.write(`${line}\n`),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
      running.delete(child);
    },
  };
}

async function holding(options: object = {}, before: readonly string[] = []): Promise<Child> {
  const child = start(options, before);
  assert.equal(await child.next(), 'ready');
  child.say(0);
  assert.equal(await child.next(), 'held');
  return child;
}

const textOf = (): { pid: number; started: string; beat: string; id: string } =>
  JSON.parse(readFileSync(lockPath(folder), 'utf8')) as ReturnType<typeof textOf>;
const files = (): string[] => readdirSync(folder).sort();
const write = (lock: object): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(lockPath(folder), textWithBeat(lock));
};
const mine = () => ({
  pid: process.pid,
  host: hostname(),
  started: processState(process.pid).start,
  space: pidSpace(),
});

test('a folder is held by one process, and free once it is released', async () => {
  const first = await holding();
  await assert.rejects(lockFolder(folder), new RegExp(`in use by process ${first.process.pid}\\.`));
  assert.deepEqual(readLock(folder), { pid: first.process.pid, host: hostname(), isAlive: true });
  first.say('release');
  assert.equal(await first.next(), 'released');
  assert.deepEqual(files(), []);
  const own = await lockFolder(folder);
  await assert.rejects(lockFolder(folder), /in use by process \d+ \(this one\)/);
  own.check();
  own.release();
  own.release();
  assert.deepEqual(files(), []);
});

test('when the holder was killed and many processes want the folder at once, exactly one gets it', async () => {
  const COUNT = 6;
  const children: Child[] = [];
  for (let round = 0; round < 4 * ROUNDS; round++) {
    const fresh = Array.from({ length: COUNT - children.length }, () => start());
    for (const child of fresh) assert.equal(await child.next(), 'ready');
    children.push(...fresh);
    const at = Date.now() + 30;
    for (const child of children) child.say(at);
    const said = await Promise.all(children.map((child) => child.next()));
    const holders = said.flatMap((line, i) => (line === 'held' ? [i] : []));
    assert.equal(holders.length, 1, said.join('\n'));
    const [holder] = children.splice(holders[0]!, 1);
    const others = said.filter((line) => line !== 'held');
    for (const line of others) assert.match(line, /is in use by process \d+/);
    assert.equal(textOf().pid, holder!.process.pid);
    await holder!.kill(); // the next round finds what it left
    assert.equal(readLock(folder)?.isAlive, false);
  }
  const own = await lockFolder(folder);
  assert.deepEqual(files(), ['lock'], 'nothing else is left');
  own.release();
});

test('what processes leave that are killed while acquiring the lock is taken over too', async () => {
  const dead = { ...mine(), started: 'never' };
  write({ ...dead, id: 'aa' });
  writeFileSync(path.join(folder, 'lock.after-aa'), textWithBeat({ ...dead, id: 'bb' }));
  writeFileSync(path.join(folder, 'lock.new-cc'), '');
  assert.equal(readLock(folder)?.isAlive, false);
  const lock = await lockFolder(folder);
  assert.deepEqual(files(), ['lock']);
  lock.release();
  // a live process holds it before its lock has the final name
  const child = await holding();
  renameSync(lockPath(folder), path.join(folder, 'lock.after-aa'));
  write({ ...dead, id: 'aa' });
  await assert.rejects(lockFolder(folder), new RegExp(`in use by process ${child.process.pid}\\.`));
  assert.equal(readLock(folder)?.isAlive, true);
});

test('a pid that was reused by another process means nothing', async () => {
  write({ ...mine(), started: 'earlier', id: 'aa' });
  assert.equal(readLock(folder)?.isAlive, false);
  (await lockFolder(folder)).release();
});

test('a lock of an earlier version is valid while its process lives, unless the pid is our own', async () => {
  for (const [pid, host, expected] of [
    [process.ppid, hostname(), /in use by process \d+\. .*delete .*lock/],
    [7, 'host-b', /in use by process 7 on host-b\. .*delete .*lock/],
    [process.pid, hostname(), null],
    [2 ** 30, hostname(), null],
  ] as const) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(lockPath(folder), JSON.stringify({ pid, host }));
    if (expected === null) (await lockFolder(folder)).release();
    else await assert.rejects(lockFolder(folder), expected);
  }
  assert.equal(readLock(folder), null);
});

test('a holder elsewhere is watched: its folder is refused while its beat changes, taken over when it does not', async () => {
  const elsewhere = { pid: process.pid, host: 'host-b', started: '1', space: 'another machine', id: 'aa' };
  write(elsewhere);
  assert.deepEqual(readLock(folder), { pid: process.pid, host: 'host-b', isAlive: null });
  const text = readFileSync(lockPath(folder), 'utf8');
  const beats = new Heartbeat({ file: lockPath(folder), id: 'aa', text, beatMs: 50 });
  const waits: string[] = [];
  const onWait = (message: string): void => void waits.push(message);
  await assert.rejects(lockFolder(folder, { onWait, leaseMs: 20_000 }), /in use by process \d+ on host-b/);
  beats.stop();
  assert.match(
    waits.join('|'),
    /^waiting up to 20 s to see whether process \d+ on host-b still holds .*run$/,
  );
  (await lockFolder(folder, { onWait, leaseMs: 500 })).release();
  // a launcher knows that it has ended them
  write(elsewhere);
  waits.length = 0;
  (await lockFolder(folder, { onWait, isRestart: true })).release();
  assert.deepEqual(waits, []);
  write(elsewhere);
  const controller = new AbortController();
  const abort = (): void => controller.abort(new Error('interrupted'));
  await assert.rejects(lockFolder(folder, { onWait: abort, signal: controller.signal }), /interrupted/);
});

test('a lock that holds nonsense is watched, and never causes more than a wait', async () => {
  for (const text of [
    '',
    '{"pid":',
    '[]',
    'null',
    '{"pid":-1,"host":"h"}',
    '{"pid":1,"host":"h","started":{},"id":"../x"}',
  ]) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(lockPath(folder), text);
    assert.throws(() => signalHolder(folder, 'SIGKILL'));
    if (text.includes('../x')) continue; // indistinguishable from a lock of version 0.1
    assert.equal(readLock(folder), null);
    (await lockFolder(folder, { leaseMs: 100 })).release();
  }
  rmSync(lockPath(folder));
  symlinkSync(path.join(top, 'elsewhere'), lockPath(folder));
  await assert.rejects(lockFolder(folder), /is a symbolic link/);
  rmSync(lockPath(folder));
  execFileSync('mkfifo', [lockPath(folder)]);
  await assert.rejects(lockFolder(folder), /it is a FIFO/);
  assert.ok(!existsSync(path.join(top, 'elsewhere')));
});

test('the beat goes on while the main thread is busy', async () => {
  const child = await holding({ beatMs: 50 });
  const before = Number(textOf().beat);
  child.say('block');
  const busy = child.next();
  let isBusy = true;
  void busy.then(() => (isBusy = false));
  const seen = new Set<number>();
  while (isBusy) {
    seen.add(Number(textOf().beat));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(await busy, 'blocked');
  assert.ok(seen.size >= 3 && Math.max(...seen) > before, [...seen].join(' '));
  assert.equal(textOf().pid, child.process.pid);
});

test('a copy of a folder is not held by the holder of the original', async () => {
  const child = await holding();
  const copy = path.join(top, 'copy');
  cpSync(folder, copy, { recursive: true });
  assert.throws(() => signalHolder(copy, 'SIGKILL'), /doesn't hold this folder/);
  (await lockFolder(copy, { leaseMs: 200 })).release();
  assert.equal(signalHolder(folder, 'SIGKILL'), child.process.pid);
  assert.equal(await child.next(), 'ended');
});

test('a signal goes only to the process that holds the folder, not to whatever a lock names', () => {
  const own = mine();
  for (const [lock, expected] of [
    [{ ...own, pid: -1, id: 'aa' }, /No process holds/],
    [{ ...own, pid: 0, id: 'aa' }, /No process holds/],
    [{ ...own, pid: 1, started: processState(1).start ?? '0', id: 'aa' }, /this program can't have started/],
    [{ ...own, pid: 1.5, id: 'aa' }, /No process holds/],
    [{ ...own, started: 'earlier', id: 'aa' }, /is gone/],
    [{ pid: process.ppid, host: hostname() }, /earlier version/],
    [
      { ...own, space: 'another', host: 'b\u001b[2J\nforged', id: 'aa' },
      /on b\\u001b\[2J\\nforged, another machine/,
    ],
    [{ ...own, id: 'aa' }, /doesn't hold this folder/], // this process, which never took it
    [
      { ...own, pid: process.ppid, started: processState(process.ppid).start, id: 'aa' },
      /doesn't hold this folder|belongs to another user/,
    ],
  ] as const) {
    write(lock);
    assert.throws(() => signalHolder(folder, 'SIGKILL'), expected);
  }
  rmSync(lockPath(folder));
  assert.throws(() => signalHolder(folder, 'SIGKILL'), /No process holds/);
});

test('a holder notices that its folder was moved, deleted or taken over, and makes a deleted lock again', async (t) => {
  const lock = await lockFolder(folder);
  rmSync(lockPath(folder));
  lock.check();
  assert.equal(textOf().pid, process.pid, 'taken again');
  const moved = path.join(top, 'moved');
  renameSync(folder, moved);
  const isLinux = process.platform === 'linux';
  assert.throws(
    () => lock.check(),
    (error) => error instanceof FolderLostError && (error.movedTo === moved || !isLinux),
  );
  if (!isLinux) return t.skip('only Linux says where a folder went');
  mkdirSync(folder); // another one in its place is not it
  assert.throws(() => lock.check(), /was moved to .*moved/);
  assert.deepEqual(files(), []);
  lock.release();
  assert.deepEqual(readdirSync(moved), []);

  const deleted = await lockFolder(moved);
  rmSync(moved, { recursive: true });
  assert.throws(() => deleted.check(), /no longer exists/);
  mkdirSync(moved);
  assert.throws(() => deleted.check(), /no longer exists/, 'another one in its place is not it');
  assert.deepEqual(readdirSync(moved), []);
  deleted.release();

  const paused = await lockFolder(folder);
  write({ ...mine(), host: 'host-b', space: 'another', id: 'aa' });
  assert.throws(() => paused.check(), /was taken over by process \d+ on host-b/);
  paused.release();
  assert.equal(textOf().id, 'aa', 'not ours to delete');
});

test('for a folder that cannot be written to, the error gives the reason', async (t) => {
  writeFileSync(path.join(top, 'file'), '');
  await assert.rejects(lockFolder(path.join(top, 'file', 'run')), /ENOTDIR/);
  const disk = path.join(top, 'disk');
  mkdirSync(disk);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]).status !== 0)
    return t.skip('mounting a read-only disk takes root');
  try {
    mkdirSync(path.join(disk, 'there'));
    spawnSync('mount', ['-o', 'remount,ro', disk]);
    for (const name of ['new/run', 'new', 'there'])
      await assert.rejects(lockFolder(path.join(disk, name)), /the disk is read-only/);
  } finally {
    spawnSync('umount', [disk]);
  }
});

const mayUnshare = (t: TestContext, ...flags: string[]): boolean => {
  if (spawnSync('unshare', [...flags, 'true']).status === 0) return true;
  t.skip(`unshare ${flags.join(' ')} takes root`);
  return false;
};

test('in a container every start has the same pid: the lock of a killed process is taken over', async (t) => {
  const flags = ['--pid', '--fork', '--mount-proc', '--kill-child'];
  if (!mayUnshare(t, ...flags)) return;
  for (let round = 0; round <= ROUNDS; round++) {
    const child = start({ leaseMs: 500 }, ['unshare', ...flags]);
    assert.equal(await child.next(), 'ready');
    child.say(0);
    if (round > 0)
      assert.match(await child.next(), /^waiting up to 1 s to see whether process 1 still holds/);
    assert.equal(await child.next(), 'held');
    assert.equal(textOf().pid, 1);
    await child.kill();
  }
});

test('a changed host name changes nothing', async (t) => {
  if (!mayUnshare(t, '--uts')) return;
  const named = ['unshare', '--uts', 'sh', '-c', 'hostname other-name && exec "$@"', 'sh'];
  const child = await holding({}, named);
  await assert.rejects(lockFolder(folder), /in use by process \d+ on other-name\. Wait for it, or stop it/);
  await child.kill();
  (await lockFolder(folder, { onWait: () => assert.fail('no wait') })).release();
});
