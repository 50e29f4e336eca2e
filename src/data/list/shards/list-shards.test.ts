/** Lists of shards: patterns, the index and when it is rebuilt, labels, and shards that are damaged. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { decodeImage } from '../../read/decode.js';
import { ImageReader } from '../../read/image-reader.js';
import { listImages, listShardSource } from '../list-images.js';
import { PackedImages } from '../packed-images.js';
import { readIndex, writeIndex } from './index-file.js';
import { checkOneSplit, expandBraces } from './pattern.js';
import { jpegOf, rawTar } from '../../../testing/shards.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-shards-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);
process.env['XDG_CACHE_HOME'] = at('cache');

let jpeg: Buffer;
before(async () => {
  jpeg = await jpegOf(1);
});

/** A folder of tar shards; each is a list of names, with a label after a colon. */
function shards(folder: string, contents: Record<string, string[]>): string {
  mkdirSync(at(folder), { recursive: true });
  for (const [file, samples] of Object.entries(contents)) {
    const members = samples.flatMap((sample) => {
      const [name, label] = sample.split(':') as [string, string?];
      const cls = { name: name.replace(/\.\w+$/, '.cls'), content: label ?? '' };
      return label === undefined ? [{ name, content: jpeg }] : [cls, { name, content: jpeg }];
    });
    writeFileSync(at(folder, file), rawTar(members));
  }
  return at(folder);
}

const rejects = (source: string, ...patterns: RegExp[]) =>
  assert.rejects(listImages(source), (error: Error) => {
    assert.equal(error.name, 'DataError');
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });

const names = (list: { items: Iterable<{ path: string }> }) =>
  [...list.items].map((item) => path.relative(scratch, item.path));

test('braces mean what they do in a shell', () => {
  assert.deepEqual(expandBraces('s-{08..11}.tar'), ['s-08.tar', 's-09.tar', 's-10.tar', 's-11.tar']);
  assert.deepEqual(expandBraces('s-{9..11}.tar'), ['s-9.tar', 's-10.tar', 's-11.tar']);
  assert.deepEqual(expandBraces('{b,a}/{1..0}.tar'), ['b/1.tar', 'b/0.tar', 'a/1.tar', 'a/0.tar']);
  assert.deepEqual(expandBraces('{x}.tar'), ['{x}.tar']);
  assert.throws(() => expandBraces('{0..99999999}.tar'), /100000000 shards/);
});

test('a folder, one shard, braces and asterisks', async () => {
  const folder = shards('plain', { 'b-1.tar': ['3.jpg'], 'b-0.tar': ['1.jpg', '2.jpg'], 'c.tar': ['4.jpg'] });
  writeFileSync(at('plain', 'readme.md'), 'x');
  const all = ['plain/b-0.tar::1.jpg', 'plain/b-0.tar::2.jpg', 'plain/b-1.tar::3.jpg', 'plain/c.tar::4.jpg'];
  assert.deepEqual(names(await listImages(folder)), all);
  assert.deepEqual(names(await listImages(at('plain', 'c.tar'))), all.slice(3));
  assert.deepEqual(names(await listImages(`${folder}/b-{1..0}.tar`)), [all[2], all[0], all[1]]);
  assert.deepEqual(names(await listImages(`${folder}/b-?.tar`)), all.slice(0, 3));
  // as a shell would name it, twice; it is one shard
  assert.deepEqual(names(await listImages(`${folder}/{b-1,b-?,c}.tar`)), [all[2], all[0], all[1], all[3]]);
  const list = await listImages(`${folder}/*.tar`);
  assert.deepEqual(names(list), all);
  assert.deepEqual(names(await listImages(list.source)), all);
  assert.equal(list.classes, null);
  await rejects(
    `${folder}/b-{0..9}.tar`,
    /8 of 10 shards can't be read/,
    /b-2.tar: no such file/,
    /and 3 more/,
  );
  await rejects(`${folder}/d-*.tar`, /names no shards/);
  await rejects(`${folder}/d.tar.gz`, /compressed/, /Unpack it/);
});

test('images in a folder come before shards', async () => {
  const folder = shards('mixed', { 'old.tar': ['1.jpg'] });
  writeFileSync(at('mixed', 'new.jpg'), jpeg);
  assert.deepEqual(names(await listImages(folder)), ['mixed/new.jpg']);
});

