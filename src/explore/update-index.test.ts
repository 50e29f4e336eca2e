/** Indexes of what is named in several ways, changed while it is read, or interrupted: nothing is lost or counted twice. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
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

it('an index has every image of joined archives of the same names, and settles', async () => {
  const [red, blue] = ['red', 'blue'].map((colour) => tarOf(`joined/${colour}`, colour));
  const tar = at('joined', 'both.tar');
  writeFileSync(tar, Buffer.concat([readFileSync(red!), readFileSync(red!), readFileSync(blue!)]));
  const { images: count, remarks } = await build(tar, at('joined.index'));
  assert.equal(count, 12);
  assert.match(remarks.join('\n'), /4 images have the name of another one of the same shard/);
  assert.equal((await build(tar, at('joined.index'))).added, 0);
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

describe('an index that is there only when the lock is had', () => {
  /** Something else writes an index into the folder while buildIndex() waits for a process of another machine. */
  const meanwhile = (output: string, made: string): Promise<unknown> => {
    mkdirSync(output);
    writeFileSync(
      path.join(output, 'lock'),
      JSON.stringify({ pid: 7, host: 'another machine', started: '1', space: 'another', id: 'abc' }),
    );
    const onWait = (): void => {
      cpSync(made, output, { recursive: true });
      rmSync(path.join(output, 'lock'));
    };
    return build(images, output, { onWait });
  };

  it('is not replaced when it is of other images, and brought up to date when it is of these', async () => {
    const [own, others] = [at('own.index'), at('others.index')];
    await build(images, own);
    await build(path.join(images, 'red'), others);
    await assert.rejects(meanwhile(at('race'), others), /race is the index of .*red, not of .*images/);
    using index = ImageIndex.open(at('race'));
    assert.equal(index.count, 4);
    const result = (await meanwhile(at('race-2'), own)) as { added: number; images: number };
    assert.deepEqual([result.added, result.images], [0, 12]);
  });

  it('nor is a folder written to that has other files by then', async () => {
    await assert.rejects(meanwhile(at('race-3'), images), /race-3 exists and is not an index/);
    assert.ok(!existsSync(at('race-3', 'index.json')));
  });
});

it('an index is a folder, and a file in its place is named as one', async () => {
  writeFileSync(at('a-file'), '');
  await assert.rejects(
    build(images, at('a-file')),
    /a-file is a regular file, not a folder: give a new folder/,
  );
});

describe('an update that embeds everything again', () => {
  const output = at('rebuilt.index');

  it('keeps the features and sizes that the index was made with, unless others are asked for', async () => {
    const made = await build(images, output, { features: 'patch-mean', resize: 28, crop: 24 });
    assert.equal(made.added, 12);
    const kept = await build(images, output);
    assert.deepEqual([kept.rebuilt, kept.added], [null, 0]);
    assert.equal((await build(images, output, { crop: 24 })).rebuilt, null);
    // a crop without a resize has the usual one
    const cropped = await build(images, output, { crop: 16 });
    assert.deepEqual([cropped.rebuilt, cropped.added], ['resize was 28, now 18', 12]);
    using index = ImageIndex.open(output);
    const { features, resize, crop } = index.manifest.settings;
    assert.deepEqual([features, resize, crop], ['patch-mean', 18, 16]);
  });

  it('says so before, and leaves the old index whole when it is interrupted', async () => {
    const before = readFileSync(path.join(output, 'index.json'), 'utf8');
    const told: string[] = [];
    const stop = new AbortController();
    const running = build(images, output, {
      ...{ features: 'cls', signal: stop.signal, saveEvery: 0 },
      onRebuild: (reason) => told.push(reason),
      onProgress: ({ part, done }) => {
        told.push(`${part} ${done}`);
        if (done === 10) stop.abort(new Error('enough'));
      },
    });
    await assert.rejects(running, /enough/);
    assert.deepEqual(told, ['features was patch-mean, now cls', 'images 5', 'images 10']);
    assert.equal(readFileSync(path.join(output, 'index.json'), 'utf8'), before);
    using old = ImageIndex.open(output);
    assert.equal(old.features().length, 12 * old.width);
    const whole = await build(images, output, { features: 'cls' });
    assert.deepEqual([whole.images, whole.rebuilt], [12, 'features was patch-mean, now cls']);
  });
});
