/** An untrusted run folder, opened as its receiver would: nothing outside it changes, and its texts can't pose as ours. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { saveEvaluation } from '../eval/save-evaluation.js';
import { contents, FORGED, HOSTILE, makeRun } from '../testing/hostile-run.js';
import { dino } from '../testing/ranks.js';
import { loadModel } from '../model.js';
import { newestCheckpoint } from '../run/checkpoint-places.js';
import { listWatched, readFrame } from '../run/film-folder.js';
import { slurmScript, submitSlurmJob, type SlurmJob } from './slurm.js';
import { train } from './train.js';
import { writeCheckpoint } from './write-checkpoint.js';

let top = '';
let original = '';
let images = '';
let count = 0;
before(async () => {
  top = mkdtempSync(path.join(tmpdir(), 'dino-foreign-'));
  ({ run: original, images } = await makeRun(top));
});
after(() => rmSync(top, { recursive: true }));

/** A copy of the run, and an identical copy outside it. */
function received(): { run: string; outside: string } {
  const at = path.join(top, `received-${count++}`);
  const [run, outside] = [path.join(at, 'run'), path.join(at, 'outside')];
  cpSync(original, run, { recursive: true });
  cpSync(original, outside, { recursive: true });
  return { run, outside };
}

/** One step and a checkpoint. @returns What went wrong, and the warnings. */
async function resume(run: string): Promise<string> {
  const warnings: string[] = [];
  await train({
    ...{ output: run, resume: true, signal: AbortSignal.abort() },
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
    },
  }).catch((error: Error) => warnings.push(error.message));
  return warnings.join('\n');
}

