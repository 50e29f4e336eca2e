/** Parquet files of images: written by hyparquet-writer, and by pyarrow and datasets where they are installed. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { decodeImage } from '../../read/decode.js';
import { ImageReader } from '../../read/image-reader.js';
import { listImages } from '../list-images.js';
import { EvalLoader } from '../../load/loaders.js';
import type { PackedImages } from '../packed-images.js';
import { readPageHeader } from '../../read/parquet-pages.js';
import { jpegOf, writeImages } from '../../../testing/shards.js';
import { writeShards } from '../../write/write-shards.js';

const scratch = mkdtempSync(path.join(tmpdir(), 'dino-parquet-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]) => path.join(scratch, ...parts);

const COUNT = 23;
const images: Buffer[] = [];
before(async () => {
  for (let i = 0; i < COUNT; i++) images.push(await jpegOf(i, 50 + i, 40));
});

type WriteOptions = Parameters<typeof parquetWriteBuffer>[0];

/** Where the page of an image begins, in bytes. */
function pageOf(list: PackedImages, index: number): number {
  const place = list.place(index);
  assert.ok(place.kind === 'parquet');
  return place.page;
}

/** A struct of bytes and path, both of which may be missing, and a label. */
function writeStruct(
  file: string,
  rows: (Buffer | null)[],
  labels: number[],
  options: Partial<WriteOptions> = {},
): string {
  const names = ['cat', 'dog', 'emu'];
  const features = { image: { _type: 'Image' }, label: { _type: 'ClassLabel', names } };
  const data = parquetWriteBuffer({
    schema: [
      { name: 'root', num_children: 2 },
      { name: 'image', num_children: 2, repetition_type: 'OPTIONAL' },
      { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
      { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      { name: 'label', type: 'INT64', repetition_type: 'OPTIONAL' },
    ],
    columnData: [
      {
        name: 'image',
        data: rows.map((bytes, i) => ({
          bytes: bytes === null ? null : new Uint8Array(bytes),
          path: `n0/${i}.JPEG`,
        })),
      },
      { name: 'label', data: labels.map((label) => BigInt(label)) },
    ],
    kvMetadata: [{ key: 'huggingface', value: JSON.stringify({ info: { features } }) }],
    rowGroupSize: 9,
    pageSize: 4000,
    statistics: false,
    ...options,
  });
  writeFileSync(at(file), new Uint8Array(data));
  return at(file);
}

async function readAll(
  source: string,
): Promise<{ names: string[]; bytes: (Uint8Array | string)[]; labels: (number | null)[] }> {
  const { items } = await listImages(source);
  const reader = new ImageReader(items as PackedImages);
  const order = Array.from({ length: items.length }, (_, i) => (i * 7) % items.length);
  const bytes: (Uint8Array | string)[] = [];
  for (const i of order) bytes[i] = await reader.read(i).catch((error: Error) => error.message);
  reader.close();
  return {
    names: items.map((item) => item.path.split('::')[1]!),
    bytes,
    labels: items.map((item) => item.label),
  };
}

const labels = Array.from({ length: COUNT }, (_, i) => (i === 4 ? -1 : i % 3));
const expectedLabels = labels.map((label) => (label < 0 ? null : label));
const same = (bytes: (Uint8Array | string)[], expected: Buffer[] = images) => {
  assert.equal(bytes.length, expected.length);
  bytes.forEach((value, i) =>
    assert.ok(typeof value !== 'string' && expected[i]!.equals(value), `${i}: ${String(value)}`),
  );
};

test('struct of bytes and path, with labels by their names, in pages of few rows', async () => {
  const file = writeStruct('struct.parquet', images, labels);
  const list = await listImages(file);
  assert.deepEqual(list.unreadable, []);
  assert.deepEqual(list.classes, ['cat', 'dog', 'emu']);
  const { names, bytes, labels: found } = await readAll(file);
  same(bytes);
  assert.deepEqual(found, expectedLabels);
  assert.deepEqual(
    names,
    images.map((_, i) => `${i}:${i}.JPEG`),
  );
  assert.deepEqual(await decodeImage(list.items.at(13)!.path), await decodeImage(images[13]!));
});

/** A Zstandard frame whose blocks are stored as they are (RFC 8878), because Node 20 can't compress. */
function zstdStored(bytes: Uint8Array): Buffer {
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0]); // one segment, its size in four bytes
  header.writeUInt32LE(bytes.length, 5);
  const blocks: Buffer[] = [];
  for (let start = 0; start === 0 || start < bytes.length; start += 65536) {
    const part = bytes.subarray(start, start + 65536);
    const isLast = start + 65536 >= bytes.length ? 1 : 0;
    const block = Buffer.alloc(3);
    block.writeUIntLE(isLast | (part.length << 3), 0, 3);
    blocks.push(block, Buffer.from(part));
  }
  return Buffer.concat([header, ...blocks]);
}

