import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { ConfigError, DataError } from '../errors.js';
import { liveTensors } from '../torch/index.js';
import { hashModel, type NetworkSize } from '../testing/hash-model.js';
import type { Model } from '../model.js';
import { patchColours, splitForeground } from '../plain/patch-colours.js';
import { clusteredRows } from '../testing/feature-index.js';
import { colourPatches, patchPca, writePatchPca } from './patch-pca.js';
import { noTensorLeft } from '../testing/no-tensor-left.js';

const fixtures = fileURLToPath(new URL('../../test/fixtures/video/', import.meta.url));
const pictures = ['two', 'tall'].map((name) =>
  path.join(fixtures, 'davis/JPEGImages/480p', name, '00000.jpg'),
);
const { small, pca: expected } = JSON.parse(readFileSync(path.join(fixtures, 'video.json'), 'utf8')) as {
  small: NetworkSize;
  /** (patches of both pictures, 3) scores; each component's sign is free. */
  pca: { size: [number, number]; explained: number[]; scores: number[][] };
};
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-pca-'));
let model: Model;
before(() => {
  model = hashModel(small);
});
after(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe('patchPca', () => {
  it("gives the principal components of the reference's features, over all images", async () => {
    const live = liveTensors();
    const { images, explained } = await patchPca(model, pictures, { imageSize: expected.size });
    noTensorLeft(live);
    explained.forEach((share, c) => assert.ok(Math.abs(share - expected.explained[c]!) < 1e-4, `share ${c}`));
    const found = images.flatMap((image) => [...image.components]);
    assert.equal(found.length, expected.scores.length * 3);
    for (let c = 0; c < 3; c++) {
      const scores = expected.scores.map((row) => row[c]!);
      const strongest = scores.reduce(
        (best, value, i) => (Math.abs(value) > Math.abs(scores[best]!) ? i : best),
        0,
      );
      const sign = Math.sign(scores[strongest]! * found[strongest * 3 + c]!);
      scores.forEach((value, i) => {
        const got = sign * found[i * 3 + c]!;
        assert.ok(Math.abs(got - value) < 2e-3, `component ${c} of patch ${i}: ${got}, expected ${value}`);
      });
    }
  });

  it('paints the foreground over the whole range, the background black, and repeats itself', async () => {
    const options = { imageSize: expected.size };
    const { images } = await patchPca(model, pictures, options);
    const inFront: number[] = [];
    for (const { colours, foreground, rows, columns } of images) {
      assert.deepEqual([rows, columns, colours.length], [8, 12, 8 * 12 * 3]);
      foreground.forEach((value, i) => {
        const colour = colours.subarray(i * 3, i * 3 + 3);
        if (value === 0) assert.deepEqual([...colour], [0, 0, 0]);
        else inFront.push(...colour);
      });
    }
    assert.ok(inFront.length > 0 && inFront.length < 2 * 96 * 3);
    for (let c = 0; c < 3; c++) {
      const channel = inFront.filter((_, i) => i % 3 === c);
      assert.deepEqual([Math.min(...channel), Math.max(...channel)], [0, 255]);
    }
    const again = await patchPca(model, pictures, options);
    assert.deepEqual(again.images[1]!.colours, images[1]!.colours);
    const whole = await patchPca(model, pictures.slice(0, 1), { ...options, foreground: false });
    assert.ok(whole.images[0]!.foreground.every((value) => value === 1));
  });

  it('draws every patch over its pixels', async () => {
    const { images } = await patchPca(model, pictures.slice(1), { imageSize: [64, 40] });
    const [image] = images;
    const file = await writePatchPca(image!, folder);
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    assert.deepEqual([info.width, info.height], [40 * 6, 64 * 6], 'enlarged');
    const at = ((3 * 8 + 7) * 6 * info.width + (2 * 8 + 1) * 6) * 3; // a pixel of the patch in row 3, column 2
    const patch = 3 * 5 + 2;
    assert.deepEqual([...data.subarray(at, at + 3)], [...image!.colours.subarray(patch * 3, patch * 3 + 3)]);
  });

  it('takes pictures of one patch and of one colour', async () => {
    const flat = await sharp({ create: { width: 30, height: 20, channels: 3, background: 'gray' } })
      .png()
      .toBuffer();
    const { images } = await patchPca(model, [flat], { imageSize: [8, 8] });
    assert.deepEqual([...images[0]!.colours], [128, 128, 128]);
  });

  it('refuses what can not be drawn', async () => {
    await assert.rejects(patchPca(model, []), DataError);
    await assert.rejects(patchPca(model, [path.join(folder, 'absent.png')]), DataError);
    await assert.rejects(patchPca(model, pictures, { imageSize: 3 }), ConfigError);
    const signal = AbortSignal.abort(new Error('enough'));
    await assert.rejects(patchPca(model, pictures, { signal }), /enough/);
  });
});

describe('splitForeground', () => {
  it('splits where the groups part, and takes the side that is looked at', () => {
    const values = Float32Array.of(1, 1.1, 0.9, 9, 9.2, 1, 8.8);
    const low = Float32Array.of(5, 5, 5, 1, 1, 5, 1);
    assert.deepEqual([...splitForeground(values, low)], [1, 1, 1, 0, 0, 1, 0]);
    assert.deepEqual([...splitForeground(values, low.map((value) => -value))], [0, 0, 0, 1, 1, 0, 1]); // prettier-ignore
    assert.deepEqual([...splitForeground(new Float32Array(3), new Float32Array(3))], [1, 1, 1]);
  });
});

describe('patchColours', () => {
  /** Of one image, by libtorch; the fields of the picture itself are not used. */
  const byTorch = (features: Float32Array, width: number, attention: Float32Array, foreground: boolean) => {
    const [rows, columns] = [features.length / width, 1];
    const image = { rows, columns } as Parameters<typeof colourPatches>[0][number];
    return colourPatches([image], [features], [attention], width, { foreground });
  };

  it('gives the colours of libtorch without it', () => {
    for (const [count, width, kinds, noise] of [
      [900, 192, 5, 0.3],
      [200, 384, 2, 1], // more numbers than patches
      [64, 3, 3, 0.1],
      [12, 32, 2, 0.5],
    ] as const) {
      const features = clusteredRows(count, width, kinds, noise);
      const attention = Float32Array.from({ length: count }, (_, i) => 1 + (i % kinds));
      const found = patchColours(features, width, attention);
      for (const [foreground, colours] of [
        [true, found.colours],
        [false, found.allColours],
      ] as const) {
        const expected = byTorch(features, width, attention, foreground);
        const worst = Math.max(
          ...expected.images[0]!.colours.map((value, i) => Math.abs(value - colours[i]!)),
        );
        assert.ok(worst <= 1, `${count} x ${width}: a colour is off by ${worst} of 255`);
        expected.explained.forEach((share, c) =>
          assert.ok(Math.abs(share - found.explained[c]!) < 1e-6, `${count} x ${width}: share ${c}`),
        );
      }
    }
  });

  it('takes one patch, and patches that are all the same', () => {
    for (const count of [1, 9]) {
      const { colours, allColours, explained } = patchColours(
        new Float32Array(count * 8).fill(0.5),
        8,
        new Float32Array(count),
      );
      assert.deepEqual([...colours], Array<number>(count * 3).fill(128));
      assert.deepEqual([...allColours], [...colours]);
      assert.deepEqual(explained, [0, 0, 0]);
    }
  });
});
