import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { listImages } from '../data/index.js';
import { CheckpointError, DataError, DinoError } from '../errors.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { liveTensors } from '../torch/index.js';
import { readSafetensors } from '../weights/safetensors.js';
import type { TrainSettings } from '../run/settings.js';
import { listCheckpoints, newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainEvent } from './events.js';
import { readLines } from '../files/json-lines.js';
import { readRunConfig } from '../run/run-folder.js';
import { train } from './train.js';

const ONE_EPOCH = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0 };

let folder = '';
let images = '';
let runs = 0;
const newRun = (): string => path.join(folder, `run-${runs++}`);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'dino-train-'));
  images = path.join(folder, 'images');
  await makeImageFolder(images, { classes: 2, perClass: 9 }); // 18 images: 3 steps of 5 per epoch, and 3 images left over
});
after(() => rmSync(folder, { recursive: true, force: true }));

let whole: Record<string, string> | undefined;
/** The fingerprint of an uninterrupted run. */
async function uninterrupted(): Promise<Record<string, string>> {
  if (whole === undefined) {
    const run = newRun();
    await train({ images, output: run, settings: TINY_SETTINGS });
    whole = fingerprint(run);
  }
  return whole;
}

test('a training writes its settings, metrics and checkpoints, and learns', async () => {
  const run = newRun();
  const events: TrainEvent[] = [];
  const result = await train({
    images,
    output: run,
    settings: TINY_SETTINGS,
    onEvent: (event) => events.push(event),
  });
  assert.equal(result.steps, 9);
  assert.equal(result.interrupted, false);
  assert.equal(result.checkpoint, newestCheckpoint(run));
  assert.deepEqual(readRunConfig(run).settings, TINY_SETTINGS);
  assert.deepEqual(
    listCheckpoints(run).map(({ step }) => step),
    [3, 6, 9],
  );
  const lines = readLines(path.join(run, 'metrics.jsonl'));
  assert.deepEqual(
    lines.map((line) => [line['step'], line['epoch']]),
    [1, 2, 3, 4, 5, 6, 7, 8, 9].map((step) => [step, Math.floor((step - 1) / 3)]),
  );
  for (const line of lines) {
    for (const [name, value] of Object.entries(line))
      assert.ok(Number.isFinite(value), `${name} is ${String(value)}`);
    assert.ok((line['teacherEntropy'] as number) <= Math.log(64) + 1e-5);
  }
  assert.equal(existsSync(path.join(run, 'lock')), false);
  const names = [...readSafetensors(path.join(result.checkpoint, 'student.safetensors')).tensors.keys()];
  assert.ok(
    names.includes('backbone.blocks.0.attn.qkv.weight') && names.includes('head.last_layer.weight_g'),
  );
  assert.deepEqual(
    events.filter((event) => event.type !== 'step').map((event) => event.type),
    ['start', 'checkpoint', 'checkpoint', 'checkpoint'],
  );
});

test('stopped at any step and resumed, a run equals an uninterrupted one, to the bit', async () => {
  const expected = await uninterrupted();
  for (const stopAt of [1, 3, 4, 8]) {
    const run = newRun();
    const controller = new AbortController();
    const first = await train({
      images,
      output: run,
      settings: TINY_SETTINGS,
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'step' && event.step === stopAt) controller.abort();
      },
    });
    assert.equal(first.interrupted, true);
    assert.equal(first.steps, stopAt);
    const second = await train({ output: run, resume: true });
    assert.equal(second.interrupted, false);
    assert.deepEqual(fingerprint(run), expected, `stopped at step ${stopAt}`);
  }
});

/** Starts training in its own process and kills it after some milliseconds of work; true if it had finished. */
function runAndKill(run: string, settings: TrainSettings, milliseconds: number): Promise<boolean> {
  const script = fileURLToPath(new URL('../testing/train-child.js', import.meta.url));
  const child = spawn(process.execPath, [script, images, run, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      if (output === '') setTimeout(() => child.kill('SIGKILL'), milliseconds);
      output += data.toString();
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (signal !== 'SIGKILL' && code !== 0) reject(new Error(`the training exited with ${code}`));
      else resolve(output.includes('finished'));
    });
  });
}

