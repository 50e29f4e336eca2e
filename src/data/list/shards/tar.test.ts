/** Tar archives made by the system's tar in all its formats, and malicious archives. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { listImages } from '../list-images.js';
import { scanTar, splitKey } from './scan-tar.js';
import type { ShardNote } from './scanned-shard.js';
import { rawTar, writeImages } from '../../../testing/shards.js';
import { tarMembers, tarNumber } from './tar.js';
import { END, padding, tarHeader } from '../../write/tar-header.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-tar-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);

const LONG = `${'long folder '.repeat(9)}/${'deep/'.repeat(30)}${'a long name '.repeat(7)}.jpg`;
const NAMES = ['a/1.jpg', 'a/2.JPEG', 'b/ü 🦖.png', LONG, `${'x'.repeat(150)}.webp`, 'b/two words.jpg'];
let jpeg: Buffer;

before(async () => {
  await writeImages(at('images'), NAMES);
  jpeg = readFileSync(at('images', 'a/1.jpg'));
});

const problemsOf = async (
  bytes: Buffer,
): Promise<{ names: string[]; problems: string[]; offsets: number[]; notes: ShardNote[] }> => {
  const file = at('raw.tar');
  writeFileSync(file, bytes);
  const { images, problems, notes } = await scanTar(file);
  return {
    notes,
    names: images.map(({ path: name }) => name.slice(`${file}::`.length)),
    problems: problems.map(({ reason }) => reason),
    offsets: problems.map(({ offset }) => offset),
  };
};

const hasTar = spawnSync('tar', ['--version']).status === 0;
for (const format of ['gnu', 'oldgnu', 'ustar', 'pax', 'v7']) {
  test(`reads what tar --format=${format} writes`, { skip: hasTar ? false : 'no tar here' }, async () => {
    // the older formats have no room for long names
    const names = format === 'v7' || format === 'ustar' ? NAMES.filter((name) => name.length < 99) : NAMES;
    const file = at(`${format}.tar`);
    execFileSync('tar', [
      `--format=${format}`,
      '-cf',
      file,
      '-C',
      at('images'),
      ...names.map((name) => `./${name}`),
    ]);
    const { images, problems } = await scanTar(file);
    assert.deepEqual(problems, []);
    assert.deepEqual(
      images.map((item) => item.path),
      names.map((name) => `${file}::${name}`),
    );
    const whole = readFileSync(file);
    names.forEach((name, i) => {
      const place = images.place(i);
      assert.ok(place.kind === 'tar');
      const { offset, length } = place;
      assert.ok(whole.subarray(offset, offset + length).equals(readFileSync(at('images', name))), name);
    });
  });
}

test('tar reads what is written here', { skip: hasTar ? false : 'no tar here' }, () => {
  const parts = NAMES.flatMap((name) => {
    const bytes = readFileSync(at('images', name));
    return [tarHeader(name, bytes.length), bytes, padding(bytes.length)];
  });
  writeFileSync(at('ours.tar'), Buffer.concat([...parts, END]));
  mkdirSync(at('out'));
  execFileSync('tar', ['-xf', at('ours.tar'), '-C', at('out')]);
  for (const name of NAMES) assert.ok(readFileSync(at('out', name)).equals(readFileSync(at('images', name))));
});

test('keys end at the first dot of the last part, as WebDataset has them', () => {
  assert.deepEqual(splitKey('a.b/c.d.JPG'), { key: 'a.b/c', extension: 'd.jpg' });
  assert.equal(splitKey('a.b/noending'), null);
  assert.equal(splitKey('.hidden'), null);
  assert.equal(splitKey('a/._x.jpg'), null);
});

test('samples: all images of each key, labels of .cls and .json', async () => {
  const file = at('samples.tar');
  writeFileSync(
    file,
    rawTar([
      { name: '1.cls', content: '7\n' },
      { name: '1.seg.png', content: jpeg },
      { name: '1.jpg', content: jpeg },
      { name: '2.jpg', content: jpeg },
      { name: '2.json', content: '{"label": 3, "caption": "x"}' },
      { name: '3.json', content: '{"caption": "no label"}' },
      { name: '3.txt', content: 'hello' },
      { name: '3.jpg', content: jpeg },
      { name: '4.cls', content: 'no\0\n' },
      { name: '5.npy', content: 'no image' },
      { name: '1.jpg', content: jpeg },
    ]),
  );
  const list = await listImages(file);
  assert.deepEqual(
    [...list.items],
    ['1.seg.png', '1.jpg', '2.jpg', '3.jpg', '1~2.jpg'].map((name, i) => ({
      path: `${file}::${name}`,
      label: [7, 7, 3, null, null][i],
    })),
  );
  assert.deepEqual(list.classes, ['0', '1', '2', '3', '4', '5', '6', '7']);
  assert.deepEqual(list.leftOut, { count: 3, byExtension: { '.cls': 1, '.npy': 1, '.txt': 1 } });
  assert.match(
    list.remarks.join('\n'),
    /1 image shares its key with another image \(for example 1\.seg\.png/,
  );
});

test('of a shard that is cut off, what is there is listed, and the place is reported', async () => {
  const whole = rawTar([
    { name: 'a.jpg', content: jpeg },
    { name: 'b.jpg', content: jpeg },
    { name: 'c.jpg', content: jpeg },
  ]);
  const each = 512 + Math.ceil(jpeg.length / 512) * 512;
  const within = await problemsOf(whole.subarray(0, each + 512 + 100));
  assert.deepEqual(within.names, ['a.jpg']);
  assert.match(within.problems[0]!, new RegExp(`^b.jpg: ${jpeg.length} bytes are announced, 100 are there`));
  assert.deepEqual(within.offsets, [each]);
  const inHeader = await problemsOf(whole.subarray(0, 2 * each + 100));
  assert.deepEqual(inHeader.names, ['a.jpg', 'b.jpg']);
  assert.match(inHeader.problems[0]!, /cut off/);
  const between = await problemsOf(whole.subarray(0, 2 * each));
  assert.deepEqual(between.names, ['a.jpg', 'b.jpg']);
  assert.match(between.problems[0]!, /without an end-of-archive mark/);
});

test('a damaged header ends the reading, and its place is reported', async () => {
  const bytes = rawTar([
    { name: 'a.jpg', content: jpeg },
    { name: 'b.jpg', content: jpeg },
  ]);
  const second = 512 + Math.ceil(jpeg.length / 512) * 512;
  bytes[second + 130] = 57; // a 9 in the size: another checksum
  assert.deepEqual(await problemsOf(bytes), {
    names: ['a.jpg'],
    problems: ['a damaged header: the rest is not read'],
    offsets: [second],
    notes: [],
  });
  const gzip = Buffer.alloc(2000, 1);
  gzip[0] = 0x1f;
  gzip[1] = 0x8b;
  assert.match((await problemsOf(gzip)).problems[0]!, /compressed \(gzip\).*gunzip/);
  assert.match((await problemsOf(Buffer.from('short'))).problems[0]!, /shorter than a tar header/);
});

test('names that lead out of the archive, links and devices are skipped and reported by name', async () => {
  const { names, problems } = await problemsOf(
    rawTar([
      { name: '../../etc/evil.jpg', content: jpeg },
      { name: '/etc/evil.jpg', content: jpeg },
      { name: 'a/../../evil.jpg', content: jpeg },
      { name: 'C:\\evil.jpg', content: jpeg },
      { name: 'link.jpg', type: '2', size: 12345 },
      { name: 'hard.jpg', type: '1' },
      { name: 'device.jpg', type: '3' },
      { name: 'fifo.jpg', type: '6' },
      { name: 'sparse.jpg', type: 'S', content: jpeg },
      { name: 'folder.jpg/', type: '5' },
      { name: 'good.jpg', content: jpeg },
    ]),
  );
  assert.deepEqual(names, ['good.jpg']);
  assert.deepEqual(
    problems.map((problem) => problem.replace(/: .*?(absolute|leaves|link|sparse).*/, ': $1')),
    [
      '../../etc/evil.jpg: leaves',
      '/etc/evil.jpg: absolute',
      'a/../../evil.jpg: leaves',
      'C:\\evil.jpg: absolute',
      'link.jpg: link',
      'hard.jpg: link',
      'sparse.jpg: sparse',
    ],
  );
});

