/**
 * A training whose processes are killed, stopped, or cut off from each other ends with the same weights as an undisturbed
 * one. DINO_TEST_KILLS=20 runs that many rounds of each; the default is one.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ranksBelow, testFolder } from '../testing/distributed-run.js';
import { freePort } from '../processes/launch.js';
import { dino, dinoBin, type Ended, rankVariables, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { listCheckpoints, newestCheckpoint, verifyCheckpoint } from '../run/checkpoint-files.js';
import type { TrainSettings } from '../run/settings.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);
/** Twelve epochs of three steps, each with a checkpoint. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 3, epochs: 12, threads: 1, numWorkers: 1, saveEverySteps: 1 },
};
const TIMEOUT_S = 5;
const { newRun, commandLine } = testFolder();

let expected: Record<string, string> | undefined;
/** The weights of an undisturbed training. */
async function undisturbed(): Promise<Record<string, string>> {
  if (expected === undefined) {
    const run = newRun();
    const { code, stderr } = await dino(commandLine(run, SETTINGS, ['--nproc', '2']));
    assert.equal(code, 0, stderr);
    expected = fingerprint(run);
  }
  return expected;
}

/** Trains again and again until one of two processes was disturbed `rounds` times. */
async function disturb(rounds: number, strike: (pid: number) => void): Promise<string> {
  let done = 0;
  let all = '';
  while (done < rounds) {
    const run = newRun();
    const line = commandLine(run, SETTINGS, ['--nproc', '2', '--max-restarts', '1000'], TIMEOUT_S);
    let isOver = false;
    let wake = (): void => undefined; // called after each (re)start
    const running = start(
      [process.execPath, dinoBin, ...line],
      {},
      {
        onLine: (text) => {
          if (/^(training|going on)/.test(text)) wake();
        },
      },
    );
    const over = running.ended.then((ended) => {
      isOver = true;
      wake();
      return ended;
    });
    while (!isOver) {
      await new Promise<void>((resolve) => (wake = resolve));
      await sleep(Math.random() * 2000);
      const victim = ranksBelow(running.child.pid as number).get(Math.floor(Math.random() * 2));
      if (isOver || done >= rounds || victim === undefined) continue;
      strike(victim);
      done++;
    }
    const { code, stderr } = await over;
    assert.equal(code, 0, stderr);
    assert.deepEqual(fingerprint(run), await undisturbed());
    for (const { folder } of listCheckpoints(run)) verifyCheckpoint(folder); // throws when it is damaged
    all += stderr;
  }
  return all;
}

test('when a rank is killed, the others say which and after what step, and the run continues by itself', async () => {
  const said = await disturb(ROUNDS, (pid) => process.kill(pid, 'SIGKILL'));
  assert.match(
    said,
    /rank [01] \(process \d+ on \S+\) was ended by SIGKILL: restarting from the newest checkpoint \(1 of 1000\)/,
  );
});

test('a rank that is stopped counts as lost after --dist-timeout', async () => {
  await disturb(ROUNDS, (pid) => process.kill(pid, 'SIGSTOP'));
});

test('without restarts the others end in time, name the lost rank and its last step, and leave a checkpoint', async () => {
  const run = newRun();
  const port = await freePort();
  const line = commandLine(run, { ...SETTINGS, saveEverySteps: 0, epochs: 200 }, [], TIMEOUT_S);
  let seen = 0;
  const first = start([process.execPath, dinoBin, ...line], rankVariables(0, 2, port), {
    onLine: (text) => {
      if (/^epoch/.test(text) && ++seen === 4) second.child.kill('SIGKILL');
    },
  });
  const second = start([process.execPath, dinoBin, ...line], rankVariables(1, 2, port));
  const [{ code, stderr }] = await Promise.all([first.ended, second.ended]);
  assert.equal(code, 1);
  const [, step] =
    /Rank 1 \(process \d+ on .*\) was killed, is stopped or can't be reached; its last step was (\d+)/.exec(
      stderr,
    ) ?? assert.fail(stderr);
  assert.ok(Number(step) >= 3, stderr);
  const saved = listCheckpoints(run).at(-1)?.step ?? 0;
  assert.ok(saved >= 4 && Math.abs(saved - Number(step)) <= 2, `saved ${saved}, last step ${step}`);
});

