/** Resume and Stop on run folders that strangers made, requested as the page does. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readLock } from '../files/folder-lock.js';
import { textWithBeat } from '../files/lock-heartbeat.js';
import { pidSpace, processState } from '../files/process-identity.js';
import { contents, FORGED, HOSTILE, makeRun } from '../testing/hostile-run.js';
import { startStudio, type RunningStudio } from './index.js';
import type { RunSummary } from '../plain/studio-api/index.js';

const top = mkdtempSync(path.join(os.tmpdir(), 'dino-studio-foreign-'));
const given = path.join(top, 'given');
const outside = path.join(top, 'outside');
let original = '';
let studio: RunningStudio;

async function ask(method: string, address: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`${studio.origin}${address}`, {
    method,
    headers: { authorization: `Bearer ${studio.token}`, origin: studio.origin },
  });
  return { status: response.status, body: await response.text() };
}

/** A copy of the run under the given folders, and its id in the studio. */
async function received(name: string, change: (run: string) => void): Promise<{ run: string; id: string }> {
  const run = path.join(given, name);
  cpSync(original, run, { recursive: true });
  change(run);
  const { body } = await ask('GET', '/api/runs');
  const found = (JSON.parse(body) as RunSummary[]).find((one) => one.path === run);
  return { run, id: found?.id ?? assert.fail(body) };
}

const spoilImages = (run: string): void => {
  const file = path.join(run, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...config, images: `/nowhere/${HOSTILE}` }));
};

before(async () => {
  ({ run: original } = await makeRun(top));
  cpSync(original, outside, { recursive: true });
  cpSync(original, path.join(given, 'mine'), { recursive: true });
  studio = await startStudio({ folders: [given, path.join(top, 'images')], port: 0 });
});
after(async () => {
  await studio.close();
  rmSync(top, { recursive: true });
});

test('Resume does not write its log into another file, and says why', async () => {
  const before = contents(outside);
  const target = path.join(outside, 'studio.log');
  for (const [name, plant] of [
    ['linked', symlinkSync],
    ['second-name', linkSync],
  ] as const) {
    const { id } = await received(name, (run) => {
      spoilImages(run);
      rmSync(path.join(run, 'studio.log'));
      plant(target, path.join(run, 'studio.log'));
    });
    const { status, body } = await ask('POST', `/api/runs/${id}/resume`);
    assert.equal(status, 422, body);
    assert.match(body, /studio\.log is (a symbolic link|also known by another name)/);
    assert.deepEqual(contents(outside), before);
  }
});

test("a run's settings cannot forge a line of the log", { timeout: 60_000 }, async () => {
  const { run, id } = await received('hostile', spoilImages);
  await ask('POST', `/api/runs/${id}/resume`); // it has begun, or has ended already
  const file = path.join(run, 'studio.log');
  while (readLock(run) !== null || !readFileSync(file, 'utf8').includes('dino: ')) await sleep(50);
  const log = readFileSync(file, 'utf8');
  assert.match(log, /There is no \/nowhere\/x\\u001b/);
  assert.doesNotMatch(log, FORGED);
});

test('Stop signals nobody but the process that trains the run', { timeout: 60_000 }, async () => {
  // somebody's shell: a process of this user, alive, with nothing to do with any run
  const bystander = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], {
    stdio: 'ignore',
  });
  try {
    const pid = bystander.pid as number;
    const lock = {
      pid,
      host: os.hostname(),
      started: processState(pid).start,
      space: pidSpace(),
      id: 'aa',
    };
    let number = 0;
    for (const [text, expected] of [
      [textWithBeat(lock), /doesn't hold this folder/],
      [textWithBeat({ ...lock, started: '1' }), /is gone/],
      [textWithBeat({ ...lock, pid: -1 }), /No process holds/],
      [textWithBeat({ ...lock, pid: 0 }), /No process holds/],
      [textWithBeat({ ...lock, space: 'another', host: HOSTILE }), /another machine or container/],
      [JSON.stringify({ pid, host: os.hostname() }), /earlier version/],
    ] as const) {
      const { id } = await received(`stop-${number++}`, (run) => writeFileSync(path.join(run, 'lock'), text));
      const { status, body } = await ask('POST', `/api/runs/${id}/stop`);
      assert.equal(status, 409, body);
      assert.match(body, expected);
      assert.doesNotMatch((JSON.parse(body) as { error?: { message: string } }).error?.message ?? '', FORGED);
    }
    assert.equal(processState(pid).is, 'alive');
    assert.equal(bystander.exitCode, null);
  } finally {
    bystander.kill('SIGKILL');
  }
  // its own
  const { run, id } = await received('own', () => undefined);
  const resumed = await ask('POST', `/api/runs/${id}/resume`);
  assert.equal(resumed.status, 200, resumed.body);
  const stopped = await ask('POST', `/api/runs/${id}/stop`);
  // nine short steps may be over before
  assert.ok(stopped.status === 200 || /No process holds/.test(stopped.body), stopped.body);
  while (readLock(run) !== null) await sleep(50);
  assert.ok(!existsSync(path.join(run, 'lock')));
});
