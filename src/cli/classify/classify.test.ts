/** `dino classify` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildIndex } from '../../explore/build-index.js';
import { ImageIndex } from '../../explore/image-index.js';
import { labelImages } from '../../explore/labels.js';
import { loadModel } from '../../model.js';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-classify-'));
const at = (...parts: string[]) => path.join(folder, ...parts);
before(async () => {
  writeTinyRun(at('run')).dispose();
  await writeColourFolders(at('images'), 5);
});
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'classify', ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, stdout, stderr };
}
const small = ['--device', 'cpu', '--num-workers', '0'];

it('fits, reports and predicts, and its counts add up', () => {
  writeFileSync(at('images', 'red', 'bad.png'), 'x');
  writeFileSync(at('images', 'red', 'notes.txt'), 'x');
  const fitted = dino('fit', 'run', 'images', '--output', 'model.safetensors', ...small);
  assert.equal(fitted.status, 0, fitted.stderr);
  assert.match(fitted.stderr, /warning: skipped .*bad\.png: /);
  assert.match(fitted.stdout, /accuracy \d+\.\d% \(95% interval .* by cross-validation of 15 images/);
  assert.match(fitted.stdout, /class +images +tested +precision +recall\nblue +5 +5 /);
  assert.match(fitted.stdout, /class \\ predicted +1 +2 +3\n1 blue +\d/);
  assert.match(fitted.stdout, /model\.safetensors: 15 images of 3 classes, 1 skipped, 1 left out/);

  assert.match(readFileSync(at('model.html'), 'utf8'), /What was left out[\s\S]*bad\.png/);

  const exported = dino('export', 'model.safetensors', '-o', 'model.onnx');
  assert.equal(exported.status, 0, exported.stderr);
  assert.match(
    exported.stdout,
    /pixel_values batch x 3 x 32 x 32 to class_token, probabilities\nchecked in onnxruntime: off by \d/,
  );

  const replacing = dino('export', 'model.safetensors', '-o', 'model.safetensors');
  assert.equal(replacing.status, 2);
  assert.match(replacing.stderr, /model\.safetensors is read here, .*model-2\.safetensors is not taken/);

  const predicted = dino('predict', 'model.safetensors', 'images', '-o', 'out.csv', ...small);
  assert.equal(predicted.status, 0, predicted.stderr);
  assert.match(
    predicted.stdout,
    /and 10 more\nout\.csv: 16 images: 15 classified \(5 blue, 5 green, 5 red\), 1 skipped; 1 other/,
  );
  assert.match(predicted.stderr, /warning: skipped .*bad\.png: /);
  assert.equal(readFileSync(at('out.csv'), 'utf8').trimEnd().split('\n').length, 17);

  const one = dino(
    'predict',
    'model.safetensors',
    path.join('images', 'green', 'green 1.png'),
    '--json',
    ...small,
  );
  const { predictions } = JSON.parse(one.stdout) as { predictions: { label: string }[] };
  assert.deepEqual(
    predictions.map(({ label }) => label),
    ['green'],
  );
});

it('replaces a report beside the classifier, but no other page of that name', () => {
  writeFileSync(at('pets.html'), '<!doctype html>\n<p>my page about pets');
  const fit = (output: string, ...flags: string[]) =>
    dino('fit', 'run', 'images', '--output', output, ...flags, ...small);
  const refused = fit('pets.safetensors');
  assert.equal(refused.status, 2, refused.stderr);
  assert.match(
    refused.stderr,
    /pets\.html would be the report, .* Give --report FILE, pets-2\.html is not taken/,
  );
  assert.equal(readFileSync(at('pets.html'), 'utf8'), '<!doctype html>\n<p>my page about pets');
  assert.equal(fit('pets.safetensors', '--report', 'pets-2.html').status, 0);
  writeFileSync(at('again.html'), readFileSync(at('pets-2.html')));
  assert.equal(fit('again.safetensors', '--features', 'patch-mean').status, 0);
  assert.notDeepEqual(readFileSync(at('again.html')), readFileSync(at('pets-2.html')));
});

it('takes the labels of an index', async () => {
  const model = loadModel(at('run'), { device: 'cpu' });
  await buildIndex(model, at('images'), {
    output: at('index'),
    weights: { given: at('run') },
    numWorkers: 0,
  });
  model.dispose();
  const none = dino('fit', 'run', 'index', '-o', 'of-index.safetensors', ...small);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /no image of index has a label: label some in the studio/);
  const index = ImageIndex.open(at('index'));
  for (const name of ['blue', 'red'])
    labelImages(
      index,
      index.images.flatMap((image, row) => (image.path.startsWith(name) ? [row] : [])),
      `rather ${name}`,
    );
  index.close();
  const { status, stdout, stderr } = dino(
    'fit',
    'run',
    'index',
    '-o',
    'of-index.safetensors',
    '--json',
    ...small,
  );
  assert.equal(status, 0, stderr);
  assert.match(stderr, /5 of 15 images have no label and were left out/);
  const { classes } = JSON.parse(stdout) as { classes: { name: string; images: number }[] };
  assert.deepEqual(classes, [
    { name: 'rather blue', images: 5 },
    { name: 'rather red', images: 5 },
  ]);
});

it('says what is wrong before the work begins', () => {
  const line = dino(
    'fit',
    'run',
    'images',
    '--method',
    'knn',
    '--c',
    '1',
    '--scaling',
    'standardize',
    '--folds',
    '1',
  );
  assert.equal(line.status, 2);
  for (const part of ['--output', '--c: only', '--scaling standardize', '--folds is 1'])
    assert.ok(line.stderr.includes(part), line.stderr);
  assert.match(dino('fit', 'run', 'images', '-o', 'run').stderr, /run can't be written: it is a folder/);
  const missing = dino('predict', 'none.safetensors', 'gone.jpg');
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /There is no gone\.jpg: give an image, a folder/);
  const weights = path.join('run', 'checkpoints', 'step-00000012', 'teacher.safetensors');
  const predict = dino('predict', weights, 'images');
  assert.equal(predict.status, 1);
  assert.match(predict.stderr, /holds no classifier: make one with dino classify fit/);
  assert.match(
    dino('predict', 'model.safetensors', 'images', '-o', 'x.xml').stderr,
    /ends in \.csv, \.json, \.jsonl/,
  );
});
