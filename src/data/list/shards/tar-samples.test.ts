/** No image of a tar is lost to the dots in its name, to labels that stand elsewhere, or to where an archive ends. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { jpegOf, rawTar, writeImages } from '../../../testing/shards.js';
import { ImageReader } from '../../read/image-reader.js';
import { readImageFile } from '../../read/read-image-file.js';
import { writeShards } from '../../write/write-shards.js';
import type { ImageList } from '../image-list.js';
import { listImages, listShardSource } from '../list-images.js';
import { PackedImages } from '../packed-images.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-samples-'));
process.env['XDG_CACHE_HOME'] = path.join(scratch, 'cache');
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);

let jpegs: Buffer[];
before(async () => {
  jpegs = await Promise.all(Array.from({ length: 8 }, (_, i) => jpegOf(i)));
});

type Member = string | [name: string, content: string | Buffer];

/** An archive of images and, with their contents, other members. */
function archive(members: readonly Member[], end = true): Buffer {
  let next = 0;
  return rawTar(
    members.map((member) =>
      typeof member === 'string'
        ? { name: member, content: jpegs[next++ % jpegs.length]! }
        : { name: member[0], content: member[1] },
    ),
    end,
  );
}

async function list(
  name: string,
  bytes: Buffer,
): Promise<ImageList & { names: string[]; labels: (number | null)[] }> {
  writeFileSync(at(name), bytes);
  const found = await listImages(at(name));
  return {
    ...found,
    names: found.items.map((item) => item.path.slice(at(name).length + 2)),
    labels: found.items.map((item) => item.label),
  };
}

const range = (count: number, name: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => name(i));

test('names with dots: every image is listed, in the order of the archive', async () => {
  const names = [
    ...range(3, (i) => `photos/IMG.00${i}.jpg`),
    ...range(3, (i) => `scan-2021.03.0${i}.jpg`),
    ...['a.jpg', 'a.png', 'a.b.c.d.jpg', 'b..jpg', 'c.JPG.jpeg'],
  ];
  const found = await list('dots.tar', archive(names));
  assert.deepEqual(found.names, names);
  assert.equal(found.leftOut.count, 0);
  const reader = new ImageReader(PackedImages.from(found.items));
  for (let i = 0; i < names.length; i++)
    assert.ok(jpegs[i % jpegs.length]!.equals(await reader.read(i)), names[i]);
  reader.close();
});

test(
  'a folder that tar packs has the images and classes of the folder',
  { skip: spawnSync('tar', ['--version']).status !== 0 },
  async () => {
    const names = [
      'cats/v1.0.jpg',
      'cats/v1.1.jpg',
      'cats/v1.2.jpg',
      'dogs/v1.0.jpg',
      'dogs/IMG.1.jpg',
      'dogs/plain.jpg',
    ];
    await writeImages(at('animals'), names);
    execFileSync('tar', ['-cf', at('animals.tar'), '-C', at('animals'), 'cats', 'dogs']);
    const [folder, tar] = [await listImages(at('animals')), await listImages(at('animals.tar'))];
    assert.deepEqual(tar.classes, folder.classes);
    const told = ({ items }: ImageList, from: string) =>
      items.map(({ path: name, label }) => `${name.slice(from.length)} ${label}`).sort();
    assert.deepEqual(told(tar, `${at('animals.tar')}::`), told(folder, `${at('animals')}/`));
    // and through shards of ours and back
    const { images, fingerprint } = await writeShards(at('animals'), { output: at('animal-shards') });
    assert.deepEqual([images, fingerprint], [6, folder.fingerprint]);
  },
);