const evaluate = (run: string): string => {
  try {
    saveEvaluation(path.join(run, 'checkpoints', 'step-00000004', 'teacher.safetensors'), 'knn', { top1: 1 });
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

const CHECKPOINT = 'checkpoints/step-00000004';
const watched = (): string => path.relative(original, listWatched(original)[0]!.folder);

test('no write follows a link out of the run, whatever the link replaces', async () => {
  const names = [
    ...['lock', 'config.json', 'metrics.jsonl', 'skipped.jsonl', 'studio.log', 'evaluations'],
    ...['evaluations/knn.json', 'checkpoints', 'checkpoints/latest', CHECKPOINT, 'checkpoints/step-00000003'],
    ...[`${CHECKPOINT}/state.json`, `${CHECKPOINT}/teacher.safetensors`, 'checkpoints/.step-00000005.1.tmp'],
    ...[
      'watch',
      watched(),
      `${watched()}/image.json`,
      `${watched()}/image.png`,
      `${watched()}/step-00000004.npy`,
    ],
  ];
  for (const name of names) {
    const { run, outside } = received();
    const target = path.join(outside, name);
    if (!existsSync(target)) writeFileSync(target, 'precious');
    const place = path.join(run, name);
    rmSync(place, { recursive: true, force: true });
    symlinkSync(target, place);
    const before = contents(outside);
    const said = await resume(run);
    const evaluated = evaluate(run);
    assert.deepEqual(contents(outside), before, name);
    const isRefused = /is a symbolic link/.test(said + evaluated);
    // a file that is replaced as a whole needs no refusal: the link itself is replaced
    const isReplaced = !(lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink() ?? false);
    // files that nothing opens may stay as they are
    const isUntouched = /^skipped|^studio|\.npy$|step-00000003$/.test(name);
    assert.ok(isRefused || isReplaced || isUntouched, `${name}: ${said} ${evaluated}`);
  }
});

test(
  'nothing is written to a file that has another name outside, a FIFO, or a device',
  { timeout: 60_000 },
  async () => {
    for (const name of ['metrics.jsonl', 'skipped.jsonl', 'config.json', 'lock', 'checkpoints/latest']) {
      const { run, outside } = received();
      rmSync(path.join(run, name), { force: true });
      const target = path.join(outside, name);
      if (!existsSync(target)) writeFileSync(target, '{"pid":1073741824,"host":"gone","started":"1"}');
      linkSync(target, path.join(run, name));
      const before = contents(outside);
      await resume(run);
      assert.deepEqual(contents(outside), before, name);

      rmSync(path.join(run, name), { force: true });
      execFileSync('mkfifo', [path.join(run, name)]);
      const said = await resume(run); // and it ends
      if (name !== 'skipped.jsonl') assert.match(said, /it is a FIFO/, name);
    }
  },
);

test('the film of a run shows nothing from behind a link', () => {
  const { run, outside } = received();
  const folder = path.join(run, watched());
  rmSync(folder, { recursive: true });
  symlinkSync(path.join(outside, watched()), folder);
  assert.deepEqual(listWatched(run), []);
  const [image] = listWatched(outside);
  const frame = path.join(image!.folder, 'step-00000004.npy');
  renameSync(frame, `${frame}.away`);
  symlinkSync(`${frame}.away`, frame);
  assert.throws(() => readFrame(image!, 4), /is a symbolic link/);
});

test('a checkpoint is neither written nor pruned through links, and weights are not read through them', () => {
  const keep = { last: 1, everyEpochs: 0, stepsPerEpoch: 3 };
  const files = [{ name: 'teacher.safetensors', bytes: new Uint8Array(8) }];
  const { run, outside } = received();
  rmSync(path.join(run, 'checkpoints'), { recursive: true });
  symlinkSync(path.join(outside, 'checkpoints'), path.join(run, 'checkpoints'));
  const before = contents(outside);
  assert.throws(() => writeCheckpoint({ run, step: 9, files, keep }), /is a symbolic link/);
  assert.throws(() => loadModel(run), /is a symbolic link/);
  assert.deepEqual(contents(outside), before);

  const other = received();
  const old = path.join(other.run, 'checkpoints', 'step-00000003');
  rmSync(old, { recursive: true });
  symlinkSync(path.join(other.outside, 'checkpoints'), old);
  writeCheckpoint({ run: other.run, step: 9, files, keep });
  assert.ok(!existsSync(old), 'the link is pruned');
  assert.deepEqual(contents(other.outside), before);

  const third = received();
  const teacher = path.join(third.run, CHECKPOINT, 'teacher.safetensors');
  rmSync(teacher);
  symlinkSync(path.join(third.outside, CHECKPOINT, 'teacher.safetensors'), teacher);
  for (const given of [third.run, path.join(third.run, CHECKPOINT)])
    assert.throws(() => loadModel(given), /is a symbolic link/);
});

test("Slurm's script and log stay in the run", () => {
  const { run, outside } = received();
  const job: SlurmJob = {
    ...{ train: ['images', '--output', run], run, command: ['dino'], folder: top, name: 'dino', nodes: 1 },
    ...{ gpus: 0, tasks: 1, cpus: 1, grace: 60, maxRestarts: 0, time: '1:00', mem: null, partition: null },
    ...{ account: null, qos: null, constraint: null, comment: null, sbatch: [], setup: [] },
  };
  const target = path.join(outside, 'config.json');
  const before = contents(outside);
  symlinkSync(target, path.join(run, 'job.sh'));
  submitSlurmJob(job, path.join(run, 'job.sh'), false);
  assert.equal(readFileSync(path.join(run, 'job.sh'), 'utf8'), slurmScript(job), 'the link is replaced');
  assert.ok((lstatSync(path.join(run, 'job.sh')).mode & 0o111) !== 0);
  symlinkSync(outside, path.join(run, 'scripts'));
  assert.throws(() => submitSlurmJob(job, path.join(run, 'scripts', 'job.sh'), false), /is a symbolic link/);
  symlinkSync(target, path.join(run, 'slurm-7.out'));
  assert.throws(
    () => submitSlurmJob(job, path.join(run, 'job.sh'), false),
    /slurm-7\.out is not a regular file/,
  );
  assert.deepEqual(contents(outside), before);
});

test('a copy of a run, and a run that is reached through a link, can be resumed', async () => {
  const { run } = received();
  const alias = `${run}-alias`;
  symlinkSync(run, alias);
  assert.equal(await resume(alias), '');
  assert.equal(newestCheckpoint(alias), path.join(alias, 'checkpoints', 'step-00000005'));
  assert.equal(evaluate(alias), '');
  const copy = `${run}-copy`;
  execFileSync('cp', ['-r', run, copy]);
  assert.equal(await resume(copy), '');
  loadModel(copy)[Symbol.dispose]();
});

test('text from a hostile run stays on its line, and cannot move the cursor', async () => {
  const spoil = (change: (run: string, config: { images: string; version: string }) => void): string => {
    const { run } = received();
    const config = JSON.parse(readFileSync(path.join(run, 'config.json'), 'utf8')) as {
      images: string;
      version: string;
    };
    change(run, config);
    writeFileSync(path.join(run, 'config.json'), JSON.stringify(config));
    return run;
  };
  const lock = (run: string, text: object): void =>
    writeFileSync(path.join(run, 'lock'), JSON.stringify(text));
  const hostileImages = path.join(top, HOSTILE);
  cpSync(images, hostileImages, { recursive: true });
  writeFileSync(path.join(hostileImages, 'class-0', `${HOSTILE}.jpg`), 'not an image');
  const cases: [string, string[]][] = [
    ['missing images', ['train', '--resume', spoil((_, config) => (config.images = `/nowhere/${HOSTILE}`))]],
    [
      'its description',
      ['info', spoil((_, config) => ([config.images, config.version] = [HOSTILE, HOSTILE]))],
    ],
    ['a host', ['train', '--resume', spoil((run) => lock(run, { pid: 7, host: HOSTILE }))]],
    [
      'settings',
      [
        'train',
        '--resume',
        spoil((_, config) => Object.assign(config, { settings: { [HOSTILE]: HOSTILE } })),
      ],
    ],
    ['no JSON', ['info', spoil((run) => mkdirSync(path.join(run, 'config.json.d')))]],
    ['a name', ['info', path.join(top, `${HOSTILE}-run`)]],
    [
      'a folder of images',
      ['train', hostileImages, '--output', path.join(top, 'own'), '--epochs', '1', '--batch-size', '8'],
    ],
    ['a name and --json', ['info', path.join(top, `${HOSTILE}-run`), '--json']],
  ];
  const broken = spoil(() => undefined);
  writeFileSync(path.join(broken, 'config.json'), `{"a": ${HOSTILE}`);
  cases.push(['half a config', ['train', '--resume', broken]]);
  const state = spoil(() => undefined);
  for (const name of readdirSync(path.join(state, 'checkpoints')))
    if (name !== 'latest')
      writeFileSync(
        path.join(state, 'checkpoints', name, 'state.json'),
        JSON.stringify({ step: 4, files: { [HOSTILE]: { bytes: -1, sha256: '' } } }),
      );
  cases.push(['a state', ['train', '--resume', state]]);
  for (const [what, line] of cases) {
    const { stdout, stderr } = await dino(line);
    assert.ok((stdout + stderr).length > 0, what);
    assert.doesNotMatch(stdout, FORGED, what);
    assert.doesNotMatch(stderr, FORGED, what);
  }
});
