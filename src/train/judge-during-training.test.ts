import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { readLines } from '../files/json-lines.js';
import { loadModel } from '../model.js';
import {
  bestCheckpoint,
  listCheckpoints,
  newestCheckpoint,
  verifyCheckpoint,
} from '../run/checkpoint-files.js';
import { readRunConfig } from '../run/run-folder.js';
import type { TrainSettings } from '../run/settings.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { dino } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { Backbone } from '../models/index.js';
import { Linear } from '../nn/index.js';
import { ops, type Tensor } from '../torch/index.js';
import { readSafetensors } from '../weights/safetensors.js';
import { locateWeights } from '../weights/locate.js';
import type { JudgementLine, TrainEvent } from './events.js';
import { verdictBetween } from './judge.js';
import { train } from './train.js';

/** 72 images in batches of 18: 4 steps an epoch. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ batchSize: 18, epochs: 4, judgeEvery: 1, saveckpFreq: 0, keepCheckpoints: 1, numWorkers: 0 },
};

let folder = '';
let images = '';
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-judge-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 4, perClass: 18 });
});
after(() => rmSync(folder, { recursive: true, force: true }));

async function trained(settings: TrainSettings, stopAt = Infinity, run = newRun()) {
  const controller = new AbortController();
  const events: TrainEvent[] = [];
  await train({
    ...(existsSync(run) ? { resume: true } : { images, settings }),
    output: run,
    signal: controller.signal,
    onEvent: (event) => {
      events.push(event);
      if (event.type === 'step' && event.step === stopAt) controller.abort();
    },
  });
  const judged = events.filter((event) => event.type === 'judge');
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  return { run, judged, warnings, events };
}
const judgements = (run: string): JudgementLine[] =>
  readLines(path.join(run, 'metrics.jsonl')).filter((line) => 'judge' in line) as unknown as JudgementLine[];

/** The teacher's tensors of a folder, as bytes. */
const teacherOf = (checkpoint: string): Record<string, unknown> =>
  Object.fromEntries(
    [...readSafetensors(path.join(checkpoint, 'teacher.safetensors')).tensors].map(([name, value]) => [
      name,
      value.toArray(),
    ]),
  );

test('a judged training is the same to the bit as one that is not', async () => {
  const plain = await trained({ ...SETTINGS, judgeEvery: 0 });
  const judged = await trained(SETTINGS);
  const losses = (run: string): unknown[] =>
    readLines(path.join(run, 'metrics.jsonl'))
      .filter((line) => 'loss' in line)
      .map(({ step, loss, kl }) => [step, loss, kl]);
  assert.deepEqual(losses(judged.run), losses(plain.run));
  const filesOf = (run: string): unknown => ({ ...fingerprint(run), losses: null });
  assert.deepEqual(filesOf(judged.run), filesOf(plain.run));
  assert.equal(plain.judged.length, 0);
  assert.equal(bestCheckpoint(plain.run), null);
});

test('the weights before training are judged, then those of each epoch; the best are kept, and load', async () => {
  const { run, judged } = await trained(SETTINGS);
  const lines = judgements(run);
  assert.deepEqual(
    lines.map(({ step }) => step),
    [0, 4, 8, 12, 16],
  );
  assert.deepEqual(
    judged.map(({ step, epoch, judge }) => ({ step, epoch, judge })),
    lines,
  );
  const [first] = lines as [JudgementLine];
  assert.equal(first.judge.untrained, first.judge.score, 'step 0 is the untrained network');
  assert.equal(first.judge.images, 72);
  // of five neighbours of each image
  const shared = [...first.judge.shared].map(Number);
  assert.equal(shared.length, 72);
  assert.ok(Math.abs(shared.reduce((sum, each) => sum + each, 0) / (5 * 72) - first.judge.score) < 1e-9);
  // by the scores themselves
  const scores = lines.map(({ judge }) => judge.score);
  const best = lines[scores.indexOf(Math.max(...scores))]!.step;
  assert.equal(lines.at(-1)!.judge.bestStep, best);
  const kept = bestCheckpoint(run)!;
  assert.equal(kept.step, best);
  assert.equal(verifyCheckpoint(kept.folder), best);
  assert.deepEqual(readdirSync(kept.folder).sort(), [
    'state.json',
    'student.safetensors',
    'teacher.safetensors',
  ]);
  // one newest and one best, nothing half written
  assert.deepEqual(readdirSync(path.join(run, 'checkpoints')).sort(), [
    path.basename(kept.folder),
    'latest',
    'step-00000016',
  ]);
  const located = locateWeights(path.join(run, 'checkpoints', 'best'));
  assert.deepEqual([located.step, located.run], [best, run]);
  using model = loadModel(path.join(run, 'checkpoints', 'best'), { device: 'cpu' });
  assert.equal(model.file, path.join(kept.folder, 'teacher.safetensors'));
  // a folder without best weights has none under that name
  rmSync(kept.folder, { recursive: true });
  assert.throws(() => locateWeights(path.join(run, 'checkpoints', 'best')), /does not exist/);
});

