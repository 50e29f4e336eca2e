/** Which mask belongs to which image: never the same one to two, and no mask is an image. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, it } from 'node:test';
import { DataError } from '../errors.js';
import { readBelow } from '../files/read-below.js';
import { maskPairs } from './mask-pairs.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-mask-pairs-'));
after(() => rmSync(folder, { recursive: true }));
const outside = mkdtempSync(path.join(os.tmpdir(), 'dino-mask-pairs-outside-'));
after(() => rmSync(outside, { recursive: true }));
let made = 0;

/** A new folder with files; listing them reads none. */
function folderOf(...files: string[]): (...parts: string[]) => string {
  const root = path.join(folder, String(++made));
  for (const file of files) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), 'x');
  }
  return (...parts) => path.join(root, ...parts);
}

/** Pairs and what was left out, relative to a folder. */
async function paired(root: string, images: string, masks: string) {
  const { found, withoutMask, withoutImage, remarks, leftOut } = await maskPairs(images, masks);
  const below = (file: string) => path.relative(root, file);
  return {
    pairs: found.map(({ image, mask }) => [below(image.path), below(mask)]),
    withoutMask: withoutMask.map(below),
    withoutImage: withoutImage.map(below),
    ...{ remarks, leftOut: leftOut.count },
  };
}

it('pairs by the path within the folders, else by a name that one image alone has', async () => {
  const at = folderOf(
    ...['images/x/0.jpg', 'images/0.jpg', 'images/y/1.jpg', 'images/2.jpg'],
    ...['masks/0.png', 'masks/1.png', 'masks/z/3.png'],
  );
  const found = await paired(at(), at('images'), at('masks'));
  assert.deepEqual(found.pairs, [
    ['images/0.jpg', 'masks/0.png'],
    ['images/y/1.jpg', 'masks/1.png'],
  ]);
  assert.deepEqual(found.withoutMask, ['images/2.jpg', 'images/x/0.jpg']);
  assert.deepEqual(found.withoutImage, ['masks/z/3.png']);
});

it('refuses a mask that several images could have, and names them', async () => {
  const flat = folderOf('images/x/0.jpg', 'images/y/0.jpg', 'images/1.jpg', 'masks/0.png', 'masks/1.png');
  await assert.rejects(maskPairs(flat('images'), flat('masks')), (error) => {
    assert.ok(error instanceof DataError);
    assert.match(
      error.message,
      /masks\/0\.png could be the mask of .*images\/x\/0\.jpg and .*images\/y\/0\.jpg.*one image/s,
    );
    return true;
  });
  const endings = folderOf('images/a.jpg', 'images/a.webp', 'masks/a.png');
  await assert.rejects(
    maskPairs(endings('images'), endings('masks')),
    /masks\/a\.png could be the mask of .*images\/a\.jpg and .*images\/a\.webp/,
  );
  const masks = folderOf('images/a.jpg', 'masks/a.png', 'masks/a.PNG');
  await assert.rejects(
    maskPairs(masks('images'), masks('masks')),
    /images\/a\.jpg could have the masks .*masks\/a\.PNG and .*masks\/a\.png/,
  );
});

it('leaves masks beside the images out of the images, and counts them', async () => {
  const at = folderOf('0.jpg', '0.png', '1.jpg', '1.png', 'sub/2.jpg', 'sub/2.png', 'sub/3.jpg');
  symlinkSync(at(), path.join(folder, 'link'));
  for (const masks of [at(), path.join(folder, 'link')]) {
    const { pairs, withoutMask, remarks, leftOut } = await paired(at(), at(), masks);
    assert.deepEqual(
      pairs.map(([image]) => image),
      ['0.jpg', '1.jpg', 'sub/2.jpg'],
    );
    assert.deepEqual([withoutMask, leftOut], [['sub/3.jpg'], 3]);
    assert.match(remarks.join('\n'), /3 of 7 images were left out: they are masks of /);
  }
  // a folder of masks within that of the images
  const within = folderOf('a/0.jpg', 'masks/a/0.png');
  const { pairs, leftOut } = await paired(within(), within(), within('masks'));
  assert.deepEqual([pairs, leftOut], [[['a/0.jpg', 'masks/a/0.png']], 1]);
  // nothing but masks
  const alone = folderOf('0.png', '1.png');
  await assert.rejects(maskPairs(alone(), alone()), /none of the 2 images .*: all of them are masks of/);
});

it('takes PNG images in a folder within that of the masks for images', async () => {
  const at = folderOf('images/0.png', 'images/1.png', '0.png', '1.png');
  const { pairs, withoutImage, remarks } = await paired(at(), at('images'), at());
  assert.deepEqual(pairs, [
    ['images/0.png', '0.png'],
    ['images/1.png', '1.png'],
  ]);
  assert.deepEqual([withoutImage, remarks], [[], []]);
});

it('says what a folder of masks leaves out, once', async () => {
  const at = folderOf(
    ...['images/0.jpg', 'images/1.jpg', 'images/notes.txt'],
    ...['masks/0.png', 'masks/1.tif', 'masks/2.jpg', 'masks/legend.csv'],
  );
  const { pairs, withoutMask, remarks, leftOut } = await paired(at(), at('images'), at('masks'));
  assert.deepEqual([pairs, withoutMask], [[['images/0.jpg', 'masks/0.png']], ['images/1.jpg']]);
  assert.equal(leftOut, 1); // of the images
  assert.deepEqual(
    remarks.map((line) => line.slice(at().length + 1)),
    [
      'images: 1 other file was left out (1 .txt)',
      'masks: 1 other file was left out (1 .csv)',
      'masks: 2 images were left out as masks (1 .jpg, 1 .tif): expected PNGs, which keep labels as they are',
    ],
  );
  // masks beside or below the images, whose listing has met the same files
  const [beside, below] = [
    folderOf('0.jpg', '0.png', 'notes.txt'),
    folderOf('0.jpg', 'masks/0.png', 'masks/legend.csv'),
  ];
  for (const [images, masks] of [
    [beside(), beside()],
    [below(), below('masks')],
  ] as const) {
    const lines = (await paired(folder, images, masks)).remarks;
    assert.equal(lines.filter((line) => /other file/.test(line)).length, 1, lines.join('\n'));
    assert.equal(lines.filter((line) => /as masks/.test(line)).length, 0, lines.join('\n'));
  }
  // unless it has passed over them
  const hidden = folderOf('0.jpg', '.masks/0.png', '.masks/legend.csv');
  assert.match(
    (await paired(hidden(), hidden(), hidden('.masks'))).remarks.join('\n'),
    /1 other file.*\.csv/,
  );
});

it('names a folder of masks that can not be read', async () => {
  const at = folderOf('images/0.jpg', 'images/x/1.jpg', 'masks/0.png');
  symlinkSync(outside, at('masks', 'x'));
  writeFileSync(path.join(outside, '1.png'), 'x');
  Object.assign(process.env, readBelow([realpathSync(folder)]));
  try {
    const { found, unreadable } = await maskPairs(at('images'), at('masks'));
    assert.equal(found.length, 1);
    assert.deepEqual(unreadable, [
      { path: at('masks', 'x'), reason: 'leads outside the folders that may be read' },
    ]);
    await assert.rejects(maskPairs(at('images', 'x'), at('masks')), /masks\/x can't be read: leads outside/);
  } finally {
    delete process.env['DINO_READ_BELOW'];
  }
});