/** Trains until `stopAt`; Infinity for the end. */
async function until(stopAt: number, options: Parameters<typeof train>[0]) {
  const controller = new AbortController();
  const warnings: string[] = [];
  const result = await train({
    ...options,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === stopAt) controller.abort();
      if (event.type === 'warning') warnings.push(event.message);
    },
  });
  return { ...result, warnings: warnings.join('\n') };
}

test('an extended run goes on to more epochs, and resumes from any of its steps to the bit', async () => {
  const longer = { ...TINY_SETTINGS, epochs: 5 };
  for (const extendedAt of [4, 9]) {
    const ends = [];
    for (const stops of [[Infinity], [extendedAt + 1, 12, Infinity]]) {
      const run = newRun();
      await until(extendedAt, { images, output: run, settings: TINY_SETTINGS });
      const first = await until(stops[0]!, { output: run, resume: true, settings: longer });
      assert.match(first.warnings, /goes on to 5 epochs instead of 3: from step \d/);
      for (const stop of stops.slice(1)) {
        const next = await until(stop, { output: run, resume: true });
        assert.equal(next.steps, Math.min(stop, 15));
        assert.doesNotMatch(next.warnings, /goes on/);
      }
      const config = readRunConfig(run);
      assert.equal(config.settings.epochs, 5);
      assert.deepEqual(config.extensions, [{ step: extendedAt, epochs: 3 }]);
      ends.push(fingerprint(run));
      const lines = readLines(path.join(run, 'metrics.jsonl'));
      assert.deepEqual(
        lines.map((line) => line['step']),
        Array.from({ length: 15 }, (_, i) => i + 1),
      );
      const rates = lines.map((line) => line['lr'] as number);
      assert.ok(rates[14]! < rates[13]! && rates[13]! < rates[12]!, 'the cosine ends at step 15');
    }
    assert.deepEqual(ends[1], ends[0]);
  }
  const done = newRun();
  await train({ images, output: done, settings: ONE_EPOCH });
  const before = fingerprint(done);
  const again = await until(Infinity, { output: done, resume: true });
  assert.match(again.warnings, /all 1 epochs are done.*--epochs 2/);
  await assert.rejects(
    train({ output: done, resume: true, settings: { ...ONE_EPOCH, epochs: 0 } }),
    DinoError,
  );
  await train({ output: done, resume: true, settings: { ...ONE_EPOCH, epochs: 2 } });
  await assert.rejects(
    train({ output: done, resume: true, settings: ONE_EPOCH }),
    /--epochs is 1, but the run in .* goes to 2: a resumed run can only be extended/,
  );
  assert.notDeepEqual(fingerprint(done), before);
});

test('killed at random moments, also while it writes checkpoints, a resumed run is the same to the bit', async () => {
  const kills = Number(process.env['DINO_TEST_KILLS'] ?? 3);
  const expected = await uninterrupted();
  // a checkpoint after each step: most of the time is spent writing, so most kills hit a write
  const settings = { ...TINY_SETTINGS, saveEverySteps: 1 };
  const run = newRun();
  let killed = 0;
  while (killed < kills) {
    const finished = await runAndKill(run, settings, Math.random() * 250);
    if (!finished) killed++;
    else if (killed < kills) {
      // finished before it was killed often enough: start over, and keep counting
      assert.deepEqual(fingerprint(run), expected);
      rmSync(run, { recursive: true });
    }
  }
  await train(
    existsSync(path.join(run, 'config.json'))
      ? { output: run, resume: true }
      : { images, output: run, settings },
  );
  assert.deepEqual(fingerprint(run), expected);
  const left = readdirSync(path.join(run, 'checkpoints')).filter((name) => name.startsWith('.'));
  assert.deepEqual(left, [], 'half-written checkpoints are removed');
});

test('with the newest checkpoint damaged, a resumed run says so and ends the same to the bit', async () => {
  const expected = await uninterrupted();
  const run = newRun();
  const controller = new AbortController();
  await train({
    images,
    output: run,
    settings: TINY_SETTINGS,
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 8) controller.abort();
    },
  });
  const file = path.join(newestCheckpoint(run) ?? assert.fail('no checkpoint'), 'optimizer.safetensors');
  const bytes = readFileSync(file);
  bytes[bytes.length - 100]! ^= 1;
  writeFileSync(file, bytes);
  const warnings: string[] = [];
  const starts: number[] = [];
  await train({
    output: run,
    resume: true,
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
      if (event.type === 'start') starts.push(event.startStep);
    },
  });
  assert.match(warnings.join(), /step-00000008.optimizer\.safetensors: its SHA-256.*older one, at step 6/s);
  assert.deepEqual(starts, [6]);
  assert.deepEqual(fingerprint(run), expected);
});

