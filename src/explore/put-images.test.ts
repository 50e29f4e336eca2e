/** Exports of an index that a stranger made, or to a name that is taken. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, it } from 'node:test';
import { ConfigError, DataError } from '../errors.js';
import { imageWithin } from './image-index.js';
import { freeName } from '../files/new-places.js';
import { putImages, writeList } from './put-images.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-put-'));
after(() => rmSync(folder, { recursive: true }));
const root = path.join(folder, 'images');
const secret = path.join(folder, 'secret.png');
mkdirSync(root);
writeFileSync(secret, 'secret');
const image = path.join(root, 'a.png');
writeFileSync(image, 'an image');
let made = 0;
const fresh = (): string => path.join(folder, `out-${made++}`);

it('a list is a new file, whatever is there, and the message names one that is free', () => {
  const list = path.join(folder, 'deep', 'list.txt');
  writeList(list, [image, secret]);
  assert.equal(readFileSync(list, 'utf8'), `${image}\n${secret}\n`);
  writeFileSync(path.join(folder, 'deep', 'list-2.txt'), '');
  const link = path.join(folder, 'deep', 'link.txt');
  symlinkSync(path.join(folder, 'nothing'), link);
  assert.throws(
    () => writeList(list, []),
    (error: Error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /list\.txt already exists.*list-3\.txt is not taken/);
      return true;
    },
  );
  assert.throws(() => writeList(link, []), ConfigError);
  assert.throws(() => writeList(root, []), ConfigError);
  assert.equal(freeName(path.join(folder, 'deep', 'list')), path.join(folder, 'deep', 'list-2'));
  assert.ok(!existsSync(path.join(folder, 'nothing')));
  assert.equal(readFileSync(list, 'utf8'), `${image}\n${secret}\n`);
});

it('a list refuses names that are no line, which a reader would take for others', () => {
  for (const name of ['a\nb.png', 'a.png\r']) {
    const list = fresh();
    const expected =
      /is not written: a list has one path a line, and 1 of 2 have a line break in their name \(".*\\[nr].*"\): rename it/;
    assert.throws(() => writeList(list, [image, path.join(root, name)]), expected);
    assert.ok(!existsSync(list));
  }
  writeList(fresh(), [path.join(root, 'a\rb.png')]);
});

it(
  'copies no image from outside the folder of the index, by whatever path or link',
  { timeout: 20_000 },
  () => {
    const link = path.join(root, 'link.png');
    symlinkSync(secret, link);
    symlinkSync(folder, path.join(root, 'up'));
    const fifo = path.join(root, 'fifo.png');
    execFileSync('mkfifo', [fifo]);
    // a link that is named like an image of a shard that is there
    writeFileSync(path.join(root, 'real.tar'), 'a shard');
    const posing = path.join(root, 'real.tar::x.png');
    symlinkSync(secret, posing);
    const bad = [
      secret,
      posing,
      path.join(root, '..', 'secret.png'),
      link,
      path.join(root, 'up', 'secret.png'),
      root,
      fifo,
      '/dev/zero',
    ];
    for (const file of [...bad, path.join(root, 'none.png'), `${secret}.tar::x.png`]) {
      const out = fresh();
      assert.throws(
        () => putImages({ '': [image, file] }, { folder: out, how: 'copy', within: root }),
        DataError,
        file,
      );
      assert.ok(!existsSync(out), file);
      assert.throws(() => imageWithin(root, file), DataError, file);
    }
    const out = fresh();
    assert.throws(
      () => putImages({ '': [secret] }, { folder: out, how: 'link', within: root }),
      /lies outside/,
    );
    assert.equal(putImages({ '': [image] }, { folder: out, how: 'copy', within: root }), 1);
    assert.equal(putImages({ '': [secret] }, { folder: fresh(), how: 'copy' }), 1); // the caller's own choice
    symlinkSync(root, path.join(folder, 'alias'));
    const alias = path.join(folder, 'alias');
    assert.equal(imageWithin(alias, path.join(alias, 'a.png')), path.join(alias, 'a.png'));
  },
);

it('takes groups of any name that a folder may have, and no other', () => {
  const out = fresh();
  const names = ['__proto__', 'constructor', 'toString'];
  assert.equal(putImages(new Map(names.map((name) => [name, [image]])), { folder: out, how: 'copy' }), 3);
  assert.deepEqual(readdirSync(out).sort(), [...names].sort());
  for (const name of ['..', '../up', '/tmp/x', 'a/b', '.hidden'])
    assert.throws(() => putImages({ [name]: [image] }, { folder: fresh(), how: 'copy' }), ConfigError, name);
  assert.throws(() => putImages({ a: [image] }, { folder: out, how: 'copy' }), /is not empty.*is not taken/);
  assert.throws(() => putImages({ a: [image] }, { folder: image, how: 'copy' }), /already exists/);
});