test('sizes that are absurd, negative or not numbers end the reading', async () => {
  const size = (...bytes: number[]) => Buffer.concat([Buffer.from(bytes), Buffer.alloc(12)]).subarray(0, 12);
  const good = { name: 'good.jpg', content: jpeg };
  for (const [field, reason] of [
    [Buffer.from('77777777777\0'), /8589934591 bytes are announced/],
    [Buffer.alloc(12, 0xff), /size is not a number/],
    [size(0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), /size is not a number/],
    [Buffer.from('-0000000001\0'), /size is not a number/],
    [Buffer.from('12ab\0\0\0\0\0\0\0\0'), /size is not a number/],
  ] as const) {
    const { names, problems } = await problemsOf(
      rawTar([good, { name: 'bad.jpg', size: field, content: jpeg }, good]),
    );
    assert.deepEqual(names, ['good.jpg']);
    assert.equal(problems.length, 1);
    assert.match(problems[0]!, reason);
  }
  const huge = Buffer.alloc(512);
  size(0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0).copy(huge, 124);
  assert.equal(tarNumber(huge, 124, 12), 3 * 2 ** 32);
});

test('pax headers: false sizes and names, and floods of headers', async () => {
  const record = (text: string) => `${text.length + 4} ${text}\n`; // two digits, a space, a line's end
  const good = { name: 'good.jpg', content: jpeg };
  const pax = async (content: Buffer | string, name = 'x.jpg') =>
    problemsOf(rawTar([good, { name: 'pax', type: 'x', content }, { name, content: jpeg }, good]));
  assert.match((await pax(record('path=../up.jpg'))).problems[0]!, /leaves the archive/);
  assert.match((await pax(record('size=-55555'))).problems[0]!, /size is not a number/);
  assert.match((await pax(record('size=999999'))).problems[0]!, /999999 bytes are announced/);
  assert.match((await pax('99 path=x\n')).problems[0]!, /damaged pax header/);
  assert.match((await pax('nonsense')).problems[0]!, /damaged pax header/);
  assert.match((await pax(Buffer.alloc(2 ** 20 + 1, 32))).problems[0]!, /a header of 1048577 bytes/);
  assert.match((await pax(record('GNU.sparse.major=1'))).problems[0]!, /sparse/);
  assert.deepEqual((await pax(record('path=other/name.jpg'))).names, [
    'good.jpg',
    'other/name.jpg',
    'good~2.jpg',
  ]);
});

