/** Indexes of what is named in several ways, changed while it is read, or interrupted: nothing is lost or counted twice. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { loadModel, type Model } from '../model.js';
import { buildIndex, type BuildIndexOptions } from './build-index.js';
import { findDuplicates } from './duplicates.js';
import { ImageIndex } from './image-index.js';
import { rowsOfList } from './put-images.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-update-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
const at = (...parts: string[]): string => path.join(folder, ...parts);
let model: Model;
before(async () => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
  await writeColourFolders(images, 4);
});
after(() => rmSync(folder, { recursive: true }));

const build = (source: string, output: string, more: Partial<BuildIndexOptions> = {}) =>
  buildIndex(model, source, { output, numWorkers: 0, batchSize: 5, weights: { given: run }, ...more });

/** A tar of the images of a class. */
function tarOf(name: string, colour: string): string {
  const file = at(name);
  mkdirSync(path.dirname(file), { recursive: true });
  const names = readdirSync(path.join(images, colour)).sort();
  execFileSync('tar', ['-cf', file, '-C', images, ...names.map((name) => `${colour}/${name}`)]);
  return file;
}

describe('an image that links lead to', () => {
  const photos = at('ph');
  const output = at('ph.index');
  before(() => {
    mkdirSync(at('ph', '2024'), { recursive: true });
    for (const name of ['red 0', 'red 1', 'blue 2'])
      copyFileSync(path.join(images, name.split(' ')[0]!, `${name}.png`), at('ph', '2024', `${name}.png`));
    symlinkSync('2024', at('ph', 'latest'));
    symlinkSync('red 1.png', at('ph', '2024', 'best.png'));
  });

  it('is one row, by the first of its names, and no copy of itself', async () => {
    const { images: count, remarks } = await build(photos, output);
    const { remarks: again, added, removed } = await build(photos, output);
    const line =
      `${photos}: 5 entries lead by links to images that the list already has ` +
      `(${at('ph', '2024', 'red 1.png')} is ${at('ph', '2024', 'best.png')}, and 4 more): each image counts once`;
    assert.deepEqual([count, remarks, added, removed, again], [3, [line], 0, 0, [line]]);
    using index = ImageIndex.open(output);
    assert.deepEqual(
      index.images.map((image) => image.path),
      ['2024/best.png', '2024/blue 2.png', '2024/red 0.png'],
    );
    const groups = await findDuplicates(index, { threshold: 0.9999 });
    assert.deepEqual(groups, []);
  });

  it('is found by each of its names', async () => {
    using index = ImageIndex.open(output);
    symlinkSync(at('ph', '2024', 'blue 2.png'), at('elsewhere.png'));
    for (const [name, row] of [
      ['ph/latest/blue 2.png', 1],
      ['ph/2024/red 1.png', 0],
      ['ph/latest/red 1.png', 0],
      ['elsewhere.png', 1],
      ['ph/2024/none.png', null],
    ] as const)
      assert.equal(index.rowOf(at(...name.split('/'))), row, name);
    assert.deepEqual(await rowsOfList(index, at('ph', 'latest')), { rows: [0, 1, 2], unknown: 0 });
  });

  it('in a shard that has two names is one row too', async () => {
    tarOf('tars/a.tar', 'red');
    symlinkSync('a.tar', at('tars', 'b.tar'));
    const { images: count, remarks } = await build(at('tars'), at('tars.index'));
    assert.equal(count, 4);
    assert.match(
      remarks.join('\n'),
      /4 entries lead by links .*b\.tar::red\/red 0\.png is .*a\.tar::red\/red 0\.png/,
    );
    using index = ImageIndex.open(at('tars.index'));
    assert.equal(index.rowOf(`${at('tars', 'b.tar')}::red/red 2.png`), 2);
  });
});

it('a shard below a folder with :: in its name is seen to change', async () => {
  const file = tarOf('with::colons/a.tar', 'red');
  await build(file, at('colons.index'));
  using first = ImageIndex.open(at('colons.index'));
  assert.equal(first.images[0]!.bytes, readFileSync(file).length);
  assert.deepEqual((await build(file, at('colons.index'))).added, 0);
  utimesSync(file, 1, 1);
  assert.equal((await build(file, at('colons.index'))).changed, 4);
});
