import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import type { TrainingState } from '../dino/index.js';
import { CheckpointError } from '../errors.js';
import { hashState } from '../testing/training-state.js';
import { noGrad } from '../torch/index.js';
import { loadModel } from '../model.js';
import { readSafetensors, writeSafetensors } from '../weights/safetensors.js';
import { loadCheckpoint } from './checkpoint.js';
import {
  bestCheckpoint,
  checkpointFolder,
  listCheckpoints,
  newestCheckpoint,
  newestWholeCheckpoint,
  verifyCheckpoint,
} from '../run/checkpoint-files.js';
import { CheckpointWriter } from './checkpoint-writer.js';
import type { KeepRule } from './write-checkpoint.js';
import type { TrainEvent } from './events.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-checkpoints-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);

const model = { patchSize: 8, embedDim: 32, depth: 2, numHeads: 2, imgSize: 32 };
const newState = (weightStd = 0.02): TrainingState =>
  hashState({
    model,
    head: { outDim: 64, hiddenDim: 32, bottleneckDim: 16 } as { outDim: number },
    weightStd,
    localCropsNumber: 2,
  });
const KEEP_ALL: KeepRule = { last: 1000, everyEpochs: 0, stepsPerEpoch: 3 };

interface Opened {
  run: string;
  state: TrainingState;
  events: TrainEvent[];
  writer: CheckpointWriter;
}
function open(keep: KeepRule = KEEP_ALL, run = newRun()): Opened {
  mkdirSync(run, { recursive: true });
  const state = newState();
  const events: TrainEvent[] = [];
  const writer = new CheckpointWriter({ run, state, keep, emit: (event) => events.push(event) });
  return { run, state, events, writer };
}
const steps = (run: string): number[] => listCheckpoints(run).map(({ step }) => step);

/** Sets all weights of the student to one value, as a training step would change them. */
function setStudent({ student }: TrainingState, value: number): void {
  noGrad(() => {
    for (const parameter of student.parameters()) parameter.fill_(value);
  });
}

test('what is saved is the state at the time of the call, whatever training does next', async () => {
  const { run, state, events, writer } = open();
  for (const step of [1, 2, 3]) {
    setStudent(state, step);
    await writer.save(step);
    setStudent(state, -1); // while the file of this step is being written
  }
  const newest = await writer.settle();
  assert.equal(newest, checkpointFolder(run, 3));
  for (const step of [1, 2, 3]) {
    const { tensors } = readSafetensors(path.join(checkpointFolder(run, step), 'student.safetensors'));
    for (const [name, tensor] of tensors) {
      assert.ok(tensor.dtype !== 'float32' || tensor.eq(step).all().item() === 1, `${name} of step ${step}`);
    }
    assert.equal(verifyCheckpoint(checkpointFolder(run, step)), step);
  }
  assert.deepEqual(
    events.flatMap((event) => (event.type === 'checkpoint' ? [event.step] : [])), // on a busy disk there are warnings too
    [1, 2, 3],
  );
  const again = newState(0.05);
  assert.equal(loadCheckpoint(newest, again), 3);
  const weight = [...again.student.parameters()][0] ?? assert.fail();
  assert.equal(weight.eq(3).all().item(), 1);
  await writer[Symbol.asyncDispose]();
});

test('the files are those that writeSafetensors() writes, and sha256sum agrees with state.json', async () => {
  const { run, state, writer } = open();
  await writer.save(7);
  const newest = await writer.settle();
  await writer[Symbol.asyncDispose]();
  const direct = path.join(folder, 'direct.safetensors');
  writeSafetensors(direct, state.student.stateDict(), { format: 'pt' });
  const written = readFileSync(path.join(newest, 'student.safetensors'));
  assert.ok(readFileSync(direct).equals(written));
  const { files } = JSON.parse(readFileSync(path.join(newest, 'state.json'), 'utf8')) as {
    files: Record<string, { bytes: number; sha256: string }>;
  };
  assert.deepEqual(Object.keys(files), [
    'student.safetensors',
    'teacher.safetensors',
    'optimizer.safetensors',
  ]);
  assert.deepEqual(files['student.safetensors'], {
    bytes: written.length,
    sha256: createHash('sha256').update(written).digest('hex'),
  });
  assert.deepEqual(readdirSync(path.join(run, 'checkpoints')).sort(), ['latest', 'step-00000007']);
});

test('the last K are kept, and those of every N epochs permanently', async () => {
  const { run, writer } = open({ last: 2, everyEpochs: 2, stepsPerEpoch: 2 });
  const kept: number[][] = [];
  for (let step = 1; step <= 9; step++) {
    await writer.save(step);
    await writer.settle();
    kept.push(steps(run));
  }
  await writer[Symbol.asyncDispose]();
  // epochs end at 2, 4, 6, 8; the first, third, ... are kept: steps 2 and 6
  assert.deepEqual(kept.slice(0, 5), [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5]]);
  assert.deepEqual(kept.at(-1), [2, 6, 8, 9]);
});