test('the end of a run is judged too, where it is not a whole number of intervals', async () => {
  const { run } = await trained({ ...SETTINGS, judgeEvery: 3 });
  const steps = judgements(run).map(({ step }) => step);
  assert.deepEqual(steps, [0, 12, 16]);
});

test('an image that can no longer be read is left out of the comparison, and better weights are still the best', async () => {
  const lost = path.join(folder, 'lost');
  await makeImageFolder(lost, { classes: 4, perClass: 18 });
  const start = await trained({ ...SETTINGS, judgeEvery: 0, epochs: 1, warmupTeacherTempEpochs: 1 });
  const run = newRun();
  const controller = new AbortController();
  const settings = { ...SETTINGS, init: start.run };
  await train({
    ...{ images: lost, output: run, settings, signal: controller.signal },
    onEvent: (event) => event.type === 'step' && event.step === 6 && controller.abort(),
  });
  const [given] = judgements(run) as [JudgementLine];
  assert.match(given.judge.shared, /^\d{72}$/);
  // as large as before, and no image any more
  const [, , broken] = readdirSync(path.join(lost, 'class-0')).map((name) =>
    path.join(lost, 'class-0', name),
  );
  writeFileSync(broken!, Buffer.alloc(statSync(broken!).size));
  await trained(settings, Infinity, run);
  const last = judgements(run).at(-1)!;
  assert.equal(last.judge.images, 71);
  assert.match(last.judge.shared, /^\d*-\d*$/);
  assert.equal(last.judge.shared.length, 72);
  assert.notEqual(verdictBetween(last.judge.shared, given.judge.shared), null);
});

/** Knows a lot untrained: small images, mixed by random weights. */
class Mixed extends Backbone {
  readonly embedDim = 48;
  readonly mix = new Linear(3 * 8 * 8, 48);
  forward(images: Tensor): Tensor {
    return this.mix.forward(ops.adaptiveAvgPool2d(images, [8, 8]).flatten(1)); // (B, 48)
  }
}

test('a run that gets worse for its whole length keeps its first weights as the best, and says so', async () => {
  // a learning rate that destroys what the untrained network knows
  const run = newRun();
  const warnings: string[] = [];
  const { best } = await train({
    ...{ images, output: run, backbone: () => new Mixed() },
    settings: {
      ...{ ...SETTINGS, arch: 'custom', embedDim: undefined, depth: undefined, numHeads: undefined },
      ...{ lr: 30, epochs: 6, warmupEpochs: 0, clipGrad: 0, momentumTeacher: 0, warmupTeacherTempEpochs: 0 },
    },
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });
  const lines = judgements(run);
  const [first, ...others] = lines.map(({ judge }) => judge.score) as [number, ...number[]];
  assert.ok(
    others.every((score) => score < first),
    `${first}: ${others.join(' ')}`,
  );
  const kept = bestCheckpoint(run)!;
  assert.equal(kept.step, 0);
  assert.equal(best, path.join(run, 'checkpoints', 'best'), 'a caller is told which to take');
  assert.notDeepEqual(teacherOf(kept.folder), teacherOf(newestCheckpoint(run)!));
  assert.ok(
    warnings.some((line) =>
      /sees no gain any more.*(not made the features better so far|worse for its whole length); the first weights are kept/.test(
        line,
      ),
    ),
    warnings.join('\n'),
  );
  // 72 images show no more than that (src/train/judge-words.test.ts has both)
  const end =
    /^judge: training has (not made the features better|only made the features worse): .* the first weights are kept/;
  assert.ok(warnings.some((line) => end.test(line)));
  assert.equal(lines.at(-1)!.judge.stalled, true);
  assert.equal(lines.at(-1)!.judge.fallsShortOf, 'untrained');
});