test('hidden folders, and what lies in them, are no images, classes or labels, as in a folder', async () => {
  const found = await list(
    'hidden.tar',
    archive([
      ...['./cats/1.jpg', './.thumbs/1.jpg', 'cats/.ipynb_checkpoints/1-checkpoint.jpg', 'dogs/1.jpg'],
      ['.labels/1.cls', '7'],
      ['dogs/.more/1.cls', '8'],
      ['.old/more.tar', archive(['birds/1.jpg'])],
      ...['.old/readme.txt', 'dogs/.hidden/noending', '..more/1.jpg', 'dogs/2.jpg'],
    ] as Member[]),
  );
  assert.deepEqual(found.names, ['cats/1.jpg', 'dogs/1.jpg', 'dogs/2.jpg']);
  assert.deepEqual(
    [found.classes, found.labels],
    [
      ['cats', 'dogs'],
      [0, 1, 1],
    ],
  );
  assert.deepEqual([found.leftOut.count, found.remarks, found.unreadable], [0, [], []]);
});

test('labels belong to the images whose names begin with theirs, the longest first', async () => {
  const { labels, leftOut, remarks } = await list(
    'sidecars.tar',
    archive([
      ...[
        'IMG.001.jpg',
        ['IMG.001.cls', '1'],
        'IMG.002.jpg',
        ['IMG.002.cls', '2'],
        ['IMG.cls', '0'],
        'IMG.003.jpg',
      ],
      ...[
        'x.jpg',
        ['x.jpg.json', '{"label": 3}'],
        'y.left.jpg',
        'y.right.jpg',
        ['y.json', '{"cls": 4}'],
        ['y.cls', '5'],
      ],
      ...['key.jpg', 'key.seg.png', ['key.cls', '6']],
    ] as Member[]),
  );
  assert.deepEqual(labels, [1, 2, 0, 3, 5, 5, 6, 6]);
  assert.equal(leftOut.count, 0);
  assert.deepEqual(remarks, [
    `${at('sidecars.tar')}: 1 image shares its key with another image (for example key.seg.png): each counts as an image, masks too`,
  ]);
});

test('labels that stand apart are found by their names in the shard; those of no image are counted', async () => {
  const images = range(4, (i) => `${i}.jpg`);
  const classes = range(5, (i) => `${i}.cls`).map((name, i): Member => [name, String(i % 2)]);
  const found = await list('apart.tar', archive([...images, ...classes]));
  assert.deepEqual(found.labels, [0, 1, 0, 1]);
  assert.deepEqual(found.leftOut, { count: 1, byExtension: { '.cls': 1 } });
  const before = await list('before.tar', archive([...classes.slice(0, 4), ...images]));
  assert.deepEqual(before.labels, [0, 1, 0, 1]);
  const json = await list(
    'json.tar',
    archive(['a.0.jpg', 'b.1.jpg', ['a.0.json', '{"label":"cat"}'], ['b.json', '{"label":"dog"}']]),
  );
  assert.deepEqual(
    [json.classes, json.labels],
    [
      ['cat', 'dog'],
      [0, 1],
    ],
  );
  assert.deepEqual((await listImages(at('json.tar'))).classes, ['cat', 'dog']); // from the index
});

// comparing each with each would take minutes
test('many labels and images of one name are matched at once', { timeout: 60_000 }, async () => {
  const count = 40_000;
  const members = [
    ...Array.from({ length: count }, () => ({ name: '0.jpg' })),
    ...Array.from({ length: count }, () => ({ name: '0.cls', content: '1' })),
  ];
  const found = await list('thousands.tar', rawTar(members));
  assert.equal(found.labels.filter((label) => label === 1).length, count);
});

