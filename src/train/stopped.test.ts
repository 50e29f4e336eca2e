/**
 * A training that is told to stop at any moment saves its last step, lets go of its folder, and goes on to the bits of one
 * that was left alone; one whose result nobody reads goes on. DINO_TEST_KILLS=20 for as many rounds of each; one otherwise.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ranksBelow, testFolder } from '../testing/distributed-run.js';
import { dino, dinoBin, type Ended, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { newestCheckpoint, verifyCheckpoint } from '../run/checkpoint-files.js';
import { isRunFolder, readLines } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);
const STEPS = 180;
/** So many steps, or half as many of two processes, and no checkpoint but that of the last: what is saved was saved for the occasion. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 3, epochs: 30, threads: 1, saveckpFreq: 0 },
};
const { newRun, commandLine } = testFolder();

const processes = (size: number): string[] => (size === 1 ? [] : ['--nproc', String(size)]);
const program = (run: string, size: number): string[] => [
  process.execPath,
  dinoBin,
  ...commandLine(run, SETTINGS, processes(size)),
];

const expected = new Map<number, { bits: Record<string, string>; ms: number }>();
/** What so many processes come to when nobody disturbs them, and how long their steps take. */
async function undisturbed(size: number): Promise<{ bits: Record<string, string>; ms: number }> {
  let known = expected.get(size);
  if (known === undefined) {
    const run = newRun();
    let began = NaN;
    const onLine = (text: string): void => {
      if (Number.isNaN(began) && text.startsWith('epoch')) began = performance.now();
    };
    const { code, stderr } = await start(program(run, size), {}, { onLine }).ended;
    assert.equal(code, 0, stderr);
    known = { bits: fingerprint(run), ms: performance.now() - began };
    expected.set(size, known);
  }
  return known;
}

const lastStep = (run: string): number =>
  Number(readLines(path.join(run, 'metrics.jsonl')).at(-1)?.['step'] ?? 0);

/** Stopped in order: the last step is saved, and the folder is free. Then on to the end, which is that of `bits`. */
async function assertGoesOn(run: string, size: number, bits: Record<string, string>): Promise<void> {
  assert.equal(existsSync(path.join(run, 'lock')), false);
  const newest = newestCheckpoint(run);
  const saved = newest === null ? 0 : verifyCheckpoint(newest); // throws when it is not whole
  assert.equal(saved, lastStep(run));
  const line = isRunFolder(run)
    ? ['train', '--resume', run, ...processes(size)]
    : commandLine(run, SETTINGS, processes(size)); // it was stopped before it had begun
  const { code, stderr } = await dino(line);
  assert.equal(code, 0, stderr);
  assert.deepEqual(fingerprint(run), bits);
}

/** Stops a training in a new run folder some milliseconds after its first step. @returns How it ended, and what it said. */
type Stop = (
  run: string,
  size: number,
  afterMs: number,
) => Promise<{ code: number | string | null; said: string }>;

/** Stops trainings at random moments until `rounds` were stopped in the middle. */
async function stopAtRandom(
  what: string,
  rounds: number,
  sizes: readonly number[],
  stop: Stop,
): Promise<void> {
  const steps: number[] = [];
  while (steps.length < rounds) {
    const size = sizes[steps.length % sizes.length] as number;
    const { bits, ms } = await undisturbed(size);
    const run = newRun();
    const { code, said } = await stop(run, size, Math.random() * ms);
    const step = lastStep(run);
    if (step < STEPS / size) {
      assert.equal(code, 130, `${said}\n${size} processes, after step ${step}`);
      steps.push(step);
      await assertGoesOn(run, size, bits);
    } else assert.deepEqual(fingerprint(run), bits); // all was done before, whatever ended it
    rmSync(run, { recursive: true, force: true });
  }
  if (rounds > 1) console.log(`${what}: ${rounds} rounds, after steps ${steps.join(' ')}`);
}

/** To its end, with `strike` some time after the first step. */
async function struck(
  command: readonly string[],
  afterMs: number,
  strike: (pid: number) => void,
): Promise<Ended> {
  let wake = (): void => undefined;
  const stepped = new Promise<void>((resolve) => (wake = resolve));
  const onLine = (text: string): void => {
    if (text.startsWith('epoch')) wake();
  };
  const { child, ended } = start(command, {}, { onLine });
  await Promise.race([stepped, ended]);
  await Promise.race([sleep(afterMs), ended]);
  if (child.exitCode === null) strike(child.pid as number);
  return ended;
}

