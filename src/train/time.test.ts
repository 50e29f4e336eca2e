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
import { configPath, readRunConfig } from '../run/run-folder.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { planTraining } from './plan.js';
import { train, type TrainOptions } from './train.js';

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

/** Seconds of checkpoints and steps that a loaded machine may add at the end of a short run. */
const MAY_ADD = 6;
function endedOnTime(run: string): void {
  const { time } = readRunConfig(run);
  assert.ok(time !== undefined);
  const { seconds, used } = time;
  assert.ok(used > 0.6 * seconds && used < seconds + MAY_ADD, `${used} s of ${seconds} s`);
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

test('a run for a time ends on time, annealed', async () => {
  const run = newRun();
  const began = performance.now();
  const list = await listImages(images);
  const flags = { ...TINY_SETTINGS, epochs: undefined, for: '8s' };
  const plan = await planTraining(list, { sources: { flags }, preset: 'auto', startedAt: began });
  const choice = plan.choices.find(({ name }) => name === 'steps');
  assert.match(
    choice?.reason ?? '',
    /what fits in 8s: a step of 5 images takes [\d.]+ m?s here, by \d+ trial steps?/,
  );
  const { settings } = plan;
  const result = await train({ images: list, output: run, settings, startedAt: began });
  const config = readRunConfig(run);
  assert.equal(config.settings.steps, result.steps);
  assert.equal(config.settings.epochs, Math.ceil(result.steps / 3));
  assert.equal(config.settings.for, undefined);
  assert.equal(result.interrupted, false);
  endedOnTime(run);
  const rates = readLines(path.join(run, 'metrics.jsonl')).map(({ lr }) => lr as number);
  assert.ok(rates.at(-1)! < 0.3 * Math.max(...rates), 'the learning rate is annealed');
});

test('a run for a time goes on with the time that is left, and with more; its recorded steps repeat it to the bit', async () => {
  const run = newRun();
  // without a plan the first steps show how much fits
  const settings = { ...TINY_SETTINGS, for: '9s' };
  const first = await until(20, { images, output: run, settings });
  assert.ok(first.interrupted);
  const { used } = readRunConfig(run).time!;
  assert.ok(used > 0 && used < 9 + MAY_ADD);
  const events: number[] = [];
  const rest = await train({
    ...{ output: run, resume: true },
    onEvent: (event) => {
      if (event.type === 'start') events.push(event.startStep, event.time!.used);
    },
  });
  assert.equal(rest.interrupted, false);
  const config = readRunConfig(run);
  const again = newRun();
  await train({ images, output: again, settings: config.settings, extensions: config.extensions ?? [] });
  assert.deepEqual(fingerprint(again), fingerprint(run));
  assert.equal(events[0], first.steps);
  assert.ok(events[1]! >= used, 'the time of the first session counts');
  endedOnTime(run);
  const done = await until(Infinity, { output: run, resume: true });
  assert.match(done.warnings, /all \d+ steps are done, which took \d+s of 9s.*--for 10m/);

  const { time: before, settings: saved } = readRunConfig(run);
  const more = await until(Infinity, { output: run, resume: true, settings: { ...saved, for: '4s' } });
  assert.match(more.warnings, /goes on to \d+ steps instead of \d+/);
  const { time } = readRunConfig(run);
  assert.equal(time!.seconds, before!.used + 4);
  assert.ok(more.steps > rest.steps);
  assert.ok(time!.used > before!.used && time!.used < time!.seconds + MAY_ADD);

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
  endedOnTime(run);
});

test('the command line: one length, no output folder, what is too short, and a repeated run', () => {
  const dino = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'train', ...args], {
      ...{ encoding: 'utf8', cwd: folder },
    });
    return { status, stdout, stderr };
  };
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

  writeFileSync(path.join(folder, 'night.json'), JSON.stringify({ for: '10s' }));
  const timed = dino(images, ...small, '--config', 'night.json', '--json');
  assert.equal(timed.status, 0, timed.stderr);
  assert.match(timed.stderr, /training for 10s: a few trial steps show how much fits/);
  assert.match(timed.stderr, /--steps \d+: what fits in 10s/);
  assert.match(timed.stderr, /step \d+\/\d+ .* left \d+s/);
  const first = path.join(folder, 'runs/images');
  endedOnTime(first);
  const repeated = dino(images, '--config', configPath(first));
  assert.equal(repeated.status, 0, repeated.stderr);
  assert.deepEqual(fingerprint(path.join(folder, 'runs/images-2')), fingerprint(first));

  // the command that began a run is repeated when its job is queued again
  const again = dino(images, '--for', '10s', '--output', first, '--resume', 'auto', '--json');
  assert.equal(again.status, 0, again.stderr);
  assert.equal(readRunConfig(first).time?.seconds, 10);
});

test('a time with a checkpoint of the reference is refused', async () => {
  const list = await listImages(images);
  const sources = { flags: { for: '10m', resumeFrom: 'x.pth' } };
  await assert.rejects(planTraining(list, { sources, preset: 'paper' }), ConfigError);
});