test('archives that follow one another are read to the end, each with its own labels', async () => {
  const one = archive(['0.jpg', '1.jpg', ['0.cls', '1'], ['1.cls', '2']]);
  const two = archive(['0.jpg', ['0.cls', '3'], '1.jpg']);
  const padded = Buffer.concat([one, Buffer.alloc(20 * 512)]);
  const found = await list('cat.tar', Buffer.concat([padded, two]));
  assert.deepEqual(found.names, ['0.jpg', '1.jpg', '0~2.jpg', '1~2.jpg']);
  assert.deepEqual(found.labels, [1, 2, 3, 2]);
  assert.deepEqual(found.unreadable, []);
  const apart = await list(
    'images-and-labels.tar',
    Buffer.concat([archive(['0.jpg']), archive([['0.cls', '7']])]),
  );
  assert.deepEqual(apart.labels, [7]);
  const differing = await list(
    'differing.tar',
    Buffer.concat([archive(['0.jpg']), archive([['0.cls', '7']]), archive([['0.cls', '8']])]),
  );
  assert.deepEqual(differing.labels, [null]);
  assert.deepEqual(differing.unreadable, []);
  assert.match(
    differing.remarks[0]!,
    /1 image has labels that contradict each other \(for example 0\.jpg\): none of them is used/,
  );
  const cut = await list('cat-cut.tar', Buffer.concat([one, two.subarray(0, 700)]));
  assert.deepEqual(cut.names, ['0.jpg', '1.jpg']);
  assert.match(cut.unreadable[0]!.reason, /^0\.jpg: .*cut off/);
  const junk = await list('junk.tar', Buffer.concat([one, Buffer.alloc(600, 9)]));
  assert.match(junk.unreadable[0]!.reason, /what follows the end-of-archive mark is not an archive/);
  const zeros = await list('zeros.tar', Buffer.concat([one, Buffer.alloc(2 ** 24 + 2048), two]));
  assert.match(zeros.unreadable[0]!.reason, /more than 16777216 zeros/);
});

test('an archive of archives is read as folders of their names, as ImageNet’s is laid out', async () => {
  const [cats, dogs] = [archive(['n1_0.JPEG', 'n1_1.JPEG']), archive(['n2_0.JPEG'])];
  const found = await list(
    'imagenet.tar',
    archive([
      ['n1.tar', cats],
      ['n2.tar', dogs],
    ]),
  );
  assert.deepEqual(found.names, ['n1/n1_0.JPEG', 'n1/n1_1.JPEG', 'n2/n2_0.JPEG']);
  assert.deepEqual(
    [found.classes, found.labels],
    [
      ['n1', 'n2'],
      [0, 0, 1],
    ],
  );
  assert.match(
    found.remarks.join('\n'),
    /it holds 2 archives \(for example n1\.tar\): their images are read/,
  );
  assert.ok(jpegs[1]!.equals(await readImageFile(`${at('imagenet.tar')}::n1/n1_1.JPEG`)));

  const shard = archive(['0.jpg', ['0.cls', '3']]);
  assert.deepEqual(
    (
      await list(
        'shards.tar',
        archive([
          ['s0.tar', shard],
          ['s1.tar', shard],
        ]),
      )
    ).labels,
    [3, 3],
  );
  let deep = cats;
  for (const name of ['a.tar', 'b.tar', 'c.tar', 'd.tar']) deep = archive([[name, deep], 'x.jpg']);
  const nested = await list('deep.tar', deep);
  assert.match(nested.unreadable.map(({ reason }) => reason).join('\n'), /an archive within 3 others/);
  assert.equal(nested.items.length, 4);
  const bad = await list(
    'bad.tar',
    archive([
      ['n1.tar', 'no archive'.repeat(60)],
      ['n2.tar', cats.subarray(0, 900)],
      ['n3.tar.gz', 'x'],
      'x.jpg',
    ]),
  );
  assert.deepEqual(
    bad.unreadable.map(({ reason }) => reason.replace(/\d+/g, '#')),
    [
      'n#.tar: is not a tar archive',
      'n#.tar: n#_#.JPEG: # bytes are announced, # are there: the archive is cut off or damaged',
    ],
  );
  assert.deepEqual(bad.leftOut.byExtension, { '.gz': 1 });
});

test('names that are not UTF-8 stay apart', async () => {
  const bytes = archive(['A/1.jpg', 'B/1.jpg']);
  for (const [letter, byte] of [
    ['A', 0xe9],
    ['B', 0xe8],
  ] as const) {
    const header = bytes.indexOf(`${letter}/1.jpg`);
    bytes[header] = byte;
    const sum = bytes
      .subarray(header, header + 512)
      .reduce((all, one, i) => all + (i >= 148 && i < 156 ? 32 : one), 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, header + 148, 'latin1');
  }
  assert.deepEqual((await list('latin.tar', bytes)).classes, ['è', 'é']);
});