/** Changes one bit in the middle of a file. */
function flipBit(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(file, bytes);
}

test('damage of any kind is detected, and the newest intact checkpoint is used', async () => {
  const { run, writer } = open();
  for (const step of [3, 6, 9]) await writer.save(step);
  await writer.settle();
  await writer[Symbol.asyncDispose]();
  const damages: [what: string, harm: (checkpoint: string) => void, found: RegExp][] = [
    [
      'a bit',
      (at) => flipBit(path.join(at, 'optimizer.safetensors')),
      /optimizer\.safetensors: its SHA-256 is/,
    ],
    [
      'a short file',
      (at) => writeFileSync(path.join(at, 'teacher.safetensors'), 'x'),
      /expected \d+ bytes, got 1/,
    ],
    ['a lost file', (at) => rmSync(path.join(at, 'student.safetensors')), /got no file/],
    ['no state', (at) => rmSync(path.join(at, 'state.json')), /is not a checkpoint/],
    [
      'half a state',
      (at) => writeFileSync(path.join(at, 'state.json'), '{"step": 9, '),
      /is not a checkpoint/,
    ],
    [
      'another step',
      (at) => {
        const file = path.join(at, 'state.json');
        writeFileSync(file, readFileSync(file, 'utf8').replace('"step": 9', '"step": 8'));
      },
      /says step 8/,
    ],
  ];
  for (const [what, harm, found] of damages) {
    const copy = newRun();
    cpSync(run, copy, { recursive: true });
    harm(checkpointFolder(copy, 9));
    const warnings: string[] = [];
    assert.equal(
      newestWholeCheckpoint(copy, (warning) => warnings.push(warning)),
      checkpointFolder(copy, 6),
      what,
    );
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, found);
    assert.match(warnings[0]!, /an older one, at step 6/);
  }

  const all = newRun();
  cpSync(run, all, { recursive: true });
  for (const step of [3, 6, 9]) flipBit(path.join(checkpointFolder(all, step), 'teacher.safetensors'));
  assert.throws(
    () => newestWholeCheckpoint(all, () => undefined),
    (error) =>
      error instanceof CheckpointError && /step-00000009.*step-00000006.*step-00000003/s.test(error.message),
  );
  assert.equal(
    newestWholeCheckpoint(newRun(), () => undefined),
    null,
  );

  // weights loaded for inference are verified too, and the error names another checkpoint
  assert.throws(
    () => loadModel(checkpointFolder(all, 9)),
    (error) => error instanceof CheckpointError && /SHA-256.*step-00000006/s.test(error.message),
  );
  loadModel(checkpointFolder(run, 9)).dispose();
});

test('after falling back, the run continues from the older one, however often it is stopped', async () => {
  const { run, writer } = open();
  for (const step of [3, 6, 9]) await writer.save(step);
  await writer.settle();
  await writer[Symbol.asyncDispose]();
  flipBit(path.join(checkpointFolder(run, 9), 'student.safetensors'));
  const resumed = open({ ...KEEP_ALL, last: 2 }, run);
  await resumed.writer.save(7);
  await resumed.writer.settle();
  assert.equal(newestCheckpoint(run), checkpointFolder(run, 7));
  assert.equal(newestWholeCheckpoint(run, assert.fail), checkpointFolder(run, 7));
  assert.deepEqual(steps(run), [6, 7, 9], 'the last two up to this step, and the damaged one after it');
  await resumed.writer.save(9);
  await resumed.writer.settle();
  await resumed.writer[Symbol.asyncDispose]();
  assert.equal(verifyCheckpoint(checkpointFolder(run, 9)), 9, 'written again');
});

test('a checkpoint of version 0.1, which has only lengths, loads', async () => {
  const { run, writer } = open();
  await writer.save(5);
  const newest = await writer.settle();
  await writer[Symbol.asyncDispose]();
  const file = path.join(newest, 'state.json');
  const state = JSON.parse(readFileSync(file, 'utf8')) as { files: Record<string, { bytes: number }> };
  const lengths = Object.fromEntries(Object.entries(state.files).map(([name, { bytes }]) => [name, bytes]));
  writeFileSync(file, JSON.stringify({ step: 5, files: lengths }));
  assert.equal(newestWholeCheckpoint(run, assert.fail), newest);
  assert.equal(loadCheckpoint(newest, newState()), 5);
  writeFileSync(path.join(newest, 'teacher.safetensors'), 'short');
  assert.throws(() => verifyCheckpoint(newest), /expected \d+ bytes, got 5/);
});

