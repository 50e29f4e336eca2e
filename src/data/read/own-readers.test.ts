/** The readers of BMP, PNM and TIFF that are our own: larger files than the fixtures, hostile ones, and damaged ones. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { fixtureImage } from '../../testing/fixture-image.js';
import { decodeBytes } from './decode.js';
import { openBytes } from './open-image.js';
import { TiffDirectory } from './tiff-header.js';
import { readTiffPixels } from './tiff-pixels.js';
import { tiffVariant } from './tiff-variant.js';

const folder = new URL('../../../test/fixtures/formats/', import.meta.url);
const fixture = (name: string): Buffer => readFileSync(new URL(name, folder));

const reasonOf = async (bytes: Uint8Array): Promise<string> => {
  try {
    await decodeBytes(bytes);
  } catch (error) {
    assert.equal((error as Error).name, 'DataError', (error as Error).stack);
    return (error as Error).message;
  }
  return 'it was read';
};

test('strips and tiles of every compression are unpacked as libtiff does, with and without predictor', async () => {
  const [width, height] = [301, 157];
  const raw = { raw: { width, height, channels: 3 } } as const;
  const noise = Buffer.from(fixtureImage(width, height, 5));
  // few colours, so that LZW's pieces grow long; noise, so that its table fills up
  for (const pixels of [noise, noise.map((value, i) => (i % 7 === 0 ? value & 0xc0 : 90))]) {
    for (const compression of ['none', 'lzw', 'deflate', 'packbits'] as const) {
      for (const predictor of ['none', 'horizontal'] as const) {
        for (const tile of [true, false]) {
          const bytes = await sharp(pixels, raw)
            .tiff({ compression, predictor, tile, tileWidth: 64, tileHeight: 48 })
            .toBuffer();
          const tags = new TiffDirectory(bytes);
          const image = readTiffPixels(tags, tiffVariant(tags));
          assert.equal(Buffer.compare(image.data, pixels), 0, `${compression} ${predictor} ${tile}`);
        }
      }
    }
  }
});

/** A little-endian TIFF of some tags, as [number, value] (a LONG each), and the strip after them. */
function tiff(tags: readonly (readonly [number, number])[], strip: Uint8Array): Buffer {
  const directory = Buffer.alloc(10 + 12 * (tags.length + 2) + 4);
  directory.write('II*\0\x08\0\0\0', 0, 'latin1');
  directory.writeUInt16LE(tags.length + 2, 8);
  const all = [...tags, [273, directory.length], [279, strip.length]] as const;
  for (const [i, [tag, value]] of all.entries()) {
    directory.writeUInt16LE(tag, 10 + 12 * i);
    directory.writeUInt16LE(4, 12 + 12 * i);
    directory.writeUInt32LE(1, 14 + 12 * i);
    directory.writeUInt32LE(value, 18 + 12 * i);
  }
  return Buffer.concat([directory, strip]);
}

/** YCbCr with a colour for 2 x 2 pixels; 5 x 3 pixels make three units across and two down. */
test('subsampled YCbCr without JPEG is read', async () => {
  const unit = (y: number, cb: number, cr: number) => [y, y, y, y, cb, cr];
  const strip = Buffer.from(
    [
      [60, 128, 128],
      [120, 90, 240],
      [200, 128, 128],
      [10, 128, 128],
      [90, 128, 128],
      [250, 128, 128],
    ].flatMap(([y, cb, cr]) => unit(y!, cb!, cr!)),
  );
  const size = [
    [256, 5],
    [257, 3],
    [258, 8],
    [277, 3],
    [262, 6],
  ] as const;
  // without the tag of subsampling it is 2 x 2
  const image = await decodeBytes(tiff(size, strip));
  const at = (x: number, y: number) => [...image.data.subarray(3 * (y * 5 + x), 3 * (y * 5 + x) + 3)];
  assert.deepEqual([at(0, 0), at(1, 1)], [[60, 60, 60], [60, 60, 60]]); // prettier-ignore
  // 120 + 1.402 * 112; 120 - 0.344136 * -38 - 0.714136 * 112; 120 + 1.772 * -38
  assert.deepEqual(at(2, 0), [255, 53, 53]);
  assert.deepEqual([at(4, 1), at(0, 2), at(4, 2)], [[200, 200, 200], [10, 10, 10], [250, 250, 250]]); // prettier-ignore
});

