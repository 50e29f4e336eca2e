/** Indexes that whiten features: fitted to their images, applied to queries, kept in step when images come and go. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { DataError } from '../errors.js';
import { fitTransform, transformRows } from '../eval/fit-transform.js';
import { clusteredRows, featureIndex, normals } from '../testing/feature-index.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { fromTypedArray } from '../torch/index.js';
import { loadModel, type Model } from '../model.js';
import { unitRows } from '../plain/maps.js';
import { buildIndex, type BuildIndexOptions } from './build-index.js';
import { findDuplicates } from './duplicates.js';
import { ImageIndex } from './image-index.js';
import type { IndexManifest } from './index-format.js';
import { searchIndex } from './search.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-whitened-'));
const images = path.join(folder, 'images');
const run = path.join(folder, 'run');
let model: Model;
before(async () => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
  await writeColourFolders(images, 8);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const build = (output: string, more: Partial<BuildIndexOptions> = {}, source = images) =>
  buildIndex(model, source, { output, numWorkers: 0, batchSize: 5, weights: { given: run }, ...more });
const manifestOf = (index: string): IndexManifest =>
  JSON.parse(readFileSync(path.join(index, 'index.json'), 'utf8')) as IndexManifest;
const transformIn = (index: string): Buffer =>
  readFileSync(path.join(index, manifestOf(index).files.transform!.name));

/** Rows of 12 kinds, all of them drowned by a common direction and three of large variance. */
function drowned(count: number, width: number, spread: number): Float32Array {
  const rows = clusteredRows(count, width, 12, spread);
  const [common, large] = [unitRows(normals(4 * width, 8), width), normals(3 * count, 9)];
  for (let i = 0; i < count; i++)
    for (let d = 0; d < width; d++) {
      let value = 0.05 * rows[i * width + d]! + common[d]!;
      for (let j = 0; j < 3; j++) value += 0.3 * large[3 * i + j]! * common[(j + 1) * width + d]!;
      rows[i * width + d] = value;
    }
  return unitRows(rows, width);
}

describe('an index of features that a few directions drown', () => {
  const [count, width] = [600, 32];
  const rows = drowned(count, width, 0.5);

  it('finds neighbours of the same kind once it whitens, exactly and by the graph', async () => {
    const hits: Record<string, number> = {};
    for (const mode of ['none', 'pca'] as const) {
      using index = await featureIndex(path.join(folder, `drowned-${mode}`), rows, width, undefined, mode);
      for (const exact of [true, false]) {
        let same = 0;
        for (let row = 0; row < 60; row++) {
          const found = await index.search(index.feature(row), 6, { exact });
          same += found.filter((match) => match.row !== row && match.row % 12 === row % 12).length;
        }
        hits[`${mode} ${exact ? 'exact' : 'graph'}`] = same / 300;
      }
    }
    for (const way of ['exact', 'graph'])
      assert.ok(hits[`pca ${way}`]! > hits[`none ${way}`]! + 0.4, JSON.stringify(hits));
  });

  it('tells near-duplicates from what is only alike', async () => {
    const noise = normals(10 * width, 21);
    const apart = drowned(count, width, 1);
    const copies = Float32Array.from(
      apart.subarray(0, 10 * width),
      (value, at) => value + (0.002 * noise[at]!) / Math.sqrt(width),
    );
    const all = new Float32Array(apart.length + copies.length);
    all.set(apart);
    all.set(unitRows(copies, width), apart.length);
    const groups = async (mode: 'none' | 'pca', threshold: number) => {
      using index = await featureIndex(path.join(folder, `copies-${mode}`), all, width, undefined, mode);
      return (await findDuplicates(index, { threshold, onWarning: () => undefined })).map(
        ({ keep, copies: others }) => [keep.row, ...others.map(({ row }) => row)].sort((a, b) => a - b),
      );
    };
    const found = await groups('pca', 0.85);
    assert.deepEqual(
      found.sort((a, b) => a[0]! - b[0]!),
      Array.from({ length: 10 }, (_, i) => [i, count + i]),
    );
    assert.ok((await groups('none', 0.95)).some((group) => group.length > 20));
  });

  it('reads single rows as it reads all of them, and what it stores is untouched', async () => {
    using index = await featureIndex(path.join(folder, 'single'), rows, width, undefined, 'pca');
    const single = [index.feature(3), index.feature(599)];
    const all = index.features();
    [3, 599].forEach((row, i) =>
      single[i]!.forEach((value, d) => assert.ok(Math.abs(value - all[row * width + d]!) < 1e-6)),
    );
    assert.deepEqual(index.rawFeatures(), rows);
    assert.deepEqual(index.transformed(rows.subarray(3 * width, 4 * width)), single[0]);
    assert.throws(() => index.transformed(new Float32Array(width + 1)), /not rows of 32/);
  });
});

