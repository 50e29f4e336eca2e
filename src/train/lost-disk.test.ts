/** What training does when its folder is moved away, its disk is full or read-only, or it may open only a few files. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { makeImageFolder } from '../testing/image-folder.js';
import { dino, dinoBin, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import type { TrainEvent } from './events.js';
import { readLines } from '../files/json-lines.js';
import { metricsPath } from '../run/run-folder.js';
import { RunLog } from './run-log.js';
import { train } from './train.js';

let top = '';
let images = '';
let count = 0;
const newRun = (): string => path.join(top, `run-${count++}`);
before(async () => {
  top = mkdtempSync(path.join(tmpdir(), 'dino-lost-'));
  images = path.join(top, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 9 });
});
after(() => rmSync(top, { recursive: true }));

/** Trains nine steps; `strike` comes after step 4. */
async function struck(
  run: string,
  strike: () => void,
  later: () => void = () => undefined,
): Promise<string[]> {
  const warnings: string[] = [];
  const onEvent = (event: TrainEvent): void => {
    if (event.type === 'warning') warnings.push(event.message);
    if (event.type === 'step' && event.step === 4) strike();
    if (event.type === 'step' && event.step === 7) later();
  };
  await train({ images, output: run, settings: TINY_SETTINGS, onEvent });
  return warnings;
}
const stepsOf = (run: string): unknown[] => readLines(metricsPath(run)).map(({ step }) => step);

test('when a run folder is renamed during training, the state is saved there, and the command fails', async (t) => {
  if (process.platform !== 'linux') return t.skip('only Linux says where a folder went');
  const whole = newRun();
  await struck(whole, () => undefined);
  const run = newRun();
  const moved = `${run}-moved`;
  await assert.rejects(
    struck(run, () => renameSync(run, moved)),
    (error: Error) => {
      assert.match(
        error.message,
        /run-\d was moved to .*-moved .*state after step 5 is saved in .*step-00000005\. Continue/,
      );
      return /dino train --resume .*-moved$/.test(error.message);
    },
  );
  assert.ok(!existsSync(run), 'it is not created again');
  assert.ok(!existsSync(path.join(moved, 'lock')));
  assert.deepEqual(stepsOf(moved), [1, 2, 3, 4, 5]);
  await train({ output: moved, resume: true });
  assert.deepEqual(fingerprint(moved), fingerprint(whole));
});