test('splits of a data set are not mixed', async () => {
  const folder = shards('splits', {
    'data-train-00000-of-00002.tar': ['1.jpg'],
    'data-val-00000-of-00001.tar': ['2.jpg'],
  });
  await rejects(folder, /shards of train, validation/, /data-train-\*\.tar/);
  assert.deepEqual(names(await listImages(`${folder}/data-train-*.tar`)), [
    'splits/data-train-00000-of-00002.tar::1.jpg',
  ]);
  checkOneSplit('/train', ['/train/constraint-1.tar', '/train/x.tar']);
});

test('labels: numbers, names, folders, and none', async () => {
  const labelsOf = async (folder: string) => {
    const list = await listImages(folder);
    return [list.classes, list.items.map((item) => item.label)];
  };
  assert.deepEqual(
    await labelsOf(shards('numbers', { '0.tar': ['a.jpg:2', 'b.jpg:0'], '1.tar': ['c.jpg'] })),
    [
      ['0', '1', '2'],
      [2, 0, null],
    ],
  );
  assert.deepEqual(
    await labelsOf(
      shards('texts', { '0.tar': ['a.jpg:dog', 'b.jpg:cat'], '1.tar': ['c.jpg:ant', 'd.jpg:dog'] }),
    ),
    [
      ['ant', 'cat', 'dog'],
      [2, 1, 0, 2],
    ],
  );
  assert.deepEqual(
    await labelsOf(shards('both', { '0.tar': ['a.jpg:dog'], '1.tar': ['c.jpg:5', 'x/d.jpg:5'] })),
    [
      ['5', 'dog'],
      [1, 0, 0],
    ],
  );
  assert.deepEqual(
    await labelsOf(shards('folders', { '0.tar': ['n2/a.jpg', 'n1/b.jpg'], '1.tar': ['n1/c.jpg'] })),
    [
      ['n1', 'n2'],
      [1, 0, 0],
    ],
  );
  assert.deepEqual(
    await labelsOf(shards('some', { '0.tar': ['n2/a.jpg', 'n1/b.jpg:3'], '1.tar': ['n1/c.jpg'] })),
    [
      ['0', '1', '2', '3'],
      [null, 3, null],
    ],
  );
  assert.deepEqual(await labelsOf(shards('loose', { '0.tar': ['n2/a.jpg'], '1.tar': ['c.jpg'] })), [
    null,
    [null, null],
  ]);
});

test('the index is made once, and again for shards that have changed', async () => {
  const folder = shards('indexed', { '0.tar': ['a.jpg:1', 'b.jpg:0'], '1.tar': ['c.jpg:1'], '2.tar': [] });
  const first = await listShardSource(folder);
  assert.equal(first.index.scanned, 3);
  assert.equal(path.dirname(first.index.file!), folder);
  const again = await listShardSource(folder);
  assert.equal(again.index.scanned, 0);
  assert.deepEqual([...again.items], [...first.items]);
  assert.equal(again.fingerprint, first.fingerprint);
  assert.deepEqual(again.classes, ['0', '1']);
  assert.ok(again.items instanceof PackedImages);
  assert.deepEqual(again.items.place(2), (first.items as PackedImages).place(2));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('partial')),
    [],
  );

  shards('indexed', { '1.tar': ['c.jpg:1', 'd.jpg:5'] });
  const changed = await listShardSource(folder);
  assert.equal(changed.index.scanned, 1);
  assert.deepEqual(
    changed.items.map((item) => item.label),
    [1, 0, 1, 5],
  );
  assert.notEqual(changed.fingerprint, first.fingerprint);
  // another time of change is enough
  utimesSync(at('indexed', '0.tar'), 1, 1);
  assert.equal((await listShardSource(folder)).index.scanned, 1);
  assert.equal((await listShardSource(folder)).index.scanned, 0);
});

