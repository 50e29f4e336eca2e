import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../errors.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { listCheckpoints, newestWholeCheckpoint } from '../run/checkpoint-files.js';
import { readLines } from '../files/json-lines.js';
import { slurmScript, submitSlurmJob, type SlurmJob } from './slurm.js';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'dino-slurm-'));
after(() => rmSync(folder, { recursive: true, force: true }));
before(() => makeImageFolder(path.join(folder, 'my images'), { classes: 2, perClass: 10 }));

const SMALL = (
  '--arch vit --embed-dim 32 --depth 1 --num-heads 2 --patch-size 8 --global-crops-size 32 --local-crops-size 16 ' +
  '--local-crops-number 1 --out-dim 32 --head-hidden-dim 16 --head-bottleneck-dim 8 --batch-size 4 --epochs 60 ' +
  '--num-workers 0 --log-every 1 --precision fp32 --warmup-epochs 0'
).split(' ');

const JOB: SlurmJob = {
  train: ['my images', '--output', 'runs/it', ...SMALL, '--resume', 'auto'],
  run: 'runs/it',
  command: [process.execPath, bin],
  folder,
  ...{ name: 'dino', nodes: 1, gpus: 0, tasks: 1, cpus: 1, time: '1-00:00:00', grace: 120, maxRestarts: 1 },
  ...{ mem: null, partition: null, account: null, qos: null, constraint: null, comment: null },
  ...{ sbatch: [], setup: [] },
};

/** Puts programs with these names first on PATH: the ones that a cluster has and this machine doesn't. */
function cluster(programs: Record<string, string>): NodeJS.ProcessEnv {
  const place = mkdtempSync(path.join(folder, 'cluster-'));
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(path.join(place, name), `#!/bin/bash\n${body}\n`);
    chmodSync(path.join(place, name), 0o755);
  }
  return { ...process.env, PATH: `${place}${path.delimiter}${process.env['PATH']}`, SLURM_JOB_ID: '42' };
}

test('the script is valid bash, and requests what was requested', () => {
  const script = slurmScript({
    ...JOB,
    ...{
      nodes: 2,
      gpus: 8,
      tasks: 8,
      cpus: 10,
      mem: '320G',
      partition: 'gpu',
      comment: 'before "the" deadline',
    },
    ...{ sbatch: ['--exclude=n7'], setup: ['module load cuda', 'export NCCL_DEBUG=WARN'] },
  });
  for (const line of [
    '#SBATCH --nodes=2',
    '#SBATCH --ntasks-per-node=8',
    '#SBATCH --gpus-per-node=8',
    '#SBATCH --cpus-per-task=10',
    '#SBATCH --mem=320G',
    '#SBATCH --partition=gpu',
    '#SBATCH --comment="before \\"the\\" deadline"',
    '#SBATCH --requeue',
    '#SBATCH --open-mode=append',
    '#SBATCH --signal=TERM@120',
    '#SBATCH --exclude=n7',
    'module load cuda',
  ]) {
    assert.ok(script.split('\n').includes(line), `${line} is missing in\n${script}`);
  }
  // sbatch stops looking for options at the first command
  const lines = script.split('\n');
  const first = lines.findIndex((line) => line !== '' && !line.startsWith('#'));
  assert.ok(lines.every((line, i) => i < first || !line.startsWith('#SBATCH')));
  assert.ok(!slurmScript(JOB).includes('gpus-per-node'));
  const checked = spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stderr);
  const linted = spawnSync('shellcheck', ['-'], { input: script, encoding: 'utf8' });
  if (linted.error === undefined) assert.equal(linted.status, 0, linted.stdout);
});

test('an impossible job is refused, with all problems at once', () => {
  assert.throws(
    () =>
      slurmScript({
        ...JOB,
        time: 'tomorrow',
        mem: 'much',
        comment: 'a\n#SBATCH --x',
        gpus: 8,
        sbatch: ['rm'],
      }),
    (error) => error instanceof ConfigError && error.problems.length === 5,
  );
});

/** Lines of a run's metrics, by step. */
const stepsOf = (run: string): unknown[] =>
  readLines(path.join(run, 'metrics.jsonl')).map(({ step }) => step);

