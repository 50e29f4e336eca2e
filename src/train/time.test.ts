/** Runs for a time and runs in steps, with real trainings. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { listImages } from '../data/index.js';
import { ConfigError } from '../errors.js';
import { readLines } from '../files/json-lines.js';
import { readRunConfig } from '../run/run-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { planTraining } from './plan.js';
import type { TrainOptions } from './options.js';
import { train } from './train.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
let folder = '';
let images = '';
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-time-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 9 }); // 3 steps of 5 per epoch
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** `dino train`, in the tests' folder. */
function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'train', ...args], {
    ...{ encoding: 'utf8', cwd: folder },
  });
  return { status, stdout, stderr };
}

/** Trains until `stop` steps are done. */
async function until(stop: number, options: TrainOptions) {
  const controller = new AbortController();
  const warnings: string[] = [];
  const result = await train({
    ...options,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
      if (event.type === 'step' && event.step >= stop) controller.abort();
    },
  });
  return { ...result, warnings: warnings.join('\n') };
}

/** It used its time; how far it went beyond depends on the machine's load, and is tested with a clock in pace.test.ts. */
function usedItsTime(run: string): void {
  const { time } = readRunConfig(run);
  assert.ok(time !== undefined);
  const { seconds, used } = time;
  // a slow disk makes it end early
  assert.ok(used > 0.6 * seconds - 2, `${used} s of ${seconds} s`);
}

/** Once the time is over, a run goes on only to the next look at its pace. */
function endedSoon(ends: readonly number[], deadline: number): void {
  const late = ends.filter((end) => end > deadline).length;
  assert.ok(late <= Math.max(3, 0.15 * ends.length), `${late} of ${ends.length} steps were late`);
}

test('a run in steps ends in the middle of an epoch, with annealed schedules, and resumes to the bit', async () => {
  const settings = {
    ...TINY_SETTINGS,
    steps: 7,
    warmupEpochs: 0.5,
    warmupTeacherTempEpochs: 1.5,
    freezeLastLayer: 0.5,
  };
  const run = newRun();
  const result = await train({ images, output: run, settings });
  assert.equal(result.steps, 7);
  assert.equal(result.interrupted, false);
  assert.equal(result.time, null);
  const lines = readLines(path.join(run, 'metrics.jsonl'));
  const rates = lines.map(({ lr }) => lr as number);
  assert.equal(lines.length, 7);
  assert.ok(rates[6]! < rates[5]! && rates[6]! < 0.2 * Math.max(...rates), String(rates));
  const temperatures = lines.map(({ teacherTemp }) => teacherTemp as number);
  assert.ok(new Set(temperatures.slice(0, 4)).size === 4, 'a fraction warms up step by step');
  const { settings: saved } = readRunConfig(run);
  assert.deepEqual([saved.steps, saved.epochs], [7, 3]);

  const stopped = newRun();
  await until(4, { images, output: stopped, settings });
  const rest = await until(Infinity, { output: stopped, resume: true });
  assert.equal(rest.steps, 7);
  assert.deepEqual(fingerprint(stopped), fingerprint(run));

  const done = await until(Infinity, { output: run, resume: true });
  assert.match(done.warnings, /all 7 steps are done.*--steps 14/);
  await assert.rejects(
    train({ output: run, resume: true, settings: { ...saved, steps: 6 } }),
    /--steps is 6, but the run in .* goes to 7/,
  );
  const longer = await until(Infinity, { output: run, resume: true, settings: { ...saved, steps: 11 } });
  assert.match(longer.warnings, /goes on to 11 steps instead of 7/);
  assert.equal(longer.steps, 11);
});

test('whole epochs given as steps are the same run to the bit', async () => {
  const [epochs, steps] = [newRun(), newRun()];
  await train({ images, output: epochs, settings: TINY_SETTINGS });
  await train({ images, output: steps, settings: { ...TINY_SETTINGS, steps: 9 } });
  assert.deepEqual(fingerprint(steps), fingerprint(epochs));
});