test('processes whose launcher was killed stop in an orderly way', async () => {
  const run = newRun();
  const line = commandLine(run, { ...SETTINGS, epochs: 200, saveEverySteps: 0 }, ['--nproc', '2']);
  let ranks: number[] = [];
  const running = start(
    [process.execPath, dinoBin, ...line],
    {},
    {
      onLine: (text) => {
        if (!text.startsWith('epoch') || ranks.length > 0) return;
        ranks = [...ranksBelow(running.child.pid as number).values()];
        running.child.kill('SIGKILL');
      },
    },
  );
  await running.ended;
  assert.equal(ranks.length, 2);
  const exists = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  for (let i = 0; i < 100 && ranks.some(exists); i++) await sleep(100);
  assert.deepEqual(ranks.filter(exists), []);
  assert.equal(existsSync(path.join(run, 'lock')), false);
  verifyCheckpoint(newestCheckpoint(run) ?? assert.fail('no checkpoint'));
});

test('torchrun restarts the ranks, and they continue', async (context: TestContext) => {
  const torchrun = path.join(path.dirname(process.env['DINO_TEST_PYTHON'] ?? '/nowhere/python'), 'torchrun');
  if (spawnSync(torchrun, ['--help']).status !== 0) {
    context.skip('DINO_TEST_PYTHON does not name a Python with torchrun next to it');
    return;
  }
  const kinds = [['--standalone'], ['--master-port', String(await freePort())]];
  for (const kind of kinds.slice(0, ROUNDS)) {
    const run = newRun();
    let isStruck = false;
    const running = start(
      [
        ...[torchrun, '--no-python', '--nproc-per-node', '2', '--max-restarts', '3', ...kind],
        ...[process.execPath, dinoBin, ...commandLine(run, SETTINGS)],
      ],
      {},
      {
        onLine: (text) => {
          if (isStruck || !text.includes('step-00000009')) return;
          isStruck = true;
          process.kill(ranksBelow(running.child.pid as number).get(1) ?? assert.fail('no rank 1'), 'SIGKILL');
        },
      },
    );
    const { code, stderr } = await running.ended;
    assert.equal(code, 0, stderr);
    assert.ok(isStruck);
    assert.match(stderr, /going on after step \d+/);
    assert.deepEqual(fingerprint(run), await undisturbed());
  }
});

const namespaces = fileURLToPath(new URL('../../test/two-namespaces.sh', import.meta.url));

test('across two network namespaces, with the link cut', async (context: TestContext) => {
  const name = `dn${process.pid % 100_000}`;
  const up = spawnSync(namespaces, ['up', name], { encoding: 'utf8' });
  if (up.status === 77) {
    context.skip(up.stdout.trim());
    return;
  }
  assert.equal(up.status, 0, up.stderr);
  const command = (verb: string): void => assert.equal(spawnSync(namespaces, [verb, name]).status, 0, verb);
  try {
    const both = (run: string, attempt: number, onLine: (text: string) => void): Promise<Ended[]> =>
      Promise.all(
        ['a', 'b'].map((side, rank) => {
          const line = commandLine(run, SETTINGS, [], TIMEOUT_S);
          return start(
            ['ip', 'netns', 'exec', `${name}${side}`, process.execPath, dinoBin, ...line],
            {
              ...rankVariables(rank, 2, 29_400, '10.77.0.1'),
              LOCAL_RANK: '0',
              LOCAL_WORLD_SIZE: '1',
              DINO_RESTART_COUNT: String(attempt),
            },
            { onLine: rank === 0 ? onLine : () => undefined },
          ).ended;
        }),
      );
    for (let round = 0; round < ROUNDS; round++) {
      const run = newRun();
      const cutAt = `step-000000${String(1 + Math.floor(Math.random() * 30)).padStart(2, '0')}`;
      const cut = await both(run, 0, (text) => {
        if (text.includes(cutAt)) command('cut');
      });
      command('join');
      assert.deepEqual(
        cut.map(({ code }) => code),
        [1, 1],
        cut.map(({ stderr }) => stderr).join(''),
      );
      assert.match(cut[0]?.stderr ?? '', /Rank 1 .* can't be reached; its last step was \d+/);
      assert.match(
        cut[1]?.stderr ?? '',
        /Rank 0 \(process \d+ on .*\), which keeps the store, .*can't be reached/,
      );
      const again = await both(run, 1, () => undefined);
      assert.deepEqual(
        again.map(({ code }) => code),
        [0, 0],
        again.map(({ stderr }) => stderr).join(''),
      );
      assert.deepEqual(fingerprint(run), await undisturbed());
    }
  } finally {
    command('down');
  }
});
