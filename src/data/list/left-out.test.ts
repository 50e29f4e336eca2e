/** What a source has besides the images of its list: it is counted and said, and no image is lost to its name. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { jpegOf, rawTar } from '../../testing/shards.js';
import { readImageFile } from '../read/read-image-file.js';
import { ImageReader } from '../read/image-reader.js';
import { writeShards } from '../write/write-shards.js';
import { LeftOutCounter, notesOf } from './left-out.js';
import { listImages } from './list-images.js';
import { PackedImages } from './packed-images.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-left-out-'));
process.env['XDG_CACHE_HOME'] = path.join(scratch, 'cache');
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);

function make(name: string, files: readonly (string | [string, Buffer])[]): string {
  mkdirSync(at(name), { recursive: true });
  for (const file of files) {
    const [relative, content] = typeof file === 'string' ? [file, Buffer.from('x')] : file;
    mkdirSync(path.dirname(at(name, relative)), { recursive: true });
    writeFileSync(at(name, relative), content);
  }
  return at(name);
}

const numbered = (count: number, extension: string) =>
  Array.from({ length: count }, (_, i) => `${i}${extension}`);

test('other files of a folder are counted by extension, hidden ones aside', async () => {
  const folder = make('photos', [
    ...numbered(5, '.jpg'),
    ...numbered(27, '.PSD').map((name) => `deep/er/${name}`),
    ...numbered(9, '.heic'),
    ...['.DS_Store', '.git/config', 'deep/._0.jpg'],
  ]);
  const { items, leftOut, remarks } = await listImages(folder);
  assert.equal(items.length, 5);
  assert.deepEqual(leftOut, { count: 36, byExtension: { '.psd': 27, '.heic': 9 } });
  assert.deepEqual(remarks, [`${folder}: 36 other files were left out (27 .psd, 9 .heic)`]);
  const one = await listImages(make('one', ['a.jpg', 'README']));
  assert.match(one.remarks[0]!, /1 other file was left out \(1 without an extension\)/);
  assert.deepEqual(await listImages(make('none', ['a.jpg'])).then(notesOf), {
    leftOut: { count: 0, byExtension: {} },
    remarks: [],
  });
});

test('extensions without end are counted, not listed', () => {
  const counter = new LeftOutCounter();
  for (let i = 0; i < 1000; i++) counter.add(`a.x${i}`);
  counter.add('IMG.0001');
  counter.add('no extension at all. really');
  const leftOut = counter.finish();
  assert.equal(leftOut.count, 1002);
  assert.ok(Object.keys(leftOut.byExtension).length <= 52);
});

test('notes of several lists: a source that is given twice counts once', async () => {
  const list = await listImages(make('twice', ['a.jpg', 'b.psd']));
  const other = await listImages(make('thrice', ['a.jpg', 'c.psd']));
  const { leftOut, remarks } = notesOf(list, list, other);
  assert.deepEqual(leftOut, { count: 2, byExtension: { '.psd': 2 } });
  assert.equal(remarks.length, 2);
});

test('shards beside images are left out with what to give instead', async () => {
  const jpeg = await jpegOf(1);
  const tar = rawTar([{ name: 'a.jpg', content: jpeg }]);
  const apart = make('repository', [
    'assets/preview.jpg',
    ['data/train-0.tar', tar],
    ['data/train-1.tar', tar],
  ]);
  const list = await listImages(apart);
  assert.deepEqual(list.leftOut, { count: 2, byExtension: { '.tar': 2 } });
  assert.match(
    list.remarks.join('\n'),
    /2 shards were left out because there are images beside them .*give \S*\/repository\/data$/,
  );
  assert.equal((await listImages(at('repository', 'data'))).items.length, 2);
  const beside = await listImages(make('mixed', ['preview.jpg', ['train-0.tar', tar]]));
  assert.match(beside.remarks.join('\n'), /1 shard was left out.* give '.*\/mixed\/\*\.tar'$/);
  assert.equal((await listImages(at('mixed', '*.tar'))).items.length, 1);
});

test('other files beside shards and within them are counted, our own are not', async () => {
  const jpeg = await jpegOf(1);
  await writeShards(make('source', [['a/1.jpg', jpeg], 'a/notes.txt']), { output: at('shards') });
  writeFileSync(at('shards', 'notes.md'), 'x');
  assert.deepEqual((await listImages(at('shards'))).leftOut, { count: 1, byExtension: { '.md': 1 } });
  const members = [
    { name: '1.jpg', content: jpeg },
    ...['2.psd', '3.psd', '4.txt', '._1.jpg'].map((name) => ({ name })),
  ];
  writeFileSync(at('loose.tar'), rawTar(members));
  for (const time of ['when scanned', 'from the index']) {
    const { items, leftOut, remarks } = await listImages(at('loose.tar'));
    assert.equal(items.length, 1);
    assert.deepEqual(leftOut, { count: 3, byExtension: { '.psd': 2, '.txt': 1 } }, time);
    assert.match(remarks.join('\n'), /loose\.tar: 3 other files were left out \(2 \.psd, 1 \.txt\)/);
  }
});

test('dino shard counts what the folder left out', async () => {
  const folder = make('to-shards', [['a.jpg', await jpegOf(2)], 'b.psd', 'c.jpg']);
  const { images, skipped, leftOut } = await writeShards(folder, { output: at('to-shards-out') });
  assert.deepEqual([images, skipped.length, leftOut.count], [2, 0, 1]);
});

test(
  'names that are not UTF-8 are counted and named, and their folders too',
  { skip: process.platform !== 'linux' },
  async () => {
    const folder = make('latin', ['a/1.jpg', 'b/\ufffd.jpg']);
    const named = (...parts: (string | Buffer)[]) =>
      Buffer.concat([`${folder}/`, ...parts].map((part) => Buffer.from(part)));
    const cafe = Buffer.from('caf\xe9', 'latin1');
    mkdirSync(named(cafe, '/deep'), { recursive: true });
    for (const file of ['/1.jpg', '/deep/2.jpg', '/deep/.hidden', '/3.txt'])
      writeFileSync(named(cafe, file), 'x');
    writeFileSync(named('a/', cafe, '.jpg'), 'x');
    const list = await listImages(folder);
    assert.deepEqual(
      list.items.map((item) => path.relative(folder, item.path)),
      ['a/1.jpg', 'b/\ufffd.jpg'],
    );
    assert.deepEqual(list.leftOut, { count: 4, byExtension: { '.jpg': 3, '.txt': 1 } });
    assert.equal(list.unreadable.length, 0);
    assert.match(
      list.remarks.join('\n'),
      /4 files were left out because their names or a folder's is not UTF-8 .*caf\\xe9.*convmv/,
    );
    await assert.rejects(listImages(make('latin-only', [])).then(), /no images/);
    mkdirSync(Buffer.concat([Buffer.from(`${at('latin-only')}/`), cafe]));
    writeFileSync(Buffer.concat([Buffer.from(`${at('latin-only')}/`), cafe, Buffer.from('/1.jpg')]), 'x');
    await assert.rejects(listImages(at('latin-only')), /no images.*not UTF-8 \(1 \.jpg\)/s);
  },
);

test('a file may be named like an image in a shard', async () => {
  const jpeg = await jpegOf(3);
  const folder = make('colons', [
    ['x.tar::y.jpg', jpeg],
    ['real.parquet::0.jpg', jpeg],
  ]);
  const { items } = await listImages(folder);
  const reader = new ImageReader(PackedImages.from(items));
  for (let i = 0; i < 2; i++) assert.ok(jpeg.equals(await reader.read(i)));
  reader.close();
  assert.ok(jpeg.equals(await readImageFile(at('colons', 'x.tar::y.jpg'))));
  writeFileSync(at('colons.txt'), 'colons/x.tar::y.jpg\n');
  const [item] = (await listImages(at('colons.txt'))).items;
  assert.ok(jpeg.equals(await readImageFile(item!.path)));
});

test('an index of ours among the images is not counted, nor is it a class', async () => {
  const manifest = Buffer.from('{\n  "format": "dino-index",\n  "version": 2\n}\n');
  const own = (folder: string): [string, Buffer][] =>
    [
      'images-3.jsonl',
      'skipped-3.jsonl',
      'features-3.safetensors',
      'vectors-3.usearch',
      'labels.jsonl',
      'lock',
    ].map((name) => [`${folder}/${name}`, Buffer.from('x')]);
  const folder = make('with-index', [
    ...['a/1.jpg', 'b/1.jpg', 'other/index.json', 'other/images-3.jsonl'],
    ['photos.index/index.json', manifest],
    ...own('photos.index'),
    ['a/deep.index/index.json', manifest],
    ...own('a/deep.index'),
    'a/deep.index/notes.txt',
    'a/deep.index/picture.jpg',
  ]);
  const list = await listImages(folder);
  assert.equal(list.items.length, 3);
  assert.deepEqual(list.leftOut, { count: 3, byExtension: { '.json': 1, '.jsonl': 1, '.txt': 1 } });
  assert.deepEqual(list.remarks, [
    `${folder}: 3 other files were left out (1 .json, 1 .jsonl, 1 .txt)`,
    `${folder}: 1 folder has no images and is not a class: other`,
  ]);
});

test('folders without images beside class folders are named: they are not classes', async () => {
  const folder = make('classes', ['a/1.jpg', 'b/deep/1.jpg', 'c/1.psd', 'c/2.psd']);
  const list = await listImages(folder);
  assert.deepEqual(list.classes, ['a', 'b']);
  assert.deepEqual(list.remarks, [
    `${folder}: 2 other files were left out (2 .psd)`,
    `${folder}: 1 folder has no images and is not a class: c`,
  ]);
  // no classes, nothing to miss
  assert.equal((await listImages(make('no-classes', ['1.jpg', 'c/1.psd']))).remarks.length, 1);
});

test("folders of trainings below the root are left out and named; a model's folder is not one", async () => {
  const images = ['a/1.jpg', 'b/1.jpg'];
  const run = (name: string) => [`${name}/config.json`, `${name}/watch/cat-1/image.png`];
  const folder = make('trained', [
    ...images,
    ...[...run('runs/one'), 'runs/one/checkpoints/latest'],
    ...[...run('b/two'), 'b/two/images.jsonl.gz'],
  ]);
  const list = await listImages(folder);
  assert.deepEqual(list.classes, ['a', 'b']);
  assert.equal(list.fingerprint, (await listImages(make('untrained', images))).fingerprint);
  assert.deepEqual(list.remarks, [`${folder}: 2 folders of trainings were left out: b/two, runs/one`]);

  const only = path.join(folder, 'runs');
  await assert.rejects(listImages(only), (error: Error) => {
    assert.match(error.message, /no images in .*\n.*1 folder of a training was left out: one/);
    return true;
  });
  // asked for by itself, it has the pictures
  assert.equal((await listImages(path.join(only, 'one'))).items.length, 1);
  assert.equal((await listImages(make('model', ['1.jpg', ...run('model')]))).items.length, 2);
});

test('only labelled images: those beside class folders, and in shards those in no folder, are left out and named', async () => {
  const files = ['cats/1.jpg', 'cats/2.jpg', 'dogs/1.jpg', 'preview.jpg'];
  const folder = make('stray', files);
  assert.equal((await listImages(folder)).classes, null);
  const list = await listImages(folder, { onlyLabelled: true });
  assert.deepEqual(list.classes, ['cats', 'dogs']);
  assert.equal(list.items.length, 3);
  assert.deepEqual(list.leftOut, { count: 1, byExtension: { '.jpg': 1 } });
  assert.match(
    list.remarks.join('\n'),
    /1 image beside the class folders has no label and was left out \(preview\.jpg\)/,
  );
  // the fingerprint is that of the folder without it
  assert.equal(list.fingerprint, (await listImages(make('clean', files.slice(0, 3)))).fingerprint);

  const content = await jpegOf(4);
  writeFileSync(at('stray.tar'), rawTar(files.map((name) => ({ name, content }))));
  assert.equal((await listImages(at('stray.tar'))).classes, null);
  const shard = await listImages(at('stray.tar'), { onlyLabelled: true });
  assert.deepEqual(shard.classes, ['cats', 'dogs']);
  assert.deepEqual(
    shard.items.map((item) => item.label),
    [0, 0, 1],
  );
  assert.match(
    shard.remarks.join('\n'),
    /1 of 4 images has no label and was left out.*stray\.tar::preview\.jpg/,
  );
  assert.ok(content.equals(await new ImageReader(PackedImages.from(shard.items)).read(2)));
});
