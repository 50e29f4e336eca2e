/** Decoding: every image mode against Pillow's convert("RGB") (test/fixtures/augment/modes), and bad files. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { deflateSync, gunzipSync } from 'node:zlib';
import sharp from 'sharp';
import { decodeBytes, decodeImage, imageHeader, jpegFrame } from './decode.js';
import { sniffFormat } from './image-format.js';
import { fixtureImage } from '../../testing/fixture-image.js';

const folder = new URL('../../../test/fixtures/augment/', import.meta.url);
const scratch = mkdtempSync(path.join(tmpdir(), 'dino-decode-'));
after(() => rmSync(scratch, { recursive: true }));

interface Case {
  operation: string;
  file: string;
  outWidth: number;
  outHeight: number;
  offset: number;
}
const cases = (JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as { cases: Case[] }).cases;
const expectedBytes = gunzipSync(readFileSync(new URL('cases.bin.gz', folder)));

/** The allowed difference from Pillow: none, except for AVIF, whose decoders convert YUV to RGB with different precision. */
const tolerance = (file: string) => (file.endsWith('.avif') ? 1 : 0);

for (const item of cases.filter((entry) => entry.operation === 'mode')) {
  test(`${item.file} is what Pillow's convert("RGB") gives`, async () => {
    const image = await decodeImage(new URL(item.file, folder).pathname);
    assert.deepEqual([image.width, image.height], [item.outWidth, item.outHeight]);
    const expected = expectedBytes.subarray(item.offset, item.offset + item.outWidth * item.outHeight * 3);
    assert.equal(image.data.length, expected.length);
    const worst = image.data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
    assert.ok(worst <= tolerance(item.file), `worst difference ${worst}`);
  });
}

test('16-bit colour keeps the high bytes, with and without alpha', async () => {
  const values = Uint16Array.from({ length: 12 * 10 * 4 }, (_, i) => (i * 7919) & 0xffff);
  for (const channels of [3, 4] as const) {
    const count = 12 * 10 * channels;
    const png = await sharp(values.slice(0, count), { raw: { width: 12, height: 10, channels } })
      .toColourspace('rgb16')
      .png()
      .toBuffer();
    assert.equal((await sharp(png).metadata()).depth, 'ushort');
    const image = await decodeImage(png);
    const expected = Array.from({ length: 12 * 10 * 3 }, (_, i) => {
      return values[Math.floor(i / 3) * channels + (i % 3)]! >> 8;
    });
    assert.deepEqual([...image.data], expected);
  }
});

test('a colour profile changes nothing, as in Pillow', async () => {
  const raw = { raw: { width: 20, height: 14, channels: 3 } } as const;
  const pixels = fixtureImage(20, 14, 4);
  const tagged = await sharp(pixels, raw).withIccProfile('p3').png().toBuffer();
  assert.equal((await sharp(tagged).metadata()).icc !== undefined, true);
  const stored = await sharp(tagged, { ignoreIcc: true }).raw().toBuffer();
  assert.deepEqual(Buffer.from((await decodeImage(tagged)).data), stored);
});

test('reduced-size decoding keeps the picture and reports the full size', async () => {
  const bytes = readFileSync(new URL('modes/large.jpg', folder));
  assert.deepEqual(jpegFrame(bytes), { marker: 0xc0, precision: 8, width: 1024, height: 768, components: 3 });
  const full = await decodeBytes(bytes);
  assert.deepEqual([full.width, full.originalWidth], [1024, 1024]);
  const seen: number[][] = [];
  const small = await decodeBytes(bytes, {
    reduce: (width, height) => {
      seen.push([width, height]);
      return 4;
    },
  });
  assert.ok(seen.some(([width, height]) => width === 1024 && height === 768));
  assert.deepEqual([small.width, small.height], [256, 192]);
  assert.deepEqual([small.originalWidth, small.originalHeight], [1024, 768]);
  const reference = await decodeImage(bytes, { maxSide: 256 });
  assert.deepEqual([reference.width, reference.height], [256, 192]);
  const mean =
    small.data.reduce((sum, v, i) => sum + Math.abs(v - reference.data[i]!), 0) / small.data.length;
  assert.ok(mean < 1, `mean difference ${mean}`);
  const untouched = await decodeBytes(bytes, { reduce: () => 2.9 });
  assert.deepEqual(untouched.data, full.data);
});

