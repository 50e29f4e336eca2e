import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { listImages } from '../data/index.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { TINY_SETTINGS } from '../testing/tiny-run.js';
import { changedImages, trainedOn, writeImageNames } from './image-names.js';
import { train } from '../train/train.js';

const folder = mkdtempSync(path.join(tmpdir(), 'dino-names-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => path.join(folder, ...names);

test('a run whose images have changed names those that came and went', async () => {
  const images = at('images');
  await makeImageFolder(images, { classes: 2, perClass: 6 });
  const run = at('run');
  await train({ images, output: run, settings: { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0 } });
  assert.ok(existsSync(path.join(run, 'images.jsonl.gz')));
  const refusal = async (): Promise<string> => {
    const error = await train({ output: run, resume: true }).then(
      () => assert.fail('expected to be refused'),
      (reason: unknown) => reason as Error,
    );
    return error.message;
  };
  renameSync(at('images', 'class-0', 'image-1.png'), at('images', 'class-0', 'other.png'));
  assert.match(
    await refusal(),
    /12 images then, 12 now: 1 new \(class-0\/other\.png\), 1 missing \(class-0\/image-1\.png\)\..*--init/,
  );
  rmSync(at('images', 'class-1'), { recursive: true });
  const less = await refusal();
  assert.match(less, /12 images then, 6 now: .* 7 missing \(.*, .*, .* and 4 more\)/);
  assert.doesNotMatch(less, /[0-9a-f]{32}/, 'no fingerprint, which tells a person nothing');
  // a run that doesn't know the names, or whose record is damaged
  for (const content of ['no gzip', gzipSync('[1]\n'), gzipSync('{'), gzipSync('')]) {
    writeFileSync(path.join(run, 'images.jsonl.gz'), content);
    assert.match(await refusal(), /12 images then, 6 now; this run did not record their names/);
  }
});

test('a run knows the images that its list named, wherever they lie', async () => {
  const images = at('elsewhere');
  await makeImageFolder(images, { classes: 1, perClass: 8 });
  const names = readdirSync(path.join(images, 'class-0'));
  const list = at('lists', 'some.txt');
  mkdirSync(at('lists'));
  const named = names.slice(0, 6).map((name) => path.join('..', 'elsewhere', 'class-0', name));
  writeFileSync(list, named.join('\n'));
  const run = at('of-a-list');
  const settings = { ...TINY_SETTINGS, epochs: 1, warmupTeacherTempEpochs: 0 };
  await train({ images: list, output: run, settings });
  const isTrainedOn = trainedOn(run)!;
  assert.deepEqual(
    names.map((name) => isTrainedOn(path.join(images, 'class-0', name))),
    names.map((_, i) => i < 6),
  );
});

test('names may be anything, and other labels or another order are told apart', async () => {
  const items = ['a "b"\n.png', 'é🦕.png', 'c.png'].map((name, i) => ({ path: at('x', name), label: i }));
  const list = {
    ...{ items, classes: null, fingerprint: '', root: at('x'), source: at('x') },
    unreadable: [],
    leftOut: { count: 0, byExtension: {} },
    remarks: [],
  };
  writeImageNames(folder, list);
  const changed = (now: typeof items) => changedImages(folder, 3, { ...list, items: now });
  assert.match(changed(items), /names are the same, but the files have changed/);
  assert.match(changed([...items].reverse()), /their order has changed/);
  assert.match(
    changed(items.map((item) => ({ ...item, label: 2 - item.label }))),
    /2 with another label \(a "b"\S+\.png, c\.png\)/,
  );
  // the same images in a shard
  const packed = items.map((item) => ({ ...item, path: `${at('s.tar')}::${path.basename(item.path)}` }));
  assert.match(changed(packed), /names are the same/);
  await makeImageFolder(at('one'), { classes: 1, perClass: 1 });
  assert.match(changedImages(folder, 3, await listImages(at('one'))), /3 images then, 1 now: 1 new/);
});
