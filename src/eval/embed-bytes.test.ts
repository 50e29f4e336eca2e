/** Images as a program holds them: few at a time, and as the bytes of a file that an upload or a database gave. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { decodeImage, listImages } from '../data/index.js';
import { DataError } from '../errors.js';
import { buildIndex } from '../explore/build-index.js';
import { ImageIndex } from '../explore/image-index.js';
import { searchIndex } from '../explore/search.js';
import { patchPca } from '../explain/patch-pca.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { loadModel, type Model } from '../model.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-bytes-'));
const run = path.join(folder, 'run');
const images = path.join(folder, 'images');
let model: Model;
let paths: string[];
before(async () => {
  writeTinyRun(run);
  model = loadModel(run, { device: 'cpu' });
  await writeColourFolders(images, 6);
  paths = (await listImages(images)).items.map((item) => item.path);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

const bytesOf = (file: string): Uint8Array => new Uint8Array(readFileSync(file));

/** A buffer that holds the file and nothing else. */
const bufferOf = (file: string): ArrayBuffer => bytesOf(file).slice().buffer;

describe('embed() of few images', () => {
  /** How many threads start meanwhile. */
  async function startedBy(work: () => Promise<unknown>): Promise<number> {
    let started = 0;
    const count = () => started++;
    process.on('worker', count);
    try {
      await work();
    } finally {
      process.off('worker', count);
    }
    return started;
  }

  it('starts no thread for one image, or for a dozen, at the first call or a later one', async () => {
    assert.equal(await startedBy(() => model.embed([paths[0]!])), 0);
    assert.equal(await startedBy(() => model.embed(paths.slice(0, 12))), 0);
    assert.equal(await startedBy(() => model.embed([bytesOf(paths[0]!)])), 0);
  });

  it('starts one for many, and those that are asked for', async () => {
    assert.equal(await startedBy(() => model.embed(paths)), 1);
    assert.equal(await startedBy(() => model.embed([paths[0]!], { numWorkers: 2 })), 2);
  });
});

describe('embed() of bytes', () => {
  it('gives what the file gives, alone and mixed with paths, with workers and without', async () => {
    const wanted = await model.embed(paths, { batchSize: 5 });
    const given = paths.map((file, i) =>
      i % 4 === 0 ? file : i % 4 === 1 ? bytesOf(file) : i % 4 === 2 ? readFileSync(file) : bufferOf(file),
    );
    for (const numWorkers of [0, 2]) {
      const found = await model.embed(given, { numWorkers, batchSize: 5 });
      assert.deepEqual(found.features, wanted.features);
      assert.deepEqual(
        found.paths,
        paths.map((file, i) => (i % 4 === 0 ? file : `bytes[${i}]`)),
      );
    }
    const alone = await model.embed([paths[3]!]);
    for (const one of [bytesOf(paths[3]!), bufferOf(paths[3]!)]) {
      const { features, shape } = await model.embed(one);
      assert.deepEqual(shape, [1, wanted.shape[1]]);
      assert.deepEqual(features, alone.features);
    }
  });

  it('leaves the bytes as they were, and to their owner', async () => {
    const given = bytesOf(paths[0]!);
    const before = given.slice();
    await model.embed([given, paths[1]!], { numWorkers: 1 });
    assert.deepEqual(given, before);
  });

  it('names bytes that are no image by their place', async () => {
    const { paths: kept, skipped } = await model.embed([
      Buffer.from('no image'),
      paths[0]!,
      new Uint8Array(0),
    ]);
    assert.deepEqual(kept, [paths[0]]);
    assert.deepEqual(
      skipped.map((each) => each.path),
      ['bytes[0]', 'bytes[2]'],
    );
    assert.match(skipped[0]!.reason, /not a JPEG/);
    await assert.rejects(model.embed([Buffer.from('no image')]), DataError);
  });

  it('streams them too', async () => {
    const names: string[] = [];
    for await (const batch of model.embedBatches([bytesOf(paths[0]!), paths[1]!], { batchSize: 1 }))
      names.push(...batch.paths);
    assert.deepEqual(names, ['bytes[0]', paths[1]]);
  });
});

describe('other calls with bytes', () => {
  it('attention, components and decoding take each kind', async () => {
    const file = paths[2]!;
    const wanted = await model.attention(file);
    const decoded = await decodeImage(file);
    const pca = await patchPca(model, [file]);
    for (const bytes of [bytesOf(file), readFileSync(file), bufferOf(file)]) {
      assert.deepEqual((await model.attention(bytes)).maps, wanted.maps);
      assert.deepEqual(await decodeImage(bytes), decoded);
      assert.deepEqual((await patchPca(model, [bytes])).images[0]!.colours, pca.images[0]!.colours);
    }
  });

  it('search finds the images like some that are no files, wanted and unwanted', async () => {
    const output = path.join(folder, 'index');
    await buildIndex(model, images, { output, weights: { given: run } });
    using index = ImageIndex.open(output);
    const other = path.join(folder, 'other.png');
    writeFileSync(other, bytesOf(paths[7]!));
    const options = { top: 5, model };
    const wanted = await searchIndex(index, { plus: [other], minus: [paths[0]!], ...options });
    for (const bytes of [bytesOf(other), bufferOf(other)]) {
      const found = await searchIndex(index, { plus: [bytes], minus: [bytesOf(paths[0]!)], ...options });
      assert.deepEqual(
        found.slice(0, 3).map(({ row }) => row),
        wanted.slice(0, 3).map(({ row }) => row),
      );
      const region = [0.1, 0.1, 0.5, 0.5] as const;
      assert.deepEqual(
        await searchIndex(index, { plus: [bytes], region, ...options }),
        await searchIndex(index, { plus: [other], region, ...options }),
      );
    }
    await assert.rejects(
      searchIndex(index, { plus: [0, Buffer.from('no image')], model }),
      /plus\[1\].*not a JPEG/,
    );
  });
});
