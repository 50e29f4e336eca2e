/** Labelled lists: what has no label is left out and named, and classes match whatever machine wrote their names. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { listImages } from '../data/index.js';
import { labelledPair } from './labelled.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-labelled-'));
after(() => rmSync(scratch, { recursive: true }));

function make(name: string, files: readonly string[]): string {
  for (const file of files) {
    const place = path.join(scratch, name, file);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, 'x');
  }
  return path.join(scratch, name);
}

test('a stray image beside the class folders, and other files, are left out and named', async () => {
  const folder = make('stray', ['a/1.jpg', 'b/1.jpg', 'preview.jpg', 'b/2.heic']);
  const { train, inTrain, leftOut, remarks } = await labelledPair(folder, folder);
  assert.deepEqual([train.classes, train.items.length, inTrain], [['a', 'b'], 2, [0, 1]]);
  assert.equal(leftOut.count, 2);
  assert.match(remarks.join('\n'), /1 other file was left out \(1 \.heic\)\n.*preview\.jpg/);
  const list = await listImages(folder);
  await assert.rejects(
    labelledPair(list, list),
    /1 of its 3 images is not in a class folder, for example .*preview\.jpg/,
  );
  const labelled = await listImages(folder, { onlyLabelled: true });
  assert.equal((await labelledPair(labelled, folder)).val.items.length, 2);
  await assert.rejects(labelledPair(make('flat', ['1.jpg']), folder), /flat \(--train\) has no labels/);
});

test('items of a list without labels are left out', async () => {
  const list = await listImages(make('items', ['a/1.jpg', 'b/1.jpg']));
  const items = [...list.items, { path: path.join(list.root, 'c.jpg'), label: null }];
  const { train, remarks } = await labelledPair({ ...list, items }, list);
  assert.equal(train.items.length, 2);
  assert.match(
    remarks.join('\n'),
    /1 of 3 images has no label and was left out because labels are needed here: .*c\.jpg/,
  );
});

test('class names that differ in Unicode composition alone match, with a remark', async () => {
  const train = make('composed', ['caf\u00e9/1.jpg', 'tea/1.jpg']);
  const val = make('decomposed', ['cafe\u0301/1.jpg', 'tea/1.jpg']);
  const { inTrain, val: list, remarks } = await labelledPair(train, val);
  assert.deepEqual(
    inTrain.map((number, i) => [list.classes[i], number]),
    [
      ['cafe\u0301', 0],
      ['tea', 1],
    ],
  );
  assert.match(remarks.join('\n'), /1 of 2 class names of .* are composed differently .*NFC and NFD/);
  // where both are there, each is its own
  const both = make('both', ['caf\u00e9/1.jpg', 'cafe\u0301/1.jpg']);
  assert.deepEqual((await labelledPair(both, both)).inTrain, [0, 1]);
  assert.deepEqual((await labelledPair(both, both)).remarks, []);
  await assert.rejects(
    labelledPair(train, make('unknown', ['caf\u00ea/1.jpg'])),
    /classes that .* lacks: caf\u00ea/,
  );
});
