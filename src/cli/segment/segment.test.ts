/** `dino segment` as a user runs it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { writeLabelImage } from '../../eval/indexed-png.js';
import { writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-segment-'));
const at = (...parts: string[]) => path.join(folder, ...parts);
before(async () => {
  writeTinyRun(at('run')).dispose();
  for (const part of ['images', 'masks']) mkdirSync(at(part));
  for (let i = 0; i < 4; i++) {
    const labels = Uint8Array.from({ length: 40 * 32 }, (_, p) => (p % 40 < 10 + 5 * i ? 0 : 1));
    const pixels = Buffer.from(labels.map((label) => (label === 0 ? 40 : 210)));
    await sharp(pixels, { raw: { width: 40, height: 32, channels: 1 } })
      .png()
      .toFile(at('images', `${i}.png`));
    if (i < 3) writeLabelImage(at('masks', `${i}.png`), { width: 40, height: 32, labels });
  }
});
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'segment', ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, stdout, stderr };
}

it('fits, reports and segments, and its counts add up', () => {
  const fitted = dino(
    ...['fit', 'run', 'images', 'masks', '-o', 'model.safetensors', '--device', 'cpu', '--size', '64'],
    ...['--folds', '3', '--classes', 'left', 'right'],
  );
  assert.equal(fitted.status, 0, fitted.stderr);
  assert.match(fitted.stderr, /warning: 1 image without a mask left out: .*3\.png/);
  assert.match(
    fitted.stdout,
    /mIoU \d+\.\d%, .* by cross-validation \(3 images\)\nclass +value +IoU\nleft +0 +\d+\.\d\nright +1 +\d/,
  );
  assert.match(
    fitted.stdout,
    /model\.safetensors: 3 images, 2 classes, 0 skipped, 1 without a mask, 0 masks/,
  );
  const predicted = dino('predict', 'model.safetensors', 'images', '-o', 'out', '--device', 'cpu');
  assert.equal(predicted.status, 0, predicted.stderr);
  assert.match(
    predicted.stdout,
    /out: 4 images: 4 segmented, 0 skipped; 0 other files left out\nleft \d+\.\d%, right/,
  );
  for (const name of ['masks/3.png', 'overlays/3.jpg']) assert.ok(existsSync(at('out', name)), name);
  // before the segmenter is looked at
  const again = dino('predict', 'none.safetensors', 'images', '-o', 'out');
  assert.equal(again.status, 2);
  assert.match(again.stderr, /out\/masks is not empty: .* out-2 is not taken/);
});

it('says what is wrong before the work begins', () => {
  const line = dino(
    'fit',
    'run',
    'images',
    'masks',
    '--folds',
    '1',
    '--ignore',
    '256',
    '--validation-images',
    'images',
  );
  assert.equal(line.status, 2);
  for (const part of [
    '--output',
    '--folds is 1',
    '--ignore is 256',
    '--validation-images and --validation-masks',
  ])
    assert.ok(line.stderr.includes(part), line.stderr);
  // before the segmenter is looked at
  const missing = dino('predict', 'none.safetensors', 'gone.jpg', '-o', 'new');
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /There is no gone\.jpg: give an image, a folder/);
  const weights = path.join('run', 'checkpoints', 'step-00000012', 'teacher.safetensors');
  assert.match(dino('predict', weights, 'images', '-o', 'new').stderr, /holds no segmenter: make one with/);
});
