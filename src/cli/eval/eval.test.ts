/** The evaluations as a user runs them: tables, JSON, and what is kept in the run folder. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-eval-'));
const run = path.join(folder, 'run');
const images = path.join(folder, 'images');
/** Enough to whiten features with. */
const more = path.join(folder, 'more');
before(async () => {
  writeTinyRun(run);
  await writeColourFolders(path.join(images, 'train'), 3);
  await writeColourFolders(path.join(images, 'val'), 2, 44);
  await writeColourFolders(path.join(more, 'train'), 6);
  await writeColourFolders(path.join(more, 'val'), 2, 44);
});
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return { stdout, stderr };
}
const kept = (name: string) =>
  JSON.parse(readFileSync(path.join(run, 'evaluations', `${name}.json`), 'utf8')) as Record<string, unknown>;

it('eval knn keeps its result, and reads its own features', () => {
  const features = path.join(folder, 'features');
  const flags = ['--nb_knn', '1', '3', '--num_workers', '0', '--device', 'cpu', '--json'];
  const { stdout, stderr } = dino(
    'eval',
    'knn',
    run,
    '--data_path',
    more,
    '--dump_features',
    features,
    ...flags,
  );
  type Scores = Record<'top1' | 'top5', Record<string, number>>;
  const result = JSON.parse(stdout) as Scores & { center: Scores | null; pca: Scores | null };
  assert.deepEqual(Object.keys(result.top1), ['1', '3']);
  assert.match(stderr, /kept in .*knn\.json/);
  assert.deepEqual(kept('knn')['top1'], result.top1);
  assert.equal(kept('knn')['precision'], 'fp32');
  const loaded = dino('eval', 'knn', '--load_features', features, ...flags);
  assert.deepEqual(JSON.parse(loaded.stdout), result);
  const { center, pca } = result;
  assert.deepEqual(
    [Object.keys(center!.top1), Object.keys(pca!.top5)],
    [
      ['1', '3'],
      ['1', '3'],
    ],
  );
  assert.deepEqual([kept('knn')['center'], kept('knn')['pca']], [center, pca]);
  const table = dino('eval', 'knn', '--load_features', features, ...flags.slice(0, -1)).stdout;
  assert.match(table, /k +1 +top-1 [\d.]+% +top-5 [\d.]+% +centred: top-1 [\d.]+% +whitened: top-1 [\d.]+%/);
});

it('embed --whiten writes the mean and the matrix beside the features', () => {
  const file = path.join(folder, 'whitened', 'f.npy');
  const flags = ['--output', file, '--num-workers', '0', '--device', 'cpu', '--json'];
  const { stdout } = dino('embed', run, path.join(more, 'train'), ...flags, '--whiten', 'pca');
  const { files, whitening } = JSON.parse(stdout) as { files: string[]; whitening: { mode: string } };
  assert.equal(whitening.mode, 'pca');
  assert.deepEqual(
    files.map((each) => path.basename(each)),
    ['f.npy', 'f.paths.jsonl', 'f.mean.npy', 'f.matrix.npy'],
  );
  const again = dino('embed', run, path.join(more, 'train'), ...flags, '--whiten', 'center');
  assert.match(again.stderr, /removed .*f\.matrix\.npy: it was of the features that were here before/);
  assert.ok(!existsSync(path.join(folder, 'whitened', 'f.matrix.npy')));
});

it('eval linear trains, keeps its result and checkpoint, and only measures with that checkpoint', () => {
  const flags = ['--data_path', images, '--num_workers', '0', '--device', 'cpu'];
  const { stdout, stderr } = dino('eval', 'linear', run, ...flags, '--epochs', '2', '--lr', '1');
  assert.match(stdout, /top-1 [\d.]+% .*best top-1/);
  assert.match(stderr, /epoch 2\/2: loss/);
  assert.equal(kept('linear')['epochs'], 2);
  assert.equal(kept('linear')['linearWeights'], undefined);
  const checkpoint = path.join(run, 'evaluations', 'linear', 'checkpoint.safetensors');
  const measured = dino(
    'eval',
    'linear',
    run,
    ...flags,
    '--evaluate',
    '--linear-weights',
    checkpoint,
    '--json',
  );
  assert.equal((JSON.parse(measured.stdout) as { top1: number }).top1, kept('linear')['top1']);
  assert.equal(kept('linear')['linearWeights'], checkpoint);
  assert.deepEqual([kept('linear')['epochs'], kept('linear')['trainImages']], [null, null]);
});