test('stopped and resumed, the judge goes on where it was', async () => {
  const whole = await trained(SETTINGS);
  for (const stopAt of [2, 12]) {
    const { run } = await trained(SETTINGS, stopAt);
    await trained(SETTINGS, Infinity, run);
    assert.deepEqual(judgements(run), judgements(whole.run), `stopped at ${stopAt}`);
    assert.deepEqual(fingerprint(run), fingerprint(whole.run));
    assert.deepEqual(bestCheckpoint(run)!.step, bestCheckpoint(whole.run)!.step);
    assert.deepEqual(teacherOf(bestCheckpoint(run)!.folder), teacherOf(bestCheckpoint(whole.run)!.folder));
  }
});

test('best weights that a kill kept from being written are written when the run continues', async () => {
  const { run } = await trained(SETTINGS, 5);
  const lines = judgements(run);
  // as if it had been killed after step 4 was saved, with step 4 as the best
  const log = path.join(run, 'metrics.jsonl');
  const [, second] = lines as [JudgementLine, JudgementLine];
  const better = { ...second, judge: { ...second.judge, score: 0.999, isBest: true, bestStep: 4 } };
  const text = readFileSync(log, 'utf8').replace(JSON.stringify(second), JSON.stringify(better));
  writeFileSync(log, text);
  rmSync(bestCheckpoint(run)!.folder, { recursive: true });
  const places = listCheckpoints(run);
  assert.deepEqual(
    places.map(({ step }) => step),
    [5],
  );
  // step 5 is not the best: there is nothing to write, and nothing is made up
  await trained(SETTINGS, 6, run);
  assert.equal(bestCheckpoint(run), null);
  // but when the newest is the best
  const other = (await trained(SETTINGS, 4)).run; // stopped at the end of the epoch, before it is judged
  const otherLog = path.join(other, 'metrics.jsonl');
  const line = { ...better, step: 4 };
  writeFileSync(otherLog, `${readFileSync(otherLog, 'utf8')}${JSON.stringify(line)}\n`);
  const expected = teacherOf(newestCheckpoint(other)!);
  await trained(SETTINGS, 5, other);
  assert.equal(bestCheckpoint(other)!.step, 4);
  assert.deepEqual(teacherOf(bestCheckpoint(other)!.folder), expected);
});

test('a run folder of an earlier version has no judge, and may be given one when it continues', async () => {
  const { run } = await trained({ ...SETTINGS, judgeEvery: 0 }, 6);
  const config = path.join(run, 'config.json');
  const text = readFileSync(config, 'utf8');
  const older = text.replace(/ *"judgeEvery": 0,\n/, '');
  assert.notEqual(older, text);
  writeFileSync(config, older);
  assert.equal(readRunConfig(run).settings.judgeEvery, 0);
  const events: TrainEvent[] = [];
  await train({
    ...{ output: run, resume: true, settings: { ...readRunConfig(run).settings, judgeEvery: 2 } },
    onEvent: (event) => events.push(event),
  });
  const lines = judgements(run);
  assert.deepEqual(
    lines.map(({ step }) => step),
    [6, 8, 16],
  );
  // the untrained network is made again, from the seed of the run
  const whole = await trained({ ...SETTINGS, epochs: 1, warmupTeacherTempEpochs: 1 });
  assert.equal(lines[0]!.judge.untrained, judgements(whole.run)[0]!.judge.score);
});

test('with few images nothing is judged, and a line says so', async () => {
  const few = path.join(folder, 'few');
  await makeImageFolder(few, { classes: 2, perClass: 10 });
  const run = newRun();
  const warnings: string[] = [];
  await train({
    ...{ images: few, output: run, settings: { ...SETTINGS, epochs: 2, batchSize: 10 } },
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });
  assert.deepEqual(judgements(run), []);
  assert.ok(
    warnings.some((line) => /needs at least 64 images.*there are 20/.test(line)),
    warnings.join(),
  );
});