test('a size that is claimed is refused before memory is allocated for it', async () => {
  const bmp = fixture('rle8.bmp');
  bmp.writeInt32LE(60_000, 18);
  bmp.writeInt32LE(60_000, 22);
  const claimed = [
    [256, 60_000],
    [257, 60_000],
    [258, 8],
    [277, 5],
    [262, 2],
  ] as const;
  const before = process.memoryUsage().rss;
  assert.match(await reasonOf(bmp), /^BMP of more than 178956970 pixels, refused before decoding/);
  assert.match(await reasonOf(Buffer.from('P6 60000 60000 255\n')), /^PNM of more than 178956970 pixels/);
  assert.match(await reasonOf(Buffer.from('P5 13000 13000 255\n')), /^damaged PNM: the end of the file/);
  assert.match(await reasonOf(tiff(claimed, Buffer.alloc(9))), /^TIFF of more than 178956970 pixels/);
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grown < 64, `${grown} MB`);
});

test('a strip that unpacks to far more than its rows takes no more memory than they do', async () => {
  const tags = [
    [256, 8],
    [257, 8],
    [258, 8],
    [277, 5],
    [262, 2],
    [259, 8],
  ] as const;
  const bomb = deflateSync(Buffer.alloc(2 ** 28));
  const before = process.memoryUsage().rss;
  assert.equal(await reasonOf(tiff(tags, bomb)), 'damaged TIFF');
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grown < 64, `${grown} MB`);
});

test('a directory outside the file, missing strips and a strip beyond the end are damage', async () => {
  const five = [
    [256, 8],
    [257, 8],
    [258, 8],
    [277, 5],
    [262, 2],
  ] as const;
  assert.match(
    await reasonOf(Buffer.from('II*\0\xff\xff\0\0', 'latin1')),
    /^damaged TIFF: its first directory/,
  );
  assert.match(await reasonOf(tiff(five, Buffer.alloc(319))), /^damaged TIFF: a strip or tile ends early/);
  assert.match(
    await reasonOf(tiff(five, Buffer.alloc(320)).subarray(0, -1)),
    /the end of the file is missing/,
  );
  assert.match(await reasonOf(tiff([...five, [278, 2]], Buffer.alloc(320))), /strips or tiles are missing/);
  assert.match(await reasonOf(tiff([...five, [278, 0]], Buffer.alloc(320))), /have no size/);
  assert.match(await reasonOf(tiff([...five, [322, 2 ** 31]], Buffer.alloc(320))), /^damaged TIFF/);
  assert.equal(await reasonOf(tiff(five, Buffer.alloc(320))), 'it was read');
});

test('a damaged file is an image or a reason, whatever its bytes are', async () => {
  const rounds = Number(process.env.DINO_TEST_FUZZ ?? 12);
  const names = readdirSync(folder).filter((name) => /\.(bmp|p[bgnp]m|tif|png|jpg|webp|avif)$/.test(name));
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let refused = 0;
  for (const name of names) {
    for (let round = 0; round < rounds; round++) {
      const bytes = fixture(name);
      const isHere = /\.(bmp|p[bgnp]m|tif)$/.test(name);
      // headers more often than pixels
      for (let i = 0; i <= random(4); i++)
        bytes[random(random(2) === 0 ? Math.min(160, bytes.length) : bytes.length)] = random(256);
      const cut = random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
      try {
        if (isHere) {
          const image = await decodeBytes(cut);
          const { width, height, channels, data } = image;
          assert.equal(data.length, width * height * channels, name);
        } else openBytes(cut);
      } catch (error) {
        assert.equal((error as Error).name, 'DataError', `${name}: ${(error as Error).stack}`);
        refused++;
      }
    }
  }
  assert.ok(refused > names.length, `${refused}`);
});

test('an image that is turned by its XMP is decoded at full size, also where a smaller one would do', async () => {
  const image = await decodeBytes(fixture('xmp-6.jpg'), { reduce: () => 4 });
  assert.deepEqual([image.width, image.height, image.isReducible], [13, 19, false]);
});
