/** Labels of an index's images: kept by path, by several processes at once, through updates, cuts and links. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
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
import { loadModel } from '../model.js';
import { buildIndex } from './build-index.js';
import { ImageIndex } from './image-index.js';
import { labelImages, labelsPath, readLabels } from './labels.js';

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
    assert.deepEqual(readLabels(index), { labels: new Map(), damaged: 0 });
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