test('with few images the weights that were given stay the best', async () => {
  const backboneOf = (checkpoint: string): unknown[] =>
    Object.entries(teacherOf(checkpoint)).filter(([name]) => name.startsWith('backbone.'));
  const few = path.join(folder, 'few-to-adapt');
  await makeImageFolder(few, { classes: 2, perClass: 10 });
  const start = await trained({ ...SETTINGS, judgeEvery: 0, epochs: 1, warmupTeacherTempEpochs: 1 });
  const run = newRun();
  const settings = { ...SETTINGS, epochs: 2, batchSize: 10, init: start.run };
  const warnings: string[] = [];
  await train({
    ...{ images: few, output: run, settings },
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });
  const kept = bestCheckpoint(run)!;
  assert.equal(kept.step, 0);
  assert.deepEqual(backboneOf(kept.folder), backboneOf(newestCheckpoint(start.run)!));
  assert.notDeepEqual(backboneOf(newestCheckpoint(run)!), backboneOf(kept.folder));
  assert.match(warnings.join('\n'), /there are 20: nothing is judged.*the weights that you gave are kept/);
  assert.match(
    warnings.at(-1)!,
    /^judge: 20 images are too few to tell.*yours are kept in checkpoints\/best/,
  );
  // a session that could not write them was killed: only what is there is claimed
  rmSync(kept.folder, { recursive: true });
  const again = await train({
    ...{ output: run, resume: true },
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });
  assert.equal(again.best, null);
  assert.match(warnings.at(-1)!, /^judge: 20 images.*yours could not be written to checkpoints\/best/);
});

test('weights that were given stay the best until others are better by more than chance, stopped and resumed too', async () => {
  const start = await trained({ ...SETTINGS, judgeEvery: 0, epochs: 1, warmupTeacherTempEpochs: 1 });
  const settings = { ...SETTINGS, init: start.run };
  const whole = await trained(settings);
  const lines = judgements(whole.run);
  const [given] = lines as [JudgementLine];
  let best = given;
  for (const line of lines) {
    const isBetter =
      line.judge.score > best.judge.score &&
      verdictBetween(line.judge.shared, given.judge.shared) === 'better';
    assert.equal(line.judge.isBest, line === given || isBetter, `step ${line.step}`);
    if (isBetter) best = line;
    assert.equal(line.judge.bestStep, best.step);
  }
  assert.equal(bestCheckpoint(whole.run)!.step, best.step);

  // a log in which step 4 is a little better than the given weights, by what may be chance, and one where it is clearly better
  for (const [raised, isClear] of [
    [1, false],
    [72, true],
  ] as const) {
    const { run } = await trained(settings, 6);
    const log = path.join(run, 'metrics.jsonl');
    const second = judgements(run).find(({ step }) => step === 4)!;
    const digits = [...given.judge.shared].map(Number);
    const shared = digits.map((each, i) => (i < raised ? Math.min(5, each + 4) : each)).join('');
    const score = [...shared].reduce((sum, each) => sum + Number(each), 0) / (5 * digits.length);
    const forged = { ...second, judge: { ...second.judge, score, shared } };
    writeFileSync(log, readFileSync(log, 'utf8').replace(JSON.stringify(second), JSON.stringify(forged)));
    const { judged } = await trained(settings, Infinity, run);
    assert.equal(judged[0]!.judge.bestStep === 4, isClear, `${raised} images raised`);
  }
});

test('of several processes the first judges, and the line is the same as that of one', async () => {
  const run = newRun();
  const settings = { ...SETTINGS, batchSize: 9, epochs: 1, warmupTeacherTempEpochs: 1, threads: 1 };
  const file = path.join(folder, 'two.json');
  writeFileSync(file, JSON.stringify(settings));
  const ended = await dino([
    ...['train', images, '--output', run, '--preset', 'paper', '--config', file, '--nproc', '2'],
  ]);
  assert.equal(ended.code, 0, ended.stderr);
  const lines = judgements(run);
  assert.deepEqual(
    lines.map(({ step }) => step),
    [0, 4],
  );
  assert.match(
    ended.stderr,
    /^judge before training: [\d.]+% \(untrained [\d.]+%, pixels [\d.]+%\), the best so far$/m,
  );
  assert.equal(ended.stderr.match(/^judge after step 4:/gm)?.length, 1);
  const single = await trained({ ...SETTINGS, epochs: 1, warmupTeacherTempEpochs: 1 });
  const { score, pixels, untrained, images: count } = judgements(single.run)[0]!.judge;
  assert.deepEqual(
    [lines[0]!.judge.score, lines[0]!.judge.pixels, lines[0]!.judge.untrained, lines[0]!.judge.images],
    [score, pixels, untrained, count],
  );
});
