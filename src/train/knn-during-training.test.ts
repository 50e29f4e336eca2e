/** `--knn-every`: its folders are checked first and kept as absolute paths, and no evaluation is lost to a stop. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DataError } from '../errors.js';
import { readLines } from '../files/json-lines.js';
import { metricsPath, readRunConfig } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import type { TrainEvent } from './events.js';
import { train } from './train.js';

const top = mkdtempSync(path.join(tmpdir(), 'dino-knn-'));
const images = path.join(top, 'images');
const many = path.join(top, 'many');
before(async () => {
  await makeImageFolder(images, { classes: 2, perClass: 5 }); // 2 steps an epoch
  await makeImageFolder(many, { classes: 2, perClass: 32 }); // enough for the judge; 2 steps an epoch
});
after(() => rmSync(top, { recursive: true, force: true }));
let runs = 0;
const newRun = (): string => path.join(top, `run-${runs++}`);

const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ epochs: 2, knnEvery: 1, knnTrain: images, knnVal: images },
};
const measured = (run: string): unknown[] =>
  readLines(metricsPath(run)).flatMap((line) => ('top1' in line ? [line['step']] : []));

/** Trains until `isDue`, or resumes. */
async function trained(
  output: string,
  isDue: (event: TrainEvent) => boolean,
  settings = SETTINGS,
  of = images,
) {
  const controller = new AbortController();
  const warnings: string[] = [];
  const result = await train({
    ...(existsSync(output) ? { resume: true } : { images: of, settings }),
    ...{ output, signal: controller.signal },
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
      if (isDue(event)) controller.abort();
    },
  });
  return { result, warnings };
}
const never = (): boolean => false;

test('the labelled images are kept with absolute paths, as are watched ones', async () => {
  const run = newRun();
  const knnTrain = path.relative(process.cwd(), images);
  await trained(run, never, { ...SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0, knnTrain });
  assert.equal(readRunConfig(run).settings.knnTrain, images);
  assert.deepEqual(measured(run), [2]);
});

test('labelled images that are missing or have no labels are refused before anything starts', async () => {
  for (const [knnVal, pattern] of [
    [path.join(top, 'absent'), /There is no .*absent/],
    [path.join(images, 'class-0'), /class-0 \(--knn-val\) has no labels/],
  ] as const) {
    const run = newRun();
    await assert.rejects(
      train({ images, output: run, settings: { ...SETTINGS, knnVal } }),
      (error) => error instanceof DataError && pattern.test(error.message),
    );
    assert.ok(!existsSync(path.join(run, 'config.json')));
  }
  // without evaluations they are not looked at
  const settings = { ...SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0, knnEvery: 0, knnVal: 'absent' };
  await trained(newRun(), never, settings);
});

test('what a stop leaves unmeasured is measured on resuming', async () => {
  const run = newRun();
  const stopped = await trained(run, (event) => event.type === 'step' && event.step === 2);
  assert.deepEqual([stopped.result.steps, measured(run)], [2, []]);
  const atEnd = await trained(run, (event) => event.type === 'step' && event.step === 4);
  assert.deepEqual([atEnd.result.steps, atEnd.result.interrupted, measured(run)], [4, true, [2]]);
  const { result } = await trained(run, never);
  assert.deepEqual([result.interrupted, measured(run)], [false, [2, 4]]);
  await trained(run, never);
  assert.deepEqual(measured(run), [2, 4], 'once');
});

test('a last evaluation that is cut short leaves a run to be resumed, which says so', async () => {
  const run = newRun();
  // the step is done and not stopped, and then comes the evaluation
  const { result, warnings } = await trained(
    run,
    (event) => event.type === 'judge' && event.step === 4,
    {
      ...{ ...SETTINGS, judgeEvery: 1, batchSize: 32 },
    },
    many,
  );
  assert.deepEqual([result.steps, result.interrupted], [4, true], warnings.join('\n'));
  assert.match(warnings.join('\n'), /k-NN after step 4 was cut short: resuming the run measures it/);
  assert.deepEqual(measured(run), [2]);
  await trained(run, never);
  assert.deepEqual(measured(run), [2, 4]);
});
