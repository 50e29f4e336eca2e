/** Training in several processes: the same as in one, whatever starts them; and what is refused before the first step. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { testFolder } from '../testing/distributed-run.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { freePort } from '../processes/launch.js';
import { dino, dinoBin, type Ended, rankVariables, start } from '../testing/ranks.js';
import { fingerprint } from '../testing/run-fingerprint.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { readSafetensors } from '../weights/safetensors.js';
import { newestCheckpoint } from '../run/checkpoint-files.js';
import type { TrainSettings } from '../run/settings.js';
import { readLines } from '../files/json-lines.js';
import { readRunConfig } from '../run/run-folder.js';

/** Seven epochs of three steps. */
const SETTINGS: TrainSettings = {
  ...TINY_SETTINGS,
  ...{ dropPathRate: 0, useBnInHead: false, batchSize: 6, epochs: 7, threads: 1 },
};

const { newRun, commandLine } = testFolder();

function ok(ended: Ended): Ended {
  assert.equal(ended.code, 0, ended.stderr);
  return ended;
}

/** Losses and weights of two runs agree to 1e-5 of the largest value (plus a millionth, for biases that are nearly 0). */
function assertAlike(run: string, expected: string): void {
  const lines = (of: string) => readLines(path.join(of, 'metrics.jsonl'));
  assert.equal(lines(run).length, lines(expected).length);
  for (const [i, line] of lines(run).entries()) {
    for (const name of ['loss', 'lr', 'wd', 'teacherEntropy', 'kl', 'centerNorm']) {
      const [got, want] = [line[name], lines(expected)[i]?.[name]] as [number, number];
      assert.ok(
        Math.abs(got - want) <= 1e-5 * Math.max(1, Math.abs(want)),
        `step ${i + 1}: ${name} ${got}, not ${want}`,
      );
    }
  }
  for (const file of ['student', 'teacher', 'optimizer']) {
    const tensors = (of: string) =>
      readSafetensors(path.join(newestCheckpoint(of) ?? '', `${file}.safetensors`)).tensors;
    const got = tensors(run);
    for (const [name, tensor] of tensors(expected)) {
      if (name.startsWith('rng.')) continue;
      // softmax cancels a key's bias: its gradient is rounding noise, which Adam amplifies
      const isSeen = (i: number): boolean =>
        !name.endsWith('attn.qkv.bias') || Math.floor((3 * i) / tensor.numel) !== 1;
      const [a, b] = [tensor, got.get(name)].map((of) =>
        [...(of?.toArray() ?? [])].filter((_, i) => isSeen(i)),
      ) as [number[], number[]];
      const scale = a.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
      const off = a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? NaN))), 0);
      assert.ok(off <= 1e-6 + 1e-5 * scale, `${file}: ${name} is off by ${off}, its largest is ${scale}`);
    }
  }
}

let whole: string | undefined;
/** The run of one process. */
async function alone(): Promise<string> {
  if (whole === undefined) {
    whole = newRun();
    ok(await dino(commandLine(whole, SETTINGS)));
  }
  return whole;
}

test('--nproc 2 with half the batch each equals one process with all of it; one of them writes the run', async () => {
  const run = newRun();
  const { stdout, stderr } = ok(
    await dino(commandLine(run, { ...SETTINGS, batchSize: 3, numWorkers: 0 }, ['--nproc', '2', '--json'])),
  );
  assert.equal((JSON.parse(stdout) as { steps: number }).steps, 21);
  assert.equal(stderr.match(/^training: 18 images/gm)?.length, 1, stderr);
  assertAlike(run, await alone());
  const { processes, settings } = readRunConfig(run);
  assert.deepEqual([processes, settings.batchSize], [2, 3]);
  assert.equal(existsSync(path.join(run, 'lock')), false);
});

// three, because a sum of three numbers depends on its order, which must be the same after every restart
test('--for with two processes ends all of them at the same step', async () => {
  const run = newRun();
  const settings: Partial<TrainSettings> = { ...SETTINGS, batchSize: 3, numWorkers: 0 };
  delete settings.epochs;
  const { stdout } = ok(await dino(commandLine(run, settings, ['--nproc', '2', '--json', '--for', '6s'])));
  const { steps, interrupted } = JSON.parse(stdout) as { steps: number; interrupted: boolean };
  assert.equal(interrupted, false);
  const { time, settings: recorded } = readRunConfig(run);
  assert.equal(time?.seconds, 6);
  assert.equal(recorded.steps, steps);
  assert.equal(readLines(path.join(run, 'metrics.jsonl')).at(-1)?.['step'], steps);
});