for (const [codec, compress] of [
  ['UNCOMPRESSED', null],
  ['GZIP', gzipSync],
  ['ZSTD', zstdStored],
] as const) {
  test(`pages of codec ${codec}`, async () => {
    const compressors =
      compress === null
        ? {}
        : { compressors: { [codec]: (bytes: Uint8Array) => new Uint8Array(compress(bytes)) } };
    const file = writeStruct(`${codec}.parquet`, images, labels, { codec, ...compressors });
    same((await readAll(file)).bytes);
  });
}

test('repeated images: pages of indices into a dictionary', async () => {
  const rows = Array.from({ length: 60 }, (_, i) => images[i % 3]!);
  const file = writeStruct(
    'dictionary.parquet',
    rows,
    rows.map(() => 0),
    { rowGroupSize: 40, pageSize: 1e6 },
  );
  same((await readAll(file)).bytes, rows);
});

test('rows without an image are reported; a column of only bytes is accepted', async () => {
  const rows = images.map((image, i) => (i === 5 ? null : image));
  const { bytes } = await readAll(writeStruct('null.parquet', rows, labels));
  assert.equal(bytes[5], 'the row has no bytes of an image');
  same(
    bytes.filter((_, i) => i !== 5),
    images.filter((_, i) => i !== 5),
  );
  const flat = parquetWriteBuffer({
    columnData: [
      { name: 'jpg', type: 'BYTE_ARRAY', data: images.map((image) => new Uint8Array(image)) },
      { name: 'caption', type: 'STRING', data: images.map((_, i) => `caption ${i}`) },
      { name: 'cls', type: 'INT32', data: labels.map((label) => Math.max(label, 0)) },
    ],
  });
  writeFileSync(at('flat.parquet'), new Uint8Array(flat));
  const read = await readAll(at('flat.parquet'));
  same(read.bytes);
  assert.deepEqual(
    read.labels,
    labels.map((label) => Math.max(label, 0)),
  );
  const texts = parquetWriteBuffer({ columnData: [{ name: 'url', type: 'STRING', data: ['a'] }] });
  writeFileSync(at('texts.parquet'), new Uint8Array(texts));
  await assert.rejects(
    listImages(at('texts.parquet')),
    /no column of images: expected one column.*the file has url/,
  );
});

test('a damaged page: its images are skipped and its place is reported; the others are read', async () => {
  const file = writeStruct('damaged.parquet', images, labels);
  const { items } = await listImages(file);
  const offset = pageOf(items as PackedImages, 11);
  const bytes = readFileSync(file);
  bytes.fill(0xff, offset + 40, offset + 400);
  writeFileSync(file, bytes);
  const list = await listImages(file);
  const loader = new EvalLoader({ items: list.items, resize: 32, crop: 32, batchSize: 8, numWorkers: 1 });
  const skipped: { path: string; offset?: number; reason: string }[] = [];
  let good = 0;
  for await (const batch of loader) {
    skipped.push(...batch.skipped);
    good += batch.indices.length;
    batch.release();
  }
  assert.equal(good + skipped.length, COUNT);
  assert.ok(skipped.some((image) => image.path === items.at(11)!.path) && good > COUNT / 2);
  for (const { offset: place, reason } of skipped) {
    assert.equal(place, offset);
    assert.match(reason, /damaged/);
  }
});

test('a damaged page header: the rest of its row group is reported; a file without a footer has no images', async () => {
  const file = writeStruct('header.parquet', images, labels);
  const first = (await listImages(file)).items as PackedImages;
  const bytes = readFileSync(file);
  const index = Array.from({ length: 9 }, (_, i) => i).find((i) => pageOf(first, i) > pageOf(first, 0))!;
  bytes.fill(0xff, pageOf(first, index), pageOf(first, index) + 20);
  writeFileSync(file, bytes);
  const list = await listImages(file);
  assert.equal(list.items.length, COUNT - 9 + index);
  assert.equal(list.unreadable[0]!.offset, pageOf(first, index));
  assert.match(list.unreadable[0]!.reason, /damaged page header.*the rest of its row group is not read/);
  mkdirSync(at('two'));
  copyFileSync(writeStruct('whole.parquet', images, labels), at('two', 'a.parquet'));
  writeFileSync(at('two', 'b.parquet'), bytes.subarray(0, bytes.length - 100));
  const two = await listImages(at('two'));
  assert.equal(two.items.length, COUNT);
  assert.match(two.unreadable[0]!.reason, /no Parquet footer/);
});

