/**
 * Trainings that the studio begins, stops and resumes, asked for as the page asks: they come to the bits of one that was left
 * alone. Stop signals nobody whom a forged lock names. DINO_TEST_KILLS=20 for as many rounds of each; one otherwise.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lockPath } from '../files/lock-files.js';
import { textWithBeat } from '../files/lock-heartbeat.js';
import { pidSpace, processState } from '../files/process-identity.js';
import { testFolder } from '../testing/distributed-run.js';
import { dino } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { newestCheckpoint, verifyCheckpoint } from '../run/checkpoint-files.js';
import { PAPER } from '../train/presets.js';
import { readLines } from '../files/json-lines.js';
import type { TrainSettings } from '../run/settings.js';
import type { RunSummary } from '../plain/studio-api/index.js';
import { type RunningStudio, startStudio } from './index.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);
/** 180 steps, and no checkpoint but that of the last: what is saved was saved for the occasion. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 3, epochs: 30, threads: 1, saveckpFreq: 0 },
};
const { newRun, images, commandLine } = testFolder();
let studio: RunningStudio;

before(async () => {
  studio = await startStudio({ folders: [path.dirname(images())], port: 0 });
});
const running = new Set<ChildProcess>();
const begun = (child: ChildProcess): ChildProcess => {
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
};
after(async () => {
  for (const child of running) child.kill('SIGKILL');
  await studio.close();
});

async function post(address: string, body?: object): Promise<{ status: number; text: string }> {
  const response = await fetch(`${studio.origin}/api${address}`, {
    method: 'POST',
    headers: {
      ...{ authorization: `Bearer ${studio.token}`, origin: studio.origin },
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

/** Those of `SETTINGS` that aren't the preset's, as the page sends what was typed. */
const overrides = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(SETTINGS)
      .filter(([name, value]) => value !== PAPER[name as keyof TrainSettings])
      .map(([name, value]) => [name, String(value)]),
  );

async function begin(run: string): Promise<string> {
  const request = { images: images(), preset: 'paper', overrides: overrides(), output: run };
  const { status, text } = await post('/start/train', request);
  assert.equal(status, 200, text);
  return (JSON.parse(text) as { run: string }).run;
}

const linesOf = (run: string): number => {
  const file = path.join(run, 'metrics.jsonl');
  return existsSync(file) ? readLines(file).length : 0;
};
const letGo = async (run: string): Promise<void> => {
  while (existsSync(lockPath(run))) await sleep(10);
};

test('a training that is begun, stopped at a random moment, and resumed', async () => {
  const whole = newRun();
  const { code, stderr } = await dino(commandLine(whole, SETTINGS));
  assert.equal(code, 0, stderr);
  const bits = fingerprint(whole);
  const seconds = readLines(path.join(whole, 'metrics.jsonl')).length / 60;
  const steps: number[] = [];
  while (steps.length < ROUNDS) {
    const run = newRun();
    const id = await begin(run);
    while (linesOf(run) === 0) await sleep(10);
    await sleep(Math.random() * 1000 * seconds);
    const { status, text } = await post(`/runs/${id}/stop`);
    await letGo(run);
    const done = linesOf(run);
    const isStopped = done < bits['losses']!.split('],[').length;
    if (isStopped) {
      assert.equal(status, 200, text);
      assert.equal(verifyCheckpoint(newestCheckpoint(run) ?? assert.fail('no checkpoint')), done);
      // the run's lock is released before its last line is written
      while (
        !/stopped after step \d+; continue with/.test(readFileSync(path.join(run, 'studio.log'), 'utf8'))
      )
        await sleep(10);
      const log = readFileSync(path.join(run, 'studio.log'), 'utf8');
      const resumed = await post(`/runs/${id}/resume`);
      assert.equal(resumed.status, 200, resumed.text);
      await letGo(run);
      const longer = readFileSync(path.join(run, 'studio.log'), 'utf8');
      assert.ok(longer.startsWith(log), longer);
      assert.match(longer.slice(log.length), /\n--- resumed \d{4}-\d\d-\d\dT[\d:.]+Z ---\n./);
      steps.push(done);
    } else assert.ok(status === 200 || /No process holds|is gone/.test(text), text); // it was over before
    assert.deepEqual(fingerprint(run), bits);
    rmSync(run, { recursive: true });
  }
  if (ROUNDS > 1) console.log(`Stop: ${ROUNDS} rounds, after steps ${steps.join(' ')}`);
});

test(
  'a resume that is refused keeps the log, and tells its own lines only',
  { timeout: 120_000 },
  async () => {
    const run = newRun();
    const { code, stderr } = await dino(commandLine(run, { ...SETTINGS, epochs: 2 }));
    assert.equal(code, 0, stderr);
    const list = await fetch(`${studio.origin}/api/runs`, {
      headers: { authorization: `Bearer ${studio.token}` },
    });
    const found = ((await list.json()) as RunSummary[]).find((one) => one.path === run);
    writeFileSync(path.join(run, 'config.json'), '{');
    // the process that wrote it was killed within a line
    const before = 'dino: why the run ended\ndino: half a li';
    writeFileSync(path.join(run, 'studio.log'), before);
    for (const round of [1, 2]) {
      const { status, text } = await post(`/runs/${found?.id ?? assert.fail('not found')}/resume`);
      assert.equal(status, 422, text);
      const { message } = (JSON.parse(text) as { error: { message: string } }).error;
      assert.match(message, /^dino: .*config\.json/);
      const log = readFileSync(path.join(run, 'studio.log'), 'utf8');
      assert.ok(log.startsWith(`${before}\n--- resumed `), log);
      assert.equal(log.split(message).length - 1, round, log);
    }
  },
);

