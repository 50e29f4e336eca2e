/** How processes end, and what the launcher makes of it: with small programs in place of training. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Ended, launch, type LaunchOptions } from './launch.js';

/** Two processes that run `script`. @returns How they ended, and the notes. */
async function run(
  script: string,
  more: Partial<LaunchOptions> = {},
): Promise<{ bad: Ended | null; notes: string[] }> {
  const notes: string[] = [];
  const bad = await launch({
    command: [process.execPath, '-e', `const { RANK, DINO_RESTART_COUNT } = process.env; ${script}`],
    ...{ processes: 2, graceMs: 1000, onNote: (line: string) => notes.push(line) },
    ...more,
  });
  return { bad, notes };
}

test('all end well', async () => {
  assert.deepEqual(await run(''), { bad: null, notes: [] });
});

test('each has its rank, its local rank and a common port', async () => {
  const { notes } = await run(
    `const { WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT } = process.env;
     if (RANK === '1') console.error([WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT > 0].join());`,
  );
  assert.deepEqual(notes, ['[rank 1] 2,1,2,127.0.0.1,true']);
});

test('one that fails is the cause; others that never end are killed after the grace period', async () => {
  const { bad } = await run(`RANK === '1' ? process.exit(1) : setTimeout(() => {}, 1e6)`);
  assert.deepEqual({ ...bad, pid: 0 }, { rank: 1, pid: 0, code: 1, signal: null });
});

test('a wrong command line is not tried again, whichever process ends first', async () => {
  const { bad, notes } = await run(`process.exit(RANK === '0' ? 2 : 1)`, { maxRestarts: 3 });
  assert.deepEqual({ ...bad, pid: 0 }, { rank: 0, pid: 0, code: 2, signal: null });
  assert.deepEqual(notes, []);
});

test('when one was killed, all are restarted and know that they were', async () => {
  const { bad, notes } = await run(
    `if (DINO_RESTART_COUNT === '0') RANK === '1' ? process.kill(process.pid, 'SIGKILL') : process.exit(1)`,
    { maxRestarts: 1 },
  );
  assert.equal(bad, null);
  assert.match(
    notes.join('\n'),
    /^rank 1 \(process \d+ on \S+\) was ended by SIGKILL: restarting from the newest checkpoint \(1 of 1\)$/,
  );
});

test('one that is stopped when the other is done does not delay the end', async (context) => {
  if (process.platform !== 'linux') {
    context.skip('only Linux says which process is stopped');
    return;
  }
  const start = performance.now();
  const { bad } = await run(`if (RANK === '1') process.kill(process.pid, 'SIGSTOP')`, { graceMs: 60_000 });
  assert.equal(bad, null);
  assert.ok(performance.now() - start < 30_000);
});

test('one that was stopped, not the other that missed it, is the cause', async (context) => {
  if (process.platform !== 'linux') {
    context.skip('only Linux says which process is stopped');
    return;
  }
  const { bad } = await run(
    `RANK === '1' ? process.kill(process.pid, 'SIGSTOP') : setTimeout(() => process.exit(1), 500)`,
    { graceMs: 60_000 },
  );
  assert.deepEqual({ ...bad, pid: 0 }, { rank: 1, pid: 0, code: null, signal: 'SIGSTOP' });
});

test('an interruption is passed on', async () => {
  const controller = new AbortController();
  const { bad } = await run(
    `process.on('SIGTERM', () => process.exit(130)); setTimeout(() => {}, 1e6); if (RANK === '1') console.error('here')`,
    { signal: controller.signal, onNote: () => setTimeout(() => controller.abort(), 300) },
  );
  assert.equal(bad?.code, 130);
});

test(
  'processes that end at once on an interruption count as interrupted, not as lost',
  { timeout: 60_000 },
  async () => {
    const waiting = `setTimeout(() => {}, 1e6); console.error('here')`; // nothing to save yet
    const controller = new AbortController();
    const { bad } = await run(waiting, { signal: controller.signal, onNote: () => controller.abort() });
    assert.deepEqual([bad?.code, bad?.signal], [130, null]);
    // the interruption may come before any process exists
    const { bad: early } = await run(waiting, { signal: AbortSignal.abort() });
    assert.equal(early?.code, 130);
  },
);
