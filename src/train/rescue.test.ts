/**
 * A training that loses a process loses no progress: the state before the failed step is saved, the lost process is named,
 * and the resumed run is equal to the bit to an undisturbed one. DINO_TEST_KILLS=50 makes that many kills, and two fifths
 * as many stops, at random moments; without it there is one kill at a fixed moment.
 */
import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../processes/launch.js';
import { ranksBelow, testFolder } from '../testing/distributed-run.js';
import { dino, dinoBin, type Ended, rankVariables, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { listCheckpoints, verifyCheckpoint } from '../run/checkpoint-files.js';
import { readLines } from '../files/json-lines.js';
import type { TrainSettings } from '../run/settings.js';

const { newRun, images, commandLine } = testFolder();
const script = fileURLToPath(new URL('../testing/mortal-rank.js', import.meta.url));

/** Three epochs of three steps, with a custom backbone, whose sizes its builder determines. */
const MORTAL: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ arch: 'custom', useBnInHead: false, batchSize: 3, threads: 1 },
};
for (const size of ['embedDim', 'depth', 'numHeads'] as const) delete MORTAL[size];

/** Runs both ranks to their ends; rank `mortal` kills itself during a step. */
async function bothRanks(run: string, mortal: number, last: number, env = {}): Promise<[Ended, Ended]> {
  const port = await freePort();
  const line = [
    process.execPath,
    script,
    images(),
    run,
    JSON.stringify(MORTAL),
    String(mortal),
    String(last),
  ];
  const ranks = [0, 1].map((rank) => start(line, { ...rankVariables(rank, 2, port), ...env }).ended);
  return Promise.all(ranks) as Promise<[Ended, Ended]>;
}

let whole: Record<string, string> | undefined;
/** The result of both when neither dies. */
async function unharmed(): Promise<Record<string, string>> {
  if (whole === undefined) {
    const run = newRun();
    for (const { code, stderr } of await bothRanks(run, 1, 0)) assert.equal(code, 0, stderr);
    whole = fingerprint(run);
  }
  return whole;
}

/** The state after step 4 was saved when step 5 lost a process, and leads to the same bits as an undisturbed run. */
async function assertRescued(run: string): Promise<void> {
  const newest = listCheckpoints(run).at(-1) ?? assert.fail('no checkpoint');
  assert.equal(newest.step, 4);
  verifyCheckpoint(newest.folder);
  for (const { code, stderr } of await bothRanks(run, 1, 0)) assert.equal(code, 0, stderr);
  assert.deepEqual(fingerprint(run), await unharmed());
}

test('rank 1 lost in the backward pass: rank 0 names it and saves the state before the step', async () => {
  const run = newRun();
  const [{ code, stderr }, { signal }] = await bothRanks(run, 1, 5, { DEBUG: 'dino' });
  assert.deepEqual([code, signal], [1, 'SIGKILL'], stderr);
  assert.match(stderr, /^caused by ProcessError: backward: /m);
  assert.match(stderr, /^dino: Rank 1 \(process \d+ on \S+\) was killed, .*; its last step was 4\./m);
  await assertRescued(run);
});

test('rank 0 lost: rank 1 names it, saves in its place, and reports that in one line', async () => {
  const run = newRun();
  const [{ signal }, { code, stderr }] = await bothRanks(run, 0, 5);
  assert.deepEqual([code, signal], [1, 'SIGKILL'], stderr);
  assert.match(
    stderr,
    /^dino: Rank 0 \(process \d+ on \S+\), which keeps the store, was killed, .*after step 4, and saved the state after it\.\n$/,
  );
  assert.doesNotMatch(stderr, /frame #|Exception raised|\.cc:/);
  await assertRescued(run);
});

// ---------------------------------------------------------------------------------- at random moments, by hand

const ROUNDS = Number(process.env['DINO_TEST_KILLS'] ?? 0);
/** Two epochs of nine steps, each about a third of a second on one core, so that most of the time is spent in steps. */
const LONG: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 1, epochs: 2, threads: 1, embedDim: 192, depth: 4, numHeads: 3 },
  ...{ globalCropsSize: 96, localCropsSize: 48, localCropsNumber: 6, keepCheckpoints: 100 },
};
const TIMEOUT_S = 5;

/** How many processes, and whether they also synchronize batch norms. */
interface Case {
  size: number;
  useBnInHead: boolean;
}