test('the number of loader workers changes nothing', async () => {
  const expected = await uninterrupted();
  for (const numWorkers of [0, 4, 'auto'] as const) {
    const run = newRun();
    await train({ images, output: run, settings: { ...TINY_SETTINGS, numWorkers } });
    assert.deepEqual(fingerprint(run), expected, `${numWorkers} workers`);
  }
});

test('a cache of decoded images changes nothing, also if added or dropped on resume, and reports what it holds', async () => {
  const expected = await uninterrupted();
  const events: TrainEvent[] = [];
  const onEvent = (event: TrainEvent): void => void events.push(event);
  const cached: TrainSettings = { ...TINY_SETTINGS, decodedCache: '3MiB' };
  const run = newRun();
  await train({ images, output: run, settings: cached, onEvent });
  assert.deepEqual(fingerprint(run), expected);
  const start = events.find((event) => event.type === 'start')!;
  assert.deepEqual(start.decodedCache, { bytes: 3 * 2 ** 20, images: 18 });
  const held = events.filter((event) => event.type === 'decoded-cache');
  assert.equal(held.length, 1);
  // an epoch's last three images don't fill a batch, and workers are ahead of the step
  assert.ok(held[0]!.images >= 15 && held[0]!.images <= 18 && held[0]!.bytes > 15 * 40 * 40 * 3);
  for (const [first, second] of [
    [cached, TINY_SETTINGS],
    [TINY_SETTINGS, cached],
    [cached, cached],
  ] as const) {
    const stopped = newRun();
    const controller = new AbortController();
    await train({
      ...{ images, output: stopped, settings: first, signal: controller.signal },
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 4) controller.abort();
      },
    });
    await train({ output: stopped, resume: true, settings: second });
    assert.deepEqual(fingerprint(stopped), expected);
  }
  await assert.rejects(
    train({ images, output: newRun(), settings: { ...TINY_SETTINGS, decodedCache: '900TiB' } }),
    /--decoded-cache is 900TiB, but this machine has [\d.]+ GiB of memory/,
  );
});

test('the number of live tensors is constant over steps, and they are gone after training', async () => {
  const before = liveTensors();
  const counts: number[] = [];
  await train({
    images,
    output: newRun(),
    settings: { ...TINY_SETTINGS, epochs: 8 },
    onEvent: (event) => {
      // the last layer's optimizer state is created in the second epoch
      if (event.type === 'step' && event.epoch >= 2) counts.push(liveTensors());
    },
  });
  assert.equal(new Set(counts).size, 1, `live tensors: ${counts.join(' ')}`);
  assert.ok(liveTensors() <= before, `${liveTensors() - before} tensors are left`);
});

test('a bad image is skipped, listed with its reason, and too many of them stop the run', async () => {
  const bad = path.join(folder, 'with-bad');
  await makeImageFolder(bad, { classes: 1, perClass: 12 });
  writeFileSync(path.join(bad, 'class-0', 'text.jpg'), 'not an image');
  const run = newRun();
  const settings = { ...TINY_SETTINGS, epochs: 6, maxBadShare: 0.5 };
  const result = await train({ images: bad, output: run, settings });
  assert.equal(result.skipped, 1);
  const [line] = readLines(path.join(run, 'skipped.jsonl'));
  assert.match(String(line?.['path']), /text\.jpg$/);
  assert.ok(String(line?.['reason']).length > 5);
  const again = await train({ output: run, settings: { ...settings, epochs: 12 }, resume: true });
  assert.equal(again.skipped, 1, 'it was met again');
  assert.deepEqual(readLines(path.join(run, 'skipped.jsonl')), [line], 'and is listed once');

  for (let i = 0; i < 6; i++) writeFileSync(path.join(bad, 'class-0', `text-${i}.jpg`), 'not an image');
  await assert.rejects(
    train({ images: bad, output: newRun(), settings: { ...settings, maxBadShare: 0.1 } }),
    (error) => {
      return error instanceof DataError && /max-bad-share/.test(error.message);
    },
  );
});

