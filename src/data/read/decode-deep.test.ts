/** Channels as they are stored: from files that sharp and a writer of our own have made, with every bit of their depth. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import sharp from 'sharp';
import { tiffOf, type TiffOptions } from '../../testing/tiff.js';
import { decodeDeep } from './decode-deep.js';

const [WIDTH, HEIGHT] = [13, 11];
const SIZE = { width: WIDTH, height: HEIGHT };
const deepValues = (channels: number): Uint16Array =>
  Uint16Array.from({ length: WIDTH * HEIGHT * channels }, (_, i) => Math.imul(i + 1, 7919) & 0xffff);
const byteValues = (channels: number): Uint8Array =>
  Uint8Array.from({ length: WIDTH * HEIGHT * channels }, (_, i) => Math.imul(i + 1, 7919) & 0xff);

for (const channels of [1, 2, 4, 7, 13, 16])
  for (const values of [deepValues(channels), byteValues(channels)])
    for (const change of [
      {},
      { isPlanar: true, rowsPerStrip: 4 },
      { isBigEndian: true, isDeflated: true, rowsPerStrip: 3 },
      ...(channels >= 3 ? [{ photometric: 2 }] : []),
    ] as Partial<TiffOptions>[]) {
      const bits = 8 * values.BYTES_PER_ELEMENT;
      test(`a TIFF of ${channels} channels of ${bits} bits ${JSON.stringify(change)} is read as it is`, async () => {
        const image = await decodeDeep(tiffOf(values, { ...SIZE, channels, ...change }), channels);
        assert.deepEqual([image.width, image.height, image.channels], [WIDTH, HEIGHT, channels]);
        const expected = bits === 8 ? Array.from(values, (value) => 257 * value) : [...values];
        assert.deepEqual([...image.data], expected);
      });
    }

test('TIFFs, PNGs and gray images of 16 bits that libvips has written keep every bit', async () => {
  for (const [channels, space] of [
    [1, 'grey16'],
    [3, 'rgb16'],
    [4, 'rgb16'],
  ] as const) {
    const values = deepValues(channels);
    const image = () => sharp(values, { raw: { ...SIZE, channels } }).toColourspace(space);
    const files = {
      png: await image().png().toBuffer(),
      lzw: await image().tiff({ compression: 'lzw', predictor: 'horizontal' }).toBuffer(),
      tiles: await image()
        .tiff({ compression: 'deflate', tile: true, tileWidth: 16, tileHeight: 16 })
        .toBuffer(),
    };
    for (const [name, file] of Object.entries(files)) {
      const decoded = await decodeDeep(file, channels);
      assert.deepEqual([...decoded.data], [...values], `${name} of ${channels}`);
    }
  }
});

test('8-bit images have values up to 65535, gray ones one channel, and an alpha only when it is asked for', async () => {
  const rgba = byteValues(4);
  const png = await sharp(rgba, { raw: { ...SIZE, channels: 4 } })
    .png()
    .toBuffer();
  const four = await decodeDeep(png, 4);
  assert.deepEqual(
    [...four.data],
    Array.from(rgba, (value) => 257 * value),
  );
  const three = await decodeDeep(png, 3);
  assert.deepEqual(
    [...three.data],
    [...four.data].filter((_, i) => i % 4 < 3),
  );
  const gray = byteValues(1);
  const grayFiles = [
    await sharp(gray, { raw: { ...SIZE, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer(),
    Buffer.concat([Buffer.from(`P5 ${WIDTH} ${HEIGHT} 255\n`), gray]),
  ];
  for (const file of grayFiles)
    assert.deepEqual(
      [...(await decodeDeep(file, 1)).data],
      Array.from(gray, (value) => 257 * value),
    );
  const jpeg = await sharp(gray, { raw: { ...SIZE, channels: 1 } })
    .toColourspace('b-w')
    .jpeg()
    .toBuffer();
  assert.equal((await decodeDeep(jpeg, 1)).channels, 1);
  await assert.rejects(decodeDeep(jpeg, 3), /it has 1 channel, not the 3 of --channels/);
});

test('a PGM of 16 bits keeps them, white being 65535', async () => {
  const header = Buffer.from(`P5 2 2 4095\n`);
  const file = Buffer.concat([header, Buffer.from([0, 0, 0, 1, 8, 0, 15, 255])]);
  assert.deepEqual([...(await decodeDeep(file, 1)).data], [0, 16, 32776, 65535]);
});

test('an image is upright, and gray where 0 is white is turned round', async () => {
  const values = Uint16Array.from([1, 2, 3, 4, 5, 6]); // 3 x 2
  const turned = await decodeDeep(tiffOf(values, { width: 3, height: 2, channels: 1, orientation: 6 }), 1);
  assert.deepEqual([turned.width, turned.height, ...turned.data], [2, 3, 4, 1, 5, 2, 6, 3]);
  const inverted = await decodeDeep(tiffOf(values, { width: 3, height: 2, channels: 1, photometric: 0 }), 1);
  assert.deepEqual([...inverted.data], [65534, 65533, 65532, 65531, 65530, 65529]);
});

test('an alpha of a TIFF is dropped unless it is asked for, another band never', async () => {
  const values = deepValues(4);
  const rgb = { ...SIZE, channels: 4, photometric: 2 } as const;
  const withAlpha = tiffOf(values, { ...rgb, extraSamples: 2 });
  assert.equal((await decodeDeep(withAlpha, 4)).channels, 4);
  assert.deepEqual(
    [...(await decodeDeep(withAlpha, 3)).data],
    [...values].filter((_, i) => i % 4 < 3),
  );
  await assert.rejects(decodeDeep(tiffOf(values, rgb), 3), /it has 4 channels, not the 3 of --channels/);
});

test('what is not read says why', async () => {
  const values = deepValues(4);
  const size = { ...SIZE, channels: 4 };
  await assert.rejects(decodeDeep(tiffOf(values, { ...size, sampleFormat: 2 }), 4), /signed 16-bit integers/);
  await assert.rejects(decodeDeep(tiffOf(values, { ...size, sampleFormat: 3 }), 4), /16-bit floats/);
  await assert.rejects(decodeDeep(tiffOf(values, size).subarray(0, 900), 4), /damaged TIFF/);
  const many = new Uint16Array(WIDTH * HEIGHT * 17);
  await assert.rejects(
    decodeDeep(tiffOf(many, { ...SIZE, channels: 17 }), 16),
    /TIFF of 17 channels, more than the 16 that are read/,
  );
});