const expected = new Map<string, { bits: Record<string, string>; seconds: number }>();
/** The result of this many undisturbed processes, and the seconds that they train. */
async function undisturbed({
  size,
  useBnInHead,
}: Case): Promise<{ bits: Record<string, string>; seconds: number }> {
  const known = expected.get(`${size} ${useBnInHead}`);
  if (known !== undefined) return known;
  const run = newRun();
  let began = 0;
  const line = commandLine(run, { ...LONG, useBnInHead }, ['--nproc', String(size)], 60);
  const onLine = (text: string): void => {
    if (text.startsWith('training')) began = performance.now();
  };
  const { code, stderr } = await start([process.execPath, dinoBin, ...line], {}, { onLine }).ended;
  assert.equal(code, 0, stderr);
  const result = { bits: fingerprint(run), seconds: (performance.now() - began) / 1000 };
  expected.set(`${size} ${useBnInHead}`, result);
  return result;
}

/** Where the survivor was when it noticed, according to its own error. */
function phaseOf(stderr: string): string {
  const causes = [...stderr.matchAll(/^(?:\[rank \d+\] )?caused by ProcessError: ([^:\n]+): /gm)].map(
    ([, what]) => what,
  );
  return causes[0] ?? 'unknown';
}

/** Loses one process at a random moment. @returns Where the survivor noticed; null when training was over by then. */
async function lose(what: Case, signal: 'SIGKILL' | 'SIGSTOP'): Promise<string | null> {
  const { size, useBnInHead } = what;
  const { bits, seconds } = await undisturbed(what);
  const run = newRun();
  let wake = (): void => undefined;
  const began = new Promise<void>((resolve) => (wake = resolve));
  const line = commandLine(run, { ...LONG, useBnInHead }, ['--nproc', String(size)], TIMEOUT_S);
  const running = start(
    [process.execPath, dinoBin, ...line],
    { DEBUG: 'dino' },
    {
      onLine: (text) => {
        if (text.startsWith('training')) wake();
      },
    },
  );
  await Promise.race([began, running.ended]);
  await sleep(Math.random() * 1000 * seconds);
  const rank = Math.floor(Math.random() * size);
  const pid = ranksBelow(running.child.pid as number).get(rank);
  if (pid !== undefined) process.kill(pid, signal);
  const { code, stdout, stderr } = await running.ended;
  if (pid === undefined || code === 0 || stdout.includes('done: ')) return null;
  const who = `Rank ${rank} \\(process ${pid} on ${hostname()}\\)`;
  assert.equal(code, 1, stderr);
  assert.match(
    stderr,
    new RegExp(`dino: ${who}(, which keeps the store,)? was killed, is stopped or can't be reached`),
  );
  const how = signal === 'SIGKILL' ? 'was ended by SIGKILL' : 'was stopped \\(SIGSTOP\\)';
  assert.match(stderr, new RegExp(`^dino: ${who} ${how}`, 'm'));
  for (const [, other] of stderr.matchAll(/Rank (\d+) \(process \d+ on \S+\),? w/g))
    assert.equal(Number(other), rank, stderr);
  const done = readLines(path.join(run, 'metrics.jsonl')).at(-1)?.['step'];
  const newest = listCheckpoints(run).at(-1) ?? assert.fail(`no checkpoint:\n${stderr}`);
  assert.equal(newest.step, done ?? 0, stderr);
  verifyCheckpoint(newest.folder);
  const again = await dino(['train', '--resume', run, '--nproc', String(size), '--dist-timeout', '60']);
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(fingerprint(run), bits);
  return `${phaseOf(stderr)}${rank === 0 ? ' (rank 0)' : ''}`;
}

for (const [signal, what, rounds] of [
  ['SIGKILL', 'killed', ROUNDS],
  ['SIGSTOP', 'stopped', Math.ceil(0.4 * ROUNDS)],
] as const) {
  test(`a rank that is ${what} at a random moment`, async (context: TestContext) => {
    if (ROUNDS === 0) {
      context.skip('DINO_TEST_KILLS says how often');
      return;
    }
    const phases = new Map<string, number>();
    for (let round = 0; round < rounds; round++) {
      const kind = { size: round % 5 === 4 ? 3 : 2, useBnInHead: round % 2 === 1 };
      let phase: string | null = null;
      while (phase === null) phase = await lose(kind, signal);
      phases.set(phase, (phases.get(phase) ?? 0) + 1);
      console.log(`${signal} ${round + 1} of ${rounds}, ${kind.size} processes: noticed in ${phase}`);
    }
    console.log(signal, Object.fromEntries(phases));
  });
}
