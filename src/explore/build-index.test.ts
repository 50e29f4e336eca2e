/** Indexes on disk: made, brought up to date, interrupted, damaged, stale; and searched, with real image files. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { ConfigError, DataError } from '../errors.js';
import { hashModel } from '../testing/hash-model.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { liveTensors } from '../torch/index.js';
import { loadModel, Model } from '../model.js';
import { writeSafetensors } from '../weights/safetensors.js';
import { buildIndex, type BuildIndexOptions, type BuildIndexResult } from './build-index.js';
import { findDuplicates } from './duplicates.js';
import { ImageIndex } from './image-index.js';
import type { IndexManifest } from './index-format.js';
import { findOutliers } from './outliers.js';
import { loadIndexModel, regionBox, searchIndex } from './search.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-index-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
let model: Model;
before(async () => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
  await writeColourFolders(images, 6);
});
after(() => rmSync(folder, { recursive: true }));

const build = (output: string, more: Partial<BuildIndexOptions> = {}, source = images) =>
  buildIndex(model, source, { output, numWorkers: 0, batchSize: 5, weights: { given: run }, ...more });

describe('an index', () => {
  const output = path.join(folder, 'grown');

  it('is made, and holds what embed() gives, scaled to length 1', async () => {
    const before = liveTensors();
    const result = await build(output);
    assert.deepEqual([result.images, result.added, result.changed, result.removed], [18, 18, 0, 0]);
    noTensorLeft(before);
    const plain = await model.embed(images, { numWorkers: 0 });
    using index = ImageIndex.open(output);
    assert.deepEqual([index.count, index.width, index.images[17]!.label], [18, 24, 'red']);
    const all = index.features();
    plain.paths.forEach((file, i) => {
      const row = index.rowOf(file)!;
      const vector = plain.features.subarray(i * 24, (i + 1) * 24);
      const length = Math.hypot(...vector);
      vector.forEach((value, d) => assert.ok(Math.abs(all[row * 24 + d]! - value / length) < 1e-5));
    });
    assert.deepEqual(
      readdirSync(output).filter((name) => name.includes('partial') || name === 'lock'),
      [],
    );
  });

  it('is left as it is when nothing changed', async () => {
    const before = readFileSync(path.join(output, 'index.json'), 'utf8');
    const result = await build(output);
    assert.deepEqual([result.images, result.added, result.changed, result.removed], [18, 0, 0, 0]);
    assert.equal(readFileSync(path.join(output, 'index.json'), 'utf8'), before);
  });

  it('takes in new and changed images, drops those that are gone, and says which can not be read', async () => {
    using old = ImageIndex.open(output);
    const kept = path.join(images, 'blue', 'blue 1.png');
    const feature = [...old.feature(old.rowOf(kept)!)];
    const changed = path.join(images, 'green', 'green 0.png');
    copyFileSync(path.join(images, 'red', 'red 0.png'), changed);
    utimesSync(changed, 1, 1);
    rmSync(path.join(images, 'blue', 'blue 0.png'));
    copyFileSync(kept, path.join(images, 'red', 'new.png'));
    writeFileSync(path.join(images, 'red', 'broken.png'), 'no image');
    const result = await build(output);
    assert.deepEqual([result.images, result.added, result.changed, result.removed], [18, 1, 1, 1]);
    assert.deepEqual(
      result.skipped.map((each) => each.path),
      ['red/broken.png'],
    );
    using index = ImageIndex.open(output);
    assert.equal(index.rowOf(path.join(images, 'blue', 'blue 0.png')), null);
    assert.deepEqual([...index.feature(index.rowOf(kept)!)], feature);
    assert.deepEqual(
      index.skipped().map((each) => each.path),
      ['red/broken.png'],
    );
    // both ways of searching see the new state: the changed image is now red, the new one blue
    for (const exact of [true, false]) {
      const [first] = await searchIndex(index, { plus: [kept], top: 1, exact });
      assert.equal(first!.path, path.join(images, 'red', 'new.png'));
      const twin = await searchIndex(index, { plus: [changed], top: 1, exact });
      assert.equal(twin[0]!.path, path.join(images, 'red', 'red 0.png'));
    }
    assert.deepEqual(readdirSync(output).sort(), [
      'features-1.safetensors',
      'images-1.jsonl',
      'index.json',
      'skipped-1.jsonl',
      'vectors-1.usearch',
    ]);
    rmSync(path.join(images, 'red', 'broken.png'));
    await build(output);
    using mended = ImageIndex.open(output);
    assert.deepEqual(mended.skipped(), []);
  });

  it('of a list names its images below one folder, wherever they are', async () => {
    const list = path.join(folder, 'lists', 'some.txt');
    mkdirSync(path.dirname(list));
    writeFileSync(list, `../images/red/red 1.png\n${path.join(images, 'green', 'green 1.png')}\n`);
    const place = path.join(folder, 'listed');
    await build(place, {}, list);
    using index = ImageIndex.open(place);
    assert.deepEqual(
      [index.manifest.images.root, ...index.images.map((image) => image.path)],
      [folder, 'images/red/red 1.png', 'images/green/green 1.png'],
    );
    assert.equal(index.fileOf(1), path.join(images, 'green', 'green 1.png'));
    assert.equal((await build(place, {}, list)).added, 0);
  });

  it('of a list that names an image twice has it once, says so, and settles', async () => {
    const list = path.join(folder, 'lists', 'twice.txt');
    const [red, green] = ['../images/red/red 1.png', '../images/green/green 1.png'];
    writeFileSync(list, [red, green, red, '../images/blue/../red/red 1.png', green, ''].join('\n'));
    const place = path.join(folder, 'twice.index');
    const told = ({ images: count, added, removed, skipped, remarks }: BuildIndexResult) => [
      ...[count, added, removed, skipped.length],
      ...remarks,
    ];
    const remark = `${list}: 3 entries name images that the list already has (${path.join(images, 'red', 'red 1.png')}, and 2 more): each image counts once`;
    assert.deepEqual(told(await build(place, {}, list)), [2, 2, 0, 0, remark]);
    assert.deepEqual(told(await build(place, {}, list)), [2, 0, 0, 0, remark]);
    using index = ImageIndex.open(place);
    const groups = await findDuplicates(index, { threshold: 0.999 });
    assert.ok(groups.every(({ keep, copies }) => copies.every((copy) => copy.path !== keep.path)));
  });

  it('leaves out images of which a model makes nothing, and says so', async () => {
    using broken = loadModel(run, { device: 'cpu' });
    const state = broken.backbone.stateDict();
    for (const name of ['norm.weight', 'norm.bias']) state.get(name)!.mul_(0);
    const place = path.join(folder, 'nothing.index');
    await assert.rejects(buildIndex(broken, images, { output: place, numWorkers: 0 }), (error: Error) => {
      const expected = `none of the 18 images can be indexed: ${broken.file} gives them features that are all 0 or not finite. The weights are damaged`;
      return error.message.startsWith(expected) || assert.fail(error.message);
    });
    const mixed = path.join(folder, 'mixed');
    mkdirSync(mixed);
    copyFileSync(path.join(images, 'red', 'red 1.png'), path.join(mixed, 'b.png'));
    writeFileSync(path.join(mixed, 'a.png'), 'broken');
    await assert.rejects(
      buildIndex(broken, mixed, { output: place, numWorkers: 0 }),
      /none of the 2 images can be indexed: 1 can't be read, and .* gives the others features that are all 0/,
    );
    assert.equal(existsSync(path.join(place, 'index.json')), false);
  });

  it('rebuilds its graph when much is removed, and embeds everything again for other weights or sizes', async () => {
    const half = path.join(folder, 'half');
    const few = path.join(folder, 'few');
    cpSync(images, few, { recursive: true, preserveTimestamps: true });
    await build(half, {}, few);
    rmSync(path.join(few, 'red'), { recursive: true });
    const result = await build(half, {}, few);
    assert.equal(result.removed, 7);
    using index = ImageIndex.open(half);
    assert.equal((await index.neighbours(3, { exact: false })).rows.includes(-1), false);
    const other = await build(half, { crop: 24, resize: 28 }, few);
    assert.match(other.rebuilt!, /resize was 37, now 28/);
    assert.equal(other.added, other.images);
    const means = await build(half, { crop: 24, resize: 28, features: 'patch-mean' }, few);
    assert.match(means.rebuilt!, /features was cls, now patch-mean/);
    assert.equal(means.images, result.images);
  });

  it('keeps what was embedded when it is interrupted, and continues from there', async () => {
    const stopped = path.join(folder, 'stopped');
    const stop = new AbortController();
    const running = build(stopped, {
      signal: stop.signal,
      onProgress: ({ done }) => done === 10 && stop.abort(new Error('enough')),
    });
    await assert.rejects(running, /enough/);
    using part = ImageIndex.open(stopped);
    assert.equal(part.count, 10);
    const result = await build(stopped, { saveEvery: 0 });
    assert.deepEqual([result.images, result.added], [18, 8]);
  });
});

describe('a damaged, foreign or busy index', () => {
  const whole = path.join(folder, 'whole');
  before(() => build(whole));
  let copies = 0;
  const damaged = (name: string, damage: (file: string) => void): string => {
    const copy = path.join(folder, `damaged-${copies++}`);
    cpSync(whole, copy, { recursive: true });
    damage(path.join(copy, name));
    return copy;
  };
  const flip = (file: string): void => {
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 0x55;
    writeFileSync(file, bytes);
  };
  const cut = (file: string): void => writeFileSync(file, readFileSync(file).subarray(0, -7));

  it('is refused with what to do, before a native reader sees it', async () => {
    const query = async (place: string): Promise<unknown> => {
      using index = ImageIndex.open(place);
      return index.neighbours(3, { exact: false });
    };
    for (const name of ['features-0.safetensors', 'images-0.jsonl', 'vectors-0.usearch'])
      for (const damage of [flip, cut, rmSync])
        await assert.rejects(query(damaged(name, damage)), (error: Error) => {
          assert.ok(error instanceof DataError);
          assert.match(
            error.message,
            new RegExp(`${name} is (damaged|missing).*make it again with: dino index`),
          );
          return true;
        });
    for (const [text, expected] of [
      ['{', /is damaged: .*make it again/s],
      ['{"format":"dino-index","version":7}', /version 7; this dino reads 1 and 2/],
      ['{"format":"dino-index","version":1}', /is damaged:.*make it again/s],
    ] as const)
      await assert.rejects(query(damaged('index.json', (file) => writeFileSync(file, text))), expected);
    await assert.rejects(query(path.join(folder, 'none')), /does not exist\. Make one with: dino index/);
    await assert.rejects(query(images), /is not an index/);
  });

  it('names no file outside its folder', () => {
    const text = readFileSync(path.join(whole, 'index.json'), 'utf8');
    const elsewhere = text.replace('vectors-0.usearch', '../whole/vectors-0.usearch');
    assert.notEqual(elsewhere, text);
    const place = damaged('index.json', (file) => writeFileSync(file, elsewhere));
    assert.throws(() => ImageIndex.open(place), /is damaged/);
  });

  it('whose graph was damaged is mended by an update', async () => {
    const place = damaged('vectors-0.usearch', (file) => writeFileSync(file, 'half'));
    assert.deepEqual([(await build(place)).added, (await build(place)).added], [0, 0]);
    using index = ImageIndex.open(place);
    assert.equal((await index.search(index.feature(3), 1, { exact: false }))[0]!.row, 3);
  });

  it('never holds a fifth of removed vectors, however often a few are taken away', async () => {
    const [source, place] = ['shrinking', 'shrunk'].map((name) => path.join(folder, name)) as [
      string,
      string,
    ];
    await writeColourFolders(source, 20);
    await build(place, {}, source);
    for (let round = 0; round < 5; round++) {
      const names = readdirSync(path.join(source, 'red')).slice(0, 3);
      for (const name of names) rmSync(path.join(source, 'red', name));
      const { images: left } = await build(place, {}, source);
      const { files } = JSON.parse(readFileSync(path.join(place, 'index.json'), 'utf8')) as IndexManifest;
      const nodes = readFileSync(path.join(place, files.vectors.name)).readUInt32LE(0);
      assert.ok(left === 60 - 3 * (round + 1) && left >= 0.8 * nodes, `${left} of ${nodes}`);
    }
  });

  it(
    'follows no link out of its folder, reads no FIFO, and writes through neither',
    { timeout: 120_000 },
    async () => {
      const outside = path.join(folder, 'precious');
      const change = (name: string, put: (file: string) => void) =>
        damaged(name, (file) => {
          rmSync(file, { force: true });
          put(file);
        });
      for (const name of readdirSync(whole)) {
        writeFileSync(outside, readFileSync(path.join(whole, name)));
        const linked = change(name, (file) => symlinkSync(outside, file));
        const fifo = change(name, (file) => execFileSync('mkfifo', [file]));
        for (const [place, words] of [
          [linked, /is a symbolic link/],
          [fifo, /expected a regular file, but it is a FIFO/],
        ] as const)
          await assert.rejects(
            async () => {
              using index = ImageIndex.open(place);
              index.skipped();
              index.features();
              await index.search(index.feature(0), 2, { exact: false });
            },
            words,
            name,
          );
      }
      // the next generation's files, which an update will write
      copyFileSync(path.join(images, 'red', 'red 1.png'), path.join(images, 'red', 'more.png'));
      for (const kind of [
        'images-1.jsonl',
        'skipped-1.jsonl',
        'features-1.safetensors',
        'vectors-1.usearch',
      ]) {
        writeFileSync(outside, 'precious');
        const place = change(kind, (file) => symlinkSync(outside, file));
        assert.equal((await build(place)).added, 1, kind);
        assert.equal(readFileSync(outside, 'utf8'), 'precious', kind);
        assert.ok(readdirSync(place, { withFileTypes: true }).every((entry) => entry.isFile()));
      }
      for (const [put, reason] of [
        [(file: string) => symlinkSync(outside, file), /lock is a symbolic link/],
        [(file: string) => execFileSync('mkfifo', [file]), /lock can't be opened: .* it is a FIFO/],
      ] as const)
        await assert.rejects(build(change('lock', put)), reason);
      assert.equal(readFileSync(outside, 'utf8'), 'precious');
      rmSync(path.join(images, 'red', 'more.png'));
    },
  );

  it('of sizes that its files lack is refused before memory is taken for them', () => {
    for (const change of [
      { width: 2 ** 30 },
      { width: 16_384 },
      { images: { count: 2 ** 30 } },
      { images: { nextId: 2 ** 32 } },
      { settings: { crop: 100_000 } },
      { files: { features: { bytes: 2 ** 40 } } },
    ]) {
      const place = damaged('index.json', (file) => {
        const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, object>>;
        const merge = (into: Record<string, unknown>, from: object): void => {
          for (const [key, value] of Object.entries(from))
            if (typeof value === 'object') merge(into[key] as Record<string, unknown>, value as object);
            else into[key] = value;
        };
        merge(manifest, change);
        writeFileSync(file, JSON.stringify(manifest));
      });
      assert.throws(() => ImageIndex.open(place), /is damaged/, JSON.stringify(change));
    }
    const deep = damaged('index.json', (file) => writeFileSync(file, '['.repeat(2 ** 21)));
    assert.throws(() => ImageIndex.open(deep), /at most 1048576 are allowed/);
  });

  it('is not written over, nor by two at once', async () => {
    await assert.rejects(build(images), /exists and is not an index/);
    const busy = damaged('lock', (file) =>
      writeFileSync(file, JSON.stringify({ pid: process.ppid, host: os.hostname() })),
    );
    await assert.rejects(build(busy), /is in use by process/);
    const empty = path.join(folder, 'empty');
    mkdirSync(empty);
    writeFileSync(path.join(empty, 'a.png'), '');
    await assert.rejects(
      build(path.join(folder, 'nothing'), {}, empty),
      /none of the 1 images can be read; the first: a.png/,
    );
    assert.equal(existsSync(path.join(folder, 'nothing', 'index.json')), false);
  });

  it('is the old one when its writer died before the rename, and forgets the traces', async () => {
    const place = damaged('features-1.safetensors', (file) => writeFileSync(file, 'half'));
    writeFileSync(path.join(place, '.index.json.99999.tmp'), '{"form');
    using index = ImageIndex.open(place);
    assert.equal(index.count, 18);
    copyFileSync(path.join(images, 'red', 'red 1.png'), path.join(images, 'red', 'more.png'));
    assert.equal((await build(place)).added, 1);
    rmSync(path.join(images, 'red', 'more.png'));
    assert.ok(!readdirSync(place).includes('features-0.safetensors'));
  });
});

describe('search', () => {
  const output = path.join(folder, 'searched');
  before(() => build(output));
  const elsewhere = path.join(folder, 'elsewhere.png');

  it('embeds what is not indexed with the same weights, and says when these are gone or others', async () => {
    copyFileSync(path.join(images, 'green', 'green 3.png'), elsewhere);
    using index = ImageIndex.open(output);
    const [first] = await searchIndex(index, { plus: [elsewhere], top: 3 });
    assert.equal(first!.path, path.join(images, 'green', 'green 3.png'));
    assert.ok(first!.similarity > 0.99999);
    await assert.rejects(searchIndex(index, { plus: [path.join(folder, 'no.png')] }), /no such file/);
    const copy = path.join(folder, 'run-2');
    cpSync(run, copy, { recursive: true });
    const other = path.join(folder, 'other');
    await buildIndex(loadModel(copy), images, { output: other, numWorkers: 0 });
    using stale = ImageIndex.open(other);
    const { file } = stale.manifest.weights;
    const state = hashModel({ patch: 8, embed_dim: 24, depth: 3, num_heads: 3 }).backbone.stateDict();
    writeSafetensors(file, state);
    assert.throws(() => loadIndexModel(stale), /checksum does not match.*--weights.*dino index WEIGHTS/s);
    rmSync(file);
    await assert.rejects(searchIndex(stale, { plus: [elsewhere] }), /does not exist any more/);
    loadIndexModel(stale, { weights: run }).dispose(); // the same weights elsewhere
    const known = path.join(images, 'red', 'red 2.png');
    assert.equal((await searchIndex(stale, { plus: [known], top: 4 })).length, 4); // needs no weights
  });

  it('by several finds what is between, with minus goes away from it, and leaves out what was asked', async () => {
    using index = ImageIndex.open(output);
    const at = (name: string) => path.join(images, name.split(' ')[0]!, `${name}.png`);
    const plus = [at('green 2'), at('green 5')];
    const found = await searchIndex(index, { plus, top: 17 });
    assert.ok(found.every((match) => !plus.includes(match.path)));
    const with1 = await searchIndex(index, { plus: [at('green 2')], minus: [at('red 3')], top: 17 });
    const rank = (matches: typeof found, name: string) =>
      matches.findIndex((match) => match.path === at(name));
    const without = await searchIndex(index, { plus: [at('green 2')], top: 17 });
    assert.equal(rank(with1, 'red 3'), -1);
    const similarity = (matches: typeof found, name: string) => matches[rank(matches, name)]!.similarity;
    assert.ok(similarity(with1, 'red 4') < similarity(without, 'red 4') - 0.01);
    await assert.rejects(searchIndex(index, { plus: [] }), ConfigError);
    await assert.rejects(searchIndex(index, { plus, region: [0, 0, 1, 1] }), /a region is part of one image/);
  });

  it('by region looks at that part alone, with either kind of features', async () => {
    // left half red, right half blue
    const half = path.join(folder, 'half.png');
    const side = { width: 40, height: 80, channels: 3 as const };
    const left = await sharp({ create: { ...side, background: { r: 170, g: 0, b: 0 } } })
      .png()
      .toBuffer();
    const right = await sharp({ create: { ...side, background: { r: 0, g: 0, b: 170 } } })
      .png()
      .toBuffer();
    await sharp({ create: { ...side, width: 80, background: 'black' } })
      .composite([
        { input: left, left: 0, top: 0 },
        { input: right, left: 40, top: 0 },
      ])
      .png()
      .toFile(half);
    for (const features of ['cls', 'patch-mean'] as const) {
      const place = path.join(folder, `regions-${features}`);
      await build(place, { features });
      using index = ImageIndex.open(place);
      const label = async (region: readonly [number, number, number, number]) => {
        const found = await searchIndex(index, { plus: [half], region, top: 3, model });
        return found.map(({ row }) => index.images[row]!.label).join();
      };
      assert.equal(await label([0, 20, 38, 38]), 'red,red,red', features);
      assert.equal(await label([0.52, 0.25, 0.4, 0.4]), 'blue,blue,blue', features);
      await assert.rejects(label([90, 0, 10, 10]), /within the image of 80 x 80/);
    }
    assert.deepEqual(regionBox([0.5, 0, 0.5, 1], { width: 80, height: 40 }), [40, 0, 80, 40]);
    assert.deepEqual(regionBox([70, 30, 60, 60], { width: 80, height: 40 }), [70, 30, 80, 40]);
    assert.throws(() => regionBox([0, 0, 0, 1], { width: 80, height: 40 }), ConfigError);
  });
});

const data = process.env['DINO_TEST_DATA'] ?? fileURLToPath(new URL('../../../shared/data', import.meta.url));
const photos = path.join(data, 'photos');
describe('on photographs', { skip: existsSync(photos) ? false : `no ${photos} (set DINO_TEST_DATA)` }, () => {
  it('finds re-encoded, shrunk and cropped copies, and a plain image among photographs', async () => {
    const place = path.join(folder, 'photos');
    mkdirSync(place);
    const originals = readdirSync(photos).slice(0, 24);
    for (const name of originals) copyFileSync(path.join(photos, name), path.join(place, name));
    const copies: [copy: string, original: string][] = [];
    for (const [i, name] of originals.slice(0, 9).entries()) {
      const copy = `copy-${i}.jpg`;
      const { width, height } = await sharp(path.join(photos, name)).metadata();
      const image = sharp(path.join(photos, name));
      const [w, h] = [Math.round(width * 0.97), Math.round(height * 0.97)];
      if (i % 3 === 0) image.jpeg({ quality: 50 });
      else if (i % 3 === 1) image.resize(Math.round(width * 0.7));
      else image.extract({ left: (width - w) >> 1, top: (height - h) >> 1, width: w, height: h });
      await image.jpeg({ quality: 90 - 10 * (i % 3) }).toFile(path.join(place, copy));
      copies.push([copy, name]);
    }
    const odd = { r: 255, g: 0, b: 255 };
    await sharp({ create: { width: 224, height: 224, channels: 3, background: odd } })
      .png()
      .toFile(path.join(place, 'odd.png'));
    const network = hashModel({ patch: 16, embed_dim: 96, depth: 3, num_heads: 3 });
    const weights = path.join(folder, 'hash.safetensors');
    writeSafetensors(weights, network.backbone.stateDict());
    const output = path.join(folder, 'photos.index');
    const withFile = new Model(network.backbone, network.architecture, weights, 'cpu');
    await buildIndex(withFile, place, { output, numWorkers: 1 });
    using index = ImageIndex.open(output);
    let nearest = 0;
    for (const [i, [copy, original]] of copies.entries()) {
      const [first] = await searchIndex(index, { plus: [path.join(place, copy)], top: 1 });
      const isRight = path.basename(first!.path) === original;
      nearest += Number(isRight);
      // this network was never trained: to it another photograph may look more like a cut than its original
      assert.ok(isRight || i % 3 > 0, `${copy} of ${original}`);
    }
    assert.ok(nearest >= 7, `${nearest} of 9`);
    const groups = await findDuplicates(index, { threshold: 0.999 });
    const found = groups.map(({ keep, copies: others }) =>
      [keep.path, ...others.map((each) => each.path)]
        .map((file) => path.basename(file))
        .sort()
        .join(' '),
    );
    const isFound = copies.filter(([copy, original]) => found.includes([copy, original].sort().join(' ')));
    assert.ok(isFound.length >= 3, `${isFound.length} of 9 copies in a group with their original alone`);
    const outliers = await findOutliers(index, { top: 3 });
    assert.ok(outliers.some((each) => path.basename(each.path) === 'odd.png'));
  });
});