test('a run for a time goes on with the time that is left, and with more; its recorded steps repeat it to the bit', async () => {
  const run = newRun();
  // without a plan the first steps show how much fits
  const settings = { ...TINY_SETTINGS, for: '15s' };
  const first = await until(3, { images, output: run, settings });
  assert.ok(first.interrupted);
  const { used } = readRunConfig(run).time!;
  assert.ok(used > 0);
  const events: number[] = [];
  const ends: number[] = [];
  const resumed = performance.now();
  const rest = await train({
    ...{ output: run, resume: true },
    onEvent: (event) => {
      if (event.type === 'start') events.push(event.startStep, event.time!.used);
      if (event.type === 'step') ends.push(performance.now());
    },
  });
  assert.equal(rest.interrupted, false);
  const config = readRunConfig(run);
  const again = newRun();
  await train({ images, output: again, settings: config.settings, extensions: config.extensions ?? [] });
  assert.deepEqual(fingerprint(again), fingerprint(run));
  assert.equal(events[0], first.steps);
  assert.ok(events[1]! >= used, 'the time of the first session counts');
  endedSoon(ends, resumed + 1000 * (15 - used));
  usedItsTime(run);
  const done = await until(Infinity, { output: run, resume: true });
  assert.match(done.warnings, /all \d+ steps are done, which took \d+s of 15s.*--for 10m/);

  const { time: before, settings: saved } = readRunConfig(run);
  const more = await until(Infinity, { output: run, resume: true, settings: { ...saved, for: '4s' } });
  assert.match(more.warnings, /goes on to \d+ steps instead of \d+/);
  const { time } = readRunConfig(run);
  assert.equal(time!.seconds, before!.used + 4);
  assert.ok(more.steps > rest.steps);
  assert.ok(time!.used > before!.used);

  // a number of steps ends the counting of time
  await until(more.steps + 2, { output: run, resume: true, settings: { ...saved, steps: more.steps + 5 } });
  assert.equal(readRunConfig(run).time, undefined);
});

test('a run in epochs goes on for a time', async () => {
  const run = newRun();
  await until(5, { images, output: run, settings: TINY_SETTINGS });
  const { settings } = readRunConfig(run);
  const result = await until(Infinity, { output: run, resume: true, settings: { ...settings, for: '4s' } });
  assert.ok(result.steps > 5);
  const config = readRunConfig(run);
  assert.deepEqual(config.extensions?.[0], { step: 5, epochs: 3 });
  usedItsTime(run);
});

