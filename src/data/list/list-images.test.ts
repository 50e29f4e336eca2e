/** Image sources on real folders: class folders, flat, nested, lists of paths, links, odd names, no images. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import type { ImageList } from './image-list.js';
import { compareCodePoints } from '../../plain/code-points.js';
import { listImages } from './list-images.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-list-'));
after(() => {
  const closed = path.join(scratch, 'locked', 'closed');
  if (existsSync(closed)) chmodSync(closed, 0o755);
  rmSync(scratch, { recursive: true });
});

function make(name: string, files: string[]): string {
  const root = path.join(scratch, name);
  mkdirSync(root, { recursive: true });
  for (const file of files) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), 'x');
  }
  return root;
}

const relative = (list: ImageList) => list.items.map((item) => path.relative(list.root, item.path));

const rejects = (source: string, ...patterns: RegExp[]) =>
  assert.rejects(listImages(source), (error: Error) => {
    assert.equal(error.name, 'DataError');
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });

test('class folders: labels and order of torchvision’s ImageFolder', async () => {
  const root = make('classes', [
    ...['b/2.jpg', 'b/10.jpg', 'b/deep/er/1.PNG', 'b/deep-sea/1.png', 'B/z.jpeg', 'b b/0.webp'],
    ...['a/notes.txt', 'a/x.jpg', '.hidden/x.jpg', 'a/.DS_Store', 'a/._x.jpg', 'empty/readme.md'],
  ]);
  const list = await listImages(root);
  assert.deepEqual(list.classes, ['B', 'a', 'b', 'b b']);
  // os.walk's folders sorted as whole paths ('-' comes before '/'), their files by code points
  assert.deepEqual(relative(list), [
    ...['B/z.jpeg', 'a/x.jpg', 'b/10.jpg', 'b/2.jpg', 'b/deep-sea/1.png', 'b/deep/er/1.PNG', 'b b/0.webp'],
  ]);
  assert.deepEqual(
    list.items.map((item) => item.label),
    [0, 1, 2, 2, 2, 2, 3],
  );
});

test('a folder that has images itself has no labels; images in folders below belong to it', async () => {
  const list = await listImages(
    make('flat', ['2.jpg', '1.jpg', 'more/3.gif', 'more/4.tiff', '5.avif', '6.heic']),
  );
  assert.equal(list.classes, null);
  assert.deepEqual(relative(list), ['1.jpg', '2.jpg', '5.avif', 'more/3.gif', 'more/4.tiff']);
  assert.ok([...list.items].every((item) => item.label === null));
});

test('names with spaces, quotes, emoji and line breaks; emoji sort as in Python', async () => {
  const names = ['with space.jpg', `it's "quoted".jpg`, '🦖.jpg', '\uffee.jpg', 'a\nb.jpg', 'ä.jpg'];
  const list = await listImages(make('names', names));
  assert.deepEqual(relative(list), [
    'a\nb.jpg',
    `it's "quoted".jpg`,
    'with space.jpg',
    'ä.jpg',
    '\uffee.jpg',
    '🦖.jpg',
  ]);
  assert.ok(compareCodePoints('\uffee', '🦖') < 0 && '\uffee' > '🦖');
});

test('symbolic links are followed, and their cycles end', async () => {
  const root = make('links', ['cats/1.jpg', 'dogs/1.jpg']);
  symlinkSync('..', path.join(root, 'cats', 'up'));
  symlinkSync('.', path.join(root, 'dogs', 'self'));
  symlinkSync(path.join(root, 'cats', '1.jpg'), path.join(root, 'dogs', '2.jpg'));
  symlinkSync('nowhere', path.join(root, 'dogs', 'broken.jpg'));
  symlinkSync(path.join(root, 'cats'), path.join(root, 'felines'));
  const list = await listImages(root);
  assert.deepEqual(relative(list), [
    ...['cats/1.jpg', 'dogs/1.jpg', 'dogs/2.jpg', 'dogs/broken.jpg', 'felines/1.jpg'],
  ]);
});

test('a text file of paths, relative to itself', async () => {
  const root = make('listed', ['images/one.jpg', 'images/two words.jpg']);
  const file = path.join(root, 'list.txt');
  writeFileSync(file, `\ufeffimages/two words.jpg\r\n\n${root}/images/one.jpg\nimages/missing.jpg`);
  const list = await listImages(file);
  assert.deepEqual(relative(list), ['images/two words.jpg', 'images/one.jpg', 'images/missing.jpg']);
  assert.equal(list.classes, null);
  assert.equal(list.source, file); // not its folder: a resumed run lists the same again
  writeFileSync(file, '\n\n');
  await rejects(file, /names no images/, /one path a line/);
  writeFileSync(file, 'Dear diary\n');
  await rejects(file, /is not a list of images/, /Dear diary/);
});

test('the fingerprint does not depend on where the folder lies', async () => {
  const files = ['a/1.jpg', 'b/2.jpg'];
  const one = await listImages(make('print-1', files));
  const same = await listImages(make('print-2', files));
  const other = await listImages(make('print-3', ['a/1.jpg', 'b/3.jpg']));
  assert.equal(one.fingerprint, same.fingerprint);
  assert.notEqual(one.fingerprint, other.fingerprint);
});

test('no images: errors say what was looked for and what to try', async () => {
  await rejects(path.join(scratch, 'not there'), /There is no .*not there/, /Give a folder of images/);
  await rejects(make('nothing', []), /There are no images in/, /JPEG, PNG/, /Give the folder/);
  await rejects(make('bitmaps', ['a.heic', 'b.heic', 'c.txt']), /2 \.heic, 1 \.txt/, /Convert them/);
  const archives = make('archives', ['train/b.tar.gz', 'train/a.tar.gz']);
  await assert.rejects(listImages(archives), (error: Error) => {
    assert.match(
      error.message,
      /train.a\.tar\.gz is compressed: .* Unpack it .* The same holds for 1 more\./,
    );
    assert.doesNotMatch(error.message, /Convert|Give the folder/);
    return true;
  });
  await rejects(
    make('both', ['a.tgz', 'b.heic']),
    /1 \.heic, 1 \.tgz/,
    /Convert them/,
    /a\.tgz is compressed/,
  );
});

test('a list that is aborted ends before the next folder', async () => {
  const signal = AbortSignal.abort(new Error('stopped'));
  await assert.rejects(listImages(make('aborted', ['a/1.jpg']), { signal }), /stopped/);
});

test(
  'folders that may not be read are reported, and the others are used',
  { skip: process.getuid?.() === 0 },
  async () => {
    const root = make('locked', ['open/1.jpg', 'closed/1.jpg']);
    chmodSync(path.join(root, 'closed'), 0);
    const list = await listImages(root);
    assert.deepEqual(relative(list), ['open/1.jpg']);
    assert.deepEqual(list.unreadable, [{ path: path.join(root, 'closed'), reason: 'permission denied' }]);
    await rejects(path.join(root, 'closed'), /permission denied/);
  },
);