test('Parquet to tar shards', async () => {
  const file = writeStruct('to-tar.parquet', images, labels);
  await writeShards(file, { output: at('tar') });
  const { bytes, labels: found, names } = await readAll(at('tar'));
  same(bytes);
  assert.deepEqual(found, expectedLabels);
  assert.equal(names[3], 'to-tar-3.jpg');
  assert.deepEqual((await listImages(at('tar'))).classes, ['cat', 'dog', 'emu']);
});

test('a page that claims more than a file can have is damaged', async () => {
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
  const int = (value: number): number[] => [0x15, ...varint(2 * value)]; // the next field, zigzag
  const page = (unpacked: number, rows: number): Uint8Array =>
    Uint8Array.from([
      ...int(0),
      ...int(unpacked),
      ...int(8),
      0x2c,
      ...int(rows),
      ...int(0),
      ...int(3),
      ...int(3),
      0,
      0,
    ]);
  const read = (bytes: Uint8Array) =>
    readPageHeader((offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)), 0, 1000);
  assert.deepEqual((await read(page(8, 2))).rows, 2);
  await assert.rejects(read(page(8, 2 ** 30)), /damaged page header/);
  await assert.rejects(read(page(2 ** 30, 2)), /damaged page header/);
});

test('a footer that claims gigabytes is not read', async () => {
  const file = at('footer.parquet');
  writeFileSync(file, 'PAR1');
  truncateSync(file, 3 * 2 ** 30);
  const end = Buffer.alloc(8);
  end.writeUInt32LE(2 ** 31, 0);
  end.write('PAR1', 4);
  appendFileSync(file, end);
  await assert.rejects(listImages(file), /no Parquet footer.*a footer of \d+ bytes/s);
});

/**
 * What pyarrow 26 writes for a table of no rows, in which a row group without pages stands:
 *   image = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
 *   table = pa.table({'image': pa.array([], image), 'label': pa.array([], pa.int64())})
 *   pq.write_table(table, 'empty.parquet', store_schema=False)
 */
const EMPTY = [
  'UEFSMRUEFQAVAkwVABUAEgAAABUEFQAVAkwVABUAEgAAABUEFQAVAkwVABUAEgAAABUEGVw1ABgGc2NoZW1hFQQANQIYBWltYWdl',
  'FQQAFQwlAhgFYnl0ZXMAFQwlAhgEcGF0aCUATBwAAAAVBCUCGAVsYWJlbAAWABkcGTwmABwVDBklAAYZKAVpbWFnZQVieXRlcxUC',
  'FgAWHBYeJgAmCCkcFQQVABUCAAAAJgAcFQwZJQAGGSgFaW1hZ2UEcGF0aBUCFgAWHBYeJgAmJikcFQQVABUCAAAAJgAcFQQZJQAG',
  'GRgFbGFiZWwVAhYAFhwWHiYAJkQpHBUEFQAVAgAAABZUFgAmCBZaACggcGFycXVldC1jcHAtYXJyb3cgdmVyc2lvbiAyNi4wLjEZ',
  'PBwAABwAABwAAAAGAQAAUEFSMQ==',
].join('');

test('a file without rows is an empty shard, not a damaged one', async () => {
  mkdirSync(at('with-empty'));
  writeFileSync(at('with-empty', '0.parquet'), Buffer.from(EMPTY, 'base64'));
  await assert.rejects(listImages(at('with-empty', '0.parquet')), (error: Error) => {
    assert.match(error.message, /^There are no images in .*0\.parquet\.$/);
    return true;
  });
  writeStruct('with-empty/1.parquet', images.slice(0, 3), [0, 1, 2]);
  const list = await listImages(at('with-empty'));
  assert.equal(list.items.length, 3);
  assert.deepEqual([list.unreadable, list.remarks, list.leftOut.count], [[], [], 0]);
  assert.deepEqual(list.classes, ['cat', 'dog', 'emu']);
});

