/** The programs in examples/ run as a reader would run them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { makeImageFolder } from '#built/testing/image-folder.js';
import { packageRoot } from '#scripts/find-libtorch.mjs';

const run = (example: string, ...args: string[]): unknown[] =>
  execFileSync(process.execPath, [path.join(packageRoot, 'examples', example), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
    .split(/\n(?=\{)/)
    .map((text) => JSON.parse(text) as unknown);

test('examples/tensors.mjs finds the line', () => {
  const [{ slope, offset }] = run('tensors.mjs') as [{ slope: number; offset: number }];
  assert.ok(Math.abs(slope - 3) < 1e-3 && Math.abs(offset - 0.5) < 1e-3, `${slope} ${offset}`);
});

test('examples/train-and-search.mjs trains and finds neighbours, classify.mjs classifies, attention.mjs looks, own-backbone.mjs trains its own', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'dino-examples-'));
  try {
    const images = path.join(folder, 'images');
    await makeImageFolder(images, { classes: 2, perClass: 8 });
    const output = path.join(folder, 'run');
    const small =
      'epochs=1 warmupEpochs=0 batchSize=8 outDim=32 embedDim=32 depth=2 numHeads=2 arch=vit'.split(' ');
    const [found] = run('train-and-search.mjs', images, output, ...small) as [
      { query: string; neighbours: { path: string; similarity: number }[] },
    ];
    assert.equal(found.neighbours.length, 5);
    assert.ok(
      found.neighbours.every(({ similarity, path: name }) => similarity <= 1.0001 && name !== found.query),
    );

    const [classified] = run('classify.mjs', output, images, path.join(images, 'class-1')) as [
      { accuracy: { value: number; low: number; high: number }; predictions: { label: string }[] },
    ];
    assert.equal(classified.predictions.length, 8);
    assert.ok(classified.accuracy.low <= classified.accuracy.value);

    const own = 'epochs=1 warmupEpochs=0 batchSize=8 outDim=32 globalCropsSize=32 localCropsSize=16'.split(
      ' ',
    );
    const trained = run('own-backbone.mjs', images, path.join(folder, 'own'), ...own);
    assert.deepEqual(trained, [{ steps: 2, shape: [16, 48], arch: 'custom' }]);

    const image = path.join(images, 'class-0', 'image-0.png');
    const [{ quarters }] = run('attention.mjs', output, image) as [{ quarters: number[] }];
    assert.ok(Math.abs(quarters.reduce((sum, value) => sum + value) - 1) < 1e-5);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