test('the command line: one length, no output folder, what is too short, and a repeated run', () => {
  const both = dino(images, '--for', '10m', '--epochs', '3');
  assert.equal(both.status, 2);
  assert.match(both.stderr, /--epochs and --for each say how long the training is: give only one of them/);
  const wrong = dino(images, '--for', '10 parsecs');
  assert.match(wrong.stderr, /--for is "?10 parsecs"?; expected a time, as 90s, 10m, 2h, 1h30m or overnight/);
  const small = ['--embed-dim', '32', '--depth', '2', '--out-dim', '32', '--threads', '1', '--device', 'cpu'];
  const short = dino(images, ...small, '--for', '0.2s');
  assert.equal(short.status, 2, short.stderr);
  assert.match(
    short.stderr,
    /--for 0\.2s is too short: starting took \d+s, and a step of \d+ images takes [\d.]+ m?s here/,
  );
  assert.match(short.stderr, /Give at least --for \d+s/);
  assert.ok(!existsSync(path.join(folder, 'runs')));

  writeFileSync(path.join(folder, 'night.json'), JSON.stringify({ for: '30s' }));
  const timed = dino(images, ...small, '--config', 'night.json', '--log-every', '1', '--json');
  assert.equal(timed.status, 0, timed.stderr);
  assert.match(timed.stderr, /training for 30s: a few trial steps show how much fits/);
  assert.match(
    timed.stderr,
    /--steps \d+: what fits in 30s: a step of \d+ images takes [\d.]+ m?s here, by \d+ trial steps?/,
  );
  assert.match(timed.stderr, /step \d+\/\d+ .* left \d+s/);
  const { steps } = JSON.parse(timed.stdout) as { steps: number };
  const first = path.join(folder, 'runs/images');
  const { settings } = readRunConfig(first);
  assert.equal(settings.steps, steps);
  assert.equal(settings.epochs, Math.ceil(steps / Math.floor(18 / settings.batchSize)));
  assert.equal(settings.for, undefined);
  usedItsTime(first);

  // a run folder as config file: its changes of length are repeated too
  const extensions = [{ step: 3, epochs: 2, steps: 5 }];
  const saved = { settings: { ...TINY_SETTINGS, steps: 7, epochs: 3 }, extensions };
  writeFileSync(path.join(folder, 'saved.json'), JSON.stringify(saved));
  const repeated = dino(images, '--config', 'saved.json');
  assert.equal(repeated.status, 0, repeated.stderr);
  assert.deepEqual(readRunConfig(path.join(folder, 'runs/images-2')).extensions, extensions);

  // the command that began a run is repeated when its job is queued again
  const again = dino(images, '--for', '30s', '--output', first, '--resume', 'auto', '--json');
  assert.equal(again.status, 0, again.stderr);
  assert.equal(readRunConfig(first).time?.seconds, 30);
  const watched = dino(
    images,
    '--for',
    '30s',
    '--until-stalled',
    'true',
    '--output',
    first,
    '--resume',
    'auto',
  );
  assert.match(watched.stderr, /--until-stalled can't change in a resumed run/);
  for (const length of ['--epochs', '--steps']) {
    const ignored = dino(images, length, '9', '--until-stalled', 'true', '--judge-every', '1');
    assert.equal(ignored.status, 2);
    assert.match(ignored.stderr, /untilStalled ends a run for a time: give --for, in place of/);
  }
});

test('a run that no longer gets better is ended with annealed schedules, also when it is stopped in between', async () => {
  const many = path.join(folder, 'many');
  await makeImageFolder(many, { classes: 4, perClass: 18 }); // 4 steps of 18 per epoch
  const list = await listImages(many);
  // a learning rate of 0 never gets better
  const still = {
    lr: 0,
    minLr: 0,
    batchSize: 18,
    judgeEvery: 1,
    saveckpFreq: 0,
    useBnInHead: false,
    dropPathRate: 0,
  };
  const settings = { ...TINY_SETTINGS, ...still, numWorkers: 0, for: '10m', untilStalled: true };
  const run = newRun();
  const first = await until(21, { images: list, output: run, settings });
  assert.match(first.warnings, /ending: the judge sees no gain any more; 2 more steps/);
  assert.ok(first.interrupted);
  const { time, extensions } = readRunConfig(run);
  assert.deepEqual([time!.untilStalled, time!.stalledAt], [true, 20]);
  assert.equal(extensions!.at(-1)!.step, 20);
  const rest = await until(Infinity, { output: run, resume: true });
  assert.deepEqual([rest.steps, rest.interrupted], [22, false]);
  const lines = readLines(path.join(run, 'metrics.jsonl'));
  assert.equal((lines.at(-1)!['judge'] as { bestStep: number }).bestStep, 0, 'the end is judged too');
  // the command that began it is repeated, and it may be told again to end early
  const timed = ['--for', '10m', '--until-stalled', 'true'];
  const again = dino(many, ...timed, '--output', run, '--resume', 'auto');
  assert.equal(again.status, 0, again.stderr);
  assert.equal(readRunConfig(run).time!.seconds, 600);
  // further time is used, whatever the judge says
  const more = await until(30, {
    output: run,
    resume: true,
    settings: { ...settings, untilStalled: false, for: '10m' },
  });
  assert.equal(more.steps, 30);

  const plan = (flags: Record<string, unknown>, preset: 'auto' | 'paper' = 'auto') =>
    planTraining(list, { sources: { flags: { device: 'cpu', ...flags } }, preset, measures: false });
  const open = await plan({});
  assert.deepEqual([open.settings.for, open.settings.untilStalled], ['1h', true]);
  assert.ok(open.settings.judgeEvery > 0);
  assert.match(open.choices[0]!.reason, /at most: it ends when the judge no longer sees it getting better/);
  for (const given of [{ epochs: 2 }, { steps: 5 }, { for: '90s' }, { judgeEvery: 0 }])
    assert.equal((await plan(given)).settings.untilStalled, undefined);
  assert.equal((await plan({}, 'paper')).settings.for, undefined);
  assert.equal((await plan({ for: '10m' })).settings.judgeEvery > 0, true);
});

test('a time with a checkpoint of the reference is refused', async () => {
  const list = await listImages(images);
  const sources = { flags: { for: '10m', resumeFrom: 'x.pth' } };
  await assert.rejects(planTraining(list, { sources, preset: 'paper' }), ConfigError);
});