test('an index that is damaged, of another version or cut off is rebuilt', async () => {
  const folder = shards('damaged', { '0.tar': ['a.jpg', 'b.jpg'] });
  const first = await listShardSource(folder);
  const file = first.index.file!;
  const good = readFileSync(file);
  const version = Buffer.from(good);
  version[7] = 99;
  const header = Buffer.from(good);
  header.fill(32, 12, 40);
  for (const [what, bytes] of [
    ['version', version],
    ['header', header],
    ['cut off', good.subarray(0, good.length - 8)],
    ['longer', Buffer.concat([good, Buffer.alloc(8)])],
    ['empty', Buffer.alloc(0)],
  ] as const) {
    writeFileSync(file, bytes);
    const list = await listShardSource(folder);
    assert.equal(list.index.scanned, 1, what);
    assert.deepEqual([...list.items], [...first.items]);
    assert.ok(readFileSync(file).equals(good), what);
  }
});

test('damaged names and places in an index are reported, not followed', async () => {
  const folder = shards('rotten', { '0.tar': ['a.jpg', 'b.jpg'] });
  const { file } = (await listShardSource(folder)).index;
  const bytes = readFileSync(file!);
  const arrays = Math.ceil((12 + bytes.readUInt32LE(8)) / 8) * 8; // where the header ends
  const rotten = Buffer.from(bytes);
  rotten.fill(0xff, arrays, arrays + 8);
  writeFileSync(file!, rotten);
  const { items } = await listImages(folder);
  assert.throws(() => items.at(1), /index of the shards is damaged: delete/);
  const lengths = Buffer.from(bytes);
  lengths.fill(0xff, bytes.length - 8);
  writeFileSync(file!, lengths);
  const reader = new ImageReader((await listImages(folder)).items as PackedImages);
  await assert.rejects(reader.read(1), /beyond the end of the shard/);
  reader.close();
});

test(
  'a folder that can’t be written to: the index is kept in the cache',
  { skip: process.getuid?.() === 0 },
  async () => {
    const folder = shards('locked', { '0.tar': ['a.jpg'] });
    chmodSync(folder, 0o555);
    const list = await listShardSource(folder);
    chmodSync(folder, 0o755);
    assert.ok(list.index.file!.startsWith(at('cache')));
    assert.equal((await listShardSource(folder)).index.scanned, 0);
  },
);

test('a cut-off shard among good ones: what can be read is listed, the rest reported, also from the index', async () => {
  const folder = shards('cut', { '0.tar': ['a.jpg', 'b.jpg'], '1.tar': ['c.jpg'] });
  truncateSync(at('cut', '0.tar'), statSync(at('cut', '0.tar')).size - 1024 - 300);
  writeFileSync(at('cut', '2.tar'), 'no archive at all');
  for (const scanned of [3, 0]) {
    const list = await listShardSource(folder);
    assert.equal(list.index.scanned, scanned);
    assert.deepEqual(names(list), ['cut/0.tar::a.jpg', 'cut/1.tar::c.jpg']);
    assert.deepEqual(
      list.unreadable.map(({ path: file, offset }) => [path.basename(file), offset]),
      [
        ['0.tar', 512 + Math.ceil(jpeg.length / 512) * 512],
        ['2.tar', 0],
      ],
    );
    assert.match(list.unreadable[0]!.reason, /^b.jpg: \d+ bytes are announced, \d+ are there/);
  }
  writeFileSync(at('cut-all.tar'), 'no archive');
  await rejects(
    at('cut-all.tar'),
    /There are no images in .*cut-all.tar/,
    /cut-all.tar at byte 0: is shorter/,
  );
});

test('images with the same names and other sizes have another fingerprint', async () => {
  const one = await listImages(shards('print-1', { '0.tar': ['a.jpg', 'b.jpg'] }));
  const same = await listImages(shards('print-2', { '0.tar': ['a.jpg'], '1.tar': ['b.jpg'] }));
  assert.equal(one.fingerprint, same.fingerprint);
  jpeg = await jpegOf(2, 50, 50);
  const other = await listImages(shards('print-3', { '0.tar': ['a.jpg', 'b.jpg'] }));
  assert.notEqual(one.fingerprint, other.fingerprint);
});