test('a failed write is a warning during training and an error at the end', async () => {
  const { run, events, writer } = open();
  await writer.save(1);
  await writer.settle();
  const place = path.join(run, 'checkpoints');
  rmSync(place, { recursive: true });
  writeFileSync(place, ''); // in the way of the folder: unlike permissions, this stops root too
  await writer.save(2);
  await assert.rejects(writer.settle(), (error) => {
    return error instanceof CheckpointError && /step 2 can't be written.*--resume/s.test(error.message);
  });
  const warning = events.at(-1);
  assert.ok(
    warning?.type === 'warning' && /continues and tries again/.test(warning.message),
    JSON.stringify(warning),
  );
  rmSync(place);
  await writer.save(3);
  assert.equal(await writer.settle(), checkpointFolder(run, 3), 'the next one succeeds');
  await writer[Symbol.asyncDispose]();
});

/** Puts a file in the place of a run's checkpoints, which unlike permissions stops root too. @returns What undoes it. */
function obstruct(run: string): () => void {
  const place = path.join(run, 'checkpoints');
  renameSync(place, `${place}-kept`);
  writeFileSync(place, '');
  return () => {
    rmSync(place);
    renameSync(`${place}-kept`, place);
  };
}

test('best weights that could not be written are written with the next checkpoint, as they were', async () => {
  const { run, state, events, writer } = open();
  await writer.save(1);
  await writer.settle();
  const clear = obstruct(run);
  setStudent(state, 2);
  await writer.save(2, ['best']);
  await assert.rejects(writer.settle());
  clear();
  for (const step of [3, 4]) {
    setStudent(state, step);
    await writer.save(step);
  }
  assert.equal(await writer.settle(), checkpointFolder(run, 4));
  assert.equal(events.filter(({ type }) => type === 'warning').length, 1);
  const best = bestCheckpoint(run)!;
  assert.equal(verifyCheckpoint(best.folder), 2);
  const written = { 2: best.folder, 3: checkpointFolder(run, 3), 4: checkpointFolder(run, 4) };
  for (const [step, folder] of Object.entries(written))
    for (const [name, tensor] of readSafetensors(path.join(folder, 'student.safetensors')).tensors)
      assert.ok(
        tensor.dtype !== 'float32' || tensor.eq(Number(step)).all().item() === 1,
        `${name} of step ${step}`,
      );
  await writer[Symbol.asyncDispose]();
});

test('best weights that are lost at the end are an error, which newer ones make good', async () => {
  const { run, events, writer } = open();
  await writer.save(1);
  await writer.settle();
  let clear = obstruct(run);
  await writer.save(2, ['best']);
  await assert.rejects(writer.settle());
  clear();
  // the checkpoint is written, and then there is something in the way of the best weights
  const { push } = events;
  events.push = (event) => {
    if (event.type === 'checkpoint') clear = obstruct(run);
    return push.call(events, event);
  };
  await writer.save(3);
  await assert.rejects(writer.settle(), (error) => {
    return (
      error instanceof CheckpointError &&
      /best-00000002.*the best weights, which are lost/s.test(error.message)
    );
  });
  const last = events.at(-1);
  assert.match(last?.type === 'warning' ? last.message : '', /kept in memory until they can be written/);
  events.push = push;
  clear();
  assert.deepEqual(steps(run), [1, 3]);
  await writer.save(4, ['step', 'best']);
  await writer.settle();
  assert.equal(bestCheckpoint(run)?.step, 4);
  await writer[Symbol.asyncDispose]();
});

test('a disk that fills up during the write leaves the previous checkpoint intact', async (t) => {
  const disk = path.join(folder, 'small-disk');
  mkdirSync(disk);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk], { encoding: 'utf8' });
  if (mounted.status !== 0) {
    t.skip(`mounting a small disk takes root: ${mounted.error?.message ?? mounted.stderr.trim()}`);
    return;
  }
  try {
    const { run, events, writer } = open({ ...KEEP_ALL, last: 2 }, path.join(disk, 'run'));
    await writer.save(1);
    const first = await writer.settle();
    writeFileSync(path.join(disk, 'ballast'), ''); // grows until the next checkpoint fits by half
    const size = readdirSync(first).reduce(
      (sum, name) => sum + readFileSync(path.join(first, name)).length,
      0,
    );
    writeFileSync(path.join(disk, 'ballast'), Buffer.alloc(2 * 2 ** 20 - Math.ceil(1.5 * size) - 16384));
    await writer.save(2);
    await assert.rejects(writer.settle(), (error) => {
      return (
        error instanceof CheckpointError &&
        !/\.tmp|partial/.test(error.message) &&
        /ENOSPC.*Earlier checkpoints are intact.*MiB.*--keep-checkpoints.*--resume/s.test(error.message)
      );
    });
    assert.equal(newestWholeCheckpoint(run, assert.fail), first);
    assert.deepEqual(readdirSync(path.join(run, 'checkpoints')).sort(), ['latest', 'step-00000001']);
    assert.equal(events.filter(({ type }) => type === 'warning').length, 1);
    rmSync(path.join(disk, 'ballast'));
    await writer.save(3);
    assert.equal(
      verifyCheckpoint(await writer.settle()),
      3,
      'with space available again, so are checkpoints',
    );
    await writer[Symbol.asyncDispose]();
  } finally {
    spawnSync('umount', [disk]);
  }
});