test('an index of the first version, which may lack images, is not used', async () => {
  await list('old.tar', archive(['a.0.jpg', 'a.1.jpg']));
  const { index } = await listShardSource(at('old.tar'));
  assert.equal(index.scanned, 0);
  const bytes = readFileSync(index.file!);
  assert.equal(bytes.toString('latin1', 0, 8), 'DINOIDX\x04');
  bytes[7] = 1;
  writeFileSync(index.file!, bytes);
  assert.equal((await listShardSource(at('old.tar'))).index.scanned, 1);
});

test('images of one name, in joined archives or added later, have names of their own and are all found', async () => {
  const joined = Buffer.concat([
    archive([['d/0.cls', '3'], 'd/0.jpg', '1.jpg', '0~2.jpg'], false),
    archive(['0.jpg', 'd/0.jpg', ['d/0.cls', '4'], '1.jpg', 'd/0.jpg', '0.jpg']),
  ]);
  const found = await list('one-name.tar', joined);
  const names = ['d/0.jpg', '1.jpg', '0~2.jpg', '0.jpg', 'd/0~2.jpg', '1~2.jpg', 'd/0~3.jpg', '0~3.jpg'];
  assert.deepEqual(found.names, names);
  assert.deepEqual(
    found.labels.map((label) => (label === null ? null : found.classes![label])),
    ['3', null, null, null, '4', null, null, null],
  );
  const remark = `${at('one-name.tar')}: 4 images have the name of another one of the same shard (for example d/0.jpg, as d/0~2.jpg): each counts as an image, under a name of its own`;
  assert.deepEqual(found.remarks, [remark]);
  const content = async (name: string): Promise<number> => {
    const bytes = Buffer.from(await readImageFile(`${at('one-name.tar')}::${name}`));
    return jpegs.findIndex((jpeg) => jpeg.equals(bytes));
  };
  // archive() begins anew with the first picture
  assert.deepEqual(await Promise.all(names.map(content)), [0, 1, 2, 0, 1, 2, 3, 4]);
  assert.deepEqual((await listImages(at('one-name.tar'))).remarks, [remark]); // from the index
});

test('thousands of images of one name are listed in little more time than of others', async () => {
  const header = archive([['0.jpg', '']], false);
  const many = Buffer.concat([...range(20_000, () => '').map(() => header), Buffer.alloc(1024)]);
  const start = performance.now();
  const found = await list('many.tar', many);
  assert.deepEqual([found.names.length, found.names.at(-1)], [20_000, '0~20000.jpg']);
  assert.ok(performance.now() - start < 20_000);
});

test('shards of two archives with the same names keep their fingerprint', async () => {
  for (const [i, name] of ['x', 'y'].entries()) {
    mkdirSync(at('two'), { recursive: true });
    writeFileSync(at('two', `${name}.tar`), archive(['0.jpg', '1.jpg'].map((file) => [file, jpegs[i]!])));
  }
  const source = await listImages(at('two'));
  const written = await writeShards(at('two'), { output: at('two-shards') });
  const again = await listImages(at('two-shards'));
  assert.deepEqual(
    [again.items.length, again.fingerprint, written.fingerprint],
    [4, source.fingerprint, source.fingerprint],
  );
  assert.equal(new Set([...again.items].map((item) => item.path)).size, 4);
});

test('a name with doubled slashes or dots is the one that paths have', async () => {
  const found = await list(
    'slashes.tar',
    archive(['a//b.jpg', 'a/./c.jpg', './/a/.//./d.jpg', ['a//b.cls', '5']]),
  );
  assert.deepEqual(found.names, ['a/b.jpg', 'a/c.jpg', 'a/d.jpg']);
  assert.deepEqual(found.unreadable, []);
  for (const { path: name } of found.items) {
    assert.equal(path.resolve(name), name);
    await readImageFile(name);
  }
  const kept = await list('absolute.tar', archive(['//a.jpg', 'b.jpg']));
  assert.deepEqual([kept.names, kept.unreadable.length], [['b.jpg'], 1]);
});