test('on a signal the job writes a checkpoint and requeues itself, until it has finished', async () => {
  // this srun runs a step of two tasks on this machine, with Slurm's variables; like Slurm's it passes signals to the tasks
  // and returns the highest exit code
  const [requeued, tasks] = [path.join(folder, 'requeued'), path.join(folder, 'tasks')];
  const env = cluster({
    srun: `while [[ "$1" == --* ]]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_STEP_NODELIST=localhost SLURM_NODEID=0
pids=()
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
  pids+=($!)
done
echo "\${pids[@]}" > ${tasks}
worst=0
for pid in "\${pids[@]}"; do
  wait "$pid"
  code=$?
  if [ $code -gt $worst ]; then worst=$code; fi
done
exit $worst`,
    scontrol: `echo "$@" >> ${requeued}`,
  });
  const { script } = submitSlurmJob({ ...JOB, tasks: 2 }, path.join(folder, 'runs', 'job.sh'), false);
  const run = path.join(folder, 'runs', 'it');
  const start = (signal: NodeJS.Signals | null): Promise<{ code: number | null; log: string }> => {
    const job = spawn('bash', [script], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    let isSent = signal === null;
    const read = (chunk: Buffer): void => {
      log += chunk.toString();
      if (isSent || !/step \d+\/\d+ loss/.test(log)) return;
      isSent = true;
      for (const pid of readFileSync(tasks, 'utf8').trim().split(' '))
        process.kill(Number(pid), signal ?? 'SIGTERM');
    };
    job.stdout.on('data', read);
    job.stderr.on('data', read);
    return new Promise((resolve) => job.on('close', (code) => resolve({ code, log })));
  };
  const total = 60 * 2; // 20 images, 4 for each of two processes: 2 steps an epoch
  let done = 0;
  for (const signal of ['SIGTERM', 'SIGUSR1'] as const) {
    const { code, log } = await start(signal);
    assert.equal(code, 0, log);
    assert.match(log, /stopped with a checkpoint: requeueing/);
    const newest = newestWholeCheckpoint(run, assert.fail);
    const { step } = listCheckpoints(run).find((place) => place.folder === newest) ?? assert.fail(log);
    assert.ok(step > done && step < total, `stopped at ${step}`);
    done = step;
  }
  assert.equal(readFileSync(requeued, 'utf8'), 'requeue 42\nrequeue 42\n');
  const last = await start(null);
  assert.equal(last.code, 0, last.log);
  assert.match(last.log, new RegExp(`going on after step ${done}`));
  const every = Array.from({ length: total }, (_, i) => i + 1);
  assert.deepEqual(stepsOf(run), every, 'every step once');
});

test('a process that fails is restarted a limited number of times; wrong settings are not', () => {
  const fails = cluster({
    srun: `echo try >> ${folder}/tries\necho $DINO_RESTART_COUNT >> ${folder}/starts\nexit 1`,
  });
  const script = path.join(folder, 'fails.sh');
  writeFileSync(script, slurmScript({ ...JOB, maxRestarts: 2 }));
  const failed = spawnSync('bash', [script], { env: fails, encoding: 'utf8' });
  assert.equal(failed.status, 1);
  assert.equal(readFileSync(path.join(folder, 'tries'), 'utf8'), 'try\n'.repeat(3));
  assert.match(failed.stderr, /start 3, from the newest checkpoint.*2 restarts are used up/s);
  assert.equal(
    readFileSync(path.join(folder, 'starts'), 'utf8'),
    '0\n1\n2\n',
    'each says that it is a restart',
  );
  spawnSync('bash', [script], { env: { ...fails, SLURM_RESTART_COUNT: '4' } });
  assert.match(
    readFileSync(path.join(folder, 'starts'), 'utf8'),
    /4\n5\n6\n$/,
    'and that the job was requeued',
  );
  rmSync(path.join(folder, 'tries'));
  const wrong = spawnSync('bash', [script], {
    env: cluster({ srun: `echo try >> ${folder}/tries\nexit 2` }),
    encoding: 'utf8',
  });
  assert.equal(wrong.status, 2);
  assert.equal(readFileSync(path.join(folder, 'tries'), 'utf8'), 'try\n');
});

test('dino slurm checks the training before the cluster does, and submits where sbatch exists', () => {
  const dino = (args: string[], env = process.env) =>
    spawnSync(process.execPath, [bin, 'slurm', ...args], { cwd: folder, env, encoding: 'utf8' });
  const wrong = dino(['--nodes', '0', '--tim', '5', '--', 'my images', '--lrr', '1', '--epochs', 'x']);
  assert.equal(wrong.status, 2);
  for (const part of [
    /--nodes is 0/,
    /unknown flag --tim/,
    /unknown flag --lrr/,
    /--epochs is x/,
    /--output is missing/,
  ])
    assert.match(wrong.stderr, part);
  assert.ok(!existsSync(path.join(folder, 'runs', 'cli')));

  const args = [
    '--gpus',
    '0',
    '--tasks',
    '2',
    '--setup',
    'module load x',
    '--',
    'my images',
    '--output',
    'runs/cli',
  ];
  const written = dino([...args.slice(0, 6), '--no-submit', '--json', ...args.slice(6)]);
  assert.equal(written.status, 0, written.stderr);
  const script = path.join(folder, 'runs', 'cli', 'job.sh');
  assert.deepEqual(JSON.parse(written.stdout), { script, job: null });
  assert.match(readFileSync(script, 'utf8'), /train 'my images' --output runs\/cli --resume auto\n/);
  assert.match(readFileSync(script, 'utf8'), /ntasks-per-node=2\n/);
  const more = '--sbatch=--exclude=n1,n[2-3],-n-4,--exclusive,-d,--mail-type=END,FAIL,';
  const passed = dino([...args.slice(0, 6), '--no-submit', more, ...args.slice(6)]);
  assert.equal(passed.status, 0, passed.stderr);
  assert.match(
    readFileSync(script, 'utf8'),
    /^#SBATCH --exclude=n1,n\[2-3\]\n#SBATCH -n-4\n#SBATCH --exclusive\n#SBATCH -d\n#SBATCH --mail-type=END,FAIL\n/m,
  );
  const word = dino([...args.slice(0, 6), '--no-submit', '--sbatch=n1,--exclusive', ...args.slice(6)]);
  assert.match(word.stderr, /--sbatch n1; expected an option of sbatch/);
  const submitted = dino(args, cluster({ sbatch: 'echo "123;cluster"' }));
  assert.equal(submitted.status, 0, submitted.stderr);
  assert.match(submitted.stdout, /submitted: job 123\n/);
  const refused = dino(args, cluster({ sbatch: 'echo "invalid partition" >&2; exit 1' }));
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /sbatch refused .*invalid partition/);
});