test('what cannot work is refused before anything starts', async () => {
  const settings = TINY_SETTINGS;
  await assert.rejects(
    train({ images, output: newRun(), settings: { ...settings, batchSize: 19 } }),
    /fewer than one batch of 19/,
  );
  await assert.rejects(train({ output: newRun(), resume: true }), CheckpointError);
  await assert.rejects(train({ images, output: newRun(), settings: { ...settings, outDim: 0 } }), /outDim/);
  await assert.rejects(train({ images, output: newRun(), settings: { ...settings, lr: NaN } }), /lr/);

  const run = newRun();
  await train({ images, output: run, settings: ONE_EPOCH });
  await assert.rejects(train({ images, output: run, settings }), /already holds a run/);
  const fewer = await listImages(images);
  await makeImageFolder(path.join(folder, 'other'), { classes: 2, perClass: 10 });
  await assert.rejects(
    train({ images: path.join(folder, 'other'), output: run, resume: true }),
    /has changed since the run .* 18 images then, 20 now: 2 new \(/,
  );
  assert.equal(fewer.items.length, 18);

  const busy = newRun();
  mkdirSync(busy);
  writeFileSync(
    path.join(busy, 'lock'),
    JSON.stringify({ pid: process.ppid, host: (await import('node:os')).hostname() }),
  );
  await assert.rejects(train({ images, output: busy, settings }), /in use by process/);

  const file = path.join(folder, 'a-file');
  writeFileSync(file, '');
  await assert.rejects(train({ images, output: path.join(file, 'run'), settings }), DataError);
});

test('a run that goes on with other instructions of the CPU says so', async () => {
  const run = newRun();
  await train({ images, output: run, settings: ONE_EPOCH });
  const file = path.join(run, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as { instructions: string };
  assert.match(config.instructions, /^\w+, \w+, \w+, (no bfloat16|bfloat16|amx_bf16)$/);
  const warningsOf = async (): Promise<string> => {
    const warnings: string[] = [];
    await train({
      ...{ output: run, resume: true },
      onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
    });
    return warnings.join('\n');
  };
  assert.doesNotMatch(await warningsOf(), /computes with/);
  writeFileSync(file, JSON.stringify({ ...config, instructions: 'Intel, AVX2, v3, no bfloat16' }));
  assert.match(await warningsOf(), /began with Intel, AVX2, v3, no bfloat16: sums are rounded differently/);
});

test('a loss that is no longer finite stops the run and saves the last good state', async () => {
  const run = newRun();
  const settings = { ...TINY_SETTINGS, lr: 1e30, warmupEpochs: 0, epochs: 10, clipGrad: 0 };
  await assert.rejects(train({ images, output: run, settings }), (error) => {
    assert.ok(error instanceof DinoError && error.code === 'NOT_FINITE');
    // a resume would meet the same step, so the advice is a run that can begin
    assert.ok(error.message.includes(`Start a new run with a lower --lr (now 1e+30)`), error.message);
    assert.match(error.message, /--clip-grad 0\.3 \(now none\)/);
    return true;
  });
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  assert.ok(existsSync(path.join(newest, 'state.json')));
});

test('a damaged or foreign checkpoint is refused with every name', async () => {
  const run = newRun();
  await train({ images, output: run, settings: ONE_EPOCH });
  const newest = newestCheckpoint(run) ?? assert.fail('no checkpoint');
  const config = JSON.parse(readFileSync(path.join(run, 'config.json'), 'utf8')) as {
    settings: TrainSettings;
  };
  config.settings.embedDim = 64;
  writeFileSync(path.join(run, 'config.json'), JSON.stringify(config));
  await assert.rejects(train({ output: run, resume: true }), (error) => {
    return (
      error instanceof CheckpointError &&
      /shape of backbone\.cls_token/.test(error.message) &&
      /shape of backbone\.norm\.weight/.test(error.message)
    );
  });
  writeFileSync(path.join(newest, 'teacher.safetensors'), 'short');
  await assert.rejects(
    train({ output: run, resume: true }),
    /teacher\.safetensors: expected \d+ bytes, got 5/,
  );
});