it('eval retrieval prints the three protocols', () => {
  const jpg = path.join(folder, 'roxford5k', 'jpg');
  mkdirSync(jpg, { recursive: true });
  const from = { a: 'train/red/red 0.png', b: 'train/blue/blue 0.png', q: 'val/red/red 0.png' };
  for (const [name, source] of Object.entries(from))
    copyFileSync(path.join(images, source), path.join(jpg, `${name}.jpg`));
  // a pickle of protocol 0: image a is easy for the one query
  writeFileSync(
    path.join(folder, 'roxford5k', 'gnd_roxford5k.pkl'),
    "(dS'imlist'\n(lS'a'\naS'b'\nasS'qimlist'\n(lS'q'\nasS'gnd'\n" +
      "(l(dS'bbx'\n(lI0\naI0\naI9\naI9\nasS'easy'\n(lI0\nasS'hard'\n(lsS'junk'\n(lsas.",
  );
  const flags = ['--imsize', '32', '--num_workers', '0', '--device', 'cpu', '--multiscale', 'true'];
  const { stdout } = dino('eval', 'retrieval', run, '--data_path', folder, ...flags);
  assert.match(stdout, /1 queries among 2 images of 32 pixels, three scales/);
  assert.match(stdout, /easy {4}100\.00 {3}100\.00 100\.00 100\.00\n/);
  assert.match(stdout, /hard {9}- /);
  assert.deepEqual((kept('retrieval')['medium'] as { map: number }).map, 100);
});

it('eval copy-detection prints a row for each folder', () => {
  for (const [name, source] of [
    ['original', 'train/red'],
    ['strong', 'train/red'],
  ] as const) {
    mkdirSync(path.join(folder, 'copydays', name), { recursive: true });
    for (const i of [0, 1, 2]) {
      const target = path.join(folder, 'copydays', name, `200${i}00.jpg`);
      copyFileSync(path.join(images, source, `red ${i}.png`), target);
    }
  }
  const flags = ['--imsize', '32', '--num_workers', '0', '--device', 'cpu'];
  const paths = ['--distractors_path', path.join(images, 'train', 'blue')];
  const { stdout } = dino(
    'eval',
    'copy-detection',
    run,
    '--data_path',
    path.join(folder, 'copydays'),
    ...paths,
    ...flags,
  );
  assert.match(stdout, /3 originals and 3 distractors, images of 32 pixels, no whitening/);
  assert.match(stdout, /original +100\.00 +100\.00 +3\n/);
  assert.match(stdout, /all copies +100\.00/);
  assert.equal((kept('copy-detection')['copies'] as { map: number }).map, 100);
});

it('a command that fails while a bar is drawn ends, and gives the cursor back', () => {
  const module = (name: string) => new URL(`./${name}.js`, import.meta.url).href;
  // a child whose stderr says that it is a terminal
  const program = `
    process.stderr.isTTY = true;
    const { counter } = await import(${JSON.stringify(module('../counter'))});
    const { defineCommand, runCommand } = await import(${JSON.stringify(module('../command'))});
    const run = async ({ io }) => {
      const count = counter(io);
      for (const done of [1, 2]) count('features', done, 9);
      await new Promise((resolve) => setTimeout(resolve, 300));
      throw new Error('broke');
    };
    await runCommand(defineCommand({ options: {}, examples: [], run }), 'x', '', []).catch((error) => console.log(error.message));
  `;
  const args = ['--input-type=module', '--eval', program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, 'broke\n');
  assert.match(stderr, /features: 2\/9/);
  assert.ok(stderr.lastIndexOf('\u001b[?25h') > stderr.lastIndexOf('\u001b[?25l'));
});