describe('an index of images', () => {
  const output = path.join(folder, 'index');

  it('gives a query the transform of its images', async () => {
    const result = await build(output, { whiten: 'pca' });
    assert.deepEqual([result.images, result.whitening.mode], [24, 'pca']);
    assert.match(result.whitening.reason, /asked for pca; 24 images support 3 whitened components of the 24/);
    using index = ImageIndex.open(output);
    const outside = path.join(folder, 'outside.png');
    const inside = path.join(images, 'red', 'red 3.png');
    copyFileSync(inside, outside);
    const [first] = await searchIndex(index, { plus: [outside], top: 1, model });
    assert.equal(first!.path, inside);
    assert.ok(first!.similarity > 0.9999, String(first!.similarity));
    const [part] = await searchIndex(index, { plus: [outside], region: [0, 0, 1, 1], top: 1, model });
    assert.match(part!.path, /red/);
    const raw = index.rawFeatures();
    using tensor = fromTypedArray(raw, [24, 24]);
    const { transform } = fitTransform(tensor, 'pca');
    assert.deepEqual(index.features(), transformRows(transform, raw, 24));
  });

  it('keeps its transform while few images change, and fits it again when many have', async () => {
    const before = transformIn(output);
    using old = ImageIndex.open(output);
    const kept = path.join(images, 'blue', 'blue 1.png');
    const raw = old.rawFeatures().slice(old.rowOf(kept)! * 24, (old.rowOf(kept)! + 1) * 24);
    copyFileSync(path.join(images, 'green', 'green 0.png'), path.join(images, 'green', 'more 0.png'));
    const few = await build(output);
    assert.deepEqual([few.added, few.whitening.mode], [1, 'pca']);
    assert.deepEqual(transformIn(output), before);
    assert.deepEqual(manifestOf(output).whitening.changed, 1);
    {
      using index = ImageIndex.open(output);
      for (const exact of [true, false]) {
        const [twin] = await searchIndex(index, {
          plus: [path.join(images, 'green', 'more 0.png')],
          top: 1,
          exact,
        });
        assert.equal(twin!.path, path.join(images, 'green', 'green 0.png'));
        assert.ok(twin!.similarity > 0.9999);
      }
    }
    for (let i = 1; i < 7; i++)
      copyFileSync(path.join(images, 'red', `red ${i}.png`), path.join(images, 'red', `more ${i}.png`));
    const many = await build(output);
    assert.deepEqual([many.images, many.added, many.whitening.mode], [31, 6, 'pca']);
    assert.notDeepEqual(transformIn(output), before);
    const { fittedTo, changed } = manifestOf(output).whitening;
    assert.deepEqual([fittedTo, changed], [31, 0]);
    using index = ImageIndex.open(output);
    const row = index.rowOf(kept)!;
    assert.deepEqual(index.rawFeatures().slice(row * 24, (row + 1) * 24), raw);
    for (const exact of [true, false]) {
      const [twin] = await searchIndex(index, {
        plus: [path.join(images, 'red', 'more 2.png')],
        top: 1,
        exact,
      });
      assert.equal(twin!.path, path.join(images, 'red', 'red 2.png'));
    }
  });

  it('changes how it compares without embedding again, and keeps what it was asked for', async () => {
    const plain = await build(output, { whiten: 'none' });
    assert.deepEqual([plain.added, plain.changed, plain.whitening.mode], [0, 0, 'none']);
    assert.deepEqual(
      readdirSync(output).filter((name) => name.startsWith('transform')),
      [],
    );
    assert.equal((await build(output)).whitening.mode, 'none');
    const centred = await build(output, { whiten: 'center' });
    assert.deepEqual([centred.added, centred.whitening.mode], [0, 'center']);
    using index = ImageIndex.open(output);
    assert.equal(index.transform.matrix, null);
    const [first] = await index.search(index.feature(5), 1, { exact: false });
    assert.equal(first!.row, 5);
  });

  it('of an older version is read as it is, and fitted when it is brought up to date', async () => {
    const older = path.join(folder, 'older');
    await build(older, { whiten: 'none' });
    // index.json of version 1 is this one without its new parts
    const manifest = JSON.parse(
      readFileSync(path.join(older, 'index.json'), 'utf8'),
      (name, value: unknown) => (name === 'whitening' || name === 'transform' ? undefined : value),
    ) as object;
    writeFileSync(path.join(older, 'index.json'), JSON.stringify({ ...manifest, version: 1 }));
    {
      using index = ImageIndex.open(older);
      assert.equal(index.manifest.whitening.mode, 'none');
      assert.deepEqual(index.features(), index.rawFeatures());
    }
    const result = await build(older);
    assert.deepEqual([result.added, result.rebuilt], [0, null]);
    assert.match(result.whitening.reason, /31 images are too few to judge by/);
    const { version, whitening } = manifestOf(older);
    assert.deepEqual([version, whitening.asked, whitening.fittedTo], [2, 'auto', 31]);
  });

  it('that was interrupted is searched as it is, and fitted when it is done', async () => {
    const cut = path.join(folder, 'cut');
    const stop = new AbortController();
    const onProgress: BuildIndexOptions['onProgress'] = ({ done }) => {
      if (done >= 10) stop.abort(new Error('enough'));
    };
    await assert.rejects(build(cut, { whiten: 'pca', signal: stop.signal, onProgress }), /enough/);
    {
      using index = ImageIndex.open(cut);
      assert.ok(index.count >= 10 && index.count < 31);
      assert.deepEqual([index.manifest.whitening.mode, index.manifest.whitening.fittedTo], ['none', 0]);
      assert.equal((await index.search(index.feature(2), 1, { exact: false }))[0]!.row, 2);
    }
    const done = await build(cut, { whiten: 'pca' });
    assert.deepEqual([done.images, done.whitening.mode], [31, 'pca']);
    assert.equal(manifestOf(cut).whitening.fittedTo, 31);
  });

  it('whose transform is damaged is refused, with what to do', async () => {
    const bad = path.join(folder, 'bad');
    await build(bad, { whiten: 'pca' });
    const { name } = manifestOf(bad).files.transform!;
    const file = path.join(bad, name);
    const good = readFileSync(file);
    const spoilt = Buffer.from(good);
    spoilt.writeFloatLE(7, good.length - 8);
    for (const bytes of [spoilt, good.subarray(0, good.length - 4), Buffer.alloc(good.length)]) {
      writeFileSync(file, bytes);
      using index = ImageIndex.open(bad);
      assert.throws(
        () => index.features(),
        (error) =>
          error instanceof DataError && error.message.includes(name) && /make it again/.test(error.message),
      );
    }
    rmSync(file);
    using index = ImageIndex.open(bad);
    assert.throws(() => index.feature(0), /is missing/);
    assert.ok(!existsSync(file));
  });
});

it('chooses by other views where there are enough images, the same each time', async () => {
  const many = path.join(folder, 'many');
  await writeColourFolders(many, 24);
  const [first, second] = [
    await build(path.join(folder, 'a'), {}, many),
    await build(path.join(folder, 'b'), {}, many),
  ];
  assert.match(
    first.whitening.reason,
    /another view of an image is found among those of 36: none \d+%, center \d+%, pca \d+%/,
  );
  assert.deepEqual(first.whitening, second.whitening);
});
