/** Labels of an index's images: kept by path, by several processes at once, through updates, cuts and links. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { clusteredRows, featureIndex } from '../testing/feature-index.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { ConfigError } from '../errors.js';
import { loadModel, type Model } from '../model.js';
import { buildIndex, type BuildIndexOptions } from './build-index.js';
import { ImageIndex } from './image-index.js';
import { labelImages, labelsPath, moveLabels, readLabels } from './labels.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-labels-'));
after(() => rmSync(folder, { recursive: true }));
const made = (name: string) => featureIndex(path.join(folder, name), clusteredRows(20, 8, 2, 0.1), 8);

describe('labels of an index', () => {
  let index: ImageIndex;
  before(async () => {
    index = await made('photos.index');
  });
  after(() => index.close());

  it('are kept, changed and taken away; the last one counts', () => {
    assert.deepEqual(readLabels(index), { labels: new Map(), unmatched: 0, damaged: 0 });
    labelImages(index, [1, 3, 5], 'cat');
    labelImages(index, [3], 'dog');
    labelImages(index, [5], null);
    using again = ImageIndex.open(index.folder);
    assert.deepEqual(
      readLabels(again).labels,
      new Map([
        [1, 'cat'],
        [3, 'dog'],
      ]),
    );
  });

  it('refuse what can be no folder, and rows that are not there, and change nothing then', () => {
    const text = readFileSync(labelsPath(index.folder), 'utf8');
    for (const label of ['', '.hidden', '../out', 'a/b', 'a\\b', 'x'.repeat(101), 'a\nb'])
      assert.throws(() => labelImages(index, [0], label), /a label is 1 to 100 characters/, label);
    assert.throws(() => labelImages(index, [0, 20], 'cat'), /row 20: the index has 20 images/);
    assert.equal(readFileSync(labelsPath(index.folder), 'utf8'), text);
  });

  it('leave out damaged lines and count them; a line that was cut spoils no other', () => {
    appendFileSync(labelsPath(index.folder), '{"label":7,"paths":["0.jpg"]}\n{"label":"cat","pa');
    labelImages(index, [7], 'cat');
    const { labels, damaged } = readLabels(index);
    assert.equal(damaged, 2);
    assert.equal(labels.get(7), 'cat');
    assert.equal(labels.get(1), 'cat');
    assert.equal(labels.get(0), undefined);
  });

  it('of many images take several lines; a line that would fill the memory is left out', async () => {
    const count = 2500;
    using many = await featureIndex(path.join(folder, 'many.index'), clusteredRows(count, 2, 2, 0.1), 2);
    const file = labelsPath(many.folder);
    labelImages(many, [...Array(count).keys()], 'all');
    assert.equal(readFileSync(file, 'utf8').trim().split('\n').length, 3);
    const before = process.memoryUsage.rss();
    appendFileSync(file, `{"label":"x","paths":${'['.repeat(2 ** 25)}\n`);
    appendFileSync(file, `${JSON.stringify({ label: 'brackets [[[{', paths: ['0.jpg', 'none [[[.jpg'] })}\n`);
    const { labels, damaged } = readLabels(many);
    assert.deepEqual(
      [labels.size, labels.get(0), labels.get(1), damaged],
      [count, 'brackets [[[{', 'all', 1],
    );
    assert.ok(process.memoryUsage.rss() - before < 2 ** 30);
    writeFileSync(file, '');
    truncateSync(file, 2 ** 30); // without a line end
    assert.throws(() => readLabels(many), /a line has more than/);
    truncateSync(file, 2 ** 40);
    assert.throws(() => readLabels(many), /at most 2147483648 are read/);
  });

  it('of several processes at once are all there', async () => {
    const other = await made('shared.index');
    const module = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
    const script = (rows: number[]) => `
      import { ImageIndex } from ${module('./image-index.js')};
      import { labelImages } from ${module('./labels.js')};
      const index = ImageIndex.open(${JSON.stringify(other.folder)});
      for (let round = 0; round < 50; round++)
        for (const row of ${JSON.stringify(rows)}) labelImages(index, [row], 'round ' + round);`;
    const child = (rows: number[]): Promise<number | null> =>
      new Promise((resolve) =>
        spawn(process.execPath, ['--input-type=module', '-e', script(rows)], { stdio: 'inherit' }).on(
          'exit',
          resolve,
        ),
      );
    assert.deepEqual(await Promise.all([child([0, 2, 4]), child([1, 3, 5])]), [0, 0]);
    const { labels, damaged } = readLabels(other);
    assert.equal(damaged, 0);
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((row) => labels.get(row)),
      new Array(6).fill('round 49'),
    );
    other.close();
  });

  it('are not written through a link', async () => {
    using other = await made('linked.index');
    const outside = path.join(folder, 'outside.txt');
    writeFileSync(outside, 'mine');
    symlinkSync(outside, labelsPath(other.folder));
    assert.throws(() => labelImages(other, [0], 'cat'), /labels\.jsonl is a symbolic link/);
    assert.equal(readFileSync(outside, 'utf8'), 'mine');
  });

  it('stay with their images when others go and rows move', async () => {
    const [run, images, output] = ['run', 'images', 'moved.index'].map((name) => path.join(folder, name));
    writeTinyRun(run!);
    await writeColourFolders(images!, 3);
    using model = loadModel(run!, { device: 'cpu' });
    await buildIndex(model, images!, { output: output!, numWorkers: 0 });
    let name: string;
    {
      using first = ImageIndex.open(output!);
      const row = first.count - 1;
      name = first.images[row]!.path;
      labelImages(first, [row], 'kept');
      labelImages(first, [0], 'gone');
      rmSync(first.pathOf(0));
    }
    await buildIndex(model, images!, { output: output!, numWorkers: 0 });
    using second = ImageIndex.open(output!);
    const { labels } = readLabels(second);
    assert.deepEqual(
      [...labels].map(([row, label]) => [second.images[row]!.path, label]),
      [[name, 'kept']],
    );
  });
});

describe('labels of an index that is brought up to date', () => {
  const at = (...parts: string[]) => path.join(folder, 'update', ...parts);
  let model: Model;
  before(async () => {
    writeTinyRun(at('run'));
    model = loadModel(at('run'), { device: 'cpu' });
    for (const name of ['photos', 'others']) await writeColourFolders(at(name), 3);
  });
  after(() => model.dispose());
  const build = (source: string, output: string, options: Partial<BuildIndexOptions> = {}) =>
    buildIndex(model, at(source), { output: at(output), numWorkers: 0, whiten: 'none', ...options });
  /** Gives images of an index labels: theirs are the files' own names. */
  const label = (output: string, ...names: string[]): void => {
    using index = ImageIndex.open(at(output));
    for (const name of names) labelImages(index, [index.rowOf(at(name))!], path.basename(name, '.png'));
  };
  const labelled = (output: string): Record<string, string> => {
    using index = ImageIndex.open(at(output));
    return Object.fromEntries(
      [...readLabels(index).labels].map(([row, name]) => [path.relative(at(), index.pathOf(row)), name]),
    );
  };

  it('are not given to other images: their index is refused, and stays as it is', async () => {
    await build('photos', 'own.index');
    label('own.index', 'photos/red/red 1.png');
    const before = readFileSync(at('own.index', 'index.json'), 'utf8');
    await assert.rejects(build('others', 'own.index'), (error: Error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(
        error.message,
        /own\.index is the index of .*photos, not of .*others: .*own-2\.index is not taken/,
      );
      return true;
    });
    assert.equal(readFileSync(at('own.index', 'index.json'), 'utf8'), before);
    symlinkSync(at('photos'), at('same-photos'));
    assert.equal((await build('same-photos', 'own.index')).added, 0);
    assert.deepEqual(labelled('own.index'), { 'same-photos/red/red 1.png': 'red 1' });
  });

  it('stay with images whose folder was moved; a folder with other images in its place is refused', async () => {
    await writeColourFolders(at('before'), 3);
    await build('before', 'moved.index');
    label('moved.index', 'before/green/green 0.png');
    renameSync(at('before'), at('after'));
    await assert.rejects(build('others/red', 'moved.index'), /moved\.index is the index of .*before, not of/);
    const { added, removed, remarks } = await build('after', 'moved.index');
    assert.deepEqual([added, removed, remarks], [0, 0, []]);
    assert.deepEqual(labelled('moved.index'), { 'after/green/green 0.png': 'green 0' });
    assert.equal((await build('after', 'moved.index')).added, 0);
  });

  it('follow their images to new names when the root of a list moves up, and down again', async () => {
    const list = (...names: string[]) => writeFileSync(at('photos', 'list.txt'), names.join('\n'));
    const own = ['red/red 0.png', 'red/red 1.png', 'blue/blue 2.png'];
    list(...own);
    await build('photos/list.txt', 'list.index');
    label('list.index', ...own.map((name) => `photos/${name}`));
    const all = labelled('list.index');
    assert.equal(Object.keys(all).length, 3);
    list(...own, '../others/red/red 2.png');
    assert.deepEqual((await build('photos/list.txt', 'list.index')).remarks, []);
    assert.deepEqual(labelled('list.index'), all);
    label('list.index', 'others/red/red 2.png');
    // the labels of images that are gone are kept and counted, under whatever root
    list(own[0]!, own[1]!);
    const { remarks } = await build('photos/list.txt', 'list.index');
    assert.match(remarks.join('\n'), /list\.index: 2 labels match no image of the index: they are kept/);
    list(...own, '../others/red/red 2.png');
    assert.deepEqual((await build('photos/list.txt', 'list.index')).remarks, []);
    assert.deepEqual(labelled('list.index'), { ...all, 'others/red/red 2.png': 'red 2' });
  });

  it('move to no image that has the old name of another, also if an update fails halfway', async () => {
    // below the new root, a/1.png has the name that a/a/1.png has below the old one
    await writeColourFolders(at('deep'), 3);
    for (const [name, from] of [
      ['a/1.png', 'red/red 0.png'],
      ['a/a/2.png', 'blue/blue 0.png'],
      ['a/a/1.png', 'green/green 0.png'],
      ['3.png', 'green/green 1.png'],
    ] as const) {
      mkdirSync(path.dirname(at('deep', name)), { recursive: true });
      copyFileSync(at('deep', from), at('deep', name));
    }
    const list = (...names: string[]) => writeFileSync(at('deep', 'a', 'list.txt'), names.join('\n'));
    list('1.png', 'a/1.png', 'a/2.png');
    await build('deep/a/list.txt', 'deep.index');
    label('deep.index', 'deep/a/a/1.png', 'deep/a/a/2.png');
    using index = ImageIndex.open(at('deep.index'));
    const files = [...index.images.keys()].map((row) => ({ path: index.pathOf(row) }));
    const { root } = index.manifest.images;
    const expected = { 'deep/a/a/1.png': '1', 'deep/a/a/2.png': '2' };
    assert.throws(
      () =>
        moveLabels(at('deep.index'), { from: root, to: at('deep'), files }, () => {
          throw new Error('the disk is full');
        }),
      /the disk is full/,
    );
    assert.deepEqual(labelled('deep.index'), expected);
    list('1.png', 'a/1.png', 'a/2.png', '../3.png');
    assert.deepEqual((await build('deep/a/list.txt', 'deep.index')).remarks, []);
    assert.deepEqual(labelled('deep.index'), expected);
  });
});