test('reduced-size decoding allows for sides that orientation swaps', async () => {
  const bytes = await sharp(readFileSync(new URL('modes/large.jpg', folder)))
    .withMetadata({ orientation: 6 })
    .toBuffer();
  const small = await decodeBytes(bytes, {
    reduce: (width, height) => (width === 768 && height === 1024 ? 4 : 1),
  });
  assert.deepEqual(
    [small.width, small.height, small.originalWidth, small.originalHeight],
    [192, 256, 768, 1024],
  );
});

/** A PNG that claims a size; its data would be a few rows of zeros. */
function bombPng(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(checksum(body), body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const data = deflateSync(Buffer.alloc(100_000));
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function checksum(data: Buffer): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

const reasonOf = async (bytes: Uint8Array): Promise<string> => {
  try {
    await decodeBytes(bytes);
  } catch (error) {
    assert.equal((error as Error).name, 'DataError');
    return (error as Error).message;
  }
  return 'decoded';
};

test('bad files are refused with a reason in one line', async () => {
  const whole = readFileSync(new URL('modes/rgb.jpg', folder));
  const png = readFileSync(new URL('modes/rgb.png', folder));
  const webp = readFileSync(new URL('modes/lossy.webp', folder));
  const large = readFileSync(new URL('modes/large.jpg', folder));
  const reasons = {
    empty: await reasonOf(Buffer.alloc(0)),
    text: await reasonOf(Buffer.from('Dear diary, today I became a picture')),
    svg: await reasonOf(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')),
    binary: await reasonOf(Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
    jpegHalf: await reasonOf(large.subarray(0, large.length / 2)),
    jpegHeader: await reasonOf(whole.subarray(0, 100)),
    pngHalf: await reasonOf(png.subarray(0, png.length / 2)),
    pngDamaged: await reasonOf(Buffer.concat([png.subarray(0, 60), Buffer.alloc(40, 9), png.subarray(100)])),
    webpHalf: await reasonOf(webp.subarray(0, webp.length / 2)),
    bomb: await reasonOf(bombPng(60_000, 60_000)),
  };
  assert.equal(reasons.empty, 'the file is empty');
  assert.match(reasons.text, /^not a JPEG.*starts with the text "Dear diary/);
  assert.match(reasons.svg, /^not a JPEG/);
  assert.match(reasons.binary, /^not a JPEG.*bytes 0001020304050607/);
  assert.equal(reasons.jpegHalf, 'damaged JPEG: the end of the file is missing');
  assert.equal(reasons.jpegHeader, 'damaged JPEG: the end of the file is missing');
  assert.equal(reasons.pngHalf, 'damaged PNG: the end of the file is missing');
  assert.equal(reasons.pngDamaged, 'damaged PNG');
  assert.equal(reasons.webpHalf, 'damaged WebP: the end of the file is missing');
  assert.match(reasons.bomb, /pixel limit/);
  for (const reason of Object.values(reasons)) assert.ok(!reason.includes('\n'), reason);
});

test('a decompression bomb takes no memory', async () => {
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 5; i++) await reasonOf(bombPng(60_000, 60_000));
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grown < 64, `${grown} MB`);
});

test('decodeImage names the file', async () => {
  const file = path.join(scratch, 'näme with "quotes" 🦖.jpg');
  await assert.rejects(
    decodeImage(file),
    (error: Error) => error.message.includes('🦖') && /no such file/.test(error.message),
  );
  writeFileSync(file, readFileSync(new URL('modes/rgb.jpg', folder)));
  assert.equal((await decodeImage(file)).width, 20);
  await assert.rejects(decodeImage(scratch), /is a folder/);
});

test('formats are recognized by content, not by name', () => {
  const bytes = (name: string) => readFileSync(new URL(`modes/${name}`, folder));
  const formats = ['rgb.jpg', 'rgb.png', 'lossy.webp', 'rgb.avif', 'rgb.tif', 'rgb.gif'].map((name) => {
    return sniffFormat(bytes(name));
  });
  assert.deepEqual(formats, ['JPEG', 'PNG', 'WebP', 'AVIF', 'TIFF', 'GIF']);
});

test('an AVIF of a few hundred bytes that would take gigabytes is refused by its header', async () => {
  // the size of a small one is overwritten in its box "ispe"; nothing else of it is read
  const bytes = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'navy' } })
    .avif()
    .toBuffer();
  const ispe = bytes.indexOf('ispe');
  bytes.writeUInt32BE(13_000, ispe + 8);
  bytes.writeUInt32BE(13_000, ispe + 12);
  await assert.rejects(decodeBytes(bytes), /AVIF of more than 71582788 pixels, refused before decoding/);
  await assert.rejects(imageHeader(bytes), /AVIF of more than 71582788 pixels/);
});