test('rows without a label are counted and left out where labels are needed', async () => {
  const file = writeStruct('some.parquet', images.slice(0, 8), [0, 1, -1, 1, 0, -1, 1, 0]);
  assert.equal((await listImages(file)).items.length, 8);
  const list = await listImages(file, { onlyLabelled: true });
  assert.deepEqual(
    list.items.map((item) => item.label),
    [0, 1, 1, 0, 1, 0],
  );
  assert.match(
    list.remarks.join('\n'),
    /2 of 8 images have no label and were left out.*some\.parquet::2:2\.JPEG and 1 more/,
  );
  const reader = new ImageReader(list.items as PackedImages);
  assert.ok(images[3]!.equals(await reader.read(2)));
  reader.close();
  // as pandas writes numbers of which some are missing
  const floats = at('floats.parquet');
  const data = parquetWriteBuffer({
    columnData: [
      { name: 'image', data: images.slice(0, 3).map((bytes) => new Uint8Array(bytes)), type: 'BYTE_ARRAY' },
      { name: 'label', data: [2, NaN, 0], type: 'DOUBLE' },
    ],
  });
  writeFileSync(floats, new Uint8Array(data));
  assert.deepEqual((await readAll(floats)).labels, [2, null, 0]);
  const none = writeStruct('no-labels.parquet', images.slice(0, 2), [-1, -1]);
  assert.equal((await listImages(none, { onlyLabelled: true })).classes, null);
});

const python = process.env['DINO_TEST_PYTHON'] ?? '';
const has = (module: string) => python !== '' && spawnSync(python, ['-c', `import ${module}`]).status === 0;

test(
  'what pyarrow writes, in each codec and page layout',
  { skip: has('pyarrow') ? false : 'no DINO_TEST_PYTHON with pyarrow' },
  async () => {
    await writeImages(
      at('source'),
      Array.from({ length: 40 }, (_, i) => `${String(i).padStart(2, '0')}.jpg`),
    );
    const expected = readdirSync(at('source'))
      .sort()
      .map((name) => readFileSync(at('source', name)));
    const script = `
import sys, os, pyarrow as pa, pyarrow.parquet as pq
src, out = sys.argv[1], sys.argv[2]
os.makedirs(out)
rows = [{'bytes': open(os.path.join(src, n), 'rb').read(), 'path': n} for n in sorted(os.listdir(src))]
table = pa.table({'image': pa.array(rows, pa.struct({'bytes': pa.binary(), 'path': pa.string()})), 'label': pa.array([i % 5 for i in range(len(rows))], pa.int64())})
for codec in ['none', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4']:
  for version in ['1.0', '2.0']:
    for dictionary in [False, True]:
      pq.write_table(table, f'{out}/{codec}-{version}-{dictionary}.parquet', compression=codec, data_page_version=version, use_dictionary=dictionary, row_group_size=17, data_page_size=5000, write_page_index=dictionary)`;
    execFileSync(python, ['-c', script, at('source'), at('arrow')]);
    const files = readdirSync(at('arrow')).filter((name) => name.endsWith('.parquet'));
    assert.equal(files.length, 24);
    for (const name of files) {
      const { bytes, labels: found } = await readAll(at('arrow', name));
      same(bytes, expected);
      assert.deepEqual(
        found,
        expected.map((_, i) => i % 5),
        name,
      );
    }
  },
);

test(
  'what datasets writes for a folder of classes',
  { skip: has('datasets') ? false : 'no DINO_TEST_PYTHON with datasets' },
  async () => {
    await writeImages(
      at('classes'),
      Array.from({ length: 30 }, (_, i) => `${['dog', 'ant', 'cat'][i % 3]}/${i}.jpg`),
    );
    const script = `
import sys
from datasets import load_dataset
from datasets.table import embed_table_storage
data = load_dataset('imagefolder', data_dir=sys.argv[1], split='train', cache_dir=sys.argv[3])
data.with_format("arrow").map(embed_table_storage, batched=True).with_format(None).to_parquet(sys.argv[2])`; // the images in it, as push_to_hub does
    execFileSync(python, ['-c', script, at('classes'), at('hf.parquet'), at('hf-cache')], {
      stdio: 'ignore',
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    const [list, folder] = [await listImages(at('hf.parquet')), await listImages(at('classes'))];
    assert.deepEqual(list.classes, folder.classes);
    const { bytes, names } = await readAll(at('hf.parquet'));
    names.forEach((name, i) => {
      const base = name.split(':')[1]!;
      const original = [...folder.items].find((item) => path.basename(item.path) === base)!;
      assert.ok(readFileSync(original.path).equals(bytes[i] as Uint8Array));
      assert.equal(list.items.at(i)!.label, original.label);
    });
  },
);