// ------------------------------------------------------------------------------------------------ forged locks

/** Says which signals came, and `alive` for each line that it hears. */
const BYSTANDER = `
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2', 'SIGQUIT', 'SIGCONT']) process.on(name, () => console.log(name));
process.stdin.on('data', () => console.log('alive'));
console.log('ready');
`;

interface Bystander {
  pid: number;
  child: ChildProcess;
  /** What it says next. */
  next: () => Promise<string | undefined>;
}

/** A process of this user, at the head of a group of its own, with nothing to do with any run. */
async function bystander(): Promise<Bystander> {
  const child = spawn(process.execPath, ['-e', BYSTANDER], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  begun(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string | undefined> =>
    ((await lines.next()) as IteratorResult<string, undefined>).value;
  assert.equal(await next(), 'ready');
  return { pid: child.pid as number, child, next };
}

/** Signals that were sent before are told before. */
async function assertUntouched({ child, next }: Bystander): Promise<void> {
  child.stdin?.write('\n');
  assert.equal(await next(), 'alive');
}

const childFile = fileURLToPath(new URL('../testing/lock-child.js', import.meta.url));
/** A process that holds a folder as a training does. */
async function holder(folder: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [childFile, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
  begun(child);
  child.stdin.write('0\n');
  for await (const line of createInterface({ input: child.stdout })) if (line === 'held') break;
  return child;
}

const LAST_PID = '/proc/sys/kernel/ns_last_pid';
/** Starts another program that gets a number that was given before; null where the system doesn't give it. */
function withNumber(pid: number): ChildProcess | null {
  for (let attempt = 0; attempt < 20; attempt++) {
    try {
      writeFileSync(LAST_PID, String(pid - 1)); // root may, on Linux
    } catch {
      return null;
    }
    const child = begun(spawn('sleep', ['1000'], { stdio: 'ignore' }));
    if (child.pid === pid) return child;
    child.kill('SIGKILL');
  }
  return null;
}

async function ended(child: ChildProcess): Promise<void> {
  const isOver = once(child, 'exit');
  child.kill('SIGKILL');
  await isOver;
}

test(
  'Stop on a folder whose lock is forged or left over signals nothing',
  // elsewhere the system doesn't tell who has a lock open
  {
    timeout: 600_000,
    skip: process.platform === 'linux' ? false : 'what a process has open is told by Linux',
  },
  async (context) => {
    const original = newRun();
    const { code, stderr } = await dino(commandLine(original, { ...SETTINGS, epochs: 2 }));
    assert.equal(code, 0, stderr);
    const witness = await bystander();
    const { pid } = witness;
    const lock = {
      ...{ pid, host: os.hostname(), started: processState(pid).start, space: pidSpace(), id: 'aa' },
    };
    const refused = async (run: string, expected: RegExp): Promise<void> => {
      const list = await fetch(`${studio.origin}/api/runs`, {
        headers: { authorization: `Bearer ${studio.token}` },
      });
      const found = ((await list.json()) as RunSummary[]).find((one) => one.path === run);
      const { status, text } = await post(`/runs/${found?.id ?? assert.fail('not found')}/stop`);
      assert.equal(status, 409, text);
      assert.match(text, expected);
    };
    const copy = (change: (run: string) => void): string => {
      const run = newRun();
      cpSync(original, run, { recursive: true });
      change(run);
      return run;
    };
    const asked = { forged: 0, copied: 0, reused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      for (const [change, expected] of [
        [{}, /doesn't hold this folder/], // somebody's shell
        [{ pid: process.pid, started: processState(process.pid).start }, /doesn't hold this folder/], // the studio itself
        [{ pid: process.ppid, started: processState(process.ppid).start }, /doesn't hold this folder/],
        [{ pid: 1, started: processState(1).start }, /which this program can't have started/],
        [{ pid: -pid }, /No process holds/], // its group
        [{ pid: -1 }, /No process holds/], // everybody
        [{ pid: 0 }, /No process holds/], // the studio's group
        [{ pid: pid + 0.5 }, /No process holds/],
        [{ started: '1' }, /is gone/], // its number was another's before
        [{ space: 'another' }, /another machine or container/],
        [{ started: null, space: null }, /No process holds|earlier version/],
      ] as const) {
        const run = copy((at) => writeFileSync(lockPath(at), textWithBeat({ ...lock, ...change })));
        await refused(run, expected);
        asked.forged++;
        rmSync(run, { recursive: true });
      }
      // a true lock, of a process that holds another folder
      const other = newRun();
      mkdirSync(other);
      const held = await holder(other);
      let run = copy((at) => cpSync(lockPath(other), lockPath(at)));
      await refused(run, /doesn't hold this folder/);
      asked.copied++;
      assert.equal(processState(held.pid as number).is, 'alive');
      assert.deepEqual(readdirSync(other), ['lock']);
      await ended(held);
      rmSync(run, { recursive: true });
      // a true lock of this folder, whose process was killed; its number is another program's now
      run = copy(() => undefined);
      const killed = await holder(run);
      await ended(killed);
      const stranger = withNumber(killed.pid as number);
      await refused(run, /is gone/);
      if (stranger !== null) {
        await assertUntouched(witness);
        assert.equal(processState(killed.pid as number).is, 'alive');
        asked.reused++;
        await ended(stranger);
      }
      rmSync(run, { recursive: true });
      await assertUntouched(witness);
    }
    if (ROUNDS > 1) console.log(`Stop on a lock that isn't its run's: ${ROUNDS} rounds, asked`, asked);
    if (asked.reused === 0) context.diagnostic(`no number was given again: ${LAST_PID} takes root`);
  },
);
