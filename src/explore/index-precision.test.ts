/** The precision of an index's features: recorded, kept by updates, and never mixed without a word. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { loadModel, type Model } from '../model.js';
import type { PrecisionChoice } from '../plain/precisions.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { buildIndex } from './build-index.js';
import { type IndexManifest, manifestPath } from './index-format.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-index-precision-'));
const images = path.join(folder, 'images');
const output = path.join(folder, 'index');
let model: Model;
before(async () => {
  writeTinyRun(path.join(folder, 'run'));
  model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
  await writeColourFolders(images, 4);
});
after(() => rmSync(folder, { recursive: true }));

const manifest = (): IndexManifest => JSON.parse(readFileSync(manifestPath(output), 'utf8')) as IndexManifest;
async function build(precision?: PrecisionChoice) {
  const given = precision === undefined ? {} : { precision };
  const result = await buildIndex(model, images, { output, numWorkers: 0, ...given });
  return { ...result, precision: manifest().settings.precision };
}

test('an update keeps the precision of the index, and another one embeds everything again', async () => {
  assert.equal((await build('bf16')).precision, 'bf16');
  rmSync(path.join(images, 'red', 'red 0.png'));
  for (const asked of [undefined, 'auto'] as const) {
    const kept = await build(asked);
    assert.deepEqual([kept.precision, kept.rebuilt, kept.added], ['bf16', null, 0], asked);
  }
  const other = await build('fp32');
  assert.equal(other.rebuilt, 'precision was bf16, now fp32');
  assert.deepEqual([other.precision, other.added], ['fp32', 11]);
  rmSync(output, { recursive: true });
  assert.equal((await build()).precision, 'fp32');
  rmSync(output, { recursive: true });
  assert.equal((await build('auto')).precision, 'fp32', 'few images have nothing to gain');
});

test('what an earlier version computed stays unknown', async () => {
  const { settings, ...rest } = manifest();
  const { precision, ...older } = settings;
  assert.equal(precision, 'fp32');
  writeFileSync(manifestPath(output), JSON.stringify({ ...rest, settings: older }));
  rmSync(path.join(images, 'red', 'red 1.png'));
  const updated = await build();
  assert.deepEqual([updated.precision, updated.rebuilt, updated.removed], [undefined, null, 1]);
});