test('an image of a shard is read by its path, unless the shard has changed', async () => {
  const folder = shards('read', { '0.tar': ['a.jpg', 'x/b.jpg'] });
  const list = await listImages(folder);
  const decoded = await decodeImage(list.items.at(1)!.path);
  const direct = await decodeImage(jpeg);
  assert.deepEqual(decoded, direct);
  await assert.rejects(decodeImage(`${folder}/0.tar::c.jpg`), /no image of this name/);
  await assert.rejects(decodeImage(`${folder}/9.tar::c.jpg`), /no such file/);
  const reader = new ImageReader(list.items as PackedImages);
  assert.ok(jpeg.equals(await reader.read(0)));
  reader.close();
  appendFileSync(at('read', '0.tar'), 'more');
  const later = new ImageReader(list.items as PackedImages);
  await assert.rejects(later.read(0), /has changed since its index was made/);
});

test('more shards than may be open at once', async () => {
  const folder = shards(
    'many',
    Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`${100 + i}.tar`, [`${i}.jpg`]])),
  );
  const { items } = await listImages(folder);
  const reader = new ImageReader(items as PackedImages);
  const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);
  const before = openFiles();
  for (let round = 0; round < 2; round++) {
    const read = await Promise.all(Array.from({ length: 80 }, (_, i) => reader.read(i)));
    assert.ok(read.every((bytes) => jpeg.equals(bytes)));
  }
  assert.ok(openFiles() - before <= 32);
  reader.close();
  assert.equal(openFiles(), before);
});

test('a damaged description is reported', async () => {
  const folder = shards('described', { '0.tar': ['a.jpg:0'] });
  copyFileSync(at('described', '0.tar'), at('described', 'dino-shards.json'));
  await rejects(folder, /dino-shards.json can't be read/, /names the classes/);
});

test('a forged index is not believed', async () => {
  const folder = shards('forged', { 'a.tar': ['1.jpg:0', '2.jpg:1'] });
  const list = await listShardSource(folder);
  assert.deepEqual(list.classes, ['0', '1']);
  const file = list.index.file!;
  const bytes = statSync(at('forged', 'a.tar')).size;
  const stored = readIndex(file, folder, { bytes, isOwn: false })!;
  const { offsets, lengths, labels } = stored.images.shared;
  const changed = (view: Float64Array | Uint32Array | Int32Array, value: number): void => {
    const before = view[1]!;
    view[1] = value;
    writeIndex(file, folder, stored);
    view[1] = before;
  };
  // a class with that number would need as many names
  changed(new Int32Array(labels!), 2_000_000_000);
  assert.equal((await listShardSource(folder)).index.scanned, 1);
  assert.deepEqual((await listShardSource(folder)).classes, ['0', '1']);
  for (const [view, value] of [
    [new Float64Array(offsets!), -1000],
    [new Float64Array(offsets!), NaN],
    [new Float64Array(offsets!), 1e15],
    [new Uint32Array(lengths!), 4_000_000_000],
  ] as const) {
    changed(view, value);
    const { items } = await listImages(folder);
    const reader = new ImageReader(items as PackedImages);
    await assert.rejects(reader.read(1), /its place lies beyond the end of the shard/);
    assert.deepEqual(Buffer.from(await reader.read(0)), jpeg);
    reader.close();
  }
});

test('a member that is far larger than an image is listed with its reason, and none of it is read', async () => {
  mkdirSync(at('sparse'));
  const size = 700 * 2 ** 20;
  const start = rawTar(
    [
      { name: '1.jpg', content: jpeg },
      { name: '2.jpg', size, content: '' },
    ],
    false,
  );
  writeFileSync(at('sparse', 'a.tar'), start);
  truncateSync(at('sparse', 'a.tar'), start.length + size + 1024);
  const { items } = await listImages(at('sparse'));
  assert.equal(items.length, 2);
  const reader = new ImageReader(items as PackedImages);
  await assert.rejects(reader.read(1), /734003200 bytes, more than/);
  reader.close();
});

test('scanning ends at the next shard when it is aborted, and writes no index', async () => {
  const names = Array.from({ length: 40 }, (_, i) => `${i}.tar`);
  const source = shards('aborted', Object.fromEntries(names.map((name) => [name, ['a.jpg']])));
  const controller = new AbortController();
  let scanned = 0;
  const onProgress = (done: number): void => {
    scanned = done;
    controller.abort(new Error('stopped'));
  };
  await assert.rejects(listShardSource(source, { onProgress, signal: controller.signal }), /stopped/);
  assert.ok(scanned < names.length, String(scanned));
  assert.ok(!readdirSync(source).some((name) => name.startsWith('dino-index')));
});
