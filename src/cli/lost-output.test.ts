/** A closed terminal, or a pipe whose reader has exited, ends a training in good order and other commands quietly. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test, type TestContext } from 'node:test';
import { testFolder } from '../testing/distributed-run.js';
import { dinoBin, plainEnvironment, start } from '../testing/ranks.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { newestCheckpoint, verifyCheckpoint } from '../run/checkpoint-files.js';
import { readLines } from '../files/json-lines.js';
import type { TrainSettings } from '../run/settings.js';

const { newRun, commandLine } = testFolder();
/** A training without end, and without checkpoints of its own: what is saved was saved because it was stopped. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 9, epochs: 10_000, threads: 1, localCropsNumber: 0, saveckpFreq: 0 },
};

/** The last step that was made is the one that is saved. */
function assertSaved(run: string): void {
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  assert.equal(verifyCheckpoint(newest), readLines(`${run}/metrics.jsonl`).at(-1)?.['step']);
}

for (const [what, more] of [
  ['one process', []],
  ['two processes', ['--nproc', '2']],
] as const) {
  const settings = { ...SETTINGS, batchSize: SETTINGS.batchSize / 3 };

  test(`SIGHUP ends a training of ${what} as SIGTERM does`, async () => {
    const run = newRun();
    let isTold = false;
    const running = start(
      [process.execPath, dinoBin, ...commandLine(run, settings, more)],
      {},
      {
        onLine: (text) => {
          if (isTold || !text.startsWith('epoch')) return;
          isTold = true;
          // a shell sends it, and the terminal too; a service manager adds SIGTERM
          for (const name of ['SIGHUP', 'SIGHUP', 'SIGTERM'] as const) running.child.kill(name);
        },
      },
    );
    const { code, signal, stderr } = await running.ended;
    assert.deepEqual([code, signal], [130, null], stderr);
    assertSaved(run);
  });

  test(`a reader of stderr that has exited ends a training of ${what} as SIGTERM does`, async () => {
    const run = newRun();
    const running = start(
      [process.execPath, dinoBin, ...commandLine(run, settings, more)],
      {},
      {
        onLine: (text) => {
          if (text.startsWith('epoch')) running.child.stderr?.destroy();
        },
      },
    );
    const { code, signal } = await running.ended;
    assert.deepEqual([code, signal], [130, null]);
    assertSaved(run);
  });
}

test('a training whose result nobody reads is finished, and is not started again', async () => {
  const run = newRun();
  const line = commandLine(run, { ...SETTINGS, batchSize: 3, epochs: 3 }, [
    '--nproc',
    '2',
    '--max-restarts',
    '1',
  ]);
  const running = start([process.execPath, dinoBin, ...line]);
  running.child.stdout?.destroy();
  const { code, stderr } = await running.ended;
  assert.equal(code, 141, stderr);
  assert.doesNotMatch(stderr, /starting again/);
  assertSaved(run);
});

/** Runs a command on a terminal of its own, closes that when it shows an epoch, and prints how the command ended. */
const ON_TERMINAL = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
text = b''
while b'epoch' not in text: text += os.read(terminal, 4096)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

for (const more of [[], ['--nproc', '2']]) {
  test(`a terminal that is closed ends a training in order: ${more.join(' ') || 'one process'}`, async (context: TestContext) => {
    if (spawnSync('python3', ['-c', 'import pty, os; os.waitstatus_to_exitcode']).status !== 0) {
      context.skip('python3, which makes the terminal, is not here');
      return;
    }
    const run = newRun();
    const line = commandLine(run, { ...SETTINGS, batchSize: 3 }, more);
    const { stdout } = await start(['python3', '-c', ON_TERMINAL, process.execPath, dinoBin, ...line]).ended;
    assert.equal(stdout, '130\n');
    assertSaved(run);
  });
}

test('other commands end quietly when nobody reads their result', async () => {
  for (const args of [['--help'], ['hub'], ['hub', '--json'], ['train', '--help'], ['--version']]) {
    const child = spawn(process.execPath, [dinoBin, ...args], { env: plainEnvironment() });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
      child.on('close', (...end) => resolve(end)),
    );
    assert.deepEqual({ args, code, signal, stderr }, { args, code: 141, signal: null, stderr: '' });
  }
});

test('a command whose notes nobody reads still prints its result', async () => {
  const child = spawn(process.execPath, [dinoBin, 'doctor', '--json'], { env: plainEnvironment() });
  child.stderr.destroy();
  let stdout = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  await new Promise((resolve) => child.on('close', resolve));
  assert.equal(typeof JSON.parse(stdout), 'object');
});