test('labels that are too large or damaged are counted, and are not images that were skipped', async () => {
  const { names, problems, notes } = await problemsOf(
    rawTar([
      { name: 'a.json', content: Buffer.alloc(2 ** 20 + 5, 32) },
      { name: 'a.jpg', content: jpeg },
      { name: 'b.json', content: '{' },
      { name: 'b.jpg', content: jpeg },
    ]),
  );
  assert.deepEqual(names, ['a.jpg', 'b.jpg']);
  assert.deepEqual(problems, []);
  assert.equal(notes.length, 1);
  assert.equal(notes[0]!.count, 2);
  assert.match(notes[0]!.example, /a.json: a label of 1048581 bytes/);
});

test('members are found without reading their contents', async () => {
  let bytesRead = 0;
  const members = 50;
  const size = 2 ** 20;
  const header = tarHeader('big.jpg', size);
  const source = {
    size: members * (512 + size) + 1024,
    read: (offset: number, length: number) => {
      bytesRead += length;
      const place = offset % (512 + size);
      return Promise.resolve(
        offset >= members * (512 + size) ? Buffer.alloc(length) : header.subarray(place, place + length),
      );
    },
  };
  let count = 0;
  for await (const member of tarMembers(source, () => assert.fail())) count += member.size === size ? 1 : 0;
  assert.equal(count, members);
  assert.equal(bytesRead, (members + 2) * 512);
});

test('a broken link among the shards is reported', async () => {
  mkdirSync(at('linked'));
  symlinkSync('nowhere.tar', at('linked', 'broken.tar'));
  await assert.rejects(listImages(at('linked')), /1 of 1 shards can't be read:\n.*broken.tar: no such file/);
});