/** Deletes a folder in which a checkpoint is being written: rmSync()'s own retries don't look for new files. */
function removeWhileWritten(folder: string): void {
  for (let attempt = 0; existsSync(folder); attempt++) {
    try {
      rmSync(folder, { recursive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY' || attempt === 1000) throw error;
    }
  }
}

test('a run folder that is deleted, or that another process took over, ends the training', async () => {
  const run = newRun();
  await assert.rejects(
    struck(run, () => removeWhileWritten(run)),
    /run-\d no longer exists: it was moved or deleted/,
  );
  assert.ok(!existsSync(path.join(run, 'config.json')));
  const other = newRun();
  const lock = JSON.stringify({ pid: 7, host: 'host-b', started: '1', space: 'another machine', id: 'aa' });
  await assert.rejects(
    struck(other, () => writeFileSync(path.join(other, 'lock'), lock)),
    /was taken over by process 7 on host-b/,
  );
  assert.ok(existsSync(path.join(other, 'lock')));
});

test('lines that cannot be written wait for space, and training continues', async () => {
  const run = newRun();
  const file = metricsPath(run);
  const warnings = await struck(
    run,
    () => {
      renameSync(file, `${file}.kept`);
      mkdirSync(file); // in the way of the file: unlike permissions, this stops root too
    },
    () => {
      rmSync(file, { recursive: true });
      renameSync(`${file}.kept`, file);
    },
  );
  assert.deepEqual(stepsOf(run), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(warnings.length, 2, warnings.join('\n'));
  assert.match(warnings[0]!, /metrics\.jsonl can't be opened: .*kept in memory until there is space/);
  assert.match(warnings[1]!, /can be written again: [34] lines were delayed\./);
});

test('what waits in memory is limited, and what is lost is counted', () => {
  const file = path.join(top, 'log.jsonl');
  const warnings: string[] = [];
  const log = new RunLog(file, (message) => warnings.push(message), 30);
  log.add({ step: 1 });
  renameSync(file, `${file}.kept`);
  mkdirSync(file);
  for (let step = 2; step <= 9; step++) log.add({ step });
  rmSync(file, { recursive: true });
  renameSync(`${file}.kept`, file);
  log.add({ step: 10 });
  assert.deepEqual(
    readLines(file).map(({ step }) => step),
    [1, 2, 3, 10],
  );
  assert.match(warnings.join('|'), /kept in memory.*\|.*2 lines were delayed, 6 lines were lost/);
  rmSync(file);
  mkdirSync(file);
  log.add({ step: 11 });
  log.close();
  assert.match(warnings.at(-1)!, /1 line was lost/);
});

/** Runs a test on a small disk, which `fill()` fills to its last byte; skipped without root. */
async function onDisk(
  t: TestContext,
  kilobytes: number,
  work: (disk: string, fill: () => void) => Promise<void>,
): Promise<void> {
  const disk = path.join(top, `disk-${count++}`);
  mkdirSync(disk);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', disk]).status !== 0)
    return t.skip('mounting a small disk takes root');
  try {
    await work(
      disk,
      () => void spawnSync('dd', ['if=/dev/zero', `of=${path.join(disk, 'ballast')}`, 'bs=1k']),
    );
  } finally {
    spawnSync('umount', [disk]);
  }
}

test('a full disk leaves no half line and no half picture', async (t) => {
  const run = newRun();
  await struck(run, () => undefined);
  await onDisk(t, 256, async (disk, fill) => {
    const file = path.join(disk, 'metrics.jsonl');
    const warnings: string[] = [];
    const log = new RunLog(file, (message) => warnings.push(message));
    log.add({ text: 'x'.repeat(4000) });
    fill();
    for (let i = 0; i < 4; i++) log.add({ text: 'y'.repeat(1000) });
    assert.ok(warnings.length === 1 && /the disk is full/.test(warnings[0]!), warnings.join('\n'));
    assert.ok(readLines(file).length < 5);
    rmSync(path.join(disk, 'ballast'));
    log.add({ text: 'z' });
    assert.deepEqual(
      readLines(file).map(({ text }) => String(text).slice(0, 1)),
      ['x', 'y', 'y', 'y', 'y', 'z'],
    );
    mkdirSync(path.join(disk, 'maps'));
    fill();
    const image = path.join(images, 'class-0', 'image-0.png');
    const { code, stderr } = await dino(['attention', run, image, '--output', path.join(disk, 'maps')]);
    assert.equal(code, 1);
    assert.match(stderr, /maps.*img\.png can't be written: ENOSPC.*: the disk is full; free some space/);
    assert.deepEqual(readdirSync(path.join(disk, 'maps')), []);
  });
});

test('a read-only output is reported as such', async (t) => {
  await onDisk(t, 64, async (disk) => {
    spawnSync('mount', ['-o', 'remount,ro', disk]);
    const { code, stderr } = await dino([
      'train',
      images,
      '--output',
      path.join(disk, 'run'),
      '--epochs',
      '1',
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /run can't be made: EROFS.*: the disk is read-only/);
  });
});

test('training with checkpoints needs fewer than a hundred open files, and reports a limit that is too low', async () => {
  const open: number[] = [];
  const limited = async (limit: number, run: string) => {
    const settings = ['--epochs', '1', '--batch-size', '4', '--save-every-steps', '1', '--num-workers', '1'];
    const line = ['sh', '-c', `ulimit -n ${limit}; exec "$@"`, 'sh', process.execPath, dinoBin];
    const onLine = (said: string): void => {
      const files = `/proc/${running.child.pid}/fd`;
      if (/^training:|step \d/.test(said) && existsSync(files)) open.push(readdirSync(files).length);
    };
    const running = start([...line, 'train', images, '--output', run, ...settings], {}, { onLine });
    return running.ended;
  };
  const run = newRun();
  // more than training needs: at its start Node opens the modules of a package together, zod's sixty languages among them
  const { code, stderr } = await limited(128, run);
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /warning/);
  assert.ok(statSync(path.join(run, 'checkpoints', 'latest')).isFile());
  if (process.platform === 'linux') assert.ok(Math.max(...open) < 100 && open.length > 0, open.join());
  const short = await limited(40, newRun());
  assert.notEqual(short.code, 0);
  assert.match(short.stderr, /too many open files \(limit 40\): raise it with ulimit -n/);
});
