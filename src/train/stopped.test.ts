/**
 * Training that is asked to stop at any moment saves its last step and releases its folder, and when resumed produces the same
 * bits as uninterrupted training. If only the reader of its result goes away, it continues. DINO_TEST_KILLS=20 tests that many
 * rounds of each; the default is one.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ranksBelow, testFolder } from '../testing/distributed-run.js';
import { dino, dinoBin, type Ended, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { newestCheckpoint, verifyCheckpoint } from '../run/checkpoint-files.js';
import { readLines } from '../files/json-lines.js';
import { isRunFolder } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 1);
const STEPS = 180;
/**
 * STEPS steps, or half as many with two processes. The only regular checkpoint is that of the last step, so an earlier one was
 * saved because training was stopped.
 */
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
/** The result of uninterrupted training with `size` processes, and how long its steps take. */
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

/** Checks that the last step was saved and the folder is free. Then resumes to the end, which must yield `bits`. */
async function assertResumes(run: string, size: number, bits: Record<string, string>): Promise<void> {
  assert.equal(existsSync(path.join(run, 'lock')), false);
  const newest = newestCheckpoint(run);
  const saved = newest === null ? 0 : verifyCheckpoint(newest); // throws when it is damaged
  assert.equal(saved, lastStep(run));
  const line = isRunFolder(run)
    ? ['train', '--resume', run, ...processes(size)]
    : commandLine(run, SETTINGS, processes(size)); // it was stopped before it started
  const { code, stderr } = await dino(line);
  assert.equal(code, 0, stderr);
  assert.deepEqual(fingerprint(run), bits);
}

/** Stops training in a new run folder `afterMs` after its first step. @returns How it ended, and what it printed. */
type Stop = (
  run: string,
  size: number,
  afterMs: number,
) => Promise<{ code: number | string | null; said: string }>;

/** Stops training runs at random moments until `rounds` of them were stopped midway. */
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
      await assertResumes(run, size, bits);
    } else assert.deepEqual(fingerprint(run), bits); // it had finished already
    rmSync(run, { recursive: true, force: true });
  }
  if (rounds > 1) console.log(`${what}: ${rounds} rounds, after steps ${steps.join(' ')}`);
}

/** Runs a command to its end, and calls `strike` some time after the first step. */
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

/** A terminal that is closed argv[1] seconds after the first step. Prints the exit code of the command that it runs. */
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
const noTerminals = hasTerminals ? false : 'python3, which creates the terminal, is not installed';

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
      // The interactive shell signals its jobs and exits before them. The inner shell, which gets the signal too, records the
      // exit code of the training.
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

/** Runs a pipeline. @returns The exit code of its first command. */
async function pipeline(run: string, size: number, redirection: string, reader: string): Promise<number> {
  const file = `${run}.code`;
  const text = `{ "$@"; echo $? > "$0"; } ${redirection} | ${reader}`;
  await start(['sh', '-c', text, file, ...program(run, size)]).ended;
  return Number(readFileSync(file, 'utf8'));
}

test('a reader of both streams that exits early: `2>&1 | head`', async () => {
  let count = 0;
  await stopAtRandom('2>&1 | head', ROUNDS, [1, 2, 1], async (run, size) => {
    // every other time after the first line, before training starts
    const lines = count++ % 2 === 1 ? 1 : 1 + Math.floor((Math.random() * STEPS) / size);
    return { code: await pipeline(run, size, '2>&1', `head -n ${lines}`), said: `${lines} lines` };
  });
});

test('when only the reader of the result is gone, training continues to its end', async () => {
  const codes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const size = 1 + (round % 2);
    const { bits, ms } = await undisturbed(size);
    const leaves = round % 4 < 2;
    const run = newRun();
    const reader = leaves ? `{ sleep ${(Math.random() * ms) / 1000}; : > "$0.gone"; }` : 'head -n 1';
    const code = await pipeline(run, size, '2>/dev/null', reader);
    // on a machine that has become faster meanwhile, training may end before its reader leaves
    const [ended, left] = [`${run}.code`, `${run}.code.gone`].map((file) =>
      leaves ? statSync(file).mtimeMs : 0,
    );
    if (left! <= ended!) assert.equal(code, leaves ? 141 : 0);
    else assert.ok(code === 0 || code === 141, String(code));
    assert.deepEqual(fingerprint(run), bits);
    codes.push(code);
    rmSync(run, { recursive: true, force: true });
  }
  if (ROUNDS > 1) console.log(`| head, | sleep: ${ROUNDS} rounds, codes ${codes.join(' ')}`);
});
