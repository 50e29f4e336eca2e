/** Shards made from a folder: the same images in the same order, the same batches to the bit, and nothing overwritten. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { listImages } from '../list/list-images.js';
import { MultiCropLoader } from '../load/loaders.js';
import { jpegOf, writeImages } from '../../testing/shards.js';
import { writeShards } from './write-shards.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-write-shards-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);

const NAMES = Array.from({ length: 31 }, (_, i) => `${['b', 'a', 'c c', 'ü'][i % 4]}/deep/${i} 🦖.jpg`);
// names that can't be keys of WebDataset: with dots, and names that differ only in their extensions
NAMES.push('a/v1.2.jpg', 'a/v1.3.jpg', 'b/same.jpg', 'b/same.JPEG', 'b/same.jpg.jpg');
const SIZE = 12_000;

before(async () => {
  await writeImages(at('images'), NAMES);
});

const hashes = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => /\.(tar|json)$/.test(name))
      .map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(path.join(folder, name)))
          .digest('hex'),
      ]),
  );

async function batches(
  source: string,
  options: { startEpoch?: number; startBatch?: number; numWorkers: number },
) {
  const { items } = await listImages(source);
  const augmentation = { globalCropsSize: 32, localCropsSize: 16, localCropsNumber: 2 };
  const loader = new MultiCropLoader({ items, batchSize: 4, seed: 3, epochs: 2, augmentation, ...options });
  const seen: string[] = [];
  for await (const { epoch, batch, indices, globals, locals, skipped, release } of loader) {
    assert.deepEqual(skipped, []);
    const hash = createHash('sha256').update(globals).update(locals!).digest('hex');
    seen.push(`${epoch} ${batch} ${indices.join(',')} ${hash}`);
    release();
  }
  return seen;
}

test('shards have the images, labels and fingerprint of the folder, and the place of each image', async () => {
  const folder = await listImages(at('images'));
  const progress: number[] = [];
  const result = await writeShards(at('images'), {
    ...{ output: at('shards'), shardSize: SIZE },
    onImage: ({ done }) => progress.push(done),
  });
  assert.ok(result.shards.length > 3);
  assert.equal(progress.at(-1), NAMES.length);
  assert.deepEqual([result.images, result.classes, result.skipped], [NAMES.length, 4, []]);
  const list = await listImages(at('shards'));
  assert.equal(list.fingerprint, folder.fingerprint);
  assert.deepEqual(list.classes, folder.classes);
  assert.deepEqual(
    list.items.map(({ path: name, label }) => [name.slice(name.indexOf('::') + 2), label]),
    folder.items.map(({ path: name, label }) => [path.relative(at('images'), name), label]),
  );
  for (const file of result.shards) assert.ok(readFileSync(file).length <= SIZE);
});

test('the same images make the same bytes, also when the call was interrupted and continued', async () => {
  const whole = hashes(at('shards'));
  const controller = new AbortController();
  const options = { output: at('again'), shardSize: SIZE };
  const interrupted = writeShards(at('images'), {
    ...options,
    signal: controller.signal,
    onImage: ({ shards, done }) => {
      if (shards === 2 && done % 3 === 0) controller.abort(new Error('stop'));
    },
  });
  await assert.rejects(interrupted, /stop/);
  assert.deepEqual(readdirSync(at('again')).sort(), [
    '.dino-shards-unfinished.json',
    'shard-000000.tar',
    'shard-000001.tar',
  ]);
  await assert.rejects(
    writeShards(at('images'), { ...options, shardSize: SIZE + 1 }),
    /unfinished shards of other images/,
  );
  const result = await writeShards(at('images'), options);
  assert.equal(result.resumed, 2);
  assert.deepEqual(hashes(at('again')), whole);
  await assert.rejects(writeShards(at('images'), options), /already holds shards/);
  mkdirSync(at('other'));
  writeFileSync(at('other', 'x.tar'), '');
  await assert.rejects(
    writeShards(at('images'), { output: at('other') }),
    /holds other shards, for example x.tar/,
  );
});

test('of two that write into one folder at once, one is refused, and the shards are those of the other', async () => {
  const options = { output: at('at-once'), shardSize: SIZE };
  const results = await Promise.allSettled([
    writeShards(at('images'), options),
    writeShards(at('images', 'a'), options),
  ]);
  const [written] = results.filter((result) => result.status === 'fulfilled');
  const [refused] = results.filter((result) => result.status === 'rejected');
  assert.match(String(refused?.reason), /at-once is in use by process \d+/);
  assert.equal((await listImages(at('at-once'))).items.length, written!.value.images);
  assert.ok(!readdirSync(at('at-once')).includes('lock'));
  await assert.rejects(writeShards(at('images', 'a'), options), /already holds shards/);
});

test('batches from shards equal those from the folder to the bit, with any number of workers, from any start', async () => {
  const expected = await batches(at('images'), { numWorkers: 0 });
  assert.equal(expected.length, 2 * Math.floor(NAMES.length / 4));
  assert.deepEqual(await batches(at('shards'), { numWorkers: 0 }), expected);
  assert.deepEqual(await batches(at('shards'), { numWorkers: 2 }), expected);
  assert.deepEqual(
    await batches(at('shards'), { numWorkers: 2, startEpoch: 1, startBatch: 3 }),
    expected.slice(-6),
  );
});

test('a random order is another order of the same images', async () => {
  await writeShards(at('images'), { output: at('shuffled'), shardSize: SIZE, shuffle: 5 });
  const [shuffled, folder] = [await listImages(at('shuffled')), await listImages(at('images'))];
  const inside = shuffled.items.map(({ path: name }) => name.slice(name.indexOf('::') + 2));
  const outside = folder.items.map(({ path: name }) => path.relative(at('images'), name));
  assert.notDeepEqual(inside, outside);
  assert.deepEqual([...inside].sort(), [...outside].sort());
  assert.notEqual(shuffled.fingerprint, folder.fingerprint);
});

test('shards of shards, and of a list', async () => {
  await writeShards(at('shards'), { output: at('resharded'), shardSize: 3 * SIZE });
  const [again, folder] = [await listImages(at('resharded')), await listImages(at('images'))];
  assert.equal(again.fingerprint, folder.fingerprint);
  writeFileSync(at('list.txt'), `images/a/v1.2.jpg\nimages/missing.jpg\n${at('images', 'b/same.jpg')}\n`);
  const result = await writeShards(at('list.txt'), { output: at('listed') });
  assert.deepEqual(result.skipped, [{ path: at('images/missing.jpg'), reason: 'no such file' }]);
  const listed = await listImages(at('listed'));
  assert.equal(listed.classes, null);
  assert.deepEqual(
    listed.items.map((item) => item.path.split('::')[1]),
    ['images/a/v1.2.jpg', 'images/b/same.jpg'],
  );
});

test('shards of a list hold the images that it names in hidden folders, too', async () => {
  await writeImages(at('visible'), ['.cache/1.jpg', 'a/.deep/2.jpg', 'a/3.jpg']);
  writeFileSync(at('visible', 'list.txt'), '.cache/1.jpg\na/.deep/2.jpg\na/3.jpg\n');
  const result = await writeShards(at('visible', 'list.txt'), { output: at('visible-shards') });
  assert.deepEqual([result.images, result.skipped], [3, []]);
  const listed = await listImages(at('visible-shards'));
  assert.deepEqual(
    listed.items.map((item) => item.path.split('::')[1]),
    ['.cache/1.jpg', 'a/.deep/2.jpg', 'a/3.jpg'],
  );
  assert.equal(listed.fingerprint, result.fingerprint);
});

test('an image keeps its name in shards, whatever it ends with, and every image in them is read back', async () => {
  const jpeg = await jpegOf(1);
  const names = ['one.jpg', 'two.dat', 'photo.2024', 'three.image', 'four', 'five.cls', 'six.json', 'x.tar'];
  // names that would meet, and one that a reader of archives takes for an absolute path
  names.push('four.jpg', 'two_dat.jpg', '.hidden', '.png', 'a.b/.c/seven');
  if (path.sep === '/') names.push('C:/eight.gif', 'n\\..\\m/9.jpg');
  for (const name of [...names, 'missing.dat', 'text.dat']) {
    mkdirSync(path.dirname(at('odd', name)), { recursive: true });
    if (name !== 'missing.dat') writeFileSync(at('odd', name), name === 'text.dat' ? 'no image' : jpeg);
  }
  writeFileSync(at('odd', 'list.txt'), [...names, 'missing.dat', 'text.dat'].join('\n'));
  const source = await listImages(at('odd', 'list.txt'));
  const result = await writeShards(source, { output: at('odd-shards') });
  assert.equal(result.images, names.length);
  assert.deepEqual(
    result.skipped.map((one) => [path.relative(at('odd'), one.path), one.reason]),
    [
      ['missing.dat', 'no such file'],
      ['text.dat', 'is not an image, and is not named like one'],
    ],
  );
  const listed = await listImages(at('odd-shards'));
  assert.deepEqual([listed.leftOut, listed.unreadable, listed.remarks], [source.leftOut, [], []]);
  // names that no archive may have aside
  const kept = names.map((name) => name.replace('C:/', 'C_/').replaceAll('\\', '_'));
  assert.deepEqual(
    listed.items.map((item) => item.path.split('::')[1]),
    kept,
  );

  const usual = await listImages(at('odd', 'list.txt'));
  const items = [...usual.items].filter(({ path: name }) => /two|four|five/.test(name));
  const labelled = { ...usual, items: items.map((item, i) => ({ ...item, label: i })) };
  await writeShards(labelled, { output: at('odd-labelled') });
  const again = await listImages(at('odd-labelled'));
  assert.deepEqual(
    again.items.map(({ path: name, label }) => [name.split('::')[1], label]),
    labelled.items.map(({ path: name, label }) => [path.relative(at('odd'), name), label]),
  );
});

test('a folder that can’t be used, images that can’t be read', async () => {
  await assert.rejects(writeShards(at('images'), { output: at('x'), shardSize: 5 }), /at least 10000 bytes/);
  await assert.rejects(writeShards(at('images'), { output: at('images/a/v1.2.jpg/x') }));
  mkdirSync(at('broken'));
  symlinkSync('nowhere.jpg', at('broken', 'a.jpg'));
  await assert.rejects(
    writeShards(at('broken'), { output: at('y') }),
    /none of the 1 images .* can be read; the first: .*: /,
  );
  assert.ok(!readdirSync(at('y')).some((name) => name.endsWith('.tar') || name.endsWith('.partial')));
});

const python = process.env['DINO_TEST_PYTHON'] ?? '';
const has = (module: string) => python !== '' && spawnSync(python, ['-c', `import ${module}`]).status === 0;

test(
  'Python’s tarfile and webdataset read the shards',
  { skip: has('webdataset') ? false : 'no DINO_TEST_PYTHON with webdataset' },
  () => {
    const script = `
import sys, glob, tarfile, json, webdataset as wds
files = sorted(glob.glob(sys.argv[1] + '/*.tar'))
names = [m.name for f in files for m in tarfile.open(f).getmembers()]
samples = [(s['__key__'], s['cls'], len(s.get('jpg') or s.get('jpeg'))) for s in wds.WebDataset(files, shardshuffle=False)]
print(json.dumps([len(names), [(k, int(c), n) for k, c, n in samples]]))`;
    const output = execFileSync(python, ['-W', 'ignore', '-c', script, at('shards')], { encoding: 'utf8' });
    const [, samples] = JSON.parse(output) as [number, [string, number, number][]];
    assert.equal(samples.length, NAMES.length);
    assert.equal(new Set(samples.map(([key]) => key)).size, NAMES.length);
    assert.deepEqual(
      samples.map(([, label]) => label),
      [...samples.map(([, label]) => label)].sort((a, b) => a - b),
    );
  },
);
