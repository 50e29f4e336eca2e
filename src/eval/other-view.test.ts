import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type ImageItem, type ImageItems, listImages } from '../data/index.js';
import { writeColourFolders, writeTinyRun } from '../testing/saved-run.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { fromTypedArray, liveTensors, tensor, type Tensor } from '../torch/index.js';
import { loadModel, type Model } from '../model.js';
import { mean } from '../plain/mean.js';
import { embedViews, findOtherViews, otherViewRetrieval, sampleEvenly } from './other-view.js';

const valuesOf = (values: Tensor): number[] => [...(values.toTypedArray() as Float32Array)];

describe('otherViewRetrieval', () => {
  const features = tensor([
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
    [1, 1, 0],
  ]);

  it('is the share of images whose own view is nearest, by cosine', () => {
    // lengths don't matter; the third view resembles the first image most, the fourth its own
    const views = tensor([
      [100, 1, 0],
      [0, 0.1, 0],
      [5, 0, 4],
      [1, 1, 0.5],
    ]);
    assert.equal(otherViewRetrieval(features, views), 1);
    const swapped = tensor([
      [0, 1, 0.2], // of the first, but like the second
      [1, 0, 0.1],
      [0, 0, 3],
      [1, 1, 0.5],
    ]);
    assert.equal(otherViewRetrieval(features, swapped), 0.5);
    // the first two have two views before their own, and one (0, 0, 3) that is exactly as similar
    assert.ok(
      Math.abs(mean(findOtherViews(features, swapped).reciprocalRanks) - (1 / 3.5 + 1 / 3.5 + 1 + 1) / 4) <
        1e-9,
    );
  });

  it('gives features that are all alike nothing, and half the ranks', () => {
    const alike = fromTypedArray(new Float32Array(12).fill(0.3), [4, 3]);
    assert.equal(otherViewRetrieval(alike, alike), 0);
    assert.deepEqual(findOtherViews(alike, alike).reciprocalRanks, new Array(4).fill(1 / 2.5));
  });

  it('is the same for more images than are compared at a time, and leaves no tensor behind', () => {
    const count = 700;
    const rows = new Float32Array(count * 2);
    for (let i = 0; i < count; i++) rows.set([Math.cos(i / 120), Math.sin(i / 120)], i * 2);
    const some = fromTypedArray(rows, [count, 2]);
    const before = liveTensors();
    assert.equal(otherViewRetrieval(some, some), 1);
    assert.equal(otherViewRetrieval(some, some.flip([0])), 0);
    assert.ok(liveTensors() - before <= 1, 'only the flipped one');
  });

  it('refuses shapes that do not fit', () => {
    assert.throws(
      () => otherViewRetrieval(features, tensor([[1, 0, 0]])),
      /expected features and views of one shape/,
    );
  });
});

describe('sampleEvenly', () => {
  it('takes one of each part, by the seed', () => {
    const picked = sampleEvenly(1000, 100, 4);
    assert.equal(picked.length, 100);
    picked.forEach((index, i) => assert.ok(index >= 10 * i && index < 10 * (i + 1)));
    assert.deepEqual(sampleEvenly(1000, 100, 4), picked);
    assert.notDeepEqual(sampleEvenly(1000, 100, 5), picked);
    assert.deepEqual(sampleEvenly(3, 100, 4), [0, 1, 2]);
    assert.equal(new Set(sampleEvenly(101, 100, 0)).size, 100);
  });
});

describe('embedViews', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-views-'));
  let model: Model;
  let items: ImageItems;
  before(async () => {
    writeTinyRun(path.join(folder, 'run'));
    model = loadModel(path.join(folder, 'run'), { device: 'cpu' });
    await makeImageFolder(path.join(folder, 'images'), { classes: 3, perClass: 8 });
    items = (await listImages(path.join(folder, 'images'))).items;
  });
  after(() => {
    model.dispose();
    rmSync(folder, { recursive: true });
  });
  const sizes = { resize: 36, crop: 32, device: 'cpu' };

  it('gives the same views whatever the workers and batches, and other views for another seed', async () => {
    const options = { ...sizes, views: 2, seed: 3 };
    const one = await embedViews(model.backbone, items, { ...options, numWorkers: 0 });
    const two = await embedViews(model.backbone, items, { ...options, numWorkers: 2, batchSize: 5 });
    assert.deepEqual([one.used, one.leftOut, one.skipped], [24, 0, []]);
    assert.deepEqual([...one.features.shape], [24, 24]);
    const close = (a: Tensor, b: Tensor): boolean => {
      const other = valuesOf(b);
      return valuesOf(a).every((value, i) => Math.abs(value - other[i]!) < 1e-5);
    };
    assert.ok(close(one.features, two.features));
    assert.ok(one.views.length === 2 && one.views.every((view, i) => close(view, two.views[i]!)));
    assert.ok(!close(one.views[0]!, one.views[1]!), 'the two views differ');
    assert.ok(!close(one.features, one.views[0]!), 'a view is not the image itself');
    const other = await embedViews(model.backbone, items, { ...options, seed: 4 });
    assert.ok(close(one.features, other.features) && !close(one.views[0]!, other.views[0]!));
  });

  it('embeds the images as embed() does', async () => {
    const { features } = await embedViews(model.backbone, items, sizes);
    const embedded = await model.embed(path.join(folder, 'images'), { resize: 36, crop: 32 });
    valuesOf(features).forEach((value, i) => assert.ok(Math.abs(value - embedded.features[i]!) < 1e-5));
  });

  it('samples, leaves out what cannot be read, and says how many', async () => {
    const bad = path.join(folder, 'bad.png');
    writeFileSync(bad, 'not an image');
    const more: ImageItem[] = [...items, { path: bad, label: null }];
    const found = await embedViews(model.backbone, more, { ...sizes, most: 25 });
    assert.deepEqual([found.used, found.leftOut], [24, 0]);
    assert.deepEqual(
      found.skipped.map((each) => each.path),
      [bad],
    );
    const few = await embedViews(model.backbone, items, { ...sizes, most: 10 });
    assert.deepEqual([few.used, few.leftOut, few.indices.length], [10, 14, 10]);
    await assert.rejects(
      embedViews(model.backbone, [items.at(0)!, { path: bad, label: null }], sizes),
      /1 of 2 images can be read.*bad\.png/,
    );
  });

  it('names an image whose features are not numbers', async () => {
    const broken = (images: Tensor): Tensor =>
      images
        .mean([2, 3])
        .sub(images.mean([2, 3]))
        .pow(-1)
        .mul(0); // 0 * inf
    await assert.rejects(
      embedViews(broken, items, sizes),
      /image-0\.png: its features contain NaN or infinite values \(and those of 23 other images of 24\)/,
    );
  });

  it('scores pixels of solid colours by their colour', async () => {
    await writeColourFolders(path.join(folder, 'solid'), 5);
    const { items: solid } = await listImages(path.join(folder, 'solid'));
    const compute = (images: Tensor): Tensor => images.flatten(1);
    const { features, views } = await embedViews(compute, solid, sizes);
    assert.deepEqual([...features.shape], [15, 3 * 32 * 32]);
    const score = otherViewRetrieval(features, views[0]!);
    assert.ok(score > 0 && score < 1, String(score)); // the jitter mixes up levels of a colour, not colours
  });
});