test('SIGHUP at a random moment, to the command or to any of its processes', async () => {
  await stopAtRandom('SIGHUP', ROUNDS, [1, 2, 1], async (run, size, afterMs) => {
    const { code, signal, stderr } = await struck(program(run, size), afterMs, (pid) => {
      const everybody = [pid, ...ranksBelow(pid).values()];
      process.kill(everybody[Math.floor(Math.random() * everybody.length)] as number, 'SIGHUP');
    });
    return { code: signal ?? code, said: stderr };
  });
});

/** A terminal that is closed so many seconds after the first step. Prints how the command ended, if it is its leader. */
const ON_TERMINAL = `
import os, pty, re, select, sys, time
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
text = b''
until = None
try:
  while until is None or time.monotonic() < until:
    if select.select([terminal], [], [], 0.01)[0]: text += os.read(terminal, 65536)
    if until is None and re.search(rb'step [1-9]', text): until = time.monotonic() + float(sys.argv[1])
except OSError: pass # the command has ended
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
const hasTerminals = spawnSync('python3', ['-c', 'import pty, os; os.waitstatus_to_exitcode']).status === 0;
const noTerminals = hasTerminals ? false : 'python3, which makes the terminal, is not here';

test('a terminal that is closed at a random moment', { skip: noTerminals }, async () => {
  await stopAtRandom('closed terminal', ROUNDS, [1, 2, 1], async (run, size, afterMs) => {
    const terminal = ['python3', '-c', ON_TERMINAL, String(afterMs / 1000)];
    const { stdout, stderr } = await start([...terminal, ...program(run, size)]).ended;
    return { code: Number(stdout), said: stdout + stderr };
  });
});

test(
  'a terminal that is closed at a random moment over an interactive shell',
  { skip: noTerminals },
  async () => {
    await stopAtRandom('closed terminal of a shell', ROUNDS, [1, 2, 1], async (run, size, afterMs) => {
      const file = `${run}.code`;
      // the interactive shell tells its jobs and is gone before them; the inner one, told too, writes down the training's end
      const inner = 'trap : HUP; "$@"; echo $? > "$0"';
      const outer = `sh -c '${inner}' "$@"; true`;
      const shell = ['bash', '--norc', '--noprofile', '-i', '-c', outer, 'bash', file];
      const terminal = ['python3', '-c', ON_TERMINAL, String(afterMs / 1000)];
      const { stderr } = await start([...terminal, ...shell, ...program(run, size)]).ended;
      let code = '';
      while (!code.endsWith('\n')) {
        await sleep(20);
        if (existsSync(file)) code = readFileSync(file, 'utf8');
      }
      return { code: Number(code), said: stderr };
    });
  },
);

/** A pipeline; the code of its first command goes into a file. */
async function pipeline(run: string, size: number, redirection: string, reader: string): Promise<number> {
  const file = `${run}.code`;
  const text = `{ "$@"; echo $? > "$0"; } ${redirection} | ${reader}`;
  await start(['sh', '-c', text, file, ...program(run, size)]).ended;
  return Number(readFileSync(file, 'utf8'));
}

test('a reader that has seen enough, of notes and result: `2>&1 | head`', async () => {
  let count = 0;
  await stopAtRandom('2>&1 | head', ROUNDS, [1, 2, 1], async (run, size) => {
    // every second one after the first line, before the training has begun
    const lines = count++ % 2 === 1 ? 1 : 1 + Math.floor((Math.random() * STEPS) / size);
    return { code: await pipeline(run, size, '2>&1', `head -n ${lines}`), said: `${lines} lines` };
  });
});

test('a reader of the result alone that is gone: the training goes on to its end', async () => {
  const codes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const size = 1 + (round % 2);
    const { bits, ms } = await undisturbed(size);
    const reader = round % 4 < 2 ? `sleep ${(Math.random() * ms) / 1000}` : 'head -n 1';
    const run = newRun();
    const code = await pipeline(run, size, '2>/dev/null', reader);
    assert.equal(code, reader === 'head -n 1' ? 0 : 141);
    assert.deepEqual(fingerprint(run), bits);
    codes.push(code);
    rmSync(run, { recursive: true, force: true });
  }
  if (ROUNDS > 1) console.log(`| head, | sleep: ${ROUNDS} rounds, codes ${codes.join(' ')}`);
});