test('stopped and resumed with the same number of processes, a run is the same to the bit, with drop path and loader workers', async () => {
  const settings: TrainSettings = {
    ...SETTINGS,
    batchSize: 2,
    dropPathRate: 0.3,
    epochs: 3,
    saveEverySteps: 1,
  };
  const expected = newRun();
  ok(await dino(commandLine(expected, settings, ['--nproc', '3'])));
  const run = newRun();
  const line = commandLine(run, { ...settings, numWorkers: 3 }, ['--nproc', '3']);
  const running = start(
    [process.execPath, dinoBin, ...line],
    {},
    {
      onLine: (text) => {
        if (text.includes('step-00000004')) running.child.kill('SIGINT');
      },
    },
  );
  const stopped = await running.ended;
  assert.equal(stopped.code, 130, stopped.stderr);
  assert.match(stopped.stderr, /stopped after step \d/);
  ok(await dino(['train', '--resume', run, '--nproc', '3']));
  assert.deepEqual(fingerprint(run), fingerprint(expected));
});

test('resumed with a different number of processes, a run keeps its batches and schedules, and says what changed', async () => {
  const run = newRun();
  const line = commandLine(run, { ...SETTINGS, saveEverySteps: 1 });
  const running = start(
    [process.execPath, dinoBin, ...line],
    {},
    {
      onLine: (text) => {
        if (text.includes('step-00000005')) running.child.kill('SIGTERM');
      },
    },
  );
  assert.equal((await running.ended).code, 130);
  const { stderr } = ok(await dino(['train', '--resume', run, '--nproc', '3']));
  assert.match(stderr, /3 processes instead of 1 process: each takes 2 images per step instead of 6/);
  assertAlike(run, await alone());
  const refused = await dino(['train', '--resume', run, '--nproc', '4']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /takes 6 images per step.*can't be divided among 4/s);
});

/** Two ranks, each with its own command line and variables. */
async function twoRanks(
  lines: [string[], string[]],
  variables: [Record<string, string>, Record<string, string>] = [{}, {}],
): Promise<[Ended, Ended]> {
  const port = await freePort();
  return Promise.all(
    lines.map((line, rank) => dino(line, { ...rankVariables(rank, 2, port), ...variables[rank] })),
  ) as Promise<[Ended, Ended]>;
}

test('processes with different settings or images are refused by name', async () => {
  const settings = { ...SETTINGS, batchSize: 3 };
  const run = newRun();
  for (const ended of await twoRanks([
    commandLine(run, settings),
    commandLine(run, { ...settings, lr: 0.5, clipGrad: 1 }),
  ])) {
    assert.notEqual(ended.code, 0);
    assert.match(ended.stderr, /--lr is 0.5 for rank 1 and 0.02 for rank 0/);
    assert.match(ended.stderr, /--clip-grad is 1 for rank 1 and 3 for rank 0/);
  }
  assert.equal(existsSync(path.join(run, 'config.json')), false, 'nothing was started');
  const others = newRun();
  await makeImageFolder(others, { classes: 1, perClass: 12 });
  const [first, second] = [commandLine(newRun(), settings), commandLine(newRun(), settings)];
  second[1] = others;
  for (const { stderr } of await twoRanks([first, second]))
    assert.match(stderr, /Rank 1 has different images from rank 0: 12 in .*not 18/);
});

test('what prevents the processes from meeting is named: a missing rank, a wrong WORLD_SIZE, no master, a port in use', async () => {
  const line = (): string[] => commandLine(newRun(), SETTINGS, [], 2);
  const port = await freePort();
  const missing = await dino(line(), rankVariables(0, 3, port));
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /Rank 0 waited 2 s \(--dist-timeout\) for ranks 1, 2 of 3/);

  const wrong = await twoRanks([line(), line()], [{}, { WORLD_SIZE: '3' }]);
  assert.match(
    wrong.map(({ stderr }) => stderr).join(''),
    /WORLD_SIZE is [23] for rank [01] and [23] for rank [01]/,
  );

  const noMaster = await dino(line(), rankVariables(1, 2, await freePort()));
  assert.equal(noMaster.code, 1);
  assert.match(noMaster.stderr, /Rank 1 of 2 found no master at 127.0.0.1:\d+ within 2 s/);

  const server = createServer().listen(0);
  await new Promise((resolve) => server.on('listening', resolve));
  const taken = (server.address() as { port: number }).port;
  const inUse = await dino(line(), rankVariables(0, 2, taken));
  server.close();
  assert.equal(inUse.code, 1);
  assert.match(inUse.stderr, new RegExp(`Rank 0 can't open port ${taken}.*in use`));
});
