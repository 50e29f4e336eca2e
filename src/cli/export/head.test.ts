/** What `dino export` says of a classifier or a segmenter whose head a format leaves out. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { writeLabelImage } from '../../eval/indexed-png.js';
import { writeColourFolders, writeTinyRun } from '../../testing/saved-run.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-export-head-'));
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  assert.equal(status, 0, stderr);
  return { stdout, stderr };
}
/** The warning of an export, on one line; null without one. */
const warningOf = (weights: string, format: string): string | null => {
  const { stderr } = dino('export', weights, '--format', format, '--output', `${weights}-${format}`);
  const lines = stderr.split('\n').filter((line) => line.includes('holds a '));
  assert.ok(lines.length < 2, stderr);
  return lines[0] ?? null;
};

before(async () => {
  writeTinyRun(path.join(folder, 'run')).dispose();
  await writeColourFolders(path.join(folder, 'colours'), 4);
  const fit = ['--device', 'cpu', '--num-workers', '0'];
  dino('classify', 'fit', 'run', 'colours', '-o', 'pets.safetensors', ...fit, '--method', 'logistic');
  for (const part of ['images', 'masks']) mkdirSync(path.join(folder, part));
  for (let i = 0; i < 3; i++) {
    const labels = Uint8Array.from({ length: 40 * 32 }, (_, p) => (p % 40 < 10 + 5 * i ? 0 : 1));
    const pixels = Buffer.from(labels.map((label) => (label === 0 ? 40 : 210)));
    const raw = { width: 40, height: 32, channels: 1 } as const;
    await sharp(pixels, { raw })
      .png()
      .toFile(path.join(folder, 'images', `${i}.png`));
    writeLabelImage(path.join(folder, 'masks', `${i}.png`), { width: 40, height: 32, labels });
  }
  const small = ['--device', 'cpu', '--size', '64', '--folds', '3'];
  dino('segment', 'fit', 'run', 'images', 'masks', '-o', 'roads.safetensors', ...small);
});

it('says that a format leaves out the head of a classifier, which a page has', () => {
  assert.match(
    warningOf('pets.safetensors', 'safetensors') ?? '',
    /warning: pets\.safetensors holds a classifier, and --format safetensors writes only its backbone.*dino classify export pets\.safetensors --output \S+\.onnx.*--format web/,
  );
  assert.equal(warningOf('pets.safetensors', 'web'), null);
});

it('says that every format leaves out the head of a segmenter', () => {
  for (const format of ['pth', 'web'])
    assert.match(
      warningOf('roads.safetensors', format) ?? '',
      /warning: roads\.safetensors holds a segmenter, and --format \w+ writes only its backbone.*dino segment predict/,
    );
});

it('says nothing of a run', () => {
  assert.equal(warningOf('run', 'safetensors'), null);
});

it('names commands that carry both', () => {
  const { stdout } = dino('classify', 'export', 'pets.safetensors', '--output', 'pets.onnx');
  assert.match(stdout, /probabilities/);
});
