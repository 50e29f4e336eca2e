/** `dino train` and what is done with its result, as processes: flags, output, interruption, resume, exit codes. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeImageFolder } from '../../testing/image-folder.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-train-'));
const images = path.join(folder, 'images of "mine" 🦕');
const at = (name: string): string => path.join(folder, name);
before(() => makeImageFolder(images, { classes: 2, perClass: 10 }));
after(() => rmSync(folder, { recursive: true }));

const SMALL = [
  ...['--embed-dim', '32', '--depth', '2', '--num_heads', '2', '--head-hidden-dim', '32', '--out_dim', '32'],
  ...['--batch_size_per_gpu', '4', '--local_crops_number', '2', '--device', 'cpu', '--threads', '1'],
];

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, stdout, stderr };
}

describe('dino train', () => {
  it('trains, says what it chose, and gives a result that the other commands use', () => {
    const trained = dino(
      'train',
      images,
      '--output',
      'run',
      ...SMALL,
      '--epochs',
      '2',
      '--use_fp16',
      'false',
      ...['--watch-images', path.join(images, 'class-0', 'image-1.png'), 'auto'],
      '--json',
    );
    assert.equal(trained.status, 0, trained.stderr);
    const result = JSON.parse(trained.stdout) as { steps: number; interrupted: boolean; checkpoint: string };
    assert.equal(result.steps, 10);
    assert.equal(result.interrupted, false);
    assert.match(trained.stderr, /--patch-size \d+: /, 'a choice with its reason');
    assert.doesNotMatch(trained.stderr, /--out-dim \d+: /, 'what was given is no choice');
    assert.match(trained.stderr, /epoch 2\/2 step 10\/10 loss \d/);
    const { settings } = JSON.parse(readFileSync(at('run/config.json'), 'utf8')) as {
      settings: Record<string, unknown>;
    };
    assert.equal(settings['outDim'], 32);
    assert.equal(settings['precision'], 'fp32');
    const watched = readdirSync(at('run/watch'));
    assert.equal(watched.length, 1);
    assert.match(watched[0]!, /^image-1-[0-9a-f]{8}$/);
    assert.ok(existsSync(at(`run/watch/${watched[0]!}/step-00000010.npy`)));

    const info = dino('info', 'run', '--json');
    assert.equal((JSON.parse(info.stdout) as { outDim: number }).outDim, 32);
    const knn = dino('eval', 'knn', 'run', '--train', images, '--val', images, '--k', '1', '5', '--json');
    assert.equal(knn.status, 0, knn.stderr);
    // every image is its own nearest neighbour
    assert.equal((JSON.parse(knn.stdout) as { top1: Record<string, number> }).top1['1'], 100);
    assert.equal(dino('embed', 'run', images, '--output', 'f.npy', '--features', 'patches').status, 0);
    assert.ok(existsSync(at('f.npy')) && existsSync(at('f.paths.jsonl')));
    const maps = dino('attention', 'run', path.join(images, 'class-0', 'image-1.png'), '--output', 'maps');
    assert.equal(maps.status, 0, maps.stderr);
    assert.ok(existsSync(at('maps/overlay.png')));

    const again = dino('train', images, '--output', 'run', ...SMALL);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /already holds a run/);
  });

  it('refuses bad images and outputs without leaving a run behind', () => {
    mkdirSync(at('empty'));
    for (const [source, pattern] of [
      ['empty', /no images in/],
      ['absent', /absent/],
    ] as const) {
      const { status, stderr } = dino('train', source, '--output', 'never', ...SMALL);
      assert.equal(status, 1);
      assert.match(stderr, pattern);
      assert.doesNotMatch(stderr, /internal:/);
    }
    const few = dino('train', images, '--output', 'never', '--batch-size', '64', '--device', 'cpu');
    assert.equal(few.status, 1);
    assert.match(few.stderr, /20 images are fewer than one batch of 64/);
    writeFileSync(at('a-file'), '');
    const blocked = dino('train', images, '--output', 'a-file/run', ...SMALL);
    assert.equal(blocked.status, 1);
    assert.match(blocked.stderr, /can't be made/);
    writeFileSync(at('half.png'), readFileSync(path.join(images, 'class-0', 'image-1.png')).subarray(0, 99));
    const watched = dino(
      'train',
      images,
      '--output',
      'never',
      ...SMALL,
      '--watch-images',
      'half.png',
      'none.png',
    );
    assert.equal(watched.status, 1);
    assert.match(watched.stderr, /half\.png: damaged PNG/);
    assert.match(watched.stderr, /none\.png: no such file/);
    const cuda = dino('train', images, '--output', 'never', '--device', 'cuda:7');
    assert.equal(cuda.status, 1);
    assert.match(cuda.stderr, /cuda:7.*can't be used/);
    assert.ok(!existsSync(at('never/config.json')));
  });

  it('writes a checkpoint on Ctrl-C, exits with 130, and continues with --resume', async () => {
    const args = [
      'train',
      images,
      '--output',
      'stopped',
      ...SMALL,
      '--warmup-epochs',
      '1',
      '--epochs',
      '60',
      '--log-every',
      '1',
    ];
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    let isSent = false;
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
      if (!isSent && /step 3\/300/.test(stderr)) {
        isSent = true;
        child.kill('SIGINT');
      }
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(code, 130, stderr);
    assert.match(stderr, /interrupted: finishing the step/);
    const step = Number(/stopped after step (\d+)/.exec(stderr)?.[1]);
    assert.ok(step >= 3 && step < 300, stderr);

    const refused = dino('train', '--resume', 'stopped', '--lr', '1', '--epochs', '2');
    assert.equal(refused.status, 2);
    assert.match(refused.stderr, /--lr can't change in a resumed run/);
    assert.match(refused.stderr, /--epochs is 2, but the run .* goes to 60.* can only be extended/);

    const config = at('stopped/config.json');
    const parsed = JSON.parse(readFileSync(config, 'utf8')) as { settings: { epochs: number } };
    // shorten the rest of the run for the test's sake
    parsed.settings.epochs = Math.ceil(step / 5) + 1;
    writeFileSync(config, JSON.stringify(parsed));
    const resumed = dino('train', '--resume', 'stopped', '--num-workers', '0', '--json');
    assert.equal(resumed.status, 0, resumed.stderr);
    assert.match(resumed.stderr, new RegExp(`going on after step ${step}`));
    const { epochs } = parsed.settings;
    assert.equal((JSON.parse(resumed.stdout) as { steps: number }).steps, epochs * 5);
    // a run that is done goes on when it is given more epochs
    const done = dino('train', '--resume', 'stopped');
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stderr, new RegExp(`all ${epochs} epochs are done.*--epochs ${2 * epochs}`));
    const longer = dino('train', '--resume', 'stopped', '--epochs', String(epochs + 1), '--json');
    assert.equal(longer.status, 0, longer.stderr);
    assert.match(longer.stderr, new RegExp(`goes on to ${epochs + 1} epochs instead of ${epochs}`));
    assert.equal((JSON.parse(longer.stdout) as { steps: number }).steps, (epochs + 1) * 5);
  });

  it('continues with the same command line, also where that left choices to it', () => {
    const line = [
      ...['train', images, '-o', 'requeued', '--resume', 'auto', ...SMALL, '--device', 'auto'],
      ...['--threads', '0', '--precision', 'auto', '--epochs', '1', '--watch-images', 'none'],
    ];
    const first = dino(...line);
    assert.equal(first.status, 0, first.stderr);
    const again = dino(...line);
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stderr, /all 1 epochs are done/);
    const other = dino(...line, '--threads', '1', '--precision', 'bf16');
    assert.match(other.stderr, /--precision can't change in a resumed run/);
  });

  it('refuses flags that would have no effect', () => {
    const line = [
      ...['train', images, '-o', 'none', '--knn-train', images, '--init-with-head', 'false'],
      ...['--loss', 'dino', '--compression-weight', '2', '--max-restarts', '3'],
    ];
    const { status, stderr } = dino(...line);
    assert.equal(status, 2);
    assert.match(stderr, /--knn-train has no effect: give --knn-every/);
    assert.match(stderr, /--init-with-head has no effect: --init is missing/);
    assert.match(stderr, /--compression-weight has no effect: it is of --loss simdino/);
    assert.match(stderr, /--max-restarts has no effect: give --nproc/);
    assert.ok(!existsSync(at('none')));
  });

  it('ends at once on a second Ctrl-C', async () => {
    const args = ['train', images, '--output', 'twice', ...SMALL, '--epochs', '60', '--log-every', '1'];
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let isSent = false;
    child.stderr.on('data', (chunk: Buffer) => {
      if (isSent || !chunk.toString().includes('step 1/')) return;
      isSent = true;
      child.kill('SIGINT');
      child.kill('SIGTERM'); // another signal, since two of one kind may be delivered as one
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(code, 130);
  });

  it('takes a config file, and a run folder as one', () => {
    // with a byte-order mark, as some editors write it
    writeFileSync(at('few.json'), `\uFEFF${JSON.stringify({ epochs: 1, seed: 7, embed_dim: 24 })}`);
    const { status, stderr } = dino('train', images, '-o', 'from-file', ...SMALL, '--config', 'few.json');
    assert.equal(status, 0, stderr);
    const settingsOf = (run: string) =>
      (JSON.parse(readFileSync(at(`${run}/config.json`), 'utf8')) as { settings: Record<string, unknown> })
        .settings;
    assert.equal(settingsOf('from-file')['seed'], 7);
    assert.equal(settingsOf('from-file')['embedDim'], 32, 'the flag wins over the file');
    const copy = dino('train', images, '-o', 'copy', '--config', 'from-file/config.json');
    assert.equal(copy.status, 0, copy.stderr);
    assert.deepEqual(settingsOf('copy'), settingsOf('from-file'));
    const losses = (run: string) =>
      /"loss":[\d.]+/.exec(readFileSync(at(`${run}/metrics.jsonl`), 'utf8'))?.[0];
    assert.equal(losses('copy'), losses('from-file'), 'the same settings are the same run');
  });
});
