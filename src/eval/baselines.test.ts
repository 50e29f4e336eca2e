import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { listImages } from '../data/index.js';
import { hashBytes } from '../testing/hash-fill.js';
import { makeImageFolder } from '../testing/image-folder.js';
import { hog, hogFeatures, hogWidth, pixelFeatures } from './baselines.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-baselines-'));
after(() => rmSync(folder, { recursive: true }));

describe('hog', () => {
  it("gives scikit-image's values", () => {
    const file = new URL('../../test/fixtures/eval/hog.json', import.meta.url);
    const { cases } = JSON.parse(readFileSync(file, 'utf8')) as {
      cases: { name: string; height: number; width: number; step: number; hog: number[] }[];
    };
    assert.equal(cases.length, 2);
    for (const { name, height, width, step, hog: expected } of cases) {
      const bytes = hashBytes(name, [3, height, width]);
      const image = bytes.map((_, i) => bytes[i - ((i % width) % step)]!);
      const values = hog(image, width, height);
      assert.equal(values.length, expected.length);
      assert.equal(values.length, hogWidth(width, height));
      const worst = Math.max(...expected.map((value, i) => Math.abs(value - values[i]!)));
      assert.ok(worst < 2e-5, `${name}: ${worst}`);
    }
  });

  it('is 0 for a flat image, and empty for one smaller than a block', () => {
    assert.deepEqual([...new Set(hog(new Uint8Array(3 * 16 * 16).fill(90), 16, 16))], [0]);
    assert.equal(hog(new Uint8Array(3 * 15 * 15).fill(90), 15, 15).length, 0);
  });
});

describe('pixelFeatures and hogFeatures', () => {
  it('give one row for each image that can be read, and name the others', async () => {
    await makeImageFolder(folder, { classes: 2, perClass: 3, size: 32 });
    writeFileSync(path.join(folder, 'class-0', 'image-1.png'), 'not a picture');
    const { items } = await listImages(folder);
    const pixels = await pixelFeatures(items, { size: 32, batchSize: 4 });
    const gradients = await hogFeatures(items, { size: 32, numWorkers: 0 });
    for (const table of [pixels, gradients]) {
      assert.deepEqual(table.indices, [0, 2, 3, 4, 5]);
      assert.equal(table.skipped.length, 1);
      assert.match(table.skipped[0]!.path, /image-1\.png/);
      assert.equal(table.features.length, 5 * table.width);
    }
    assert.equal(pixels.width, 3 * 32 * 32);
    assert.equal(gradients.width, 3 * 3 * 4 * 9);
    // the same picture read both ways
    const third = pixels.features.subarray(2 * pixels.width, 3 * pixels.width);
    const row = gradients.features.subarray(2 * gradients.width, 3 * gradients.width);
    assert.deepEqual([...row], [...hog(third, 32, 32)]);
    assert.ok(Math.max(...row) > 0.1);
  });
});
